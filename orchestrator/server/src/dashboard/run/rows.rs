//! The steps on a run's page.

use stepladder_api::text::usage;
use stepladder_api::{StepKind, Usage};
use stepladder_core::retry::RetryPolicy;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::view::{AttemptView, LogView, RunDetail, StepStatus, StepView};

use super::to_come::ToCome;
use super::value_link;
use crate::dashboard::text::{Moment, brief, duration, sentence};
use crate::dashboard::value::{Room, Shown};
use crate::dashboard::waterfall::{Lane, Waterfall, latest};

/// Bytes of a step's name in its row.
const NAME_BYTES: usize = 120;
/// Bytes of an attempt's error.
const ATTEMPT_ERROR_BYTES: usize = 400;
/// Bytes of the error that a step failed with.
const ERROR_BYTES: usize = 2_000;
/// Models whose usage is shown of a step, and bytes of the name of each.
const MODELS: usize = 5;
const MODEL_BYTES: usize = 100;
/// Bytes of a log line, and of its values.
const LINE_BYTES: usize = 300;
/// Steps of an invoked run that are drawn.
const CHILD_STEPS: usize = 10;

/// A step.
pub(super) struct StepRow {
    /// Its place among the run's steps.
    pub(super) n: usize,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) took: String,
    pub(super) since: Option<i64>,
    pub(super) lane: Lane,
    pub(super) due: Option<Moment>,
    /// Its whole name and what is offered, where it waits for a time that can be cut short.
    pub(super) hasten: Option<(String, &'static str)>,
    /// Its attempts to come, while it waits to be tried again.
    pub(super) to_come: Option<ToCome>,
    /// What happens when it is due.
    pub(super) then: &'static str,
    pub(super) child: Option<RunId>,
    pub(super) awaits: Option<String>,
    pub(super) token: Option<String>,
    pub(super) error: Option<String>,
    pub(super) output: Option<Shown>,
    pub(super) attempts: Vec<AttemptRow>,
    /// Attempts before those that are listed.
    pub(super) earlier: usize,
    pub(super) children: Vec<ChildRow>,
    /// What it used of models, one line for each.
    pub(super) usage: Vec<String>,
}

/// What all rows of a page share.
pub(super) struct Around<'a> {
    pub(super) run: RunId,
    pub(super) waterfall: &'a Waterfall,
    /// Attempts that a row shows.
    pub(super) attempts: usize,
    pub(super) now: Timestamp,
    /// The function's retries; `None` where it is not registered.
    pub(super) retries: Option<&'a RetryPolicy>,
}

impl StepRow {
    pub(super) fn of(n: usize, step: &StepView, around: &Around<'_>, room: &mut Room) -> Self {
        let Around { run, waterfall, attempts, now, retries } = *around;
        let listed = latest(step, attempts);
        Self {
            n,
            name: room.words(&step.id, NAME_BYTES),
            kind: StepKind::from(step.kind).as_str(),
            status: step.status.as_str(),
            took: duration(step.ended_at.unwrap_or(now).since(step.started_at)),
            since: step.ended_at.is_none().then(|| step.started_at.as_millis()),
            lane: waterfall.lane(step, attempts),
            due: step.due.map(Moment::of),
            hasten: match step.status {
                StepStatus::Retrying => Some((step.id.to_string(), "Try again now")),
                StepStatus::Sleeping => Some((step.id.to_string(), "Skip the sleep")),
                StepStatus::Scheduled
                | StepStatus::Running
                | StepStatus::Invoking
                | StepStatus::Awaiting
                | StepStatus::Completed
                | StepStatus::Failed
                | StepStatus::Abandoned => None,
            },
            to_come: match step.status {
                StepStatus::Retrying => ToCome::of_step(step, retries, attempts),
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
                StepStatus::Retrying => "Tried again",
                StepStatus::Sleeping => "Wakes",
                StepStatus::Awaiting => "Waits until",
                StepStatus::Scheduled
                | StepStatus::Running
                | StepStatus::Invoking
                | StepStatus::Completed
                | StepStatus::Failed
                | StepStatus::Abandoned => "Goes on",
            },
            child: step.child,
            awaits: step.awaits.as_deref().map(|awaits| room.words(awaits, ATTEMPT_ERROR_BYTES)),
            token: step.token.clone(),
            error: step.error.as_ref().map(|error| room.words(&sentence(error), ERROR_BYTES)),
            output: step.output.as_deref().map(|json| room.show(json, value_link(run, &format!("step&n={n}")))),
            attempts: listed.iter().map(|attempt| AttemptRow::of(attempt, now, room)).collect(),
            earlier: step.attempts.len() - listed.len(),
            children: Vec::new(),
            usage: step
                .usage
                .iter()
                .take(MODELS)
                .map(|used| usage(&brief(&used.model, MODEL_BYTES), &Usage::from(used)))
                .collect(),
        }
    }
}

/// A line of what was said.
pub(super) struct LogRow {
    pub(super) moment: Moment,
    pub(super) level: &'static str,
    pub(super) step: Option<String>,
    pub(super) attempt: u32,
    pub(super) message: String,
    pub(super) fields: Option<String>,
}

impl LogRow {
    pub(super) fn of(log: &LogView, room: &mut Room) -> Self {
        Self {
            moment: Moment::of(log.at),
            level: log.line.level.as_str(),
            step: log.step.as_deref().map(|step| room.words(step, NAME_BYTES)),
            attempt: log.attempt,
            message: room.words(&log.line.message, LINE_BYTES),
            fields: log.line.fields.as_deref().map(|fields| room.words(fields.get(), LINE_BYTES)),
        }
    }
}

/// An attempt at a step.
pub(super) struct AttemptRow {
    pub(super) number: u32,
    pub(super) started: Moment,
    pub(super) took: String,
    pub(super) outcome: String,
    pub(super) failed: bool,
}

impl AttemptRow {
    fn of(attempt: &AttemptView, now: Timestamp, room: &mut Room) -> Self {
        let outcome = match (&attempt.error, attempt.interrupted, attempt.ended_at) {
            (Some(error), _, _) => room.words(&sentence(error), ATTEMPT_ERROR_BYTES),
            (None, true, _) => "interrupted: its worker was lost".into(),
            (None, false, Some(_)) => "done".into(),
            (None, false, None) => "runs".into(),
        };
        Self {
            number: attempt.attempt,
            started: Moment::of(attempt.started_at),
            took: duration(attempt.ended_at.unwrap_or(now).since(attempt.started_at)),
            outcome,
            failed: attempt.error.is_some(),
        }
    }
}

/// A step of an invoked run.
pub(super) struct ChildRow {
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) took: String,
    pub(super) lane: Lane,
}

impl ChildRow {
    pub(super) fn all(run: &RunDetail, waterfall: &Waterfall, room: &mut Room) -> Vec<Self> {
        let of = |step: &StepView| Self {
            name: room.words(&step.id, NAME_BYTES),
            status: step.status.as_str(),
            took: step.ended_at.map(|end| duration(end.since(step.started_at))).unwrap_or_default(),
            lane: waterfall.lane_of_child(step),
        };
        Self::drawn(run).map(of).collect()
    }

    /// The steps that are.
    pub(super) fn drawn(run: &RunDetail) -> impl Iterator<Item = &StepView> {
        run.steps.iter().take(CHILD_STEPS)
    }
}
