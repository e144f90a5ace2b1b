//! Starts bodies here, hands others to other invocations, and waits for running ones.

use std::sync::atomic::Ordering;

use stepladder_core::decide::{Plan, ReadyStep};
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::slot::Holder;
use stepladder_core::state::{Step, StepState};
use stepladder_core::{RunOrStep, StepId, Timestamp, WakeCause};

use super::append::is_outcome;
use super::settle::revealed_ahead;
use super::telling::{log_step_start, log_wait};
use super::{Ack, Hop, MARGIN, Next, Running};
use crate::config::Pace;
use crate::ports::{EarlyWrite, LateWrite, StoreError};
use crate::program::{FinishedStep, Session};
use crate::runs::Appended;
use crate::slots::{Acquisition, SlotRequest};

impl Hop<'_> {
    /// Starts the bodies that may start here, appends their entries with the pending ones, and
    /// waits for a body to end. If none starts or runs, the wake is acknowledged.
    pub(crate) async fn start(
        &mut self,
        session: &mut dyn Session,
        plan: Plan,
        mut entries: Vec<Entry>,
    ) -> Result<Next, StoreError> {
        let mine = self.own_share(&plan.ready);
        let takes_over = mine.iter().any(|ready| ready.takeover);
        if self.redelivered && takes_over {
            return self.take_over_later(session, entries).await;
        }
        if mine.len() > self.hops.runtime.config.side_by_side {
            return self.fan_out(session, mine, entries).await;
        }
        let (unasked, late) = (mine.is_empty(), !self.executed);
        let (here, handed): (Vec<_>, Vec<_>) = mine.into_iter().partition(|ready| self.fits(ready));
        let starting = match self.with_slots(here).await {
            Ok(starting) => starting,
            Err(error) => return Err(self.save_outcomes(session, entries, error).await),
        };
        self.notice_retries(&starting);
        entries.extend(starting.iter().map(|ready| self.started(ready)));
        self.hand_over(&handed, late);
        let suspends = starting.is_empty() && self.running.is_empty();
        if suspends {
            match self.dequeue_settled().await {
                Ok(false) => {}
                Ok(true) => return self.keep_outcomes(session, entries).await,
                Err(error) => return Err(self.save_outcomes(session, entries, error).await),
            }
            self.wake_again(&plan);
            if let Err(error) = self.drop_unused_ticket(&plan, unasked).await {
                return Err(self.save_outcomes(session, entries, error).await);
            }
        }
        let nothing = entries.is_empty() && self.commit.wakes.is_empty() && self.commit.after.is_empty();
        let appended = match suspends {
            true => self.append(entries.clone(), Ack::Now).await?,
            false if nothing => Appended::Done,
            false => match self.append(entries.clone(), Ack::Later).await {
                // outcomes must not be lost because a start failed: they are written by themselves
                Err(error) if entries.iter().any(is_outcome) => {
                    tracing::warn!(run = %self.state.run, %error, "steps could not be started; their outcomes before are kept");
                    self.forget();
                    Appended::Refused
                }
                appended => appended?,
            },
        };
        self.taken.clear();
        if !appended.is_done() {
            starting.iter().for_each(|ready| self.release_attempt(&ready.step, ready.attempt));
            return self.keep_outcomes(session, entries).await;
        }
        if suspends {
            return Ok(Next::Done);
        }
        self.shown += revealed_ahead(&entries);
        self.handed.extend(handed.into_iter().map(|ready| ready.step));
        let is_late = self.now() >= self.lease_until;
        if is_late && !starting.is_empty() {
            return self.give_up_late_starts(starting).await;
        }
        self.begin(session, starting);
        let due = plan.later.iter().map(|(_, due)| *due).min();
        let finished = self.wait(session, due).await;
        self.outcomes(session, finished).await
    }

    /// Sends a wake of its own for a step after its worker died (rule 14). If the next attempt ends
    /// like the last one, the journal counts it, and the queue does not give up the message.
    async fn take_over_later(&mut self, session: &mut dyn Session, entries: Vec<Entry>) -> Result<Next, StoreError> {
        let wake = self.wake(self.wake.cause.clone().replaced_unless_needed(WakeCause::Lease));
        self.commit.wakes.push(wake);
        match self.append(entries.clone(), Ack::Now).await? {
            Appended::Done => Ok(Next::Done),
            Appended::Conflict | Appended::Refused => self.keep_outcomes(session, entries).await,
        }
    }

    /// Returns those ready steps that this invocation handles. A step that has a wake of its own
    /// starts with that wake, or with the run's watchdog.
    fn own_share(&self, ready: &[ReadyStep]) -> Vec<ReadyStep> {
        let named = |ready: &ReadyStep| self.wake.cause.step() == Some(&ready.step);
        let again = self.wake.cause == WakeCause::Watchdog;
        let is_mine = |ready: &&ReadyStep| !ready.woken || named(ready) || again;
        ready.iter().filter(is_mine).filter(|r| !self.handed.contains(&r.step)).cloned().collect()
    }

    /// Returns whether a body starts in this invocation. The first ones do, unless too little time
    /// is left. Later ones must be within budget, and their time-out must fit the remaining time.
    /// After a worker died, its step gets an invocation of its own if this one has executed
    /// something else.
    fn fits(&self, ready: &ReadyStep) -> bool {
        if !self.executed {
            return !self.is_too_late_for(ready);
        }
        self.hops.runtime.config.pace == Pace::WithinBudget
            && !self.hops.stopping.load(Ordering::Relaxed)
            && self.now() + ready.timeout + MARGIN < self.deadline
    }

    async fn with_slots(&mut self, here: Vec<ReadyStep>) -> Result<Vec<ReadyStep>, StoreError> {
        if self.limits.is_empty() {
            return Ok(here);
        }
        let mut starting = Vec::new();
        for ready in here {
            let holder = self.holder(&ready.step, ready.attempt);
            let by_itself = ready.woken || self.wake.cause.step() == Some(&ready.step);
            let asker = SlotRequest { holder: &holder, lease_until: self.lease_until, by_itself };
            // also if the answer is lost
            self.taken.push(holder.clone());
            match self.hops.slots.acquire_slots(&self.state, &self.limits, asker).await? {
                Acquisition::Acquired => {
                    // a slot to be released is acquired again
                    self.commit.after.retain(|after| !is_release_of(after, &holder));
                    self.hops.slots.pass_on_lease_wakes(&self.limits).await?;
                    starting.push(ready);
                }
                Acquisition::Queued { key, joined, is_new } => {
                    self.taken.pop();
                    // a run waits with its first ticket from its first wake on
                    let arrives = self.wake.cause == WakeCause::Created && !self.redelivered && !joined;
                    if (is_new || arrives) && self.told_to_wait.insert(ready.step.clone()) {
                        log_wait(&self.state, &ready, &key);
                    }
                    self.joined.extend(joined.then_some(holder));
                }
            }
        }
        Ok(starting)
    }

    /// Reads the journal again after enqueuing, and dequeues attempts that have started. Another
    /// hop may have executed the step in between, and found no ticket to remove. Returns whether
    /// the journal has new entries, and all must be decided again.
    async fn dequeue_settled(&mut self) -> Result<bool, StoreError> {
        if self.joined.is_empty() {
            return Ok(false);
        }
        let went_on = self.hops.runs.catch_up(&mut self.state).await?;
        for holder in std::mem::take(&mut self.joined) {
            let Holder::Attempt { run, step, attempt, .. } = holder else { continue };
            let Some(state) = self.state.steps.get(&step).filter(|s| s.attempt >= attempt) else { continue };
            let leave = |limit| LateWrite::Dequeue { limit, run, of: Some(RunOrStep::Step(step.clone())) };
            self.commit.after.extend(self.limits.iter().cloned().map(leave));
            // before the ticket is removed, a later attempt may find it and rely on it
            if !is_settled(state) {
                let wake = self.wake(WakeCause::Step(step));
                self.commit.wakes.push(wake);
            }
        }
        Ok(went_on)
    }

    fn started(&self, ready: &ReadyStep) -> Entry {
        Fact::StepStarted {
            step: ready.step.clone(),
            attempt: ready.attempt,
            lease_until: self.lease_until,
            worker: self.hops.runtime.worker.clone(),
        }
        .at(self.now())
    }

    /// Sends each of many steps a wake of its own. The wakes go out before the entry that records
    /// them. A crash between sends them twice, never zero times; once the entry exists, never again
    /// (rule 9).
    async fn fan_out(
        &mut self,
        session: &mut dyn Session,
        mine: Vec<ReadyStep>,
        mut entries: Vec<Entry>,
    ) -> Result<Next, StoreError> {
        let now = self.now();
        let steps: Vec<StepId> = mine.into_iter().map(|ready| ready.step).collect();
        for step in &steps {
            self.commit.before.push(EarlyWrite::Wake { wake: self.wake(WakeCause::Step(step.clone())), due: now });
        }
        entries.push(Fact::StepsWoken { steps: steps.clone() }.at(now));
        if self.state.started_at.is_none() {
            // each step has its own ticket from here on
            let leave = |limit| LateWrite::Dequeue { limit, run: self.state.run, of: Some(RunOrStep::Run) };
            self.commit.after.extend(self.limits.iter().cloned().map(leave));
        }
        match self.append(entries.clone(), Ack::Later).await? {
            Appended::Done => {
                self.shown += revealed_ahead(&entries);
                // after a conflict no other invocation has these steps, so this one may handle them
                self.handed.extend(steps);
                Ok(Next::Advance)
            }
            Appended::Conflict | Appended::Refused => self.keep_outcomes(session, entries).await,
        }
    }

    /// Wakes another invocation for steps: one wake for a few, which run side by side there. Steps
    /// that this invocation was too late for start there in any case.
    fn hand_over(&mut self, handed: &[ReadyStep], late: bool) {
        let (woken, plain): (Vec<_>, Vec<_>) = handed.iter().partition(|ready| ready.woken);
        let steps = woken.into_iter().map(|ready| ready.step.clone());
        let mut causes: Vec<_> = match late {
            true => steps.map(|step| WakeCause::Fresh(Some(step))).collect(),
            false => steps.map(WakeCause::Step).collect(),
        };
        if !plain.is_empty() {
            causes.push(if late { WakeCause::Fresh(None) } else { WakeCause::Next });
        }
        let wakes: Vec<_> = causes.into_iter().map(|cause| self.wake(cause)).collect();
        self.commit.wakes.extend(wakes);
    }

    /// Dequeues the ticket that this wake promoted, if no ready step needs it (rule 24: a wake that
    /// cannot use its slot promotes the next ticket). The ticket is that of the run's creation, or
    /// of the step that the wake names. Another hop may have enqueued the step meanwhile and relies
    /// on the ticket. So the step is woken once more, unless it has its outcome.
    async fn drop_unused_ticket(&mut self, plan: &Plan, unasked: bool) -> Result<(), StoreError> {
        let of = match self.wake.cause.step() {
            Some(step) if plan.ready.iter().all(|ready| ready.step != *step) => RunOrStep::Step(step.clone()),
            None if unasked && self.state.started_at.is_none() => RunOrStep::Run,
            Some(_) | None => return Ok(()),
        };
        for limit in self.limits.clone() {
            let line = self.hops.runtime.backend.tickets(&limit, limit.slots as usize).await?;
            if line.iter().any(|place| place.run == self.state.run && place.of == of) {
                let run = self.state.run;
                self.commit.after.push(LateWrite::Dequeue { limit, run, of: Some(of.clone()) });
                self.wake_dequeued(&of, plan);
            }
        }
        Ok(())
    }

    /// Sends the wake of a step or run after its ticket was removed.
    fn wake_dequeued(&mut self, of: &RunOrStep, plan: &Plan) {
        let now = self.now();
        let RunOrStep::Step(step) = of else {
            // only steps that came due since the check may need the ticket
            if plan.later.iter().any(|(_, due)| *due <= now) {
                let wake = self.wake(WakeCause::Next);
                self.commit.wakes.push(wake);
            }
            return;
        };
        if self.state.steps.get(step).is_none_or(is_settled) {
            return;
        }
        let wake = self.wake(WakeCause::Step(step.clone()));
        match plan.later.iter().find(|(later, _)| later == step) {
            Some((_, due)) => self.commit.before.push(self.hops.runtime.later(wake, *due)),
            // after the removal: a hop that came before it would rely on the ticket
            None => self.commit.wakes.push(wake),
        }
    }

    /// Starts nothing because the lease has ended (rule 3), and hands the steps to another
    /// invocation. Another worker may already have taken them over.
    async fn give_up_late_starts(&mut self, starting: Vec<ReadyStep>) -> Result<Next, StoreError> {
        self.hand_over(&starting, true);
        let mut entries = Vec::new();
        for ReadyStep { step, attempt, .. } in starting {
            self.release_attempt(&step, attempt);
            entries.push(Fact::AttemptInterrupted { step, attempt }.at(self.now()));
        }
        match self.append(entries, Ack::Now).await? {
            Appended::Done => Ok(Next::Done),
            Appended::Conflict | Appended::Refused => Ok(Next::Again),
        }
    }

    /// Starts the bodies.
    fn begin(&mut self, session: &mut dyn Session, starting: Vec<ReadyStep>) {
        if starting.is_empty() {
            return;
        }
        let now = self.now();
        self.executed = true;
        let steps: Vec<StepId> = starting.iter().map(|ready| ready.step.clone()).collect();
        for ready in starting {
            log_step_start(&self.state, &ready);
            let expires = now + ready.timeout;
            let holder = self.holder(&ready.step, ready.attempt);
            let watched = self.hops.watch(&ready, holder, (expires, self.deadline));
            self.running
                .insert(ready.step.clone(), Running { began: now, expires, ready, expired: false, _watched: watched });
        }
        session.start_bodies(&steps);
    }

    /// Waits until a body has ended, its time-out has passed, or `due` has come (a sleep that may
    /// win a `select!`).
    pub(crate) async fn wait(&mut self, session: &mut dyn Session, due: Option<Timestamp>) -> Vec<FinishedStep> {
        loop {
            let now = self.now();
            for (step, running) in &mut self.running {
                if running.expires <= now && !running.expired {
                    running.expired = true;
                    session.stop_timed_out(step, running.ready.timeout);
                }
            }
            if due.is_some_and(|due| due <= now) {
                return Vec::new();
            }
            let expires = self.running.values().filter(|r| !r.expired).map(|r| r.expires).min();
            let alarm = due.into_iter().chain(expires).min().unwrap_or(Timestamp::MAX);
            tokio::select! {
                biased;
                finished = session.wait_finished() => return finished,
                () = self.hops.runtime.clock.sleep_until(alarm) => {}
            }
        }
    }
}

fn is_release_of(after: &LateWrite, by: &Holder) -> bool {
    matches!(after, LateWrite::Release { holder, .. } if holder == by)
}

/// Returns whether a step has its outcome, or needs none.
fn is_settled(step: &Step) -> bool {
    matches!(step.state, StepState::Done | StepState::Abandoned)
}
