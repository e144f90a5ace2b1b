//! A hop as a state machine: one invocation that moves a run forward.
//!
//! [`Hop::on`] takes one input and returns the next state with its effects. It does no I/O, reads no
//! clock and no randomness, and waits for nothing. The engine's shell is one loop: it carries out
//! the effects and answers the last of them, which is a question. A hop without a question is done.
//!
//! The machine speaks of wants, attempts and results. It does not know how a function is executed.
//!
//! # Transitions
//!
//! | phase | input | next phase, and what is decided |
//! | --- | --- | --- |
//! | `Loading` | `Loaded(None)` | `CreatingTick`, or `Acknowledging`: the wake of no run, or of a tick of an unknown function |
//! | `Loading` | `Loaded(run)` | `Admitting`; `Acknowledging` if the function is not registered: a later copy of the wake |
//! | `Admitting` | `Paused`, `Admission`, `Found`, `Tickets`, `Done` | one question after another until the run may start (rules 16 and 32); otherwise its ticket goes, a later wake is written, and the wake is acknowledged |
//! | `Preparing` | `Holders`, `Done` | a redelivered wake repeats releases and promotions (rule 22) |
//! | `RunSlots` | `Slots`, `Done` | `Replaying` with a slot of each run limit; otherwise enqueued and acknowledged |
//! | `Replaying` | `Inbox` | events that came while the wait was registered are delivered once (rules 17 and 18) |
//! | `Replaying` | `Opened`, `Polled(ended)` | `Writing` the end, or the handler's next attempt after its wake (rule 11) |
//! | `Replaying` | `Polled(wanted)` | `Deciding` |
//! | `Deciding` | `Sent`, `Found`, `Holders`, `Done` | waits are registered before bodies start (rule 18); calls are started and looked after (rule 19); then `Writing`, or `Starting` |
//! | `Starting` | `Slots`, `Done` | each attempt acquires its slots, or is enqueued (rules 20, 21, 25); then `Writing` the starts |
//! | `Suspending` | `Entries`, `Tickets` | nothing starts: tickets of settled steps go (rule 24), a live lease leaves a copy of the wake (rule 10), an early wake leaves one for its time |
//! | `Writing` | `Written(done)` | what was to follow: `Replaying`, `Running`, `Ending`, or `Done` |
//! | `Writing` | `Written(conflict)` | only outcomes are written again (rule 4), slots are released (rule 22), and the run is decided again (rule 2) |
//! | `Writing` | `StoreFailed` | outcomes before a start that failed are written by themselves; then, or without any, the wake is put back |
//! | `Promoting` | `Done` | tickets are promoted before the wake is acknowledged (rule 22) |
//! | `Running` | `Finished` | outcomes are shown ahead of their write if no other attempt executes; otherwise `Writing` (rule 8) |
//! | `Running` | `TimeIs` | an attempt is stopped at its time-out; a due sleep is decided |
//! | `Running` after a failure | `Finished` | outcomes of executing attempts are saved before the wake is put back |
//! | `Running` after the end | `Finished` | outcomes are refused, and slots are released (rule 22) |
//! | `Ending` | `Done`, `Holders`, `Tickets` | children are cancelled, the failure handler starts, the end is announced, slots are released; last the row, the caller's wake (rule 19) and the acknowledgement (rule 28) |
//! | `Replaying` | another hop's call is live | a copy of the wake comes after the call's lease (rule 10) |
//! | `Replaying` | `Slots`, `Done` | an executor that executes while it is polled: the call's slots, then `Writing` its start with the outcomes of the call before; the poll follows the write |
//! | `Replaying` | `Polled(executed)` | `Writing` the end of the call, with the start and the outcome of each executed step in the same record |
//! | `Replaying` | `TimeIs` | the call ran past its time-out: the handler's attempt fails |
//! | `Replaying` | `Unreachable` | outcomes that are not written are written; then a later wake, and the hop ends: no retry is used. While attempts execute: `Running` |
//! | `Running` | `Finished(unreachable)` | `Writing` that the attempt is taken back, after the wake of its next try (rule 11); no retry is used |
//! | any | `StoreFailed` | unwritten slots are deferred, then `PuttingBack`: the queue delivers the wake again (rules 13 and 34) |
//! | `PuttingBack` | `PutBack(false)` | `SendingAgain`: a later copy of the wake, acknowledged with it; a permanent error is `Done` with the error |
//! | any | an answer to another question | as `StoreFailed`: the wake comes again |
//!
//! Each rule is tested by its number in `core/tests/hop`.

