//! The spans of a run, read from its journal: what took how long, and how it ended.
//!
//! A span is reported by the process that writes the entry that ends it. [`walk`] finds the spans
//! that end with a record, from the state before the record. Metrics count the same spans, so a
//! trace and a metric never disagree.
//!
//! Export is not done here, and neither is the sampling of traces.
//!
//! | span | parent | from | to |
//! | --- | --- | --- | --- |
//! | run | the sender's span | its creation | its end |
//! | queue of the run | run | it is ready to start | its handler starts |
//! | handler | run | the handler fails | the same time |
//! | step | run | the first entry of the step | its outcome, or the end of the run |
//! | attempt | step | its start | its outcome |
//! | wait | step | an attempt failed | the next attempt is due |
//! | queue of an attempt | step | the attempt is due | its start |

mod counts;
mod touched;
mod walk;

use crate::journal::{Failure, StepKind};
use crate::report::AttemptReport;
use crate::state::RunOutcome;
use crate::trace::SpanOf;
use crate::{EventId, RunId, Timestamp};

pub use counts::Count;
pub use walk::walk;

/// A span that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// What the span is of.
    pub of: SpanOf<'a>,
    /// The span that contains this one; `None` for the run.
    pub parent: Option<SpanOf<'a>>,
    /// The start of the span.
    pub start: Timestamp,
    /// The end of the span, which is never before its start.
    pub end: Timestamp,
    /// What else is known of the span.
    pub detail: SpanDetail<'a>,
}

/// What is known of a span besides its times.
#[derive(Clone, Copy, Debug)]
pub enum SpanDetail<'a> {
    /// The run ended.
    Run(&'a RunOutcome),
    /// The run waited for its start. This is reported once, when the handler starts.
    RunQueue,
    /// An attempt of the handler failed outside of a step.
    Handler(&'a Failure),
    /// A step ended.
    Step {
        /// The kind of the step.
        kind: StepKind,
        /// How the step ended.
        end: StepEnd<'a>,
        /// The run that the step called.
        called: Option<RunId>,
    },
    /// An attempt of a step ended.
    Attempt {
        /// The number of the attempt, from 1.
        number: u32,
        /// How the attempt ended.
        end: AttemptOutcome<'a>,
        /// The log lines and the usage of the attempt.
        report: Option<&'a AttemptReport>,
    },
    /// A step waited for the time of its next attempt.
    Wait,
    /// An attempt that was due waited for its start.
    Queue,
}

/// How a step ended.
#[derive(Clone, Copy, Debug)]
pub enum StepEnd<'a> {
    /// The step has a value.
    Succeeded,
    /// The step received this event.
    Received(EventId),
    /// The step has sent this number of events.
    Sent(usize),
    /// The step failed for good.
    Failed(&'a Failure),
    /// The time of the wait was over.
    Expired,
    /// The handler dropped the step, or the run ended first.
    Abandoned,
}

/// How an attempt of a step ended.
#[derive(Clone, Copy, Debug)]
pub enum AttemptOutcome<'a> {
    /// The body returned a value.
    Succeeded,
    /// The body failed. The step is retried at the given time, if there is one.
    Failed(&'a Failure, Option<Timestamp>),
    /// The body checked a condition that is not true yet.
    Checked,
    /// The worker died.
    Interrupted,
    /// The executor could not be reached, for this reason.
    Unreachable(&'a str),
    /// The handler dropped the step, or the run ended first.
    Abandoned,
}
