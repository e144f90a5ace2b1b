//! Replay decisions: given the journal's state and what the handler asks for, what may happen now?
//!
//! Pure: the engine's hop carries out what [`plan`] says.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::bounds::run_full_failure;
use crate::limits::{INTERRUPTIONS, UNDO};
use crate::retry::{Backoff, RetryPolicy};
use crate::state::{RunState, Step, StepState};
use crate::waiting::EventWait;
use crate::{Failure, Json, NewEvent, RunId, Spec, StepId, StepKind, Timestamp};

/// Something that a handler waits for.
#[derive(Clone, Debug)]
pub struct Want {
    /// Which step.
    pub step: StepId,
    /// What of it.
    pub operation: Operation,
    /// Where in the code.
    pub at: &'static Location<'static>,
}

/// What a handler asks for.
#[derive(Clone, Debug)]
pub enum Operation {
    /// To execute a body.
    Run(StepOptions),
    /// To wait this long, from when it is first asked.
    SleepFor(Duration),
    /// To wait until then.
    SleepUntil(Timestamp),
    /// To send events.
    Send(Vec<NewEvent>),
    /// To run another function and wait for its result.
    Invoke {
        /// Its id.
        function: Arc<str>,
        /// The data of the event that it gets.
        input: Json,
        /// Whether its run is cancelled when this one ends before it.
        bound: bool,
    },
    /// To wait for an event, for so long from when it is first asked.
    WaitForEvent {
        /// Which.
        wait: Arc<EventWait>,
        /// How long at most.
        timeout: Duration,
    },
    /// To wait for a signal.
    WaitForSignal {
        /// How long at most.
        timeout: Duration,
    },
}

impl Operation {
    /// The kind of step that asks this.
    pub fn kind(&self) -> StepKind {
        match self {
            Self::Run(_) => StepKind::Run,
            Self::SleepFor(_) | Self::SleepUntil(_) => StepKind::Sleep,
            Self::Send(_) => StepKind::Send,
            Self::Invoke { .. } => StepKind::Invoke,
            Self::WaitForEvent { .. } => StepKind::Event,
            Self::WaitForSignal { .. } => StepKind::Signal,
        }
    }
}

/// A step's own settings; the function's hold where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepOptions {
    /// Repetitions after the first attempt.
    pub retries: Option<u32>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// The waits between attempts.
    pub backoff: Option<Backoff>,
    /// How a check is repeated that finds that it is not time yet.
    pub poll: Option<PollSchedule>,
}

/// How a check is repeated until it has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollSchedule {
    /// The waits between checks.
    pub every: Backoff,
    /// How long after the start of the first check the last one is made.
    pub timeout: Duration,
}

impl PollSchedule {
    /// When to check again at `now`, after this many checks of which the first began at `began`; `None` when the time is
    /// up. The last check is made when the time is up, not before.
    pub fn next_check(&self, checks: u32, began: Timestamp, now: Timestamp, seed: u64) -> Option<Timestamp> {
        let end = began + self.timeout;
        (now < end).then(|| (now + self.every.delay(checks, seed)).min(end))
    }
}

impl StepOptions {
    /// The retries that hold for this step.
    pub fn policy(&self, spec: &Spec) -> RetryPolicy {
        RetryPolicy {
            retries: self.retries.unwrap_or(spec.retry.retries),
            backoff: self.backoff.clone().unwrap_or_else(|| spec.retry.backoff.clone()),
        }
    }

    /// The time-out that holds for this step.
    pub fn timeout(&self, spec: &Spec) -> Duration {
        self.timeout.unwrap_or(spec.timeout)
    }
}

