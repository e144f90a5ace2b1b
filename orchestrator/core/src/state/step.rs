//! The state of one step of a run, and how an entry changes it.

use std::sync::Arc;
use std::time::Duration;

use crate::heartbeat::Heartbeats;
use crate::journal::{Entry, Fact, Failure, StepKind};
use crate::waiting::EventWait;
use crate::{Json, RunId, StepId, Timestamp};

/// The maximum number of hops that a step remembers as having taken an attempt back. The delays
/// between such attempts double, so the leases of earlier hops have ended.
const TAKEN_BACK_BY: usize = 8;

/// The state of a step of a run.
#[derive(Clone, Debug)]
pub struct Step {
    /// The kind of the step.
    pub kind: StepKind,
    /// What the step is doing.
    pub state: StepState,
    /// The number of the latest attempt; 0 if there was none.
    pub attempt: u32,
    /// The number of failed attempts. For a poll, it counts only those since the last check.
    pub failures: u32,
    /// For a poll: the number of checks that returned no value yet.
    pub checks: u32,
    /// For a poll: the state that the last check without an error passed to the next one.
    pub poll_state: Option<Json>,
    /// When the first attempt started.
    pub first_started_at: Option<Timestamp>,
    /// The number of consecutive attempts that were interrupted because the worker died.
    pub interruptions: u32,
    /// The number of consecutive times that the executor could not be reached for an attempt.
    pub unreachable: u32,
    /// The number of these times, without a success or a failure in between, that the connection
    /// broke while the executor had the attempt.
    pub broken: u32,
    /// The numbers of the hops that last took an attempt back, because the executor could not be
    /// reached. These hops hold no slot for the step.
    pub taken_back_by: Vec<u64>,
    /// Whether a separate wake was sent for this step.
    pub woken: bool,
    /// The step that the wake names, if the wake was sent for several steps.
    pub woken_with: Option<StepId>,
    /// The call of the executor in which the latest attempt was executed, if its outcome was
    /// recorded while the call went on.
    pub checkpointed_in: Option<u32>,
    /// When the journal first named the step.
    pub first_at: Timestamp,
    /// When the step began to do what it is doing: to execute, to wait for its retry, to sleep, to
    /// wait, or to be ready for a start.
    pub since: Timestamp,
    /// Whether the handler has failed since it started the attempt that is running now.
    pub(crate) outlives_handler: bool,
}

/// What a step is doing.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum StepState {
    /// The step is known, but nothing has started.
    Wanted,
    /// An attempt is running on this worker, at most until `lease_until`.
    Running { lease_until: Timestamp, worker: Arc<str> },
    /// The next attempt is due at `retry_at`.
    Retrying { retry_at: Timestamp, error: Option<Failure> },
    /// The step sleeps.
    Sleeping { until: Timestamp },
    /// The step waits for the end of a called run, at most until `until`.
    Invoking {
        child: RunId,
        function: Arc<str>,
        input: Json,
        bound: bool,
        until: Option<Timestamp>,
        user: Option<Json>,
    },
    /// The step waits for an event or a callback.
    Awaiting { what: WaitTarget, until: Timestamp },
    /// The outcome is recorded.
    Done,
    /// The handler dropped the step.
    Abandoned,
}

/// What a waiting step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitTarget {
    /// An event.
    Event(Arc<EventWait>),
    /// A callback, and heartbeats until then, if the wait asks for them.
    Signal(Option<Heartbeats>),
}

impl StepState {
    /// Returns whether the step has its outcome, or needs none because it was abandoned.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Done | Self::Abandoned)
    }

    /// Returns when the wait ends unless a heartbeat comes. Returns `None` if the step waits for no
    /// heartbeat, or if the timeout of its wait comes first.
    pub fn heartbeat_due(&self) -> Option<Timestamp> {
        match self {
            Self::Awaiting { what: WaitTarget::Signal(Some(heartbeats)), until } => {
                Some(heartbeats.due()).filter(|due| due < until)
            }
            Self::Awaiting { what: WaitTarget::Signal(None) | WaitTarget::Event(_), .. }
            | Self::Wanted
            | Self::Running { .. }
            | Self::Retrying { .. }
            | Self::Sleeping { .. }
            | Self::Invoking { .. }
            | Self::Done
            | Self::Abandoned => None,
        }
    }
}

