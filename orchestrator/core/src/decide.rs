//! Decides what may happen now, from the state of a run and the steps that its handler waits for.
//!
//! [`plan`] is a pure function; the engine's hop carries out the plan.

mod failures;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::bounds::run_full_failure;
use crate::limits::INTERRUPTIONS;
use crate::retry::{Backoff, RetryPolicy};
use crate::state::{RunState, Step, StepState, WaitTarget};
use crate::waiting::EventWait;
use crate::{Failure, Json, NewEvent, OwnStep, RunId, SourceLocation, Spec, StepId, StepKind, Timestamp};

pub(crate) use failures::outcome_unknown;

use failures::{interrupted, interrupted_once, other_kind, too_long};

/// A step that a handler waits for.
#[derive(Clone, Debug)]
pub struct Want {
    /// The step.
    pub step: StepId,
    /// What the step does.
    pub operation: Operation,
    /// The position of the step in the code, if it is known.
    pub at: Option<SourceLocation>,
}

/// What a step of a handler does.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Executes a body.
    Run(StepOptions),
    /// Sleeps for this long, counted from the first request.
    SleepFor(Duration),
    /// Sleeps until this time.
    SleepUntil(Timestamp),
    /// Sends events.
    Send(Vec<NewEvent>),
    /// Calls another function and waits for its result.
    Invoke {
        /// The id of the function.
        function: Arc<str>,
        /// The data of the event that starts the called run.
        input: Json,
        /// Whether the called run is cancelled if this run ends first.
        bound: bool,
        /// The maximum wait, counted from the first request. The called run goes on after it.
        timeout: Option<Duration>,
        /// The `user` of the called run's event, if it is not that of this run's event.
        user: Option<Json>,
    },
    /// Waits for an event, at most for the timeout, counted from the first request.
    WaitForEvent {
        /// What the step waits for.
        wait: Arc<EventWait>,
        /// The maximum wait.
        timeout: Duration,
    },
    /// Waits for a callback.
    WaitForSignal {
        /// The maximum wait.
        timeout: Duration,
        /// The maximum time between two heartbeats, if the wait asks for heartbeats.
        heartbeat: Option<Duration>,
        /// A name under which the callback can be posted, besides its token.
        name: Option<Arc<str>>,
    },
}

impl Operation {
    /// Returns the kind of step that has this operation.
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

/// Options of a single step. An option that is not set has the value that the function sets for all
/// steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepOptions {
    /// The maximum number of retries after the first attempt.
    pub retries: Option<u32>,
    /// The maximum time of one attempt.
    pub timeout: Option<Duration>,
    /// The delays between attempts.
    pub backoff: Option<Backoff>,
    /// The schedule of a poll; `None` if the step does not poll.
    pub poll: Option<PollSchedule>,
    /// Whether the step fails if an attempt leaves no outcome. Otherwise it starts again.
    pub at_most_once: bool,
}

/// How often a polling step repeats its check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollSchedule {
    /// The delays between checks.
    pub every: Backoff,
    /// The time between the start of the first check and the last check.
    pub timeout: Duration,
}

impl PollSchedule {
    /// Returns the time of the next check; `None` after the timeout. `checks` is the number of
    /// checks so far, and `began` is the start of the first check. The last check runs exactly at
    /// the timeout.
    pub fn next_check(&self, checks: u32, began: Timestamp, now: Timestamp, seed: u64) -> Option<Timestamp> {
        let end = began + self.timeout;
        (now < end).then(|| (now + self.every.delay(checks, seed)).min(end))
    }
}

impl StepOptions {
    /// Returns the retry policy of this step: its own options, or else those of the function. A
    /// step that starts at most once has no retries of the function.
    pub fn policy(&self, spec: &Spec) -> RetryPolicy {
        let default = if self.at_most_once { 0 } else { spec.retry.retries };
        RetryPolicy {
            retries: self.retries.unwrap_or(default),
            backoff: self.backoff.clone().unwrap_or_else(|| spec.retry.backoff.clone()),
            non_retryable: spec.retry.non_retryable.clone(),
        }
    }

