//! The selected step with its attempts, and the log lines of a run.

use stepladder_api::text::format_usage;
use stepladder_api::{StepKind, Usage};
use stepladder_core::retry::RetryPolicy;
use stepladder_core::{Failure, OwnStep, RunId, Timestamp};
use stepladder_engine::view::{AttemptView, LogView, StepStatus, StepView};

use super::answer_text::answer_of;
use super::to_come::UpcomingAttempts;
use super::value_link;
use crate::dashboard::text::{ShownTime, brief, format_duration, sentence};
use crate::dashboard::value::{PageByteBudget, ShownFailure, ShownValue};
use crate::dashboard::waterfall::latest;

/// The maximum number of attempts of the selected step that are listed.
const ATTEMPTS: usize = 40;
/// The maximum size of a step's name, in bytes.
const NAME_BYTES: usize = 300;
/// The maximum size of an attempt's error, in bytes.
const ATTEMPT_ERROR_BYTES: usize = 1_000;
/// The maximum size of a failed step's error, in bytes.
const ERROR_BYTES: usize = 4_000;
/// The maximum number of models that are shown in the usage of a step.
const MODELS: usize = 5;
/// The maximum size of a model's name, in bytes.
const MODEL_BYTES: usize = 100;
/// The maximum size of a log line, in bytes.
const LINE_BYTES: usize = 300;

/// The prefix of the steps that compensate others.
const UNDO: &str = "undo ";

/// Returns the name of a step for people, and its kind. Steps that compensate others are named
/// *Undoing*.
pub(super) fn step_name(step: &StepView) -> (String, &'static str) {
    let kind = StepKind::from(step.kind).as_str();
    match OwnStep::from_id(&step.id) {
        Some(OwnStep::Compensation) => ("Undoing".into(), "failure"),
        _ => match step.id.strip_prefix(UNDO) {
            Some(undone) => (format!("Undoing {undone}"), "undo"),
            None => (step.id.to_string(), kind),
        },
    }
}

/// The selected step.
pub(super) struct StepDetail {
    /// The index of the step among all steps of the run.
    pub(super) n: usize,
    /// The name of the step for people.
    pub(super) name: String,
    /// The id of the step.
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) started: ShownTime,
    pub(super) took: String,
    pub(super) since: Option<i64>,
    pub(super) due: Option<ShownTime>,
    /// The label of the step's due time.
    pub(super) then: &'static str,
    /// The next attempts of the step, while it waits for a retry.
    pub(super) upcoming: Option<UpcomingAttempts>,
    pub(super) child: Option<RunId>,
    pub(super) awaits: Option<String>,
    pub(super) token: Option<String>,
    /// The error of the step; `None` if it is the error of the run, which the page shows above.
    pub(super) error: Option<ShownFailure>,
    /// Whether the error of the step is the error of the run.
    pub(super) failed_run: bool,
    /// The answer of a language model, as text.
    pub(super) answer: Option<String>,
    pub(super) output: Option<ShownValue>,
    pub(super) attempts: Vec<AttemptRow>,
    /// The number of attempts before those that are listed.
    pub(super) earlier: usize,
    /// The step's usage of models, one line per model.
    pub(super) usage: Vec<String>,
    /// Whether the run can be rerun from this step.
    pub(super) can_rerun: bool,
}

/// What the detail of a step needs from its run.
pub(super) struct DetailContext<'a> {
    pub(super) run: RunId,
    pub(super) now: Timestamp,
    /// The error of the run.
    pub(super) run_error: Option<&'a Failure>,
    /// The retry policy of the function; `None` if the function is not registered.
    pub(super) retries: Option<&'a RetryPolicy>,
    pub(super) can_rerun: bool,
}