mod active;
mod admitting;
mod announce;
mod bodies;
mod calling;
mod catalog;
mod delivery;
mod effect;
mod ending;
mod facts;
mod immediate;
mod input;
mod keeping;
mod leaving;
mod lines;
mod overdue;
mod polling;
mod progress;
mod registering;
mod round;
mod starting;
mod suspending;
mod timing;
mod unreachable;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use crate::expr::ExprCache;
use crate::state::RunState;
use crate::wake::{Timer, TimerPurpose};
use crate::{RunOrStep, Timestamp, Wake, WakeCause};

pub use announce::end_data;
pub use catalog::{Catalog, ChosenVersion, EndListeners, FunctionVersion};
pub use effect::{Attempt, EarlyWrite, Effect, LateWrite, LogEvent, Opening, SlotRequest, TicketSearch, Write};
pub use ending::holds_slot;
pub use input::{
    AdvisedFailure, AttemptError, ExecutedStep, Finished, FoundRun, Input, LoadedRun, Moment, PollResult, Polled,
    SlotAnswer, StepResult, StoreFault, Unreachable, WriteResult,
};

pub use overdue::OverdueAttempt;

use active::ActiveHop;
use delivery::DeliveryPhase;

/// A hop: one invocation that moves a run forward.
#[derive(Clone, Debug)]
pub struct Hop {
    invocation: Arc<Invocation>,
    catalog: Arc<Catalog>,
    phase: Phase,
}

/// A delivered wake, and the worker that has it.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The wake.
    pub wake: Wake,
    /// How often the wake was delivered, including this time.
    pub receives: u32,
    /// When the hop began.
    pub began: Timestamp,
    /// When the invocation ends; `None` for the time limit of a worker of the run's function.
    pub deadline: Option<Timestamp>,
    /// Identifies the slots of this hop (rule 20), and seeds the jitter of its retries.
    pub hop: u64,
    /// The worker.
    pub worker: Arc<Worker>,
}

/// The worker of a hop: its process and its settings.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Identifies the process in its leases.
    pub process: Arc<str>,
    /// Whether no other process can be alive: leases of other processes are void.
    pub is_alone: bool,
    /// Whether a hop goes on to further steps while its time lasts.
    pub goes_on: bool,
    /// How many parallel steps one hop executes. Of more, each gets its own wake.
    pub side_by_side: usize,
    /// Added to a hop's deadline to make a lease.
    pub lease_margin: Duration,
    /// Replaces every delay before a retry.
    pub retry_delay: Option<Duration>,
    /// The longest delay of a wake in the queue. Later wakes go through the sweep.
    pub max_delay: Duration,
    /// The compiled expressions of waits.
    pub exprs: Arc<ExprCache>,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The hop has no run, or has left it.
    Delivery(DeliveryPhase),
    /// The hop moves a run.
    Active(Box<ActiveHop>),
    /// The hop is over. With a fault, the queue must deliver the wake again.
    Done { run: Option<Box<RunState>>, fault: Option<StoreFault> },
}

/// What remains of a hop.
#[derive(Clone, Debug)]
pub struct HopEnd {
    /// The run as the hop has left it, if it may be kept for the next hop.
    pub run: Option<Box<RunState>>,
    /// The failure for which the queue must deliver the wake again.
    pub fault: Option<StoreFault>,
}

impl Hop {
    /// Begins a hop. Its first question is for the run.
    pub fn begin_with(invocation: Invocation, catalog: Arc<Catalog>) -> (Self, Vec<Effect>) {
        let phase = Phase::Delivery(DeliveryPhase::Loading);
        (Self { invocation: Arc::new(invocation), catalog, phase }, vec![Effect::Load])
    }

