//! How a hop ends, and what it leaves to a later hop: slots that it could not release, and tickets
//! that it could not promote (rule 22).

use crate::hop::active::{ActiveHop, ActivePhase, Saving, Turn};
use crate::hop::effect::{Effect, LateWrite};
use crate::hop::input::StoreFault;
use crate::hop::starting::Starts;

impl ActiveHop {
    /// Ends the hop after its wake was acknowledged. If tickets could not be promoted, the hop
    /// fails instead, so that the wake is delivered again.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        let fault = self.debts.unpromoted.clone();
        self.defer(turn);
        ActivePhase::Over(fault)
    }

    /// Ends the hop after a failure.
    pub(super) fn give_up(&mut self, fault: StoreFault, turn: &mut Turn<'_>) -> ActivePhase {
        self.defer(turn);
        ActivePhase::Over(Some(fault))
    }

    /// Leaves to a later hop what this hop could not release or promote. Attempts that are still
    /// executing are dropped with the hop.
    fn defer(&mut self, turn: &mut Turn<'_>) {
        self.owe_call();
        for (step, body) in std::mem::take(&mut self.execution.bodies) {
            self.owe_slots(&step, body.ready.attempt);
        }
        let releases = std::mem::take(&mut self.debts.releases);
        let promote = match self.debts.unpromoted.take() {
            Some(_) => self.limits.of_steps.clone(),
            None => Vec::new(),
        };
        if !releases.is_empty() || !promote.is_empty() {
            turn.emit(Effect::Defer { releases, promote });
        }
    }

    /// Saves the outcomes of executing attempts after a failure, then gives up. If an attempt were
    /// interrupted instead, it would be executed again, and only after its lease has expired.
    pub(super) fn fail(&mut self, fault: StoreFault, turn: &mut Turn<'_>) -> ActivePhase {
        if self.execution.bodies.is_empty() {
            return self.give_up(fault, turn);
        }
        self.await_bodies_in(ActivePhase::Saving(Saving::Attempts(fault)), None, turn)
    }

    pub(super) fn owe_releases(&mut self, after: Vec<LateWrite>) {
        let slot = |after| match after {
            LateWrite::Release { limit, holder } => Some((limit, holder)),
            LateWrite::MarkEnded { .. }
            | LateWrite::Dequeue { .. }
            | LateWrite::DequeuePaused { .. }
            | LateWrite::Unsubscribe(_)
            | LateWrite::TakeFromInbox { .. } => None,
        };
        self.debts.releases.extend(after.into_iter().filter_map(slot));
    }

    pub(super) fn owe_starts(&mut self, starts: &Starts) {
        for ready in &starts.starting {
            self.owe_slots(&ready.step, ready.attempt);
        }
    }
}
