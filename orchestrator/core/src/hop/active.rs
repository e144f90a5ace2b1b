//! A hop for a loaded run: its state, its phases, and which input is valid in which phase.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use crate::decide::PlanContext;
use crate::hop::admitting::Admitting;
use crate::hop::calling::Calling;
use crate::hop::catalog::{Catalog, FunctionVersion, Versions};
use crate::hop::effect::{EarlyWrite, Effect, LateWrite, LogEvent};
use crate::hop::ending::Ending;
use crate::hop::immediate::BeforeCall;
use crate::hop::input::{Finished, Input, LoadedRun, Moment, Polled, StoreFault};
use crate::hop::keeping::KeepReason;
use crate::hop::progress::{Debts, Execution, Progress, RunLimits, WorkerTime, release};
use crate::hop::registering::Registering;
use crate::hop::round::{Preparing, RunSlots};
use crate::hop::starting::Starting;
use crate::hop::suspending::Suspending;
use crate::hop::timing::{GivenUpTicket, Punctuality};
use crate::hop::writing::{Draft, Promoting, Writing};
use crate::hop::{Invocation, later};
use crate::journal::{Entry, Record};
use crate::slot::{Holder, Limit};
use crate::state::{RunState, StepState};
use crate::{RunOrStep, Spec, StepId, Timestamp, Wake, WakeCause, bounds, id};

/// A hop for a loaded run.
#[derive(Clone, Debug)]
pub(super) struct ActiveHop {
    pub(super) invocation: Arc<Invocation>,
    pub(super) catalog: Arc<Catalog>,
    /// The versions of the run's function.
    pub(super) versions: Versions,
    /// The version of the function that the run uses.
    pub(super) function: Arc<FunctionVersion>,
    pub(super) run: RunState,
    pub(super) time: WorkerTime,
    pub(super) limits: RunLimits,
    pub(super) progress: Progress,
    pub(super) execution: Execution,
    /// What earlier writes of this hop left for later writes.
    pub(super) debts: Debts,
    phase: ActivePhase,
}

/// What the hop is waiting for.
#[derive(Clone, Debug)]
pub(super) enum ActivePhase {
    Admitting(Admitting),
    Preparing(Preparing),
    RunSlots(RunSlots),
    /// The inbox is being read, before a new execution or before the next poll of the open one.
    Inbox {
        is_open: bool,
    },
    /// The run continues later, so a promoted ticket is given up. The hop looks up which queues
    /// contain the ticket.
    GivingUpTurn(Box<GivenUpTicket>),
    /// The next call of the executor is being prepared.
    BeforeCall(Box<BeforeCall>),
    /// A new execution of the function is being opened.
    Opening,
    /// The function is being polled. The draft contains outcomes that the function sees before they
    /// are written to the journal.
    Polling(Draft),
    /// The outcomes are being read that the executor has recorded while it was polled.
    ReadingCheckpoints(Box<(Polled, Draft)>),
    Deciding(Box<Registering>),
    Starting(Box<Starting>),
    Suspending(Box<Suspending>),
    Writing(Box<Writing>),
    Promoting(Box<Promoting>),
    /// The runs of calls that were just written are being created.
    Calling(Calling),
    /// Attempts are executing. At this time a sleep ends, which may win a `select!`.
    Running(Option<Timestamp>),
    /// The storage has failed while attempts execute. Their outcomes are being saved.
    Saving(Saving),
    /// The run has ended while attempts execute. The attempts must end and release their slots.
    Draining(Draining),
    Ending(Box<Ending>),
    /// The hop is over.
    Over(Option<StoreFault>),
}

/// What the hop is waiting for while it saves outcomes after a failure of the storage.
#[derive(Clone, Debug)]
pub(super) enum Saving {
    /// Attempts must end.
    Attempts(StoreFault),
    /// The function is being polled, because it may have dropped attempts.
    Poll(StoreFault),
}

/// What the hop is waiting for while attempts of an ended run release their slots.
#[derive(Clone, Debug)]
pub(super) enum Draining {
    /// Attempts must end.
    Attempts,
    /// The release of slots.
    Release,
    /// The promotion of tickets.
    Promote,
}

/// A run that a hop has left.
pub(super) struct LeftRun {
    pub(super) run: RunState,
    /// The number of outcomes that the open execution has seen, if the next hop may continue it.
    pub(super) seen: Option<usize>,
    pub(super) fault: Option<StoreFault>,
}

