//! A hop as a state machine: one invocation that moves a run forward.
//!
//! [`Hop::on`] takes one input and returns the next state with its effects. It does no I/O, reads
//! no clock and no randomness, and waits for nothing. The engine's shell is a loop: it carries out
//! the effects in order. If the last effect is a question, the shell answers it with the next
//! input. Otherwise the hop is done.
//!
//! The state machine deals with requests, attempts and results. It does not know how a function is
//! executed.
//!
//! # Transitions
//!
//! | phase | input | next phase, and what is decided |
//! | --- | --- | --- |
//! | `Loading` | `Loaded(None)` | `CreatingTick`, or `Acknowledging`: the wake has no run, or belongs to a tick of an unknown function |
//! | `Loading` | `Loaded(run)` | `Admitting`; `Acknowledging`, with a later copy of the wake, if the function is not registered |
//! | `Admitting` | `Paused`, `Admission`, `Found`, `Tickets`, `Done` | one question after another until the run may start (rules 16 and 32); otherwise the run's ticket is removed, a later wake is written, and the wake is acknowledged |
//! | `Preparing` | `Holders`, `Done` | a redelivered wake repeats releases and promotions (rule 22) |
//! | `RunSlots` | `Slots`, `Done` | `Replaying` if the run has a slot of each limit on runs; otherwise it is enqueued, and the wake is acknowledged |
//! | `Replaying` | `Inbox` | events that arrived while the wait was being registered are delivered once (rules 17 and 18) |
//! | `Replaying` | `Opened(seen)` | `Replaying`: the outcomes after the first `seen` ones are revealed; an execution that an earlier hop left has seen some |
//! | `Replaying` | `Opened`, `Polled(ended)` | `Writing` the end, or the handler's next attempt after its wake (rule 11) |
//! | `Replaying` | `Polled(wanted)` | `Deciding`; `Writing` the end if an id is too long or wanted twice |
//! | `Deciding` | `Sent`, `Found`, `Holders`, `Done` | waits are registered before bodies start (rule 18); calls are started, and their outcomes are collected (rule 19) unless their time is over; then `Writing`, or `Starting` |
//! | `Deciding` | a step that starts at most once has an attempt without an outcome | `Writing` its failure: its body may have taken effect, so it does not start again (rule 37) |
//! | `Deciding` | a heartbeat is missed | `Writing` the error of the wait; a heartbeat that comes before the write makes it a conflict |
//! | any | a heartbeat's wake that is early | the next write sends it again for its time; the wake of an earlier heartbeat leaves no copy |
//! | `Starting` | `Slots`, `Done` | each attempt acquires its slots, or is enqueued (rules 20, 21, 25); then `Writing` the starts |
//! | `Suspending` | `Entries`, `Tickets` | nothing starts: unused tickets are removed (rule 24); because of a live lease or an early wake, a copy of the wake is written (rule 10) |
//! | `Writing` | `Written(done)` | the phase that follows the write: `Replaying`, `Running`, `Ending`, or `Done` |
//! | `Writing` | `Written(conflict)` | only outcomes are written again (rule 4), slots are released (rule 22), and the run is decided again (rule 2) |
//! | `Writing` | `StoreFailed` | if the write of a start failed, the outcomes before it are written alone; then the wake is put back |
//! | `Promoting` | `Done` | tickets are promoted before the wake is acknowledged (rule 22) |
//! | `Running` | `Finished` | the function sees the outcomes before they are written, if no other attempt executes; otherwise `Writing` (rule 8) |
//! | `Running` | `TimeIs` | an attempt is stopped at its timeout, or a due sleep is decided |
//! | `Running` | `Finished` of a step that starts at most once: stopped at its timeout, or lost by its executor | `Writing` its failure: it is not retried (rule 37) |
//! | `Running` after a failure | `Finished` | outcomes of executing attempts are saved before the wake is put back |
//! | `Running` after the end | `Finished` | outcomes are refused, and slots are released (rule 22) |
//! | `Ending` | `Done`, `Holders`, `Tickets` | called runs are cancelled, the failure handler starts, the end is announced, slots are released; the last write contains the row, the caller's wake (rule 19) and the acknowledgement (rule 28) |
//! | `Replaying` | `Entries` | a call was enqueued: the run is left, or decided again if another hop has written (rule 21) |
//! | `Replaying` | a call is left to another hop, or waits for a slot | `Running` while attempts execute, which go on; otherwise the hop ends |
//! | `Replaying` | another hop's call is live | a copy of the wake comes after the call's lease (rule 10), and that of a step's wake earlier |
//! | `Replaying` | the call of a dead worker, in a redelivered wake | `Writing` a new wake and the acknowledgement: the journal counts the interruption, not the queue (rule 14) |
//! | `Replaying` | `Slots`, `Done` | an executor that executes while it is polled: the call's slots, then `Writing` its start with the outcomes of the call before; the poll follows the write |
//! | `Replaying` | `Polled(executed)` | `Writing` the end of the call, with the start and the outcome of each executed step in the same record |
//! | `Replaying` | `Polled` of an executor that may have recorded checkpoints | `Replaying`: the outcomes that the call has recorded are read first |
//! | `Replaying` | `Entries` after a call with checkpoints | as for `Polled`; a step of the answer that the call has recorded is not written again, and if the call was taken over, the run is decided again |
//! | `Replaying` | `Polled(executed again)` | `Writing` the end: a report that contradicts the journal fails the run |
//! | `Replaying` | `TimeIs` | the call ran past its time-out: the handler's attempt fails |
//! | `Replaying` | `Unreachable` | unwritten outcomes are written, then a later wake, and the hop ends without using a retry; while attempts execute: `Running` |
//! | `Running` | `Finished(unreachable)` | `Writing` that the attempt is taken back, after the wake of the next try (rule 11); no retry is used |
//! | any | `StoreFailed` | unreleased slots are left to a later hop, then `PuttingBack`: the queue delivers the wake again (rules 13 and 34) |
//! | `PuttingBack` | `PutBack(false)` | `SendingAgain`: a later copy of the wake is written and the wake acknowledged; after a permanent error `Done` with the error |
//! | any | an answer to another question | as for `StoreFailed`: the wake is delivered again |
//!
//! Each rule is tested by its number in `core/tests/hop`.

