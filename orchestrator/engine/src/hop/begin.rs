//! What happens before a run starts and while it lives: admission, replaced runs and deadlines.

use std::time::Duration;

use stepladder_core::flow::FlowControl;
use stepladder_core::journal::{Entry, Fact, Origin};
use stepladder_core::slot::Holder;
use stepladder_core::spec::LazyScope;
use stepladder_core::state::RunState;
use stepladder_core::{Timestamp, WakeCause};

use super::{Ack, Hop};
use crate::EngineError;
use crate::functions;
use crate::ports::{EarlyWrite, LateWrite, StoreError};
use crate::slots::{Acquisition, SlotRequest};

/// How early a deadline's wake may come, because clocks differ.
const EARLY: Duration = Duration::from_secs(60);

/// The answer of flow control to a run that is about to start.
enum AdmissionAnswer {
    Admitted,
    /// The run is delayed, and the wake is acknowledged.
    Delayed,
    /// Another hop was faster: decide again.
    Again,
}

impl Hop<'_> {
    /// Returns whether the run may start, if it has not started. If it may not, the wake is
    /// acknowledged, and another wake comes later.
    pub(crate) async fn may_start(&mut self) -> Result<bool, StoreError> {
        while self.state.end.is_none() && self.state.first_run_at.is_none() {
            // before the pause: missed ticks of a paused function are not kept for later
            if let Some(reason) = self.hops.intake.missed_tick(self.program.spec(), &self.state) {
                self.skip_missed_tick(reason).await?;
                continue;
            }
            if let Some(at) = self.state.begins_at().filter(|at| *at > self.now()) {
                if self.wake.cause == WakeCause::Slot || self.redelivered {
                    self.leave_wait_queues().await?;
                }
                self.commit.before.push(self.hops.runtime.later(self.wake(WakeCause::Due), at));
                self.append(Vec::new(), Ack::Now).await?;
                return Ok(false);
            }
            if self.hops.functions.waits_for_resumption(&self.state).await? {
                self.leave_wait_queues().await?;
                self.append(Vec::new(), Ack::Now).await?;
                return Ok(false);
            }
            match self.ask_for_admission().await? {
                AdmissionAnswer::Admitted => {}
                AdmissionAnswer::Delayed => return Ok(false),
                AdmissionAnswer::Again => continue,
            }
            self.cancel_replaced_run().await?;
            if self.has_ended_caller().await? {
                let reason = "the run that called it has ended".into();
                self.append(vec![Fact::RunCancelled { reason }.at(self.now())], Ack::Later).await?;
                continue;
            }
            if !self.state.collecting {
                break;
            }
            // no event joins the batch from now on; an event that was faster is in it, and may have
            // delayed it
            self.append(vec![Fact::CollectingEnded.at(self.now())], Ack::Later).await?;
        }
        Ok(true)
    }

    /// Asks flow control to admit the run (rule 32). A run that missed its time starts when there
    /// is room, spaced from the runs that started meanwhile.
    async fn ask_for_admission(&mut self) -> Result<AdmissionAnswer, StoreError> {
        if self.admitted || self.state.admitted {
            return Ok(AdmissionAnswer::Admitted);
        }
        let program = self.program.clone();
        let Some(begins_at) = self.hops.intake.admission(program.spec(), &self.state).await? else {
            self.admitted = program.spec().records_admission(&self.state.created.origin);
            return Ok(AdmissionAnswer::Admitted);
        };
        self.leave_wait_queues().await?;
        self.commit.before.push(self.hops.runtime.later(self.wake(WakeCause::Due), begins_at));
        let appended = self.append(vec![Fact::RunDelayed { begins_at }.at(self.now())], Ack::Now).await?;
        Ok(if appended.is_done() { AdmissionAnswer::Delayed } else { AdmissionAnswer::Again })
    }

    /// Adds the admission to the entries, so that a later hop does not ask flow control again.
    pub(crate) fn with_admission(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let state = &self.state;
        let is_new = self.admitted && !state.admitted && state.first_run_at.is_none() && state.end.is_none();
        if is_new {
            entries.insert(0, Fact::RunAdmitted.at(self.now()));
        }
        entries
    }

    /// Ends the run of a missed tick, and removes its ticket from the wait queue of its paused
    /// function.
    async fn skip_missed_tick(&mut self, reason: &'static str) -> Result<(), StoreError> {
        let (limit, run) = (functions::line(&self.state.created.function), self.state.run);
        self.commit.after.push(LateWrite::Dequeue { limit, run, of: None });
        let end = Fact::RunSkipped { reason: reason.into() }.at(self.now());
        if self.append(vec![end], Ack::Later).await?.is_done()
            && let Some(end) = &self.state.end
        {
            super::log_end(&self.state, end);
        }
        Ok(())
    }

    /// Gives up the tickets of the run's creation, with the next append. Other runs may then use
    /// the slots while the function is paused. The run is enqueued again with its original time.
    async fn leave_wait_queues(&mut self) -> Result<(), StoreError> {
        let event = &self.state.created.event;
        let scope = &mut LazyScope::new(event);
        let (of_steps, of_runs) = (self.spec().limits(scope), self.spec().run_limits(scope));
        let (run, before) = (self.state.run, self.commit.after.len());
        for limit in of_steps.into_iter().chain(of_runs).flatten() {
            if self.hops.runtime.backend.ticket(&limit, run, None).await?.is_some() {
                self.commit.after.push(LateWrite::Dequeue { limit: limit.clone(), run, of: None });
                self.limits.push(limit);
            }
        }
        if self.commit.after.len() > before {
            // before the tickets are removed, a hop after the resumption may find and rely on them
            let wake = self.wake(WakeCause::Next);
            self.commit.wakes.push(wake);
        }
        Ok(())
    }

    /// Returns whether the run's caller has ended, and the run must end with it.
    async fn has_ended_caller(&self) -> Result<bool, StoreError> {
        let created = &self.state.created;
        let Origin::Invoke { parent, .. } = &created.origin else { return Ok(false) };
        Ok(created.bound && self.hops.runs.state(*parent).await?.is_some_and(|state| state.end.is_some()))
    }

    /// Cancels the run that this one replaces. If that one had not started, also cancels the run
    /// that it was to replace.
    async fn cancel_replaced_run(&self) -> Result<(), StoreError> {
        let mut next = self.state.created.replaces;
        while let Some(before) = next {
            let Some(state) = self.hops.runs.state(before).await? else { break };
            next = state.created.replaces.filter(|_| state.first_run_at.is_none());
            if state.end.is_some() {
                continue;
            }
            match self.hops.runs.cancel(before, &format!("run {} takes its place", self.state.run)).await {
                Ok(_) | Err(EngineError::NotFound(_) | EngineError::Invalid(_) | EngineError::TooLate(_)) => {}
                Err(EngineError::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns whether the run holds a slot of each run limit, or has ended. If not, it is
    /// enqueued, and the wake is acknowledged.
    pub(crate) async fn may_continue(&mut self) -> Result<bool, StoreError> {
        if self.run_limits.is_empty() || self.state.end.is_some() || self.state.first_run_at.is_some() {
            return Ok(true);
        }
        let holder = Holder::Run(self.state.run);
        let asker = SlotRequest { holder: &holder, lease_until: Timestamp::MAX, by_itself: false };
        if let Acquisition::Acquired = self.hops.slots.acquire_slots(&self.state, &self.run_limits, asker).await? {
            return Ok(true);
        }
        if self.wake.cause == WakeCause::Watchdog {
            self.hops.slots.release_ended(&self.run_limits).await?;
        }
        self.append(Vec::new(), Ack::Now).await?;
        Ok(false)
    }

    /// Ends a run after its deadline. A deadline's wake that came a little early is sent
    /// again.
    pub(crate) async fn enforce_deadlines(&mut self) -> Result<(), StoreError> {
        while self.state.end.is_none()
            && let Some((due, reason)) = deadline(&self.spec().flow, &self.state)
        {
            let now = self.now();
            if now < due {
                if self.wake.cause == WakeCause::Deadline && due.since(now) <= EARLY {
                    self.commit.before.push(EarlyWrite::Wake { wake: self.wake(WakeCause::Deadline), due });
                }
                break;
            }
            let end = Fact::RunCancelled { reason: reason.into() }.at(now);
            self.append(vec![end], Ack::Later).await?;
        }
        Ok(())
    }

    /// Adds the deadline's wake to the commit of a run's first entry.
    pub(crate) fn schedule_deadline(&mut self, entries: &[Entry]) {
        let Some(within) = self.spec().flow.finish_within else { return };
        if self.state.first_run_at.is_none()
            && let Some(first) = entries.iter().find(|entry| entry.fact.is_requested_by_handler())
        {
            self.commit.before.push(self.hops.runtime.later(self.wake(WakeCause::Deadline), first.at + within));
        }
    }
}

/// Returns the deadline for the run's start or end, and the error message for a run that misses it.
fn deadline(flow: &FlowControl, state: &RunState) -> Option<(Timestamp, String)> {
    match state.first_run_at {
        None => {
            let within = flow.start_within?;
            // a requested delay of the event does not count
            let from = state.created_at.max(state.due_at().unwrap_or_default());
            Some((from + within, format!("it had not begun {within:?} after its creation, or after its event's `ts`")))
        }
        Some(begun) => {
            let within = flow.finish_within?;
            Some((begun + within, format!("it had not ended {within:?} after its beginning")))
        }
    }
}
