//! Appends within a hop. An append carries the gathered commit and promotes waiting tickets. A
//! failed append of outcomes is retried where that is useful.

use stepladder_core::journal::{Entry, Fact};
use stepladder_core::state::StepState;

use super::lines::{say_lines, with_something_to_say};
use super::telling::{is_logged, log_start, starts_run};
use super::timing::Punctuality;
use super::{Ack, Hop, log_attempt, log_end};
use crate::ports::{Commit, LateWrite, StoreError};
use crate::runs::Appended;

impl Hop<'_> {
    /// Appends entries with the gathered commit. After a conflict, the releases are kept; the rest
    /// is dropped and decided again.
    pub(crate) async fn append(&mut self, entries: Vec<Entry>, ack: Ack) -> Result<Appended, StoreError> {
        let is_release = |after: &LateWrite| matches!(after, LateWrite::Release { .. } | LateWrite::Dequeue { .. });
        let frees = !self.limits.is_empty() && self.commit.after.iter().any(is_release) || self.unwoken.is_some();
        if ack == Ack::Now && !frees {
            self.commit.acks.push(self.receipt.clone());
        }
        let entries = self.with_admission(entries);
        self.schedule_deadline(&entries);
        let starts = self.state.first_run_at.is_none() && entries.iter().any(|entry| starts_run(&entry.fact));
        let lived = self.state.end.is_none();
        let of_attempts: Vec<Entry> = entries.iter().filter_map(|entry| self.of_attempt(entry)).collect();
        let entries = self.with_lines(entries);
        let telling = with_something_to_say(&entries);
        let appended = self.append_patiently(entries).await?;
        if appended.is_done() {
            self.said.forget_recorded(&self.state);
            say_lines(&self.state, &telling);
            if starts {
                log_start(&self.state);
            }
            for entry in &of_attempts {
                let took = entry.fact.step().and_then(|step| self.took.remove(step));
                log_attempt(&self.state, entry, took.unwrap_or_default());
            }
            if let Some(end) = self.state.end.as_ref().filter(|_| lived) {
                log_end(&self.state, end);
            }
            if frees {
                // tickets are promoted before the wake is acknowledged: after a crash between them,
                // the wake repeats the promotion (rule 22). A failure does not undo the entries:
                // their bodies still start
                self.unwoken = self.hops.slots.promote(&self.limits).await.err();
                if ack == Ack::Now && self.unwoken.is_none() {
                    let acks = vec![self.receipt.clone()];
                    self.hops.runtime.carry_out(Commit { acks, ..Commit::default() }).await?;
                }
            }
            return Ok(appended);
        }
        tracing::debug!(run = %self.state.run, ?appended, "overtaken; deciding again");
        self.forget();
        self.unsay();
        // another hop has handled this wake's work: the wake may have been sent for another moment
        self.punctuality = Punctuality::Unknown;
        Ok(appended)
    }

    /// Returns what an entry says about an attempt's end. A start over a running attempt means that
    /// its worker died.
    fn of_attempt(&self, entry: &Entry) -> Option<Entry> {
        let Fact::StepStarted { step, .. } = &entry.fact else {
            return is_logged(&entry.fact).then(|| entry.clone());
        };
        let before = self.state.steps.get(step).filter(|step| matches!(step.state, StepState::Running { .. }))?;
        Some(Fact::AttemptInterrupted { step: step.clone(), attempt: before.attempt }.at(entry.at))
    }

    /// Promotes waiting tickets, if an earlier promotion failed.
    pub(crate) async fn wake_the_unwoken(&mut self) -> Result<(), StoreError> {
        if self.unwoken.is_some() {
            self.hops.slots.promote(&self.limits).await?;
            self.unwoken = None;
        }
        Ok(())
    }

    /// Keeps the releases of the gathered commit and drops the rest.
    pub(crate) fn forget(&mut self) {
        self.commit.before.clear();
        self.commit.wakes.clear();
        self.commit.acks.clear();
        self.commit.after.retain(|after| matches!(after, LateWrite::Release { .. }));
    }

    /// Appends entries and retries outcomes while their lease lasts, where this process is the only
    /// one. A full disk must not lose a body's result. A record with a start is not retried: it
    /// would be late.
    async fn append_patiently(&mut self, entries: Vec<Entry>) -> Result<Appended, StoreError> {
        let starts = entries.iter().any(|entry| matches!(entry.fact, Fact::StepStarted { .. }));
        let patient = self.hops.runtime.config.is_only_process && !starts && entries.iter().any(is_outcome);
        let until = patient.then_some(self.lease_until);
        self.hops.runs.append_until(&mut self.state, entries, &mut self.commit, until).await
    }
}

/// Returns whether an entry is the outcome of a body.
pub(crate) fn is_outcome(entry: &Entry) -> bool {
    matches!(entry.fact, Fact::StepSucceeded { .. } | Fact::StepFailed { .. } | Fact::StepAbandoned { .. })
}
