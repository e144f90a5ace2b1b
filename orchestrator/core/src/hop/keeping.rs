//! Saves outcomes of bodies, which must not be lost. After a conflict, only outcomes are written
//! again (rule 4). After a failure of the storage, the outcomes of executing attempts are saved.
//! After the end of the run, its attempts release their slots.

use crate::hop::active::{ActiveHop, ActivePhase, Draining, Saving, Turn};
use crate::hop::effect::{EarlyWrite, Effect, Write};
use crate::hop::facts::{is_executed, is_outcome};
use crate::hop::input::{Finished, Input, PollResult, StoreFault, Unreachable};
use crate::hop::progress::release;
use crate::hop::writing::{Ack, Draft, Next};
use crate::journal::{Entry, Fact};
use crate::{Timestamp, WakeCause};

/// Why outcomes are written alone, in a separate write.
#[derive(Clone, Debug)]
pub(super) enum KeepReason {
    /// Another hop was faster, so the run is decided again.
    Overtaken,
    /// The storage failed, so the hop fails afterwards.
    Failure(StoreFault),
    /// The storage failed earlier, and outcomes of further attempts are being saved.
    Saving(StoreFault),
    /// The executor cannot be reached. The run is left until the executor is tried again.
    Unreachable(Unreachable),
}

impl ActiveHop {
    /// Writes only the outcomes of a draft. Its wakes are dropped, except those of retries, but its
    /// releases are kept.
    pub(super) fn keep(&mut self, draft: Draft, reason: KeepReason, turn: &mut Turn<'_>) -> ActivePhase {
        let Draft { entries, after, .. } = draft;
        let before = self.retry_wakes(&entries, turn.now());
        self.keep_outcomes(Draft { before, entries, after, ..Draft::default() }, reason, turn)
    }

    /// Returns whether an entry is kept after a conflict: the outcome of a body, or the failure of
    /// a call. A call would not fail again in the same way, and a step that was abandoned with the
    /// failure starts again only after it.
    fn is_kept(&self, entry: &Entry) -> bool {
        let is_failed_call = self.function.executes_in_poll && matches!(entry.fact, Fact::HandlerFailed { .. });
        is_outcome(entry) || is_failed_call
    }

    /// Returns the wakes of the retries in these entries (rule 11).
    pub(super) fn retry_wakes(&self, entries: &[Entry], now: Timestamp) -> Vec<EarlyWrite> {
        let wake = |entry: &Entry| match &entry.fact {
            Fact::StepFailed { step, retry_at: Some(due), .. } => {
                let is_woken = self.run.steps.get(step).is_some_and(|step| step.woken);
                let cause = if is_woken { WakeCause::Step(step.clone()) } else { WakeCause::Due };
                Some(self.wake_at(cause, *due, now))
            }
            Fact::HandlerFailed { retry_at, .. } if self.is_kept(entry) => {
                Some(self.wake_at(WakeCause::Due, *retry_at, now))
            }
            _ => None,
        };
        entries.iter().filter_map(wake).collect()
    }

    /// Writes only the outcomes of a draft, with the wakes of their retries.
    pub(super) fn keep_outcomes(&mut self, mut draft: Draft, reason: KeepReason, turn: &mut Turn<'_>) -> ActivePhase {
        let all = draft.entries.clone();
        draft.entries.retain(|entry| self.is_kept(entry) || is_executed(entry, &all));
        draft.entries = self.admitted(draft.entries);
        if draft.entries.is_empty() {
            draft.before.clear();
            if draft.after.is_empty() && self.debts.releases.is_empty() {
                return self.kept(reason, turn);
            }
        }
        self.write(draft, Ack::Later, Next::Kept(reason), turn)
    }

    /// Continues after outcomes were written or refused.
    pub(super) fn kept(&mut self, reason: KeepReason, turn: &mut Turn<'_>) -> ActivePhase {
        match reason {
            KeepReason::Overtaken if self.execution.bodies.is_empty() => self.begin_round(turn),
            // while bodies execute, the function has seen nothing that is not in the journal, so
            // the execution can continue
            KeepReason::Overtaken => self.advance(turn),
            KeepReason::Failure(fault) | KeepReason::Saving(fault) => self.fail(fault, turn),
            KeepReason::Unreachable(unreachable) => self.leave_unreachable(&unreachable, turn),
        }
    }