/// What may happen now.
#[derive(Debug, Default)]
pub struct Plan {
    /// Steps that are to be written down before anything else starts (rule 18): sleeps, events, invocations, waits.
    pub register: Vec<Want>,
    /// Sleeps whose time has come.
    pub awake: Vec<StepId>,
    /// Waits whose time is up.
    pub expired: Vec<StepId>,
    /// Invocations whose run may have ended.
    pub children: Vec<ChildCall>,
    /// Bodies that may start.
    pub ready: Vec<ReadyStep>,
    /// Steps that fail without another attempt, and why.
    pub refused: Vec<(StepId, Failure)>,
    /// Attempts whose worker is known to be dead.
    pub interrupted: Vec<(StepId, u32)>,
    /// The last moment at which somebody else's lease on a wanted step ends.
    pub leased_until: Option<Timestamp>,
    /// Sleeps, retries and ends of waits that are not due yet.
    pub later: Vec<(StepId, Timestamp)>,
}

/// A run that this one invoked.
#[derive(Clone, Debug)]
pub struct ChildCall {
    /// The step that waits for it.
    pub step: StepId,
    /// The run.
    pub run: RunId,
    /// Its function.
    pub function: Arc<str>,
    /// What it gets.
    pub input: Json,
    /// Whether it is cancelled when this one ends before it.
    pub bound: bool,
}

/// A body that may start.
#[derive(Clone, Debug)]
pub struct ReadyStep {
    /// Which step.
    pub step: StepId,
    /// The number of the attempt.
    pub attempt: u32,
    /// Failures before it.
    pub failures: u32,
    /// How a check is repeated, and how often it was, since when.
    pub poll: Option<(PollSchedule, u32, Timestamp)>,
    /// How long it may take.
    pub timeout: Duration,
    /// How often and after how long it is tried again.
    pub policy: RetryPolicy,
    /// Whether its step was sent a wake of its own.
    pub woken: bool,
    /// Whether an attempt before this one lost its worker.
    pub takeover: bool,
}

/// Who decides, and when.
#[derive(Clone, Copy, Debug)]
pub struct PlanContext<'a> {
    /// The time.
    pub now: Timestamp,
    /// The deciding worker's process.
    pub worker: &'a str,
    /// Whether no other process can be alive: then a lease of another one is void (a local server that holds its
    /// file's lock).
    pub alone: bool,
    /// The longest step that fits into a worker.
    pub longest: Duration,
    /// The function.
    pub spec: &'a Spec,
    /// Bytes of values that are to be written and that the state does not count yet.
    pub pending: usize,
}

/// Sorts what the handler wants by what may happen to it now.
pub fn plan(state: &RunState, wants: &[Want], now: PlanContext<'_>) -> Plan {
    let mut plan = Plan::default();
    for want in wants {
        match state.steps.get(&want.step) {
            None => plan.unknown(state, want, &now),
            Some(step) if step.kind != want.operation.kind() => {
                plan.refused.push((want.step.clone(), other_kind(want, step)))
            }
            Some(step) => plan.known(state, want, step, &now),
        }
    }
    plan
}

impl Plan {
    fn unknown(&mut self, state: &RunState, want: &Want, now: &PlanContext<'_>) {
        match &want.operation {
            Operation::Run(options) => self.body(state, want, (options, None), now),
            Operation::SleepFor(_)
            | Operation::SleepUntil(_)
            | Operation::Send(_)
            | Operation::Invoke { .. }
            | Operation::WaitForEvent { .. }
            | Operation::WaitForSignal { .. } => self.register.push(want.clone()),
        }
    }

