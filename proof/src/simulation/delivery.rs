//! Delivers wakes and requests to workers, and moves the clock when no task is ready.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use stepladder_core::WakeCause;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Commit, Commits, Queue};

use super::invariants::at_once;
use super::processes::SimulatedProcess;
use super::{AT_A_TIME, DELIVERIES, STANDSTILL, Simulation};

impl Simulation {
    /// Delivers a visible wake to a worker, which executes a hop. A wake that was delivered too
    /// many times becomes a dead letter.
    pub(super) fn receive(&mut self) {
        let at = self.random_worker();
        let process = &self.processes[at];
        let now = self.clock.now();
        let is_due = self.queue_until <= now && self.memory.next_due().is_some_and(|due| due <= now);
        if process.frozen_until > now || self.scheduler.tasks_of(at) >= AT_A_TIME || !is_due {
            return;
        }
        let (engine, clock) = (process.engine.clone(), process.clock.clone());
        let received = self.memory.receive(1, engine.config().visibility());
        let Some(Ok(deliveries)) = received.now_or_never() else { return };
        for delivery in deliveries {
            let is_dead = delivery.receives > DELIVERIES;
            if is_dead && !self.has_an_excuse_for_dead_letters() {
                self.broken = Some(format!("{:?} was delivered {DELIVERIES} times in vain", delivery.wake));
            }
            if is_dead || (self.knobs.losses > 0 && self.dice.one_in(20)) {
                self.add_to_story(format!("{:?} of {} is lost", delivery.wake.cause, delivery.wake.run));
                self.knobs.losses -= u64::from(!is_dead);
                self.letters.extend((self.knobs.denials < self.allowed.denials).then(|| delivery.wake.clone()));
                self.mishaps.losses += 1;
                let acks = vec![delivery.receipt];
                at_once(self.memory.commit(Commit { acks, ..Commit::default() }));
                continue;
            }
            self.add_to_story(format!("worker {at} takes {:?} of {}", delivery.wake.cause, delivery.wake.run));
            let engine = engine.clone();
            // Some invocations have a short deadline, but never that of a fresh wake.
            let is_fresh = matches!(delivery.wake.cause, WakeCause::Fresh(_));
            let short = self.dice.one_in(3) && !is_fresh;
            let deadline = short.then(|| clock.now() + Duration::from_secs(self.dice.below(120)));
            let (cut, clock) = (self.cut.clone(), clock.clone());
            self.scheduler.spawn(at, async move {
                let Some(deadline) = deadline else {
                    drop(engine.hop(delivery).await);
                    return;
                };
                let hop = std::pin::pin!(engine.hop_until(delivery, deadline));
                if let Either::Right(_) = select(hop, clock.sleep_until(deadline)).await {
                    cut.set(cut.get() + 1);
                }
            });
        }
    }

    /// Starts the next due activity, or moves the clock to it. Called when no task is ready.
    pub(super) fn wait(&mut self) {
        let now = self.clock.now();
        let to_send = self.requests.borrow().next_at();
        if to_send.is_some_and(|at| at <= now) {
            return self.send();
        }
        if self.allowed.bulk > 0 && self.advance_bulk_requests() {
            return;
        }
        if self.paused.get().is_some_and(|at| at <= now) {
            return self.resume_paused_function();
        }
        if self.knobs.standstills > 0 && self.dice.one_in(20) {
            self.stop_all_workers_for_hours();
        }
        if self.shared.denied_until.load(SeqCst) <= now.as_millis() && !self.letters.is_empty() {
            self.add_to_story("dead letters are moved back".into());
            let wakes = std::mem::take(&mut self.letters);
            at_once(self.memory.commit(Commit { wakes, ..Commit::default() }));
        }
        if self.knobs.denials > 0 && self.dice.one_in(20) {
            self.deny_storage_to_worker();
        }
        if !self.afterwards && self.dice.one_in(4) && self.repeat_unanswered_post() {
            return;
        }
        if now.since(self.moved) > STANDSTILL / 2 && self.cancel_ended_run() {
            return;
        }
        if now.since(self.swept) >= Duration::from_secs(60) {
            self.swept = now;
            let at = self.random_worker();
            // A frozen worker does no sweep.
            if self.processes[at].frozen_until <= now {
                let engine = self.processes[at].engine.clone();
                self.scheduler.spawn(at, async move { drop(engine.sweep().await) });
            }
            return;
        }
        if self.allowed.words > 0 && !self.afterwards && self.dice.one_in(8) {
            return self.send_random_event();
        }
        let due = self.memory.next_due().map(|due| due.max(self.queue_until));
        let is_free =
            |(n, p): (usize, &SimulatedProcess)| p.frozen_until <= now && self.scheduler.tasks_of(n) < AT_A_TIME;
        if due.is_some_and(|due| due <= now) && self.processes.iter().enumerate().take(self.workers()).any(is_free) {
            return self.receive();
        }
        let thaws = self.processes.iter().map(|process| process.frozen_until);
        let next = due
            .into_iter()
            .chain(to_send)
            .chain(self.bulk.borrow().next_at())
            .chain(self.paused.get())
            .chain(self.clock.pending_after(now))
            .chain(thaws)
            .filter(|at| *at > now)
            .min();
        let sweep = self.swept + Duration::from_secs(60);
        self.clock.set(next.unwrap_or(sweep).min(sweep));
    }
}