impl StepDetail {
    pub(super) fn of(n: usize, step: &StepView, context: &DetailContext<'_>, budget: &mut PageByteBudget) -> Self {
        let DetailContext { run, now, run_error, retries, can_rerun } = *context;
        let listed = latest(step, ATTEMPTS);
        let failed_run = step.error.is_some() && is_same_error(step.error.as_ref(), run_error);
        let (name, kind) = step_name(step);
        Self {
            n,
            name: budget.show_words(&name, NAME_BYTES),
            id: step.id.to_string(),
            kind,
            status: step.status.as_str(),
            started: ShownTime::from_timestamp(step.started_at),
            took: format_duration(step.ended_at.unwrap_or(now).since(step.started_at)),
            since: step.ended_at.is_none().then(|| step.started_at.as_millis()),
            due: step.due.map(ShownTime::from_timestamp),
            then: match step.status {
                StepStatus::Retrying => "Next attempt",
                StepStatus::Sleeping => "Wakes",
                StepStatus::Awaiting => "Waits until",
                StepStatus::Scheduled
                | StepStatus::Running
                | StepStatus::Invoking
                | StepStatus::Completed
                | StepStatus::Failed
                | StepStatus::Abandoned => "Continues",
            },
            upcoming: match step.status {
                StepStatus::Retrying => UpcomingAttempts::of_step(step, retries, ATTEMPTS),
                StepStatus::Scheduled
                | StepStatus::Running
                | StepStatus::Sleeping
                | StepStatus::Invoking
                | StepStatus::Awaiting
                | StepStatus::Completed
                | StepStatus::Failed
                | StepStatus::Abandoned => None,
            },
            child: step.child,
            awaits: step.awaits.as_deref().map(|awaits| budget.show_words(awaits, ATTEMPT_ERROR_BYTES)),
            token: step.token.clone(),
            error: step.error.as_ref().filter(|_| !failed_run).map(|error| budget.show_failure(error, ERROR_BYTES)),
            failed_run,
            answer: step.output.as_deref().filter(|_| !step.usage.is_empty()).and_then(answer_of),
            output: step.output.as_deref().map(|json| budget.show(json, value_link(run, &format!("step&n={n}")))),
            attempts: attempt_rows(listed, step.error.as_ref(), now, budget),
            earlier: step.attempts.len() - listed.len(),
            usage: step
                .usage
                .iter()
                .take(MODELS)
                .map(|used| format_usage(&brief(&used.model, MODEL_BYTES), &Usage::from(used)))
                .collect(),
            can_rerun: can_rerun && OwnStep::from_id(&step.id).is_none(),
        }
    }
}

fn is_same_error(one: Option<&Failure>, other: Option<&Failure>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if sentence(one) == sentence(other))
}

/// A log line of the run.
pub(super) struct LogRow {
    pub(super) moment: ShownTime,
    pub(super) level: &'static str,
    pub(super) step: Option<String>,
    pub(super) attempt: u32,
    pub(super) message: String,
    pub(super) fields: Option<String>,
}

impl LogRow {
    pub(super) fn of(log: &LogView, budget: &mut PageByteBudget) -> Self {
        Self {
            moment: ShownTime::from_timestamp(log.at),
            level: log.line.level.as_str(),
            step: log.step.as_deref().map(|step| budget.show_words(step, NAME_BYTES)),
            attempt: log.attempt,
            message: budget.show_words(&log.line.message, LINE_BYTES),
            fields: log.line.fields.as_deref().map(|fields| budget.show_words(fields.get(), LINE_BYTES)),
        }
    }
}

/// An attempt of a step.
pub(super) struct AttemptRow {
    pub(super) number: u32,
    pub(super) started: ShownTime,
    pub(super) took: String,
    pub(super) outcome: String,
    pub(super) failed: bool,
}

/// Returns the rows of attempts. An error is written out once: not if it is the error of the step
/// or of the attempt before.
fn attempt_rows(
    attempts: &[AttemptView],
    step_error: Option<&Failure>,
    now: Timestamp,
    budget: &mut PageByteBudget,
) -> Vec<AttemptRow> {
    let mut last = None;
    let mut rows = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let outcome = match (&attempt.error, attempt.interrupted, attempt.ended_at) {
            (Some(error), _, _) if is_same_error(Some(error), step_error) => "Failed with the error above".into(),
            (Some(error), _, _) if is_same_error(Some(error), last) => "Failed with the same error".into(),
            (Some(error), _, _) => budget.show_words(&sentence(error), ATTEMPT_ERROR_BYTES),
            (None, true, _) => "Interrupted: its worker died".into(),
            (None, false, Some(_)) if attempt.dropped => "Dropped: the run ended, or went on, without it".into(),
            (None, false, Some(_)) => "Done".into(),
            (None, false, None) => "Running".into(),
        };
        last = attempt.error.as_ref();
        rows.push(AttemptRow {
            number: attempt.attempt,
            started: ShownTime::from_timestamp(attempt.started_at),
            took: format_duration(attempt.ended_at.unwrap_or(now).since(attempt.started_at)),
            outcome,
            failed: attempt.error.is_some(),
        });
    }
    rows
}
