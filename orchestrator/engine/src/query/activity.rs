//! What live runs are doing or waiting for, in short, for listings. The sentence on the page of a
//! run is in `waiting`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use stepladder_core::spec::{LazyExprScope, Spec};
use stepladder_core::state::{RunState, Step, StepState, WaitTarget};
use stepladder_core::{RunId, StepId, Timestamp};

use crate::engine::EngineError;
use crate::ports::SnapshotParts;
use crate::query::Query;

/// What a live run is doing or waiting for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RunActivity {
    /// The run waits for its start: for a time, for more events (`collects`), or for flow control.
    Delayed {
        /// When the run starts.
        at: Timestamp,
        /// Whether further events may join the run until then.
        collects: bool,
    },
    /// The run waits until its function is resumed.
    Paused,
    /// The run waits for a worker or for a slot of a limit.
    Queued {
        /// The position in the wait queue of a limit, from 1; `None` if it is not known.
        position: Option<usize>,
    },
    /// A step executes.
    Running {
        /// A step that executes; `None` if the handler runs in another process.
        step: Option<StepId>,
        /// The number of other steps that execute.
        others: usize,
    },
    /// A step or the handler waits for its next attempt.
    Retrying {
        /// The step; `None` for the handler.
        step: Option<StepId>,
        /// The number of the next attempt.
        attempt: u32,
        /// The number of attempts that the function's retries allow; `None` if the attempt is not
        /// counted, such as a check of `poll_until`. A step may have its own retries.
        of: Option<u32>,
        /// When the next attempt starts.
        at: Timestamp,
    },
    /// The executor of the function cannot be reached.
    Unreachable {
        /// Since when.
        since: Timestamp,
    },
    /// A step sleeps.
    Sleeping {
        /// The step.
        step: StepId,
        /// When the sleep ends.
        until: Timestamp,
    },
    /// A step waits for an event or a callback.
    Awaiting {
        /// The step.
        step: StepId,
        /// The names of the events; empty for a callback.
        events: Vec<Arc<str>>,
        /// When the wait ends without it.
        until: Timestamp,
    },
    /// A step waits for a run that it called.
    Calling {
        /// The called function.
        function: Arc<str>,
        /// The called run.
        child: RunId,
    },
}

/// The kind of a [`RunActivity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActivityKind {
    /// [`RunActivity::Queued`].
    Queued,
    /// [`RunActivity::Running`].
    Running,
    /// [`RunActivity::Retrying`].
    Retrying,
    /// [`RunActivity::Sleeping`].
    Sleeping,
    /// [`RunActivity::Awaiting`].
    Awaiting,
    /// [`RunActivity::Calling`].
    Calling,
    /// [`RunActivity::Delayed`].
    Delayed,
    /// [`RunActivity::Paused`].
    Paused,
    /// [`RunActivity::Unreachable`].
    Unreachable,
}

impl RunActivity {
    /// Returns the kind of the activity.
    pub fn kind(&self) -> ActivityKind {
        match self {
            Self::Delayed { .. } => ActivityKind::Delayed,
            Self::Paused => ActivityKind::Paused,
            Self::Queued { .. } => ActivityKind::Queued,
            Self::Running { .. } => ActivityKind::Running,
            Self::Retrying { .. } => ActivityKind::Retrying,
            Self::Unreachable { .. } => ActivityKind::Unreachable,
            Self::Sleeping { .. } => ActivityKind::Sleeping,
            Self::Awaiting { .. } => ActivityKind::Awaiting,
            Self::Calling { .. } => ActivityKind::Calling,
        }
    }

    /// Describes a live run. The position in a wait queue is left open.
    fn of(state: &RunState, spec: Option<&Spec>, is_paused: bool, now: Timestamp) -> Self {
        let running = || state.steps.iter().filter(|(_, step)| matches!(step.state, StepState::Running { .. }));
        let others = running().count();
        if state.call.is_some() || others > 0 {
            let step = running().map(|(id, _)| id).min().cloned();
            return Self::Running { step, others: others.saturating_sub(1) };
        }
        if let Some(at) = state.begins_at().filter(|at| *at > now) {
            return Self::Delayed { at, collects: state.collecting };
        }
        if state.first_run_at.is_none() && is_paused {
            return Self::Paused;
        }
        let most = spec.map(|spec| spec.retry.retries.saturating_add(1));
        if let Some(at) = state.handler_retry_at.filter(|at| *at > now) {
            let attempt = state.handler_failures.saturating_add(1);
            return Self::Retrying { step: None, attempt, of: most.filter(|most| *most >= attempt), at };
        }
        if let Some(outage) = &state.unreachable {
            return Self::Unreachable { since: outage.since };
        }
        // a step that is about to start, or a sleep that is over, waits for a worker
        let waits = state.steps.iter().filter_map(|(id, step)| Self::of_step(id, step, most));
        let is_due = |at: Timestamp| at <= now;
        let first = waits.min_by_key(|(until, _)| *until).filter(|(until, _)| !is_due(*until));
        let wants = state.steps.values().any(|step| matches!(step.state, StepState::Wanted));
        first.filter(|_| !wants).map_or(Self::Queued { position: None }, |(_, activity)| activity)
    }

