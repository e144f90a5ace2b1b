//! The rows of steps and log lines on the page of a run.

use stepladder_api::text::format_usage;
use stepladder_api::{StepKind, Usage};
use stepladder_core::retry::RetryPolicy;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::view::{AttemptView, LogView, RunDetail, StepStatus, StepView};

use super::to_come::UpcomingAttempts;
use super::value_link;
use crate::dashboard::text::{ShownTime, brief, format_duration, sentence};
use crate::dashboard::value::{PageByteBudget, ShownFailure, ShownValue};
use crate::dashboard::waterfall::{Waterfall, WaterfallLane, latest};

/// The maximum size of a step's name in its row, in bytes.
const NAME_BYTES: usize = 120;
/// The maximum size of an attempt's error, in bytes.
const ATTEMPT_ERROR_BYTES: usize = 400;
/// The maximum size of a failed step's error, in bytes.
const ERROR_BYTES: usize = 2_000;
/// The maximum number of models that are shown in the usage of a step.
const MODELS: usize = 5;
/// The maximum size of a model's name, in bytes.
const MODEL_BYTES: usize = 100;
/// The maximum size of a log line, in bytes.
const LINE_BYTES: usize = 300;
/// The maximum number of steps of a called run that are drawn.
const CHILD_STEPS: usize = 10;

pub(super) struct StepRow {
    /// The index of the step among all steps of the run.
    pub(super) n: usize,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) took: String,
    pub(super) since: Option<i64>,
    pub(super) lane: WaterfallLane,
    pub(super) due: Option<ShownTime>,
    /// The full name of the step and the label of the button, if the step's wait can be skipped.
    pub(super) skip_wait: Option<(String, &'static str)>,
    /// The next attempts of the step, while it waits for a retry.
    pub(super) upcoming: Option<UpcomingAttempts>,
    /// The label of the step's due time.
    pub(super) then: &'static str,
    pub(super) child: Option<RunId>,
    pub(super) awaits: Option<String>,
    pub(super) token: Option<String>,
    pub(super) error: Option<ShownFailure>,
    pub(super) output: Option<ShownValue>,
    pub(super) attempts: Vec<AttemptRow>,
    /// The number of attempts before those that are listed.
    pub(super) earlier: usize,
    pub(super) children: Vec<ChildRow>,
    /// The step's usage of models, one line per model.
    pub(super) usage: Vec<String>,
}

/// The values that all rows of a page share.
pub(super) struct RowContext<'a> {
    pub(super) run: RunId,
    pub(super) waterfall: &'a Waterfall,
    /// The number of attempts that a row shows.
    pub(super) attempts: usize,
    pub(super) now: Timestamp,
    /// The retry policy of the function; `None` if the function is not registered.
    pub(super) retries: Option<&'a RetryPolicy>,
}

impl StepRow {
    pub(super) fn of(n: usize, step: &StepView, context: &RowContext<'_>, budget: &mut PageByteBudget) -> Self {
        let RowContext { run, waterfall, attempts, now, retries } = *context;
        let listed = latest(step, attempts);
        Self {
            n,
            name: budget.show_words(&step.id, NAME_BYTES),
            kind: StepKind::from(step.kind).as_str(),
            status: step.status.as_str(),
            took: format_duration(step.ended_at.unwrap_or(now).since(step.started_at)),
            since: step.ended_at.is_none().then(|| step.started_at.as_millis()),
            lane: waterfall.lane(step, attempts),
            due: step.due.map(ShownTime::from_timestamp),
            skip_wait: match step.status {
                StepStatus::Retrying => Some((step.id.to_string(), "Retry now")),
                StepStatus::Sleeping => Some((step.id.to_string(), "Skip the sleep")),
                StepStatus::Scheduled
                | StepStatus::Running
                | StepStatus::Invoking
                | StepStatus::Awaiting
                | StepStatus::Completed
                | StepStatus::Failed
                | StepStatus::Abandoned => None,
            },
            upcoming: match step.status {
                StepStatus::Retrying => UpcomingAttempts::of_step(step, retries, attempts),
                StepStatus::Scheduled
                | StepStatus::Running
                | StepStatus::Sleeping
                | StepStatus::Invoking
                | StepStatus::Awaiting
                | StepStatus::Completed
                | StepStatus::Failed
                | StepStatus::Abandoned => None,
            },
            then: match step.status {
                StepStatus::Retrying => "Retried",
                StepStatus::Sleeping => "Wakes",
                StepStatus::Awaiting => "Waits until",
                StepStatus::Scheduled
                | StepStatus::Running
                | StepStatus::Invoking
                | StepStatus::Completed
                | StepStatus::Failed
                | StepStatus::Abandoned => "Continues",
            },
            child: step.child,
            awaits: step.awaits.as_deref().map(|awaits| budget.show_words(awaits, ATTEMPT_ERROR_BYTES)),
            token: step.token.clone(),
            error: step.error.as_ref().map(|error| budget.show_failure(error, ERROR_BYTES)),
            output: step.output.as_deref().map(|json| budget.show(json, value_link(run, &format!("step&n={n}")))),
            attempts: listed.iter().map(|attempt| AttemptRow::of(attempt, now, budget)).collect(),
            earlier: step.attempts.len() - listed.len(),
            children: Vec::new(),
            usage: step
                .usage
                .iter()
                .take(MODELS)
                .map(|used| format_usage(&brief(&used.model, MODEL_BYTES), &Usage::from(used)))
                .collect(),
        }
    }
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

impl AttemptRow {
    fn of(attempt: &AttemptView, now: Timestamp, budget: &mut PageByteBudget) -> Self {
        let outcome = match (&attempt.error, attempt.interrupted, attempt.ended_at) {
            (Some(error), _, _) => budget.show_words(&sentence(error), ATTEMPT_ERROR_BYTES),
            (None, true, _) => "interrupted: its worker died".into(),
            (None, false, Some(_)) if attempt.dropped => "dropped: the run ended, or went on, without it".into(),
            (None, false, Some(_)) => "done".into(),
            (None, false, None) => "running".into(),
        };
        Self {
            number: attempt.attempt,
            started: ShownTime::from_timestamp(attempt.started_at),
            took: format_duration(attempt.ended_at.unwrap_or(now).since(attempt.started_at)),
            outcome,
            failed: attempt.error.is_some(),
        }
    }
}

/// A step of a called run.
pub(super) struct ChildRow {
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) took: String,
    pub(super) lane: WaterfallLane,
}

impl ChildRow {
    pub(super) fn all(run: &RunDetail, waterfall: &Waterfall, budget: &mut PageByteBudget) -> Vec<Self> {
        let of = |step: &StepView| Self {
            name: budget.show_words(&step.id, NAME_BYTES),
            status: step.status.as_str(),
            took: step.ended_at.map(|end| format_duration(end.since(step.started_at))).unwrap_or_default(),
            lane: waterfall.lane_of_child(step),
        };
        Self::drawn_steps(run).map(of).collect()
    }

    /// Returns the steps of a called run that are drawn.
    pub(super) fn drawn_steps(run: &RunDetail) -> impl Iterator<Item = &StepView> {
        run.steps.iter().take(CHILD_STEPS)
    }
}
