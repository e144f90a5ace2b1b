//! Handles an executor that cannot be reached. This is not a failure of the code: it uses no retry,
//! and no failure is written.
//!
//! If the function cannot be opened or polled, the hop ends and leaves one later wake. The journal
//! records once that the executor is unreachable, and once that it is reachable again. An attempt
//! that could not be executed is taken back: its slots are released, and its number is used again.
//! The delay grows to at most five minutes; the executor is tried again without end. But if the
//! connection broke while the executor had the request, its code may have ended its process. After
//! ten such times in a row the step fails, or the run if a call broke.

use std::time::Duration;

use crate::hop::active::{ActiveHop, ActivePhase, Saving, Turn};
use crate::hop::effect::LogEvent;
use crate::hop::input::{Input, Unreachable};
use crate::hop::keeping::KeepReason;
use crate::hop::progress::Body;
use crate::hop::timing::GivenUpTicket;
use crate::hop::writing::{Ack, Draft, Next};
use crate::journal::{Entry, Fact, Failure};
use crate::limits::INTERRUPTIONS;
use crate::report::AttemptReport;
use crate::retry::Backoff;
use crate::sentence::shortened;
use crate::{ErrorCode, Timestamp, WakeCause};

/// The delay before an executor is tried again for the first time.
const FIRST: Duration = Duration::from_secs(1);
/// The maximum delay, without jitter.
const LONGEST: Duration = Duration::from_secs(300);

impl ActiveHop {
    /// Continues after the executor could not be reached to open or poll the function.
    pub(super) fn on_unreachable(
        &mut self,
        phase: ActivePhase,
        unreachable: Unreachable,
        turn: &mut Turn<'_>,
    ) -> ActivePhase {
        match phase {
            ActivePhase::Opening => self.leave_unreachable(&unreachable, turn),
            // while attempts execute, the function has seen nothing that is not in the journal, so
            // the next poll can wait until an attempt ends
            ActivePhase::Polling(mut ahead) if !self.execution.bodies.is_empty() => {
                self.end_call(&mut ahead, turn);
                self.leave_or_await(ahead, turn)
            }
            ActivePhase::Polling(mut ahead) => {
                self.end_broken_call(unreachable.is_broken, &mut ahead, turn);
                if unreachable.is_broken && self.run.call_interruptions.saturating_add(1) >= INTERRUPTIONS {
                    let error = broken("a call of the function", &unreachable);
                    ahead.entries.push(Fact::RunFailed { error }.into_entry(turn.now()));
                    return self.write(ahead, Ack::Later, Next::RoundOrKeep, turn);
                }
                self.keep(ahead, KeepReason::Unreachable(unreachable), turn)
            }
            ActivePhase::Saving(Saving::Poll(fault)) => {
                self.keep_outcomes(Draft::default(), KeepReason::Saving(fault), turn)
            }
            phase => self.reject(&phase, &Input::Unreachable(unreachable), turn),
        }
    }

    /// Leaves the run until its executor is tried again. The delay is as long as the executor has
    /// been unreachable so far.
    pub(super) fn leave_unreachable(&mut self, unreachable: &Unreachable, turn: &mut Turn<'_>) -> ActivePhase {
        let now = turn.now();
        let since = self.run.unreachable.as_ref().map_or(now, |outage| outage.since);
        let wait = now.since(since).clamp(FIRST, LONGEST);
        let due = now + Backoff::exponential(wait, LONGEST).delay(1, self.seed("", 0));
        turn.log(LogEvent::Unreachable { why: unreachable.why.as_str().into(), due });
        let mut draft = Draft::default();
        if self.run.unreachable.is_none() {
            let why = shortened(&unreachable.why).into();
            draft.entries.push(Fact::ExecutorUnreachable { why }.into_entry(now));
        }
        let cause = self.cause().clone().replaced_unless_needed(WakeCause::Again);
        draft.before.push(self.wake_at(cause, due, now));
        match self.promoted_ticket() {
            // the hop of the later wake either finds the ticket or enqueues a new one
            Some(of) if !is_soon(due, now) => self.find_given_up_ticket(GivenUpTicket { draft, of, wake: None }, turn),
            Some(_) | None => self.write(draft, Ack::Now, Next::LeaveOrRound, turn),
        }
    }

    /// Returns the entry that says that the executor is reachable again, if the journal says that
    /// it is unreachable.
    pub(super) fn reached(&self, now: Timestamp) -> Option<Entry> {
        self.run.unreachable.as_ref().map(|_| Fact::ExecutorReached.into_entry(now))
    }

    /// Takes back an attempt that the executor could not execute, and adds the wake of the next try
    /// (rule 11).
    pub(super) fn take_back(&self, body: &Body, unreachable: &Unreachable, now: Timestamp, draft: &mut Draft) -> Entry {
        let (step, attempt) = (body.ready.step.clone(), body.ready.attempt);
        let state = self.run.steps.get(&step);
        if unreachable.is_broken && state.map_or(0, |step| step.broken).saturating_add(1) >= INTERRUPTIONS {
            let error = broken(format_args!("step `{step}`"), unreachable);
            let report = AttemptReport::default();
            return Fact::StepFailed { step, attempt, error, retry_at: None, report }.into_entry(now);
        }
        let times = state.map_or(0, |step| step.unreachable).saturating_add(1);
        let retry_at = now + Backoff::exponential(FIRST, LONGEST).delay(times, self.seed(&step, attempt));
        let cause = if body.ready.woken { WakeCause::Step(step.clone()) } else { WakeCause::Due };
        draft.before.push(self.wake_at(cause, retry_at, now));
        let (why, hop) = (shortened(&unreachable.why).into(), Some(self.invocation.hop));
        let broken = unreachable.is_broken;
        Fact::AttemptUnreachable { step, attempt, why, retry_at, hop, broken }.into_entry(now)
    }
}

/// Creates the failure after the connection to the executor has broken too often in a row.
fn broken(what: impl std::fmt::Display, unreachable: &Unreachable) -> Failure {
    let why = shortened(&unreachable.why);
    let message = format!(
        "the connection to the executor broke {INTERRUPTIONS} times in a row during {what}; its code may end its \
         process each time: {why}"
    );
    Failure::with_code(message, ErrorCode::Interrupted)
}

/// Returns whether `due` is so soon that a free slot may wait until then for its promoted ticket.
pub(super) fn is_soon(due: Timestamp, now: Timestamp) -> bool {
    due <= now + Duration::from_secs(5)
}