impl Step {
    /// Returns whether the latest attempt may have executed its body, although its outcome is
    /// unknown: it is running, or the handler dropped it and has failed since.
    pub fn may_have_taken_effect(&self) -> bool {
        self.attempt > 0 && matches!(self.state, StepState::Running { .. } | StepState::Wanted)
    }

    /// Returns whether a failed step may start again now.
    pub(crate) fn is_retry_due(&self, now: Timestamp) -> bool {
        matches!(&self.state, StepState::Retrying { retry_at, error: Some(_) } if *retry_at <= now)
    }

    /// Creates a step without any attempt, which an entry of this time names first.
    pub(crate) fn new(kind: StepKind, state: StepState, at: Timestamp) -> Self {
        Self {
            kind,
            state,
            attempt: 0,
            failures: 0,
            checks: 0,
            poll_state: None,
            first_started_at: None,
            interruptions: 0,
            unreachable: 0,
            broken: 0,
            taken_back_by: Vec::new(),
            woken: false,
            woken_with: None,
            checkpointed_in: None,
            first_at: at,
            since: at,
            outlives_handler: false,
        }
    }

    /// Resets the step after the handler returned an error. The handler's next attempt may request
    /// a step that this attempt dropped. Wakes that were already sent may be lost until then,
    /// because they reach a handler that waits for its retry.
    pub(crate) fn reset_for_next_attempt(&mut self) {
        match self.state {
            StepState::Abandoned => (self.state, self.woken) = (StepState::Wanted, false),
            StepState::Wanted | StepState::Retrying { .. } => self.woken = false,
            StepState::Running { .. } => self.outlives_handler = true,
            StepState::Sleeping { .. } | StepState::Invoking { .. } | StepState::Awaiting { .. } | StepState::Done => {}
        }
    }

    /// Records in which call an attempt was executed that starts with this entry. `call` is the
    /// call that is in progress.
    pub(super) fn note_call(&mut self, entry: &Entry, call: Option<u32>) {
        if let Fact::StepStarted { .. } = entry.fact {
            self.checkpointed_in = call;
        }
    }

    /// Returns the step as it is after an entry; `None` if the entry does not change the step.
    pub(crate) fn after_entry(before: Option<&Self>, entry: &Entry) -> Option<Self> {
        let mut step = before.cloned().unwrap_or_else(|| Self::new(StepKind::Run, StepState::Wanted, entry.at));
        step.change(entry).then_some(step)
    }

