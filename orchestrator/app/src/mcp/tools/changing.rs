//! Tools that change something: send an event, rerun a run, cancel a run.

use serde::Serialize;
use stepladder_api::{NewEvent, RerunRequest};
use stepladder_core::{EventId, RunId, Status};

use super::{Output, Tool, ToolAction, ToolEffect, ToolOutput, problem};
use crate::client::Client;
use crate::mcp::arguments::{Argument, ArgumentKind, Arguments};

pub(super) const SEND_EVENT: Tool = Tool {
    name: "send_event",
    title: "Send an event",
    description: "Sends an event, which starts a run of each function that it triggers and resumes the runs that wait \
        for it. Returns the ids of the started runs. `list_functions` shows the triggers.",
    action: ToolAction::SendEvent,
    effect: ToolEffect::Adds,
    arguments: &[
        Argument::required("name", ArgumentKind::Text, "the name of the event, such as shop/order.placed"),
        Argument::optional("data", ArgumentKind::Object, "the data of the event; {} by default"),
        Argument::optional(
            "id",
            ArgumentKind::Text,
            "an id of your own: a second event with it within 24 hours is the same event",
        ),
    ],
    outputs: &[Output::always("event_id", &["string"]), Output::always("run_ids", &["array"])],
};

pub(super) const RERUN_RUN: Tool = Tool {
    name: "rerun_run",
    title: "Rerun a run",
    description: "Repeats a run that has ended, as a new run, whose id is returned. With `from_step`, the outcomes of \
        the steps before that step are kept, and only the rest executes again. With `input`, the new run gets other \
        data. Steps that execute again repeat their effects, such as a payment.",
    action: ToolAction::RerunRun,
    effect: ToolEffect::Destroys { idempotent: false },
    arguments: &[
        Argument::required("run_id", ArgumentKind::Run, "the id of the run"),
        Argument::optional("from_step", ArgumentKind::Text, "the id of the first step that executes again"),
        Argument::optional("input", ArgumentKind::Object, "the whole data of the event, instead of the old data"),
    ],
    outputs: &[Output::always("run_id", &["string"]), Output::always("rerun_of", &["string"])],
};

pub(super) const CANCEL_RUN: Tool = Tool {
    name: "cancel_run",
    title: "Cancel a run",
    description: "Cancels a run. A step that is executing finishes, but its outcome is refused. A run that has ended \
        keeps its status, which is returned.",
    action: ToolAction::CancelRun,
    effect: ToolEffect::Destroys { idempotent: true },
    arguments: &[Argument::required("run_id", ArgumentKind::Run, "the id of the run")],
    outputs: &[Output::always("run_id", &["string"]), Output::always("status", &["string"])],
};

pub(super) async fn send_event(client: &Client, key: &str, arguments: &Arguments) -> Result<ToolOutput, String> {
    #[derive(Serialize)]
    struct Sent {
        event_id: EventId,
        run_ids: Vec<RunId>,
    }
    let event = NewEvent {
        name: arguments.text("name").unwrap_or_default(),
        data: arguments.object("data"),
        id: arguments.text("id"),
    };
    let body = serde_json::to_string(&event).map_err(|e| format!("the event is not JSON: {e}"))?;
    let (sent, _) = client.send(key, body).await.map_err(problem)?;
    let event_id = *sent.ids.first().ok_or("the server accepted the event but gave it no id")?;
    let (runs, _) = client.runs_of_event(&event_id.to_string()).await.map_err(problem)?;
    let mut lines = vec![format!("event {event_id} {}", event.name)];
    lines.extend(runs.iter().map(|run| format!("run {} {} {}", run.run_id, run.function_id, run.status)));
    if runs.is_empty() {
        lines.push("it has started no run: no trigger matches, or flow control holds it back".into());
    }
    let run_ids = runs.iter().map(|run| run.run_id).collect();
    ToolOutput::new(lines.join("\n"), &Sent { event_id, run_ids })
}

pub(super) async fn rerun_run(client: &Client, arguments: &Arguments) -> Result<ToolOutput, String> {
    #[derive(Serialize)]
    struct Rerun {
        run_id: RunId,
        rerun_of: RunId,
    }
    let rerun_of = arguments.run()?;
    let request = RerunRequest { from_step: arguments.text("from_step"), input: arguments.object("input") };
    let (new, _) = client.rerun(rerun_of, &request).await.map_err(problem)?;
    let run_id = new.run_id;
    ToolOutput::new(format!("run {run_id} reruns {rerun_of}"), &Rerun { run_id, rerun_of })
}

pub(super) async fn cancel_run(client: &Client, arguments: &Arguments) -> Result<ToolOutput, String> {
    #[derive(Serialize)]
    struct Cancelled {
        run_id: RunId,
        status: Status,
    }
    let (cancelled, _) = client.cancel(arguments.run()?).await.map_err(problem)?;
    let (run_id, status) = (cancelled.run_id, cancelled.status);
    ToolOutput::new(format!("run {run_id} is {status}"), &Cancelled { run_id, status })
}