mod active;
mod admitting;
mod announce;
mod bodies;
mod calling;
mod catalog;
mod checkpoint;
mod delivery;
mod effect;
mod ending;
mod executed;
mod facts;
mod failed_write;
mod immediate;
mod input;
mod keeping;
mod leaving;
mod lines;
mod overdue;
mod own_call;
mod polling;
mod progress;
mod registering;
mod retrying;
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
pub use checkpoint::{Checkpoint, CheckpointFault, record_checkpoint};
pub use effect::{Attempt, EarlyWrite, Effect, LateWrite, LogEvent, Opening, SlotRequest, TicketSearch, Write};
pub use ending::holds_slot;
pub use input::{
    AdvisedFailure, AttemptError, ExecutedStep, Finished, FoundRun, Input, LoadedRun, Moment, PollResult, Polled,
    SlotAnswer, StepResult, StoreFault, Unreachable, WriteResult,
};

pub use overdue::OverdueAttempt;
pub use own_call::{
    OwnCallEnd, OwnCallEntries, OwnCallReport, OwnCallSettings, is_own_worker, own_worker, record_own_call,
};

use active::{ActiveHop, LeftRun};
use delivery::DeliveryPhase;

/// A hop: one invocation that moves a run forward.
#[derive(Clone, Debug)]
pub struct Hop {
    invocation: Arc<Invocation>,
    catalog: Arc<Catalog>,
    phase: Phase,
}

/// A delivered wake, with the worker that handles it.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The delivered wake.
    pub wake: Wake,
    /// How often the wake was delivered, including this delivery.
    pub receives: u32,
    /// When the hop started.
    pub began: Timestamp,
    /// When the invocation ends. With `None`, the time limit of a worker of the run's function
    /// applies.
    pub deadline: Option<Timestamp>,
    /// A number that identifies the slots of this hop (rule 20), and seeds the jitter of its
    /// retries.
    pub hop: u64,
    /// The worker that handles the wake.
    pub worker: Arc<Worker>,
}