/// The time of a transition, and the effects collected so far.
pub(super) struct Turn<'e> {
    pub(super) at: Moment,
    pub(super) effects: &'e mut Vec<Effect>,
}

impl Turn<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.at.now
    }

    pub(super) fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn log(&mut self, event: LogEvent) {
        self.effects.push(Effect::Log(event));
    }
}

impl ActiveHop {
    pub(super) fn new(
        invocation: Arc<Invocation>,
        catalog: Arc<Catalog>,
        versions: Versions,
        loaded: LoadedRun,
    ) -> Self {
        let LoadedRun { run, worker_timeout, longest_step } = loaded;
        let function = versions.for_run(&run).function.clone();
        let deadline = invocation.deadline.unwrap_or(invocation.began + worker_timeout);
        let lease_until = deadline + invocation.worker.lease_margin;
        let progress = Progress {
            had_ended: false,
            is_admitted: false,
            has_executed: false,
            due_at_call: HashMap::new(),
            checks_inbox: matches!(invocation.wake.cause, WakeCause::Offered | WakeCause::Watchdog),
            punctuality: Punctuality::Unknown,
            handed_over: HashSet::default(),
            logged_waits: HashSet::default(),
        };
        Self {
            invocation,
            catalog,
            versions,
            function,
            run,
            time: WorkerTime { deadline, lease_until, longest_step },
            limits: RunLimits::default(),
            progress,
            execution: Execution::default(),
            debts: Debts::default(),
            phase: ActivePhase::Over(None),
        }
    }

    /// Starts the hop with a loaded run.
    pub(super) fn begin(&mut self, at: Moment, effects: &mut Vec<Effect>) {
        let turn = &mut Turn { at, effects };
        self.phase = self.enforce_deadline(turn);
    }

    /// Makes one transition.
    pub(super) fn on(&mut self, at: Moment, input: Input, effects: &mut Vec<Effect>) {
        let turn = &mut Turn { at, effects };
        let phase = std::mem::replace(&mut self.phase, ActivePhase::Over(None));
        self.phase = match input {
            Input::StoreFailed(fault) => self.on_failure(phase, fault, turn),
            Input::Unreachable(unreachable) => self.on_unreachable(phase, unreachable, turn),
            input => self.on_answer(phase, input, turn),
        };
    }

    fn on_answer(&mut self, phase: ActivePhase, input: Input, turn: &mut Turn<'_>) -> ActivePhase {
        match (phase, input) {
            (ActivePhase::Admitting(phase), input) => self.admit_on(phase, input, turn),
            (ActivePhase::Preparing(phase), input) => self.prepare_on(phase, input, turn),
            (ActivePhase::RunSlots(phase), input) => self.acquire_run_on(phase, input, turn),
            (ActivePhase::Inbox { is_open }, Input::Inbox(offered)) => self.deliver_from_inbox(offered, is_open, turn),
            (ActivePhase::GivingUpTurn(given_up), Input::Tickets(limits)) => self.give_up_turn(*given_up, limits, turn),
            (ActivePhase::Opening, Input::Opened(opened)) => self.on_opened(opened, turn),
            (ActivePhase::BeforeCall(before), input) => self.admit_call_on(*before, input, turn),
            (ActivePhase::Polling(ahead), Input::Polled(polled)) if polled.has_checkpoints => {
                self.read_checkpoints(*polled, ahead, turn)
            }
            (ActivePhase::Polling(ahead), Input::Polled(polled)) => self.on_polled(*polled, ahead, turn),
            (ActivePhase::ReadingCheckpoints(polled), Input::Entries(records)) => {
                self.on_checkpoints(*polled, &records, turn)
            }
            (ActivePhase::Polling(ahead), Input::TimeIs) if self.execution.call.is_some() => {
                self.on_call_timeout(ahead, turn)
            }
            (ActivePhase::Deciding(registering), input) => self.register_on(*registering, input, turn),
            (ActivePhase::Starting(starting), input) => self.start_on(*starting, input, turn),
            (ActivePhase::Suspending(suspending), input) => self.suspend_on(*suspending, input, turn),
            (ActivePhase::Writing(writing), Input::Written(result)) => self.on_written(*writing, result, turn),
            (ActivePhase::Promoting(promoting), Input::Done | Input::Written(_)) => self.on_promoted(*promoting, turn),
            (ActivePhase::Calling(calls), Input::Done) => self.start_calls(calls, turn),
            (ActivePhase::Running(_), Input::Finished(finished)) => self.on_finished(finished, turn),
            (ActivePhase::Running(due), Input::TimeIs) => self.await_bodies(due, turn),
            (ActivePhase::Saving(phase), input) => self.save_on(phase, input, turn),
            (ActivePhase::Draining(phase), input) => self.drain_on(phase, input, turn),
            (ActivePhase::Ending(ending), input) => self.end_on(*ending, input, turn),
            (phase, input) => self.reject(&phase, &input, turn),
        }
    }

