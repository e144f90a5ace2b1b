//! Converts the engine's read models to the JSON types of the API.

use stepladder_api::{Attempt, Failure, HandlerError, LogLine, Run, RunDetail, Step, StepStatus, Time, Usage};
use stepladder_engine::view;

/// Converts a run for a listing.
pub(super) fn run_json(run: &view::RunSummary) -> Run {
    Run {
        run_id: run.run,
        function_id: run.function.clone(),
        status: run.status,
        event_id: run.event,
        created_at: run.created_at.into(),
        run_started_at: run.started_at.unwrap_or(run.created_at).into(),
        ended_at: run.ended_at.map(Time),
        output: run.output.clone(),
        error: run.error.as_ref().map(Failure::from),
        labels: run.labels.iter().map(|label| (label.key.clone(), label.value.clone())).collect(),
    }
}

/// Converts a run in full.
pub(super) fn run_detail_json(detail: &view::RunDetail) -> RunDetail {
    let Run { run_id, function_id, status, event_id, created_at, run_started_at, ended_at, output, error, labels } =
        run_json(&detail.summary);
    let handler_error =
        |(at, error): &(stepladder_core::Timestamp, _)| HandlerError { at: Time(*at), error: Failure::from(error) };
    RunDetail {
        run_id,
        function_id,
        status,
        event_id,
        created_at,
        run_started_at,
        ended_at,
        output,
        error,
        labels,
        origin: (&detail.origin).into(),
        event: (&detail.event).into(),
        waiting: detail.waiting.clone(),
        handler_errors: detail.handler_errors.iter().map(handler_error).collect(),
        version: detail.version.clone(),
        steps: detail.steps.iter().map(step_json).collect(),
        logs: detail.logs.iter().map(log_line_json).collect(),
    }
}

fn step_json(step: &view::StepView) -> Step {
    Step {
        id: step.id.clone(),
        kind: step.kind.into(),
        status: step_status_json(step.status),
        output: step.output.clone(),
        error: step.error.as_ref().map(Failure::from),
        started_at: step.started_at.into(),
        ended_at: step.ended_at.map(Time),
        due: step.due.map(Time),
        child: step.child,
        awaits: step.awaits.clone(),
        token: step.token.clone(),
        usage: step.usage.iter().map(Usage::from).collect(),
        attempts: step.attempts.iter().map(attempt_json).collect(),
    }
}

fn step_status_json(status: view::StepStatus) -> StepStatus {
    match status {
        view::StepStatus::Scheduled => StepStatus::Scheduled,
        view::StepStatus::Running => StepStatus::Running,
        view::StepStatus::Retrying => StepStatus::Retrying,
        view::StepStatus::Sleeping => StepStatus::Sleeping,
        view::StepStatus::Invoking => StepStatus::Invoking,
        view::StepStatus::Awaiting => StepStatus::Awaiting,
        view::StepStatus::Completed => StepStatus::Completed,
        view::StepStatus::Failed => StepStatus::Failed,
        view::StepStatus::Abandoned => StepStatus::Abandoned,
    }
}

fn attempt_json(attempt: &view::AttemptView) -> Attempt {
    Attempt {
        attempt: attempt.attempt,
        started_at: attempt.started_at.into(),
        ended_at: attempt.ended_at.map(Time),
        error: attempt.error.as_ref().map(Failure::from),
        interrupted: attempt.interrupted,
        dropped: attempt.dropped,
        usage: attempt.usage.iter().map(Usage::from).collect(),
    }
}

fn log_line_json(log: &view::LogView) -> LogLine {
    LogLine {
        at: log.at.into(),
        level: log.line.level.into(),
        message: log.line.message.clone(),
        fields: log.line.fields.clone(),
        step: log.step.clone(),
        attempt: log.attempt,
    }
}