    /// Returns the timeout of this step: its own, or else that of the function.
    pub fn timeout(&self, spec: &Spec) -> Duration {
        self.timeout.unwrap_or(spec.timeout)
    }
}

/// What a hop may do now.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Steps that must be written before anything else starts (rule 18): sleeps, events, calls,
    /// waits.
    pub register: Vec<Want>,
    /// Sleeps that have ended.
    pub awake: Vec<StepId>,
    /// Waits past their timeout.
    pub expired: Vec<StepId>,
    /// Waits for which no heartbeat came in time, and the failure that says so.
    pub missed: Vec<(StepId, Failure)>,
    /// Calls of other functions, if the called runs may have ended.
    pub children: Vec<ChildCall>,
    /// Bodies that may start.
    pub ready: Vec<ReadyStep>,
    /// Steps that fail without another attempt, and the reason.
    pub refused: Vec<(StepId, Failure)>,
    /// Attempts that were interrupted: their worker is known to have died.
    pub interrupted: Vec<(StepId, u32)>,
    /// The latest end of a lease that another worker has on a step in the plan.
    pub leased_until: Option<Timestamp>,
    /// Sleeps, retries and timeouts that are not due yet, with the times at which they are due.
    pub later: Vec<(StepId, Timestamp)>,
}

/// A run that this run called.
#[derive(Clone, Debug)]
pub struct ChildCall {
    /// The step that waits for the called run.
    pub step: StepId,
    /// The called run.
    pub run: RunId,
    /// The function of the called run.
    pub function: Arc<str>,
    /// The data of the event that started the called run.
    pub input: Json,
    /// Whether the called run is cancelled if this run ends first.
    pub bound: bool,
    /// When the call ends without an outcome.
    pub until: Option<Timestamp>,
    /// The `user` of the called run's event, if it is not that of this run's event.
    pub user: Option<Json>,
}

/// A body that may start.
#[derive(Clone, Debug)]
pub struct ReadyStep {
    /// The step.
    pub step: StepId,
    /// The number of the attempt to start.
    pub attempt: u32,
    /// The number of failures before this attempt.
    pub failures: u32,
    /// For a poll: its schedule, the number of checks so far, and the start of the first check.
    pub poll: Option<(PollSchedule, u32, Timestamp)>,
    /// For a poll: the state that the last check without an error passed to this one.
    pub poll_state: Option<Json>,
    /// The maximum time of the attempt.
    pub timeout: Duration,
    /// The number of retries and the delays between them.
    pub policy: RetryPolicy,
    /// Whether a wake was sent for this step.
    pub woken: bool,
    /// The step that the wake names, if the wake was sent for several steps.
    pub woken_with: Option<StepId>,
    /// Whether the worker of an earlier attempt died.
    pub takeover: bool,
    /// Whether the step fails if the attempt leaves no outcome.
    pub at_most_once: bool,
}

/// The process that decides, the time, and other inputs of the decision.
#[derive(Clone, Copy, Debug)]
pub struct PlanContext<'a> {
    /// The current time.
    pub now: Timestamp,
    /// The id of the process that decides.
    pub worker: &'a str,
    /// Whether attempts of other processes have certainly ended, so that their leases are void.
    /// This is true for a local server that locks its file, if it executes the attempts itself.
    pub alone: bool,
    /// The maximum time of a step that fits into the worker's time limit.
    pub longest: Duration,
    /// The settings of the function.
    pub spec: &'a Spec,
    /// The number of bytes that are about to be written and that the state does not include yet.
    pub pending: usize,
}

/// Sorts the steps that the handler waits for by what may happen to them now.
pub fn plan<'w>(state: &RunState, wants: impl IntoIterator<Item = &'w Want>, now: PlanContext<'_>) -> Plan {
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