    fn known(&mut self, state: &RunState, want: &Want, step: &Step, now: &PlanContext<'_>) {
        match (&step.state, &want.operation) {
            (StepState::Sleeping { until }, _) if *until <= now.now => self.awake.push(want.step.clone()),
            (StepState::Sleeping { until }, _) => self.later.push((want.step.clone(), *until)),
            (StepState::Invoking { child, function, input, bound }, _) => self.children.push(ChildCall {
                step: want.step.clone(),
                run: *child,
                function: function.clone(),
                input: input.clone(),
                bound: *bound,
            }),
            (StepState::Awaiting { until, .. }, _) if *until <= now.now => self.expired.push(want.step.clone()),
            (StepState::Awaiting { until, .. }, _) => self.later.push((want.step.clone(), *until)),
            (StepState::Retrying { retry_at, .. }, _) if *retry_at > now.now => {
                self.later.push((want.step.clone(), *retry_at));
            }
            (StepState::Running { lease_until, worker }, Operation::Run(options)) => {
                if now.alone && **worker != *now.worker {
                    self.interrupted.push((want.step.clone(), step.attempt));
                } else if now.now < *lease_until {
                    self.leased_until = self.leased_until.max(Some(*lease_until));
                } else {
                    self.body(state, want, (options, Some(step)), now);
                }
            }
            (StepState::Wanted | StepState::Retrying { .. }, Operation::Run(options)) => {
                self.body(state, want, (options, Some(step)), now)
            }
            // an outcome is about to be revealed, or the handler's own drop is about to be replayed
            (StepState::Done | StepState::Abandoned, _)
            | (
                StepState::Wanted | StepState::Retrying { .. } | StepState::Running { .. },
                Operation::SleepFor(_)
                | Operation::SleepUntil(_)
                | Operation::Send(_)
                | Operation::Invoke { .. }
                | Operation::WaitForEvent { .. }
                | Operation::WaitForSignal { .. },
            ) => {}
        }
    }

    fn body(
        &mut self,
        state: &RunState,
        want: &Want,
        (options, step): (&StepOptions, Option<&Step>),
        now: &PlanContext<'_>,
    ) {
        let bytes = state.bytes + now.pending;
        // rule 33; the record that a run has failed needs no room to speak of
        if !state.has_room(bytes) && *want.step != *UNDO {
            let why = run_full_failure(format_args!("step `{}`", want.step), bytes);
            return self.refused.push((want.step.clone(), why));
        }
        let timeout = options.timeout(now.spec);
        if timeout > now.longest {
            return self.refused.push((want.step.clone(), too_long(&want.step, timeout, now.longest)));
        }
        let lost = step.is_some_and(|s| matches!(s.state, StepState::Running { .. }));
        let interruptions = step.map_or(0, |s| s.interruptions) + u32::from(lost);
        if interruptions >= INTERRUPTIONS {
            return self.refused.push((want.step.clone(), interrupted(&want.step, interruptions)));
        }
        self.ready.push(ReadyStep {
            step: want.step.clone(),
            attempt: step.map_or(0, |s| s.attempt) + 1,
            failures: step.map_or(0, |s| s.failures),
            poll: options.poll.clone().map(|poll| {
                let began = step.and_then(|s| s.first_started_at).unwrap_or(now.now);
                (poll, step.map_or(0, |s| s.checks), began)
            }),
            timeout,
            policy: options.policy(now.spec),
            woken: step.is_some_and(|s| s.woken),
            takeover: lost,
        });
    }
}

fn too_long(step: &str, timeout: Duration, longest: Duration) -> Failure {
    Failure {
        message: format!(
            "step `{step}` has a time-out of {timeout:?}, but a worker has at most {longest:?} for a step; \
             split the step, shorten its time-out or give the workers more time"
        ),
        code: Some("timeout-too-long".into()),
    }
}

fn interrupted(step: &str, times: u32) -> Failure {
    Failure {
        message: format!(
            "step `{step}` was interrupted {times} times in a row: its worker died each time before it ended \
             (out of memory? out of time?)"
        ),
        code: Some("interrupted".into()),
    }
}

/// The code now asks for something else under a recorded id.
fn other_kind(want: &Want, step: &Step) -> Failure {
    Failure {
        message: format!(
            "nondeterminism: the journal holds a {} under `{}`, the code at {} asks for a {}; give the new step another name",
            kind_name(step.kind),
            want.step,
            want.at,
            kind_name(want.operation.kind()),
        ),
        code: Some("nondeterminism".into()),
    }
}

/// The word for a kind of step in messages.
pub fn kind_name(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Run => "step with a body",
        StepKind::Sleep => "sleep",
        StepKind::Send => "send of events",
        StepKind::Invoke => "call of another function",
        StepKind::Event => "wait for an event",
        StepKind::Signal => "wait for a signal",
    }
}
