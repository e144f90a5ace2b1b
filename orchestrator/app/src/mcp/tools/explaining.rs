//! The tool that explains why a run waits or failed, in the words of `stepladder run`.

use std::sync::Arc;

use serde::Serialize;
use stepladder_api::{Failure, RunDetail, RunOrigin, Step, StepKind, StepStatus, Time};
use stepladder_core::sentence::truncated;
use stepladder_core::{Json, RunId, Status, StepId};

use super::{Output, Tool, ToolAction, ToolEffect, ToolOutput, bounded, problem};
use crate::cli::run::describe;
use crate::client::Client;
use crate::mcp::arguments::{Argument, ArgumentKind, Arguments};
use crate::terminal::text::now;

pub(super) const EXPLAIN_RUN: Tool = Tool {
    name: "explain_run",
    title: "Explain a run",
    description: "Says what a run is doing, why it waits or why it failed: its status, its event, the steps that failed \
        with the error of each attempt, the steps that it waits for, its log, and what can be done next.",
    action: ToolAction::ExplainRun,
    effect: ToolEffect::Reads,
    arguments: &[Argument::required("run_id", ArgumentKind::Run, "the id of the run")],
    outputs: &[
        Output::always("run_id", &["string"]),
        Output::always("function_id", &["string"]),
        Output::always("status", &["string"]),
        Output::always("event", &["object"]),
        Output::always("next", &["array"]),
        Output::sometimes("waiting", &["string"]),
        Output::sometimes("error", &["object"]),
        Output::sometimes("failed_steps", &["array"]),
        Output::sometimes("waiting_steps", &["array"]),
        Output::sometimes("rerun_of", &["string"]),
    ],
};

/// The maximum size of the event's data, in bytes.
const DATA_BYTES: usize = 16 * 1024;
/// The maximum size of a message, a stack or the data of an error, in bytes.
const ERROR_BYTES: usize = 4 * 1024;
/// The maximum number of steps in each list.
const STEPS: usize = 20;

#[derive(Serialize)]
struct Explanation<'a> {
    run_id: RunId,
    function_id: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    event: EventView<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_steps: Vec<FailedStep<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting_steps: Vec<WaitingStep<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerun_of: Option<RunId>,
    /// What can be done, each as a sentence.
    next: Vec<String>,
}

#[derive(Serialize)]
struct EventView<'a> {
    name: &'a str,
    data: Json,
}

#[derive(Serialize)]
struct FailedStep<'a> {
    id: &'a StepId,
    attempts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

#[derive(Serialize)]
struct WaitingStep<'a> {
    id: &'a StepId,
    kind: StepKind,
    status: StepStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    awaits: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<RunId>,
    /// The error because of which the step is retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

pub(super) async fn explain_run(client: &Client, arguments: &Arguments) -> Result<ToolOutput, String> {
    let (run, _) = client.run(arguments.run()?).await.map_err(problem)?;
    let explanation = Explanation::of(&run);
    let text = format!("{}\n\nnext\n{}", describe(&run, now()).trim_end(), explanation.next.join("\n"));
    ToolOutput::new(text, &explanation)
}

impl<'a> Explanation<'a> {
    fn of(run: &'a RunDetail) -> Self {
        let failed: Vec<&Step> = run.steps.iter().filter(|step| step.status == StepStatus::Failed).collect();
        let waiting: Vec<&Step> =
            run.steps.iter().filter(|step| !run.status.is_end() && is_unfinished(step.status)).collect();
        Self {
            run_id: run.run_id,
            function_id: &run.function_id,
            status: run.status,
            waiting: run.waiting.as_deref(),
            error: run.error.as_ref().map(bounded_failure),
            event: EventView { name: &run.event.name, data: bounded(&run.event.data, DATA_BYTES) },
            failed_steps: failed.iter().rev().take(STEPS).rev().map(|step| FailedStep::of(step)).collect(),
            waiting_steps: waiting.iter().take(STEPS).map(|step| WaitingStep::of(step)).collect(),
            rerun_of: match run.origin {
                RunOrigin::Rerun { of } => Some(of),
                _ => None,
            },
            next: what_can_be_done(run, &failed, &waiting),
        }
    }
}

impl<'a> FailedStep<'a> {
    fn of(step: &'a Step) -> Self {
        Self { id: &step.id, attempts: step.attempts.len(), error: step.error.as_ref().map(bounded_failure) }
    }
}

