//! What metrics count of a span.

use std::time::Duration;

use crate::spans::{AttemptOutcome, Span, SpanDetail, StepEnd};
use crate::{Status, Usage};

/// What metrics count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count<'a> {
    /// A run started, after this time in its queue.
    RunStarted(Duration),
    /// A run ended, this long after its creation.
    RunEnded(Status, Duration),
    /// A step ended.
    StepEnded {
        /// `succeeded`, `failed`, `expired` or `abandoned`.
        outcome: &'static str,
    },
    /// An attempt of a step ended, after this time.
    AttemptEnded {
        /// `succeeded`, `failed`, `checked`, `interrupted`, `unreachable` or `abandoned`.
        outcome: &'static str,
        /// How long the attempt took.
        took: Duration,
        /// Whether the attempt failed and is retried.
        is_retried: bool,
        /// The usage of models.
        usage: &'a [Usage],
    },
    /// An attempt started, this long after it was due.
    AttemptQueued(Duration),
}

impl StepEnd<'_> {
    /// Returns the outcome as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded | Self::Received(_) | Self::Sent(_) => "succeeded",
            Self::Failed(_) => "failed",
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
        }
    }
}

impl AttemptOutcome<'_> {
    /// Returns the outcome as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed(..) => "failed",
            Self::Checked => "checked",
            Self::Interrupted => "interrupted",
            Self::Unreachable(_) => "unreachable",
            Self::Abandoned => "abandoned",
        }
    }
}

impl<'a> Span<'a> {
    /// Returns what metrics count of this span.
    pub fn count(&self) -> Option<Count<'a>> {
        let took = self.end.since(self.start);
        match self.detail {
            SpanDetail::Run(outcome) => Some(Count::RunEnded(outcome.status(), took)),
            SpanDetail::RunQueue => Some(Count::RunStarted(took)),
            SpanDetail::Step { end, .. } => Some(Count::StepEnded { outcome: end.name() }),
            SpanDetail::Attempt { end, report, .. } => Some(Count::AttemptEnded {
                outcome: end.name(),
                took,
                is_retried: matches!(end, AttemptOutcome::Failed(_, Some(_))),
                usage: report.map_or(&[], |report| &report.usage),
            }),
            SpanDetail::Queue => Some(Count::AttemptQueued(took)),
            SpanDetail::Handler(_) | SpanDetail::Wait => None,
        }
    }
}