/// The worker of a hop: its process and its settings.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The id of the process in its leases.
    pub process: Arc<str>,
    /// Whether this is certainly the only live process, so that other processes execute nothing.
    /// What their executors may still execute keeps its lease.
    pub is_alone: bool,
    /// Whether a hop continues with further steps while it has time left.
    pub goes_on: bool,
    /// The maximum number of parallel steps that one hop executes. If there are more, each step
    /// gets its own wake.
    pub side_by_side: usize,
    /// How long a lease lasts beyond the deadline of its hop.
    pub lease_margin: Duration,
    /// If set, replaces every delay before a retry.
    pub retry_delay: Option<Duration>,
    /// The maximum delay of a wake in the queue. The sweep sends later wakes.
    pub max_delay: Duration,
    /// The compiled expressions of waits.
    pub exprs: Arc<ExprCache>,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The hop has no run yet, or has left its run.
    Delivery(DeliveryPhase),
    /// The hop handles a run.
    Active(Box<ActiveHop>),
    /// The hop is over. If it has a fault, the queue must deliver the wake again.
    Done { run: Option<Box<RunState>>, seen: Option<usize>, fault: Option<StoreFault> },
}

/// What remains after a hop.
#[derive(Clone, Debug)]
pub struct HopEnd {
    /// The run as the hop has left it, if the next hop may use it.
    pub run: Option<Box<RunState>>,
    /// The number of outcomes in the journal that the open execution has seen, if the next hop may
    /// continue it. The execution has seen no other outcomes.
    pub seen: Option<usize>,
    /// The failure because of which the queue must deliver the wake again.
    pub fault: Option<StoreFault>,
}

impl Hop {
    /// Starts a hop. Its first question asks for the run.
    pub fn begin_with(invocation: Invocation, catalog: Arc<Catalog>) -> (Self, Vec<Effect>) {
        let phase = Phase::Delivery(DeliveryPhase::Loading);
        (Self { invocation: Arc::new(invocation), catalog, phase }, vec![Effect::Load])
    }

    /// Makes one transition.
    #[must_use]
    pub fn on(mut self, at: Moment, input: Input) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        let placeholder = Phase::Done { run: None, seen: None, fault: None };
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

    /// Replaces the functions that the hop knows, because others may have been registered since it
    /// started. The versions of the run's own function are not changed.
    pub fn learn(&mut self, catalog: Arc<Catalog>) {
        if let Phase::Active(active) = &mut self.phase {
            active.catalog = catalog.clone();
        }
        self.catalog = catalog;
    }

    /// Continues with the run, or leaves the run once its work is done.
    fn go_on_or_leave(self, active: Box<ActiveHop>, at: Moment, effects: &mut Vec<Effect>) -> Self {
        match active.into_end() {
            Ok(LeftRun { fault: Some(fault), .. }) => self.put_back(fault, at, effects),
            Ok(LeftRun { run, seen, fault: None }) => {
                Self { phase: Phase::Done { run: Some(Box::new(run)), seen, fault: None }, ..self }
            }
            Err(active) => Self { phase: Phase::Active(active), ..self },
        }
    }

    /// Returns the run that the hop handles; `None` before it is loaded and after the hop.
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

    /// Returns when the open call of the executor must be over; `None` if there is no open call. At
    /// this time the poll is given up, and the shell answers with [`Input::TimeIs`].
    pub fn call_expires(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Active(active) => active.call_expires(),
            Phase::Delivery(_) | Phase::Done { .. } => None,
        }
    }

    /// Returns whether the storage has failed, so that the hop only returns its wake to the queue.
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

    /// Returns what remains after the hop.
    pub fn into_end(self) -> HopEnd {
        match self.phase {
            Phase::Done { run, seen, fault } => HopEnd { run, seen, fault },
            Phase::Delivery(_) | Phase::Active(_) => HopEnd { run: None, seen: None, fault: None },
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

/// Creates a wake for a later time: a delayed wake if the queue's maximum delay `max_delay` is long
/// enough, otherwise a timer for the sweep.
pub fn later(wake: Wake, due: Timestamp, now: Timestamp, max_delay: Duration) -> EarlyWrite {
    if due.since(now) <= max_delay {
        return EarlyWrite::Wake { wake, due };
    }
    let purpose = match &wake.cause {
        WakeCause::Deadline => TimerPurpose::Deadline,
        WakeCause::Heartbeat { step, .. } => TimerPurpose::Heartbeat(step.clone()),
        cause => TimerPurpose::Due(cause.step().cloned().map_or(RunOrStep::Run, RunOrStep::Step)),
    };
    EarlyWrite::Timer(Timer { due, run: wake.run, group: wake.group, purpose })
}
