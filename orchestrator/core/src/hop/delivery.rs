//! The delivery of a wake, apart from the run that it moves: loading the run, wakes without a run
//! or without a registered function, and what happens to the wake after a failure of the storage
//! (rules 13 and 34).

use std::time::Duration;

use crate::hop::active::ActiveHop;
use crate::hop::effect::{EarlyWrite, Effect, LogEvent, Write};
use crate::hop::ending::EndWrites;
use crate::hop::input::{Input, LoadedRun, Moment, StoreFault, WriteResult};
use crate::hop::{Hop, Invocation, Phase, later};
use crate::state::{RunEnd, RunState};
use crate::{Timestamp, Wake, WakeCause};

/// The delay of a wake that is sent again after a failure of the storage (rule 13).
const AGAIN: Duration = Duration::from_secs(10);
/// The delay if the queue itself can make the wake visible again, which costs no write.
const BACK: Duration = Duration::from_secs(2);
/// The maximum delay after a permanent error. The delay starts with [`BACK`] and doubles with each
/// delivery.
const BACK_AT_MOST: Duration = Duration::from_secs(300);
/// The first delay before an unregistered function of a run is looked up again.
pub(super) const UNREGISTERED: Duration = Duration::from_secs(60);
/// The maximum delay before an unregistered function of a run is looked up again. The delay starts
/// with [`UNREGISTERED`] and grows while nothing happens.
const UNREGISTERED_AT_MOST: Duration = Duration::from_secs(900);
/// The number of minutes for which a tick waits for a worker that knows its function.
const TICK_WAITS: i64 = 60;

/// What the hop is waiting for while it has no run, or after it has left its run.
#[derive(Clone, Debug)]
pub(super) enum DeliveryPhase {
    /// The run is being loaded.
    Loading,
    /// The run of a tick is being created.
    CreatingTick,
    /// The end of a run is being announced, and its function is not registered.
    Announcing(Box<(RunState, RunEnd)>),
    /// The wake is being acknowledged, perhaps with a later copy of it.
    Acknowledging,
    /// The storage failed, and the queue is asked to deliver the wake again.
    PuttingBack(StoreFault),
    /// The storage failed and the queue cannot delay the wake, so a copy of the wake is being
    /// written.
    SendingAgain,
}

impl Hop {
    /// Handles the next input while the hop has no run.
    pub(super) fn deliver(self, phase: DeliveryPhase, at: Moment, input: Input, effects: &mut Vec<Effect>) -> Self {
        let Self { invocation, .. } = &self;
        let is_tick = match invocation.wake.cause {
            WakeCause::Tick(minute) => Some(minute),
            _ => None,
        };
        match (phase, input) {
            (DeliveryPhase::Loading, Input::Loaded(Some(loaded))) => self.take_up(*loaded, at, effects),
            (DeliveryPhase::Loading, Input::Loaded(None)) => {
                let knows = self.catalog.newest(&invocation.wake.group).is_some();
                match is_tick {
                    Some(minute) if knows => {
                        effects.push(Effect::CreateTick { minute });
                        self.into_phase(DeliveryPhase::CreatingTick)
                    }
                    Some(minute) if at.now.minute() - minute < TICK_WAITS => {
                        let again = invocation.wake_again(UNREGISTERED, at.now);
                        self.acknowledge(Write { before: vec![again], ..Write::default() }, effects)
                    }
                    Some(_) | None => {
                        effects.push(Effect::Log(LogEvent::NoSuchRun));
                        self.acknowledge(Write::default(), effects)
                    }
                }
            }
            (DeliveryPhase::CreatingTick, Input::Done) => self.acknowledge(Write::default(), effects),
            (DeliveryPhase::Announcing(ended), Input::Done) => {
                let (run, end) = &*ended;
                let EndWrites { after, wakes } = EndWrites::of(run, end, &self.catalog);
                self.acknowledge(Write { after, wakes, ..Write::default() }, effects)
            }
            (DeliveryPhase::Acknowledging, Input::Written(WriteResult::Done(_))) => self.into_done(None),
            (DeliveryPhase::PuttingBack(_), Input::PutBack(true)) => self.into_done(None),
            // the queue counts its deliveries, and will move the wake to the dead letters
            (DeliveryPhase::PuttingBack(fault), Input::PutBack(false)) if fault.is_permanent() => {
                self.into_done(Some(fault))
            }
            (DeliveryPhase::PuttingBack(_), Input::PutBack(false)) => {
                // rule 13: while the storage fails, the queue's maximum number of deliveries must
                // not be used up
                let Wake { run, cause, group } = invocation.wake.clone();
                let wake = Wake { run, cause: cause.replaced_unless_needed(WakeCause::Again), group };
                let before = vec![EarlyWrite::Wake { wake, due: at.now + AGAIN }];
                effects.push(Effect::Write(Box::new(Write { before, acknowledges: true, ..Write::default() })));
                self.into_phase(DeliveryPhase::SendingAgain)
            }
            (DeliveryPhase::SendingAgain, Input::Written(_)) => self.into_done(None),
            (DeliveryPhase::PuttingBack(_), Input::StoreFailed(fault)) => self.into_done(Some(fault)),
            (DeliveryPhase::SendingAgain, Input::StoreFailed(fault)) => {
                effects.push(Effect::Log(LogEvent::SendFailed(fault.clone())));
                self.into_done(Some(fault))
            }
            (_, Input::StoreFailed(fault)) => self.put_back(fault, at, effects),
            (phase, input) => {
                let why = format!("the hop has no use for {input:?} while {phase:?}");
                self.put_back(StoreFault::Unavailable(why), at, effects)
            }
        }
    }