    /// Gives up because the input does not belong to this phase. The queue delivers the wake again,
    /// and the next hop decides from the journal.
    pub(super) fn reject(&mut self, phase: &dyn std::fmt::Debug, input: &Input, turn: &mut Turn<'_>) -> ActivePhase {
        let why = format!("the hop has no use for {input:?} while {phase:?}");
        self.give_up(StoreFault::Unavailable(why), turn)
    }

    fn on_failure(&mut self, phase: ActivePhase, fault: StoreFault, turn: &mut Turn<'_>) -> ActivePhase {
        match phase {
            ActivePhase::Writing(writing) => self.on_write_failed(*writing, fault, turn),
            ActivePhase::Promoting(promoting) => self.on_promotion_failed(*promoting, fault, turn),
            ActivePhase::Polling(ahead) => self.keep(ahead, KeepReason::Failure(fault), turn),
            ActivePhase::ReadingCheckpoints(polled) => self.keep(polled.1, KeepReason::Failure(fault), turn),
            ActivePhase::Deciding(registering) => {
                self.keep(registering.into_written(), KeepReason::Failure(fault), turn)
            }
            ActivePhase::Starting(starting) => {
                let draft = self.abandon_starts(*starting);
                self.keep(draft, KeepReason::Failure(fault), turn)
            }
            ActivePhase::BeforeCall(before) => {
                let draft = self.abandon_call(*before);
                self.keep(draft, KeepReason::Failure(fault), turn)
            }
            ActivePhase::Suspending(suspending) => self.keep(suspending.into_draft(), KeepReason::Failure(fault), turn),
            ActivePhase::Saving(Saving::Attempts(first) | Saving::Poll(first)) => {
                turn.log(LogEvent::OutcomesLost(fault));
                self.give_up(first, turn)
            }
            ActivePhase::Draining(_)
            | ActivePhase::Admitting(_)
            | ActivePhase::Preparing(_)
            | ActivePhase::RunSlots(_)
            | ActivePhase::GivingUpTurn(_)
            | ActivePhase::Ending(_)
            | ActivePhase::Over(_) => self.give_up(fault, turn),
            ActivePhase::Inbox { .. } | ActivePhase::Opening | ActivePhase::Calling(_) | ActivePhase::Running(_) => {
                self.fail(fault, turn)
            }
        }
    }

    /// Returns what the hop has left, once it is over. Before that, returns the hop itself.
    pub(super) fn into_end(self: Box<Self>) -> Result<LeftRun, Box<Self>> {
        match self.phase {
            ActivePhase::Over(fault) => {
                Ok(LeftRun { seen: self.execution.seen_by_next(&self.run), run: self.run, fault })
            }
            _ => Err(self),
        }
    }

    /// Applies the entries that other writers have written.
    pub(super) fn read_on(&mut self, records: &[Record]) -> Result<(), StoreFault> {
        let extended = records.iter().try_for_each(|record| self.run.extend(record));
        extended.map_err(|corrupt| StoreFault::Unreadable(corrupt.to_string()))
    }

    pub(super) fn holder(&self, step: &StepId, attempt: u32) -> Holder {
        Holder::Attempt { run: self.run.run, step: step.clone(), attempt, hop: self.invocation.hop }
    }