    /// Changes the step as an entry requires. Returns false, and changes nothing, if the entry does
    /// not concern the state of the step.
    pub(crate) fn change(&mut self, entry: &Entry) -> bool {
        let step = self;
        match &entry.fact {
            Fact::StepStarted { attempt, lease_until, worker, .. } => {
                if let StepState::Running { .. } = step.state {
                    step.interruptions += 1; // the previous attempt's lease ran out without an outcome
                }
                step.first_started_at.get_or_insert(entry.at);
                step.outlives_handler = false;
                step.attempt = *attempt;
                step.state = StepState::Running { lease_until: *lease_until, worker: worker.clone() };
            }
            Fact::StepFailed { error, retry_at: Some(retry_at), .. } => {
                match error.is_not_yet() {
                    true => {
                        (step.checks, step.failures) = (step.checks.saturating_add(1), 0);
                        step.poll_state = error.data.clone();
                    }
                    false => step.failures += 1,
                }
                (step.interruptions, step.unreachable, step.broken) = (0, 0, 0);
                step.state = StepState::Retrying { retry_at: *retry_at, error: Some(error.clone()) };
            }
            Fact::StepFailed { retry_at: None, .. } => {
                step.failures += 1;
                step.state = StepState::Done;
            }
            Fact::StepSucceeded { .. }
            | Fact::SleepEnded { .. }
            | Fact::InvokeEnded { .. }
            | Fact::EventDelivered { .. }
            | Fact::HeartbeatMissed { .. }
            | Fact::WaitExpired { .. } => {
                step.state = StepState::Done;
            }
            Fact::StepRefused { kind, .. } => (step.kind, step.state) = (kind.unwrap_or(step.kind), StepState::Done),
            Fact::WaitSkipped { .. } => match &mut step.state {
                StepState::Sleeping { until: due } | StepState::Retrying { retry_at: due, .. } => *due = entry.at,
                StepState::Wanted
                | StepState::Running { .. }
                | StepState::Invoking { .. }
                | StepState::Awaiting { .. }
                | StepState::Done
                | StepState::Abandoned => return false,
            },
            Fact::EventAwaited { wait, until, .. } => {
                step.kind = StepKind::Event;
                step.state = StepState::Awaiting { what: WaitTarget::Event(wait.clone()), until: *until };
            }
            Fact::SignalAwaited { until, heartbeat_ms, .. } => {
                let of = |ms| Heartbeats::new(Duration::from_millis(ms), entry.at, *until);
                step.kind = StepKind::Signal;
                step.state = StepState::Awaiting { what: WaitTarget::Signal(heartbeat_ms.map(of)), until: *until };
            }
            Fact::HeartbeatReceived { .. } => match &mut step.state {
                StepState::Awaiting { what: WaitTarget::Signal(Some(heartbeats)), .. } => {
                    *heartbeats = heartbeats.recorded(entry.at);
                }
                _ => return false,
            },
            Fact::SignalReceived { .. } | Fact::SignalFailed { .. } => {
                (step.kind, step.state) = (StepKind::Signal, StepState::Done);
            }
            Fact::AttemptInterrupted { .. } => {
                step.interruptions += 1;
                step.state = StepState::Retrying { retry_at: entry.at, error: None };
            }
            Fact::AttemptUnreachable { attempt, retry_at, hop, broken, .. } => {
                // earlier hops hold nothing, because their leases have ended
                let is_full = step.taken_back_by.len() == TAKEN_BACK_BY;
                step.taken_back_by.drain(..usize::from(is_full));
                step.taken_back_by.extend(hop);
                step.attempt = attempt.saturating_sub(1);
                step.first_started_at = step.first_started_at.filter(|_| step.attempt > 0);
                step.unreachable = step.unreachable.saturating_add(1);
                step.broken = step.broken.saturating_add(u32::from(*broken));
                step.state = StepState::Retrying { retry_at: *retry_at, error: None };
            }
            Fact::StepAbandoned { .. } => {
                step.state = StepState::Abandoned;
                if step.outlives_handler {
                    step.reset_for_next_attempt();
                }
            }
            Fact::StepCarriedOver { kind, .. } => (step.kind, step.state) = (*kind, StepState::Done),
            Fact::SleepStarted { until, .. } => {
                (step.kind, step.state) = (StepKind::Sleep, StepState::Sleeping { until: *until });
            }
            Fact::EventsSent { .. } => (step.kind, step.state) = (StepKind::Send, StepState::Done),
            Fact::InvokeStarted { function, child, input, bound, until, user, .. } => {
                step.kind = StepKind::Invoke;
                step.state = StepState::Invoking {
                    child: *child,
                    function: function.clone(),
                    input: input.clone(),
                    bound: *bound,
                    until: *until,
                    user: user.clone(),
                };
            }
            Fact::RunCreated(_)
            | Fact::EventJoined { .. }
            | Fact::CollectingEnded
            | Fact::RunDelayed { .. }
            | Fact::RunAdmitted
            | Fact::StepsWoken { .. }
            | Fact::VersionChosen { .. }
            | Fact::LogWritten { .. }
            | Fact::LabelsAdded { .. }
            | Fact::HandlerFailed { .. }
            | Fact::ExecutorUnreachable { .. }
            | Fact::ExecutorReached
            | Fact::CallStarted { .. }
            | Fact::CallEnded { .. }
            | Fact::RunCompleted { .. }
            | Fact::RunFailed { .. }
            | Fact::RunCancelled { .. }
            | Fact::RunSkipped { .. } => return false,
        }
        if !matches!(entry.fact, Fact::WaitSkipped { .. } | Fact::HeartbeatReceived { .. }) {
            step.since = entry.at;
        }
        true
    }
}