    /// Continues with a loaded run, if its function is registered here.
    fn take_up(self, loaded: LoadedRun, at: Moment, effects: &mut Vec<Effect>) -> Self {
        let Self { invocation, catalog, .. } = &self;
        let run = &loaded.run;
        if let Some(versions) = catalog.versions(&run.created.function) {
            let (invocation, catalog, versions) = (invocation.clone(), catalog.clone(), versions.clone());
            let mut active = Box::new(ActiveHop::new(invocation, catalog, versions, loaded));
            active.begin(at, effects);
            return self.go_on_or_leave(active, at, effects);
        }
        match &run.end {
            Some(end) if catalog.listeners().has_listener(end) => {
                let end = end.clone();
                effects.push(Effect::AnnounceEnd(Box::new(end.clone())));
                self.into_phase(DeliveryPhase::Announcing(Box::new((loaded.run, end))))
            }
            Some(end) => {
                let EndWrites { after, wakes } = EndWrites::of(run, end, catalog);
                self.acknowledge(Write { after, wakes, ..Write::default() }, effects)
            }
            // another version of the program may have the function
            None => {
                effects.push(Effect::Log(LogEvent::Unregistered));
                let wait = (at.now.since(run.last_at) / 10).clamp(UNREGISTERED, UNREGISTERED_AT_MOST);
                let again = invocation.wake_again(wait, at.now);
                self.acknowledge(Write { before: vec![again], ..Write::default() }, effects)
            }
        }
    }

    fn acknowledge(self, write: Write, effects: &mut Vec<Effect>) -> Self {
        effects.push(Effect::Write(Box::new(Write { acknowledges: true, ..write })));
        self.into_phase(DeliveryPhase::Acknowledging)
    }

    /// Returns the wake to the queue after a failure of the storage. After a permanent error, the
    /// delay grows (rule 34).
    pub(super) fn put_back(self, fault: StoreFault, at: Moment, effects: &mut Vec<Effect>) -> Self {
        let wait = if fault.is_permanent() { backoff(self.invocation.receives) } else { BACK };
        effects.push(Effect::Log(LogEvent::StoreFailed(fault.clone())));
        effects.push(Effect::PutBack(at.now + wait));
        self.into_phase(DeliveryPhase::PuttingBack(fault))
    }

    fn into_phase(self, phase: DeliveryPhase) -> Self {
        Self { phase: Phase::Delivery(phase), ..self }
    }

    fn into_done(self, fault: Option<StoreFault>) -> Self {
        Self { phase: Phase::Done { run: None, seen: None, fault }, ..self }
    }
}

impl Invocation {
    /// Returns whether the wake was delivered before, so that an earlier worker may have died while
    /// handling it.
    pub(super) fn is_redelivered(&self) -> bool {
        self.receives > 1
    }

    /// Returns a copy of the wake that is due after `wait`.
    fn wake_again(&self, wait: Duration, now: Timestamp) -> EarlyWrite {
        later(self.wake.clone(), now + wait, now, self.worker.max_delay)
    }
}

/// Returns how long a wake is delayed after a permanent error. The delay depends on the number of
/// deliveries.
fn backoff(receives: u32) -> Duration {
    (BACK * 2_u32.saturating_pow(receives.saturating_sub(1))).min(BACK_AT_MOST)
}