    /// Writes outcomes again after a conflict, until each is written or refused.
    pub(super) fn write_outcomes_again(&mut self, mut draft: Draft, ack: Ack, turn: &mut Turn<'_>) -> ActivePhase {
        draft.entries = self.admitted(draft.entries);
        if draft.entries.is_empty() {
            return self.keep(draft, KeepReason::Overtaken, turn);
        }
        self.write(draft, ack, Next::Outcomes(ack), turn)
    }

    /// Returns the entries that the journal still admits.
    fn admitted(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut admitted: Vec<Entry> = Vec::with_capacity(entries.len());
        for entry in entries {
            admitted.push(entry);
            if self.run.admits_all(&admitted).is_err() {
                admitted.pop();
            }
        }
        admitted
    }

    /// Continues with the next input while outcomes are saved.
    pub(super) fn save_on(&mut self, phase: Saving, input: Input, turn: &mut Turn<'_>) -> ActivePhase {
        match (phase, input) {
            (Saving::Attempts(fault), Input::TimeIs) => {
                self.await_bodies_in(ActivePhase::Saving(Saving::Attempts(fault)), None, turn)
            }
            (Saving::Attempts(fault), Input::Finished(Finished { results, dropped })) => {
                self.execution.dropped.extend(dropped);
                if results.is_empty() {
                    // the function has made progress: its new requests are decided again, and
                    // dropped bodies are not awaited
                    turn.emit(Effect::Poll(Vec::new()));
                    return ActivePhase::Saving(Saving::Poll(fault));
                }
                let draft = self.draft_of(results, turn);
                self.keep_outcomes(draft, KeepReason::Saving(fault), turn)
            }
            (Saving::Poll(fault), Input::Polled(polled)) => {
                self.execution.log.extend(polled.lines);
                self.execution.log.add_labels(polled.labels);
                self.execution.dropped.extend(polled.dropped);
                if matches!(polled.result, PollResult::Ended(_)) {
                    return self.give_up(fault, turn);
                }
                let mut draft = Draft::default();
                self.abandon_dropped(&mut draft, turn);
                self.keep_outcomes(draft, KeepReason::Saving(fault), turn)
            }
            (phase, input) => self.reject(&phase, &input, turn),
        }
    }

    /// Waits for attempts to end after the run has ended, for example because it was cancelled.
    /// Their outcomes are refused, and their slots are released.
    pub(super) fn drain(&mut self, turn: &mut Turn<'_>) -> ActivePhase {
        if self.execution.bodies.is_empty() {
            return self.begin_round(turn);
        }
        self.await_bodies_in(ActivePhase::Draining(Draining::Attempts), None, turn)
    }

    /// Continues with the next input while attempts of an ended run end.
    pub(super) fn drain_on(&mut self, phase: Draining, input: Input, turn: &mut Turn<'_>) -> ActivePhase {
        match (phase, input) {
            (Draining::Attempts, Input::TimeIs) => self.drain(turn),
            (Draining::Attempts, Input::Finished(Finished { results, dropped })) => {
                let before = std::mem::take(&mut self.execution.dropped);
                let steps = results.into_iter().map(|result| result.step);
                let steps = steps.chain(before.into_iter().chain(dropped).map(|(step, _)| step));
                for step in steps {
                    if let Some(body) = self.execution.bodies.remove(&step) {
                        self.owe_slots(&step, body.ready.attempt);
                    }
                }
                if self.debts.releases.is_empty() {
                    return self.drain(turn);
                }
                // the releases are kept for a later hop, in case the write fails
                let after = self.debts.releases.iter().cloned().map(release).collect();
                turn.emit(Effect::Write(Box::new(Write { after, ..Write::default() })));
                ActivePhase::Draining(Draining::Release)
            }
            (Draining::Release, Input::Written(_)) => {
                self.debts.releases.clear();
                turn.emit(Effect::Promote(self.limits.of_steps.clone()));
                ActivePhase::Draining(Draining::Promote)
            }
            (Draining::Promote, Input::Done) => self.drain(turn),
            (phase, input) => self.reject(&phase, &input, turn),
        }
    }
}