    /// Makes one transition.
    #[must_use]
    pub fn on(mut self, at: Moment, input: Input) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        let placeholder = Phase::Done { run: None, fault: None };
        let next = match std::mem::replace(&mut self.phase, placeholder) {
            Phase::Delivery(phase) => self.deliver(phase, at, input, &mut effects),
            Phase::Active(mut active) => {
                active.on(at, input, &mut effects);
                self.go_on_or_leave(active, at, &mut effects)
            }
            done @ Phase::Done { .. } => Self { phase: done, ..self },
        };
        (next, effects)
    }

    /// Replaces the functions that the hop knows: others may have been registered since it began.
    /// The versions of its own function stay as they were.
    pub fn learn(&mut self, catalog: Arc<Catalog>) {
        if let Phase::Active(active) = &mut self.phase {
            active.catalog = catalog.clone();
        }
        self.catalog = catalog;
    }

    /// Goes on with the run, or leaves it once its work is over.
    fn go_on_or_leave(self, active: Box<ActiveHop>, at: Moment, effects: &mut Vec<Effect>) -> Self {
        match active.into_end() {
            Ok((run, None)) => Self { phase: Phase::Done { run: Some(Box::new(run)), fault: None }, ..self },
            Ok((_, Some(fault))) => self.put_back(fault, at, effects),
            Err(active) => Self { phase: Phase::Active(active), ..self },
        }
    }

    /// Returns the run that the hop moves; `None` before it is loaded and after the hop.
    pub fn run(&self) -> Option<&RunState> {
        match &self.phase {
            Phase::Active(active) => Some(&active.run),
            Phase::Delivery(DeliveryPhase::Announcing(ended)) => Some(&ended.0),
            Phase::Delivery(_) | Phase::Done { .. } => None,
        }
    }

    /// Returns when the invocation ends; `None` before the run is loaded.
    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Active(active) => Some(active.time.deadline),
            Phase::Delivery(_) | Phase::Done { .. } => self.invocation.deadline,
        }
    }

    /// Returns when the open call of the executor is over at the latest; `None` without one. The poll
    /// is then given up, and answered with [`Input::TimeIs`].
    pub fn call_expires(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Active(active) => active.call_expires(),
            Phase::Delivery(_) | Phase::Done { .. } => None,
        }
    }

    /// Returns whether the storage has failed, and the hop only gives its wake back.
    pub fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Delivery(DeliveryPhase::PuttingBack(_) | DeliveryPhase::SendingAgain))
    }

    /// Returns whether the hop is over.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done { .. })
    }

    /// Returns the wake of the hop.
    pub fn wake(&self) -> &Wake {
        &self.invocation.wake
    }

    /// Returns what remains of the hop.
    pub fn into_end(self) -> HopEnd {
        match self.phase {
            Phase::Done { run, fault } => HopEnd { run, fault },
            Phase::Delivery(_) | Phase::Active(_) => HopEnd { run: None, fault: None },
        }
    }

    /// Returns the name of the phase, for tests and logs.
    pub fn phase_name(&self) -> &'static str {
        match &self.phase {
            Phase::Delivery(DeliveryPhase::Loading) => "Loading",
            Phase::Delivery(DeliveryPhase::CreatingTick) => "CreatingTick",
            Phase::Delivery(DeliveryPhase::Announcing(_)) => "Announcing",
            Phase::Delivery(DeliveryPhase::Acknowledging) => "Acknowledging",
            Phase::Delivery(DeliveryPhase::PuttingBack(_)) => "PuttingBack",
            Phase::Delivery(DeliveryPhase::SendingAgain) => "SendingAgain",
            Phase::Active(active) => active.phase_name(),
            Phase::Done { .. } => "Done",
        }
    }
}

/// Creates a wake for a time: through the queue if `max_delay`, its longest delay, is enough;
/// otherwise through the sweep.
pub fn later(wake: Wake, due: Timestamp, now: Timestamp, max_delay: Duration) -> EarlyWrite {
    if due.since(now) <= max_delay {
        return EarlyWrite::Wake { wake, due };
    }
    let purpose = match &wake.cause {
        WakeCause::Deadline => TimerPurpose::Deadline,
        cause => TimerPurpose::Due(cause.step().cloned().map_or(RunOrStep::Run, RunOrStep::Step)),
    };
    EarlyWrite::Timer(Timer { due, run: wake.run, group: wake.group, purpose })
}