impl<'a> WaitingStep<'a> {
    fn of(step: &'a Step) -> Self {
        let last = step.attempts.last().and_then(|attempt| attempt.error.as_ref());
        Self {
            id: &step.id,
            kind: step.kind,
            status: step.status,
            awaits: step.awaits.as_deref(),
            due: step.due,
            child: step.child,
            error: last.map(bounded_failure),
        }
    }
}

fn is_unfinished(status: StepStatus) -> bool {
    match status {
        StepStatus::Completed | StepStatus::Failed | StepStatus::Abandoned => false,
        StepStatus::Scheduled
        | StepStatus::Running
        | StepStatus::Retrying
        | StepStatus::Sleeping
        | StepStatus::Invoking
        | StepStatus::Awaiting
        | StepStatus::Unknown => true,
    }
}

fn bounded_failure(failure: &Failure) -> Failure {
    Failure {
        message: truncated(&failure.message, ERROR_BYTES),
        stack: failure.stack.as_ref().map(|stack| Arc::from(truncated(stack, ERROR_BYTES))),
        data: failure.data.as_ref().map(|data| bounded(data, ERROR_BYTES)),
        ..failure.clone()
    }
}

fn what_can_be_done(run: &RunDetail, failed: &[&Step], waiting: &[&Step]) -> Vec<String> {
    let id = run.run_id;
    let mut next = Vec::new();
    match run.status {
        Status::Failed => {
            if let Some(step) = failed.last() {
                next.push(format!(
                    "`rerun_run` with run_id `{id}` and from_step `{}` repeats this step and those after it; `input` \
                     changes the event's data",
                    step.id
                ));
            }
            next.push(format!("`rerun_run` with run_id `{id}` repeats the whole run"));
        }
        Status::Completed | Status::Cancelled | Status::Skipped => {
            next.push(format!("`rerun_run` with run_id `{id}` repeats the whole run"));
        }
        Status::Scheduled | Status::Running => {
            for step in waiting.iter().take(STEPS) {
                if let Some(child) = step.child {
                    next.push(format!("step `{}` ends with run `{child}`; `explain_run` explains that run", step.id));
                }
                if step.kind == StepKind::Event && step.awaits.is_some() {
                    next.push(format!("`send_event` sends the event that step `{}` waits for", step.id));
                }
                if step.token.is_some() {
                    next.push(format!("`stepladder signal` completes step `{}`, with the token above", step.id));
                }
            }
            next.push(format!("`wait_for_run` with run_id `{id}` waits until the run ends"));
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(status: &str, step: &str) -> RunDetail {
        let text = format!(
            r#"{{"run_id":"01KAVZ9Y3M0000000000000001","function_id":"pay","status":"{status}","event_id":"01KAVZ9Y3M0000000000000002",
                "created_at":"2026-01-01T00:00:00Z","run_started_at":"2026-01-01T00:00:00Z","ended_at":null,"output":null,
                "error":null,"origin":"Event","waiting":null,"steps":[{step}],
                "event":{{"id":"01KAVZ9Y3M0000000000000002","name":"shop/order.placed","data":{{"card":"none"}},"ts":1,
                "received_at":"2026-01-01T00:00:00Z"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn step(fields: &str) -> String {
        format!(
            r#"{{"output":null,"ended_at":null,"due":null,"child":null,"started_at":"2026-01-01T00:00:00Z",{fields}}}"#
        )
    }

    #[test]
    fn a_failed_run_names_the_step_from_which_to_repeat_it() {
        let charge = step(r#""id":"charge","kind":"run","status":"Failed","error":{"message":"no card"}"#);
        let run = run("Failed", &charge);
        let explained = serde_json::to_value(Explanation::of(&run)).unwrap();
        assert_eq!(explained["failed_steps"][0]["error"]["message"], "no card");
        assert!(explained["next"][0].as_str().unwrap().contains("from_step `charge`"), "{explained}");
        assert!(explained.get("waiting_steps").is_none());
    }

    #[test]
    fn a_live_run_names_what_its_steps_wait_for() {
        let approval = step(r#""id":"approval","kind":"event","status":"Awaiting","error":null,"awaits":"event a/b""#);
        let run = run("Running", &approval);
        let explained = serde_json::to_value(Explanation::of(&run)).unwrap();
        assert_eq!(explained["waiting_steps"][0]["awaits"], "event a/b");
        assert!(explained["next"][0].as_str().unwrap().contains("`send_event`"), "{explained}");
        assert_eq!(explained["event"]["data"]["card"], "none");
    }
}