/// A step with a body that the handler wants, and its recorded state, if there is one.
struct WantedBody<'a> {
    want: &'a Want,
    options: &'a StepOptions,
    step: Option<&'a Step>,
}

impl Plan {
    fn unknown(&mut self, state: &RunState, want: &Want, now: &PlanContext<'_>) {
        match &want.operation {
            Operation::Run(options) => self.body(state, WantedBody { want, options, step: None }, now),
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
            (StepState::Invoking { child, function, input, bound, until, user }, _) => {
                self.later.extend(until.filter(|until| now.now < *until).map(|until| (want.step.clone(), until)));
                self.children.push(ChildCall {
                    step: want.step.clone(),
                    run: *child,
                    function: function.clone(),
                    input: input.clone(),
                    bound: *bound,
                    until: *until,
                    user: user.clone(),
                });
            }
            (state @ StepState::Awaiting { what: WaitTarget::Signal(Some(heartbeats)), .. }, _)
                if state.heartbeat_due().is_some_and(|due| due <= now.now) =>
            {
                self.missed.push((want.step.clone(), heartbeats.missed(&want.step)));
            }
            (StepState::Awaiting { until, .. }, _) if *until <= now.now => self.expired.push(want.step.clone()),
            (StepState::Awaiting { until, .. }, _) => self.later.push((want.step.clone(), *until)),
            (StepState::Retrying { retry_at, .. }, _) if *retry_at > now.now => {
                self.later.push((want.step.clone(), *retry_at));
            }
            (StepState::Running { lease_until, worker }, Operation::Run(options)) => {
                if now.alone && **worker != *now.worker {
                    self.interrupted.push((want.step.clone(), step.attempt));
                    if options.at_most_once {
                        self.refused.push((want.step.clone(), interrupted_once(&want.step)));
                    }
                } else if now.now < *lease_until {
                    self.leased_until = self.leased_until.max(Some(*lease_until));
                } else {
                    self.body(state, WantedBody { want, options, step: Some(step) }, now);
                }
            }
            (StepState::Wanted | StepState::Retrying { .. }, Operation::Run(options)) => {
                self.body(state, WantedBody { want, options, step: Some(step) }, now)
            }
            // the outcome is about to be returned to the handler, or the handler is about to drop
            // the step again
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

    fn body(&mut self, state: &RunState, body: WantedBody<'_>, now: &PlanContext<'_>) {
        let WantedBody { want, options, step } = body;
        if options.at_most_once && step.is_some_and(Step::may_have_taken_effect) {
            return self.refused.push((want.step.clone(), interrupted_once(&want.step)));
        }
        let bytes = state.bytes + now.pending;
        // a step without room in the journal fails before its body is executed (rule 33); the
        // record of a failed run needs almost no space
        if !state.has_room(bytes) && OwnStep::from_id(&want.step) != Some(OwnStep::Compensation) {
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
            poll_state: step.and_then(|s| s.poll_state.clone()),
            timeout,
            policy: options.policy(now.spec),
            woken: step.is_some_and(|s| s.woken),
            woken_with: step.and_then(|s| s.woken_with.clone()),
            takeover: lost,
            at_most_once: options.at_most_once,
        });
    }
}

/// Shows the step and its position in the code, for messages.
impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step `{}`", self.step)?;
        match &self.at {
            Some(at) => write!(f, " ({at})"),
            None => Ok(()),
        }
    }
}

impl Want {
    /// Returns the error sentence for a step that the journal records with another kind.
    pub fn describe_kind_mismatch(&self, recorded: StepKind) -> String {
        let at = self.at.as_ref().map_or_else(String::new, |at| format!(" at {at}"));
        format!(
            "the journal holds a {} under `{}`, the code{at} asks for a {}; give the new step another name",
            kind_name(recorded),
            self.step,
            kind_name(self.operation.kind()),
        )
    }
}

/// Returns the name of a step kind, for messages.
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
