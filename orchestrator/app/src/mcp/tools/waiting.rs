//! The tool that waits for the end of a run, for a limited time.

use std::time::{Duration, Instant};

use serde::Serialize;
use stepladder_api::Failure;
use stepladder_core::{Json, RunId, Status, json};

use super::{Output, Progress, Tool, ToolAction, ToolEffect, ToolOutput, bounded, problem};
use crate::client::Client;
use crate::follow::changes::ReportedChanges;
use crate::follow::{MAX_INTERVAL, MIN_INTERVAL};
use crate::mcp::arguments::{Argument, ArgumentKind, Arguments};
use crate::mcp::message::Outgoing;

pub(super) const WAIT_FOR_RUN: Tool = Tool {
    name: "wait_for_run",
    title: "Wait for a run",
    description: "Waits until a run ends, at most `timeout_seconds`, and returns its status with its output or error. \
        If `ended` is false, the run is still live: call the tool again, or `explain_run` to see what it waits for.",
    action: ToolAction::WaitForRun,
    effect: ToolEffect::Reads,
    arguments: &ARGUMENTS,
    outputs: &[
        Output::always("run_id", &["string"]),
        Output::always("status", &["string"]),
        Output::always("ended", &["boolean"]),
        Output::sometimes("output", &["object", "array", "string", "number", "boolean", "null"]),
        Output::sometimes("error", &["object"]),
        Output::sometimes("waiting", &["string"]),
    ],
};

const ARGUMENTS: [Argument; 2] = [
    Argument::required("run_id", ArgumentKind::Run, "the id of the run"),
    Argument::optional(
        "timeout_seconds",
        ArgumentKind::Number { min: 0, max: 300, default: 30 },
        "how long to wait, in seconds",
    ),
];

/// The maximum size of an output, in bytes.
const OUTPUT_BYTES: usize = 64 * 1024;

#[derive(Serialize)]
struct Waited {
    run_id: RunId,
    status: Status,
    ended: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<String>,
}

pub(super) async fn wait_for_run(
    client: &Client,
    arguments: &Arguments,
    progress: &Progress<'_>,
) -> Result<ToolOutput, String> {
    let id = arguments.run()?;
    let until = Instant::now() + Duration::from_secs(arguments.number(&ARGUMENTS, "timeout_seconds"));
    let (mut changes, mut lines, mut interval) = (ReportedChanges::default(), Vec::new(), MIN_INTERVAL);
    let run = loop {
        let (run, _) = client.run(id).await.map_err(problem)?;
        let news = changes.new_lines(&run);
        interval = if news.is_empty() { (interval * 3 / 2).min(MAX_INTERVAL) } else { MIN_INTERVAL };
        for line in news {
            let line = console::strip_ansi_codes(&line).into_owned();
            progress.report(lines.len() + 1, line.trim());
            lines.push(line);
        }
        let left = until.saturating_duration_since(Instant::now());
        if run.status.is_end() || left.is_zero() {
            break run;
        }
        tokio::time::sleep(interval.min(left)).await;
    };
    let waited = Waited {
        run_id: id,
        status: run.status,
        ended: run.status.is_end(),
        output: run.output.map(|output| bounded(&output, OUTPUT_BYTES)),
        error: run.error,
        waiting: run.waiting,
    };
    lines.extend(waited.output.as_ref().map(|output| format!("output: {}", output.get())));
    lines.extend(waited.error.as_ref().map(|error| format!("error: {}", error.headline())));
    if !waited.ended {
        let reason = waited.waiting.as_deref().unwrap_or("it is executing");
        lines.push(format!("the run has not ended yet: {reason}"));
    }
    ToolOutput::new(lines.join("\n"), &waited)
}

impl Progress<'_> {
    /// Tells the client what happened, if it has asked for it.
    fn report(&self, number: usize, message: &str) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Params<'a> {
            progress_token: &'a Json,
            progress: usize,
            message: &'a str,
        }
        let Some(token) = &self.token else { return };
        let params = Params { progress_token: token, progress: number, message };
        if let Ok(params) = json::to_json(&params) {
            (self.send)(Outgoing::notification("notifications/progress", params).to_text());
        }
    }
}
