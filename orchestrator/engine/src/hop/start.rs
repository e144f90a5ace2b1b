//! Which bodies start here, which are handed to other invocations, and the wait for those that run.

use std::sync::atomic::Ordering;

use stepladder_core::decide::{Plan, ReadyStep};
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::slot::{ARRIVAL, Holder};
use stepladder_core::state::{Step, StepState};
use stepladder_core::{StepId, Timestamp, WakeCause};

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
    /// Starts the bodies that may start here, appends that with what is pending, and waits for a body to end. When
    /// there is none, the wake is done with.
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
                // what was done before is not lost with what cannot start: it is written by itself
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

    /// A takeover gets a wake of its own (rule 14): should it end as the attempt before did, the journal counts that, and
    /// the queue does not give the message up.
    async fn take_over_later(&mut self, session: &mut dyn Session, entries: Vec<Entry>) -> Result<Next, StoreError> {
        let wake = self.wake(self.wake.cause.clone().replaced_unless_needed(WakeCause::Lease));
        self.commit.wakes.push(wake);
        match self.append(entries.clone(), Ack::Now).await? {
            Appended::Done => Ok(Next::Done),
            Appended::Conflict | Appended::Refused => self.keep_outcomes(session, entries).await,
        }
    }

    /// Of the bodies that may start, those that are this invocation's business: a step that was sent a wake of its own
    /// starts by that, or when the watchdog looks after the run.
    fn own_share(&self, ready: &[ReadyStep]) -> Vec<ReadyStep> {
        let named = |ready: &ReadyStep| self.wake.cause.step() == Some(&ready.step);
        let again = self.wake.cause == WakeCause::Watchdog;
        let is_mine = |ready: &&ReadyStep| !ready.woken || named(ready) || again;
        ready.iter().filter(is_mine).filter(|r| !self.handed.contains(&r.step)).cloned().collect()
    }

    /// Whether a body starts in this invocation: the first (or the first few side by side) unless too little time is
    /// left, further ones only within budget, while their time-out fits into what is left of it. A body whose attempt
    /// before lost its worker gets an invocation of its own when this one has begun with something else.
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
            // also where the answer is lost
            self.taken.push(holder.clone());
            match self.hops.slots.acquire_slots(&self.state, &self.limits, asker).await? {
                Acquisition::Acquired => {
                    // what was to be given back is taken again
                    self.commit.after.retain(|after| !is_release_of(after, &holder));
                    self.hops.slots.pass_on_lease_wakes(&self.limits).await?;
                    starting.push(ready);
                }
                Acquisition::Queued { key, joined, is_new } => {
                    self.taken.pop();
                    // with the place of its arrival a run waits from its first wake on
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

    /// Looks at the journal after lines were joined: another hop may have executed a step in between, and found nobody
    /// in line to remove when it was done. Who joined for an attempt that has started leaves. Whether the journal went
    /// on, and all must be decided anew.
    async fn dequeue_settled(&mut self) -> Result<bool, StoreError> {
        if self.joined.is_empty() {
            return Ok(false);
        }
        let went_on = self.hops.runs.catch_up(&mut self.state).await?;
        for Holder { run, step, attempt, .. } in std::mem::take(&mut self.joined) {
            if self.state.steps.get(&step).is_some_and(|s| s.attempt >= attempt) {
                let leave = |limit| LateWrite::Dequeue { limit, run, step: Some(step.clone()) };
                self.commit.after.extend(self.limits.iter().cloned().map(leave));
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

    /// Each of many gets a wake of its own. The wakes go out first, then the entry that says so: a crash between sends
    /// them twice, never not at all; once the entry is there, never again (rule 9).
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
            // each waits in line by itself from here on
            let leave = |limit| LateWrite::Dequeue { limit, run: self.state.run, step: Some(ARRIVAL.into()) };
            self.commit.after.extend(self.limits.iter().cloned().map(leave));
        }
        match self.append(entries.clone(), Ack::Later).await? {
            Appended::Done => {
                self.shown += revealed_ahead(&entries);
                // overtaken, nobody else has them: decided again, they may be this invocation's business
                self.handed.extend(steps);
                Ok(Next::Advance)
            }
            Appended::Conflict | Appended::Refused => self.keep_outcomes(session, entries).await,
        }
    }

    /// What another invocation does next is woken: one wake for a few, which run side by side there too. What this one
    /// was too late for is started there in any case.
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

    /// Who wants no body now does not stand in the way of those who do: the place of the run's arrival, or of the step
    /// that this wake names, is given up when nothing asks for it (rule 24: a wake that cannot use its slot passes it
    /// on). Another hop may have joined for the step since this one looked, and counts on the place; so the step is woken
    /// once more, unless it has its outcome.
    async fn drop_unused_ticket(&mut self, plan: &Plan, unasked: bool) -> Result<(), StoreError> {
        let step = match self.wake.cause.step() {
            Some(step) if plan.ready.iter().all(|ready| ready.step != *step) => step.clone(),
            None if unasked && self.state.started_at.is_none() => ARRIVAL.into(),
            Some(_) | None => return Ok(()),
        };
        for limit in self.limits.clone() {
            let line = self.hops.runtime.backend.tickets(&limit, limit.slots as usize).await?;
            if line.iter().any(|place| place.run == self.state.run && place.step == step) {
                let run = self.state.run;
                self.commit.after.push(LateWrite::Dequeue { limit, run, step: Some(step.clone()) });
                self.wake_dequeued(&step, plan);
            }
        }
        Ok(())
    }

    /// The wake of a step, or of the run, whose place is given up.
    fn wake_dequeued(&mut self, step: &StepId, plan: &Plan) {
        let now = self.now();
        if **step == *ARRIVAL {
            // only what has come due since the look can have made use of the place
            if plan.later.iter().any(|(_, due)| *due <= now) {
                let wake = self.wake(WakeCause::Next);
                self.commit.wakes.push(wake);
            }
            return;
        }
        let is_settled = |s: &Step| matches!(s.state, StepState::Done | StepState::Abandoned);
        if self.state.steps.get(step).is_none_or(is_settled) {
            return;
        }
        let due = plan.later.iter().find(|(later, _)| later == step).map_or(now, |(_, due)| *due);
        let wake = self.hops.runtime.later(self.wake(WakeCause::Step(step.clone())), due);
        self.commit.before.push(wake);
    }

    /// The lease ran out on the way here (rule 3): somebody else may take over, so nothing starts. Another invocation does.
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

    /// Lets bodies run.
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

    /// Waits until a body has ended, its time is up, or `due` has come (a sleep that may win a `select!`).
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