    /// Returns the slots that this hop holds for an attempt.
    fn slots_of(&self, step: &StepId, attempt: u32) -> impl Iterator<Item = (Limit, Holder)> + use<'_> {
        let holder = self.holder(step, attempt);
        self.limits.of_steps.iter().map(move |limit| (limit.clone(), holder.clone()))
    }

    /// Returns the writes that release the slots of an attempt in this hop.
    pub(super) fn releases_of(&self, step: &StepId, attempt: u32) -> impl Iterator<Item = LateWrite> + use<'_> {
        self.slots_of(step, attempt).map(release)
    }

    /// Adds the slots that this hop holds for an attempt to those that a later write releases.
    pub(super) fn owe_slots(&mut self, step: &StepId, attempt: u32) {
        let slots: Vec<(Limit, Holder)> = self.slots_of(step, attempt).collect();
        self.debts.releases.extend(slots);
    }

    /// Returns the writes that remove a ticket from the queues of all limits.
    pub(super) fn dequeue(&self, of: &RunOrStep) -> Vec<LateWrite> {
        let run = self.run.run;
        let leave = |limit: &Limit| LateWrite::Dequeue { limit: limit.clone(), run, of: Some(of.clone()) };
        self.limits.of_steps.iter().map(leave).collect()
    }

    pub(super) fn cause(&self) -> &WakeCause {
        &self.invocation.wake.cause
    }

    pub(super) fn is_redelivered(&self) -> bool {
        self.invocation.is_redelivered()
    }

    pub(super) fn wake(&self, cause: WakeCause) -> Wake {
        Wake { run: self.run.run, cause, group: self.run.created.function.clone() }
    }

    /// Creates a wake of the run that is due at a certain time.
    pub(super) fn wake_at(&self, cause: WakeCause, due: Timestamp, now: Timestamp) -> EarlyWrite {
        later(self.wake(cause), due, now, self.invocation.worker.max_delay)
    }

    pub(super) fn spec(&self) -> &Spec {
        &self.function.spec
    }

    /// Returns the delay before a retry.
    pub(super) fn retry_wait(&self, wait: Duration) -> Duration {
        self.invocation.worker.retry_delay.unwrap_or(wait)
    }

    /// Returns the seed for the jitter of an attempt's retry.
    pub(super) fn seed(&self, step: &str, attempt: u32) -> u64 {
        let (hop, run) = (self.invocation.hop.to_be_bytes(), self.run.run.to_bytes());
        id::hash(&[b"jitter", &hop, &run, step.as_bytes(), &attempt.to_be_bytes()]) as u64
    }

    /// Returns the inputs of a decision. `pending` contains outcomes that the function saw but that
    /// are not written yet.
    pub(super) fn situation(&self, pending: &[Entry], now: Timestamp) -> PlanContext<'_> {
        PlanContext {
            now,
            worker: &self.invocation.worker.process,
            // an attempt of an executor in another process may go on after the death of its worker
            alone: self.invocation.worker.is_alone && !self.function.executes_in_poll,
            longest: self.time.longest_step,
            spec: self.spec(),
            pending: pending.iter().map(|entry| bounds::kept_bytes(&entry.fact)).sum(),
        }
    }

    /// Returns how many attempts are running according to the journal.
    pub(super) fn running_attempts(&self) -> usize {
        self.run.steps.values().filter(|step| matches!(step.state, StepState::Running { .. })).count()
    }

    pub(super) fn on_finished(&mut self, finished: Finished, turn: &mut Turn<'_>) -> ActivePhase {
        self.execution.dropped.extend(finished.dropped);
        self.outcomes(finished.results, turn)
    }

    pub(super) fn phase_name(&self) -> &'static str {
        match &self.phase {
            ActivePhase::Admitting(_) => "Admitting",
            ActivePhase::Preparing(_) => "Preparing",
            ActivePhase::RunSlots(_) => "RunSlots",
            ActivePhase::Inbox { .. }
            | ActivePhase::GivingUpTurn(_)
            | ActivePhase::Opening
            | ActivePhase::BeforeCall(_)
            | ActivePhase::Polling(_)
            | ActivePhase::ReadingCheckpoints(_) => "Replaying",
            ActivePhase::Deciding(_) | ActivePhase::Calling(_) => "Deciding",
            ActivePhase::Starting(_) => "Starting",
            ActivePhase::Suspending(_) => "Suspending",
            ActivePhase::Writing(_) => "Writing",
            ActivePhase::Promoting(_) => "Promoting",
            ActivePhase::Running(_) => "Running",
            ActivePhase::Saving(_) => "Saving",
            ActivePhase::Draining(_) => "Draining",
            ActivePhase::Ending(_) | ActivePhase::Over(_) => "Ending",
        }
    }
}