    /// Describes a waiting step, with the latest time at which the wait ends.
    fn of_step(id: &StepId, step: &Step, most: Option<u32>) -> Option<(Timestamp, Self)> {
        let id = id.clone();
        match &step.state {
            StepState::Retrying { retry_at, .. } => {
                let counted = (step.failures > 0 && step.unreachable == 0).then(|| step.failures.saturating_add(1));
                let of = most.filter(|most| counted.is_some_and(|attempt| attempt <= *most));
                let attempt = counted.unwrap_or(step.attempt.saturating_add(1));
                Some((*retry_at, Self::Retrying { step: Some(id), attempt, of, at: *retry_at }))
            }
            StepState::Sleeping { until } => Some((*until, Self::Sleeping { step: id, until: *until })),
            StepState::Invoking { child, function, until, .. } => {
                Some((until.unwrap_or(Timestamp::MAX), Self::Calling { function: function.clone(), child: *child }))
            }
            StepState::Awaiting { what, until } => {
                let events = match what {
                    WaitTarget::Event(wait) => wait.events.to_vec(),
                    WaitTarget::Signal(_) => Vec::new(),
                };
                Some((*until, Self::Awaiting { step: id, events, until: *until }))
            }
            StepState::Wanted | StepState::Running { .. } | StepState::Done | StepState::Abandoned => None,
        }
    }
}

impl ActivityKind {
    /// All kinds, in the order in which pages show them.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Sleeping,
        Self::Awaiting,
        Self::Calling,
        Self::Delayed,
        Self::Paused,
        Self::Unreachable,
    ];
}

impl fmt::Display for ActivityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queued => "Queued",
            Self::Running => "Running",
            Self::Retrying => "Retrying",
            Self::Sleeping => "Sleeping",
            Self::Awaiting => "Awaiting",
            Self::Calling => "Calling",
            Self::Delayed => "Delayed",
            Self::Paused => "Paused",
            Self::Unreachable => "Unreachable",
        })
    }
}

impl FromStr for ActivityKind {
    type Err = String;

    /// Parses the name of a kind, in upper or lower case.
    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(|kind| kind.to_string().to_lowercase()).join(", ");
        let of = |kind: &Self| kind.to_string().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(of).ok_or_else(|| format!("`{text}` is no activity; use one of {}", names()))
    }
}

impl Query {
    /// Describes what a live run is doing. If the wait queues are in this process, this includes
    /// the position of a queued run. Otherwise no further request is sent.
    pub(crate) async fn activity(
        &self,
        state: &RunState,
        is_paused: bool,
        with_position: bool,
    ) -> Result<RunActivity, EngineError> {
        let catalog = self.runtime.snapshot();
        let spec = catalog.spec(&state.created.function);
        let activity = RunActivity::of(state, spec, is_paused, self.runtime.now());
        if let (RunActivity::Queued { .. }, Some(spec), true) = (&activity, spec, with_position && self.is_local()) {
            return Ok(RunActivity::Queued { position: self.position(state, spec).await? });
        }
        Ok(activity)
    }

    /// Returns the position of a run in the wait queue of a limit, from 1; `None` if it waits in
    /// none.
    async fn position(&self, state: &RunState, spec: &Spec) -> Result<Option<usize>, EngineError> {
        let scope = &mut LazyExprScope::new(&state.created.event);
        for limit in spec.run_limits(scope).into_iter().chain(spec.limits(scope)).flatten() {
            let snapshot = self.runtime.backend.snapshot(&limit.key, SnapshotParts::position(state.run)).await?;
            if let Some(ahead) = snapshot.position {
                return Ok(Some(ahead + 1));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in ActivityKind::ALL {
            assert_eq!(kind.to_string().to_lowercase().parse(), Ok(kind));
        }
        assert!("asleep".parse::<ActivityKind>().unwrap_err().contains("queued, running, retrying"));
    }
}
