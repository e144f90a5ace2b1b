//! The results of bodies: outcomes, retries, and what is kept after a conflict.

use std::time::Duration;

use stepladder_core::journal::{Entry, Fact, Failure};
use stepladder_core::state::{RevealedOutcome, StepState};
use stepladder_core::{ErrorCode, Json, Report, Timestamp, WakeCause, bounds};

use super::append::is_outcome;
use super::{Ack, Hop, Next, Running};
use crate::ports::{Commit, StoreError};
use crate::program::{AdvisedFailure, FinishedStep, PollResult, Session};
use crate::runs::Appended;

impl Hop<'_> {
    /// Turns ended bodies into entries.
    ///
    /// If no other body runs here and each outcome is final, the handler sees the outcomes before
    /// they are written. What follows from them (the next step's start, the run's end) is then in
    /// the same write. A conflict loses nothing: the session is dropped, and replayed from the
    /// journal.
    pub(crate) async fn outcomes(
        &mut self,
        session: &mut dyn Session,
        finished: Vec<FinishedStep>,
    ) -> Result<Next, StoreError> {
        let now = self.now();
        let mut entries = Vec::with_capacity(finished.len());
        for FinishedStep { step, result } in finished {
            let Some(running) = self.running.remove(&step) else { continue };
            self.release_attempt(&step, running.ready.attempt);
            self.took.insert(step.clone(), now.since(running.began));
            let report = session.take_report(&step);
            let entry = self.outcome(running, result, (report, now));
            entries.push(entry);
        }
        // before the handler sees them: each outcome is also checked against earlier ones in this
        // write
        let entries = bounds::fit_entries(&self.state, entries);
        if entries.is_empty() {
            return Ok(Next::Advance); // a timer's time has come, or the handler moved on by itself
        }
        if self.running.is_empty() && entries.iter().all(|e| RevealedOutcome::from(e).is_some()) {
            entries.iter().filter_map(RevealedOutcome::from).for_each(|revealed| session.reveal(revealed));
            self.pending = entries;
            return Ok(Next::Advance);
        }
        self.append_outcomes(session, entries).await
    }

    /// Appends outcomes at once, then shows them. After a conflict, retries until each is written
    /// or refused.
    async fn append_outcomes(
        &mut self,
        session: &mut dyn Session,
        mut entries: Vec<Entry>,
    ) -> Result<Next, StoreError> {
        let alone = self.running.is_empty();
        // only failures with a later retry: their wakes are written, and this wake is acknowledged.
        // While another process's attempt runs, its lease must still be watched (rule 10).
        let running = self.state.steps.values().filter(|s| matches!(s.state, StepState::Running { .. })).count();
        let lonely = alone && running == entries.len() && !self.is_early();
        let ack = match lonely && entries.iter().all(|e| RevealedOutcome::from(e).is_none()) {
            true => Ack::Now,
            false => Ack::Later,
        };
        let retries = self.commit.before.clone();
        loop {
            match self.append(entries.clone(), ack).await? {
                Appended::Done if ack == Ack::Now => return Ok(Next::Done),
                Appended::Done => break,
                Appended::Conflict => {}
                Appended::Refused => {
                    let state = &self.state;
                    entries.retain(|entry| state.admits(entry).is_ok());
                    if entries.is_empty() {
                        self.release_now().await?;
                        break;
                    }
                }
            }
            self.commit.before = retries.clone();
        }
        if alone && self.state.end.is_none() && entries.is_empty() {
            return Ok(Next::Again);
        }
        self.reveal_recorded(session);
        Ok(Next::Advance)
    }

    /// Keeps only the outcomes after a conflict of their write (rule 4); the run is decided again.
    pub(crate) async fn keep_outcomes(
        &mut self,
        session: &mut dyn Session,
        mut entries: Vec<Entry>,
    ) -> Result<Next, StoreError> {
        entries.retain(is_outcome);
        loop {
            let state = &self.state;
            entries.retain(|entry| state.admits(entry).is_ok());
            if entries.is_empty() {
                self.release_now().await?;
                break;
            }
            if self.append(entries.clone(), Ack::Later).await?.is_done() {
                break;
            }
        }
        if self.running.is_empty() {
            return Ok(Next::Again);
        }
        // nothing is shown ahead of the journal while bodies run: the session continues where it is
        self.reveal_recorded(session);
        Ok(Next::Advance)
    }

    /// Writes the outcomes by themselves, because the handler's next entries failed, and returns
    /// that error. Otherwise their bodies would execute again.
    pub(crate) async fn save_outcomes(
        &mut self,
        session: &mut dyn Session,
        entries: Vec<Entry>,
        error: StoreError,
    ) -> StoreError {
        self.commit.before.clear();
        self.commit.wakes.clear();
        if let Err(second) = self.keep_outcomes(session, entries).await {
            tracing::warn!(run = %self.state.run, error = %second, "outcomes could not be written; their steps run again");
        }
        error
    }

    /// Lets running bodies end after a failure of the storage, and writes their outcomes. An
    /// interrupted body would execute again, and only after its lease ends.
    pub(crate) async fn save_before_error(&mut self, session: &mut dyn Session) {
        while !self.running.is_empty() {
            let finished = self.wait(session, None).await;
            let now = self.now();
            let mut entries = Vec::with_capacity(finished.len());
            if finished.is_empty() {
                // the handler has moved on: its new wants are decided again, and dropped bodies are
                // not awaited
                let advance = session.advance().await;
                self.said.hear(session);
                if matches!(advance, PollResult::Ended(_)) {
                    return;
                }
                self.abandon(session, &mut entries);
            }
            for FinishedStep { step, result } in finished {
                let Some(running) = self.running.remove(&step) else { continue };
                self.release_attempt(&step, running.ready.attempt);
                self.took.insert(step.clone(), now.since(running.began));
                let report = session.take_report(&step);
                let entry = self.outcome(running, result, (report, now));
                entries.push(entry);
            }
            if let Err(error) = self.keep_outcomes(session, entries).await {
                tracing::warn!(run = %self.state.run, %error, "outcomes could not be written; their steps run again");
                return;
            }
        }
    }

    /// Releases slots although nothing is appended (rule 22: a refused worker still releases).
    async fn release_now(&mut self) -> Result<(), StoreError> {
        if self.commit.after.is_empty() {
            return Ok(());
        }
        self.append(Vec::new(), Ack::Later).await.map(drop)
    }

    /// Lets bodies finish after the run has ended, for example by a cancellation. Their outcomes
    /// are refused, and their slots are released.
    pub(crate) async fn finish_after_end(&mut self, session: &mut dyn Session) -> Result<(), StoreError> {
        self.pending.clear();
        while !self.running.is_empty() {
            let finished = self.wait(session, None).await;
            let ended = finished.into_iter().map(|finished| finished.step).chain(session.take_dropped());
            for step in ended.collect::<Vec<_>>() {
                if let Some(running) = self.running.remove(&step) {
                    self.release_attempt(&step, running.ready.attempt);
                }
            }
            let after = std::mem::take(&mut self.commit.after);
            self.hops.runtime.carry_out(Commit { after, ..Commit::default() }).await?;
            self.hops.slots.promote(&self.limits).await?;
        }
        Ok(())
    }

    /// Returns the entry for a body's result.
    fn outcome(
        &mut self,
        running: Running,
        result: Result<Json, AdvisedFailure>,
        (report, now): (Report, Timestamp),
    ) -> Entry {
        let ready = running.ready;
        let (step, attempt) = (ready.step, ready.attempt);
        let AdvisedFailure { failure, retry } = match result {
            Ok(output) => return Fact::StepSucceeded { step, attempt, output, report }.at(now),
            Err(fault) => fault,
        };
        let seed = self.hops.runtime.entropy.bits() as u64;
        let (failure, retry_at) = match &ready.poll {
            Some((poll, checks, began)) if failure.is_not_yet() => {
                let checks = checks.saturating_add(1);
                match poll.next_check(checks, *began, now, seed) {
                    // a configured retry delay does not move this attempt past its due time
                    Some(due) => (failure, Some((now + self.hops.runtime.retry_wait(due.since(now))).min(due))),
                    None => (timed_out(&step, poll.timeout, checks), None),
                }
            }
            Some(_) | None => {
                let wait = ready.policy.next_delay(ready.failures + 1, retry, seed);
                (failure, wait.map(|wait| now + self.hops.runtime.retry_wait(wait)))
            }
        };
        if let Some(due) = retry_at {
            let cause = if ready.woken { WakeCause::Step(step.clone()) } else { WakeCause::Due };
            self.commit.before.push(self.hops.runtime.later(self.wake(cause), due));
        }
        Fact::StepFailed { step, attempt, error: failure, retry_at, report }.at(now)
    }
}

fn timed_out(step: &str, timeout: Duration, checks: u32) -> Failure {
    Failure {
        message: format!(
            "step `{step}` waited in vain: {checks} checks within {timeout:?} found that it is not time yet"
        ),
        code: Some(ErrorCode::PollTimeout),
    }
}
