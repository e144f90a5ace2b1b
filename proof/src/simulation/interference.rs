//! Disturbs the workers: with queries, cancellations, repeated deliveries, frozen processes, and a
//! store that refuses everything. Also checks that runs make progress in spite of this.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use stepladder_core::{RunId, Timestamp, Wake, WakeCause};
use stepladder_engine::RunFilter;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Commit, Commits, Events, Journals, Listings};
use stepladder_engine::view::{StepStatus, StepView};

use super::invariants::{Violation, at_once, journal, rows};
use super::standstill::PAUSE;
use super::{DisturbanceCounts, Simulation, gaps};

/// How long a run may stand still, or a slot stay free, if nothing went wrong.
const PROMPT: Duration = Duration::from_secs(15);
/// The additional time allowed for each crash, lost reply or repetition: the run waits for a lease,
/// a visibility timeout or a retry of a wake.
const MISHAP: Duration = Duration::from_secs(310);
/// The additional time allowed for each frozen process.
const FREEZE: Duration = Duration::from_secs(400);
/// The additional time allowed for each brown-out, during which the store refuses everything.
const BROWN_OUT: Duration = Duration::from_secs(1_500);
/// The additional time allowed if a worker has an older version, which delays each wake that it
/// receives by a minute.
const OLD: Duration = Duration::from_secs(1_500);
/// The additional time allowed for each wake that is lost for good. The run's watchdog wakes the
/// run within an hour.
const WATCHDOG: Duration = Duration::from_secs(3_700);

impl Simulation {
    pub(super) fn interfere_at_random(&mut self) {
        if (self.allowed.words > 0 || self.allowed.stops > 0) && self.dice.one_in(2) {
            return self.send_random_event();
        }
        let at = self.random_worker();
        match self.dice.below(15) {
            12 if self.paused.get().is_none() && !self.afterwards => {
                let time = Duration::from_millis(self.dice.below(PAUSE.as_millis() as u64));
                self.pause_random_function(time);
            }
            13 if self.knobs.standstills > 0 => self.stop_all_workers_for_hours(),
            14 if self.knobs.denials > 0 => self.deny_storage_to_worker(),
            0 | 10 | 11 if self.knobs.redeliveries > 0 => {
                self.knobs.redeliveries -= 1;
                self.mishaps.redeliveries += 1;
                self.memory.redeliver();
                self.bulk.borrow().redeliver(self.clock.now());
                self.add_to_story("what was delivered is delivered again".into());
                // Half of the time, the process that handles a repeated delivery is killed soon
                // afterwards.
                if self.knobs.kills > 0 && self.dice.one_in(2) {
                    self.doom = Some(self.dice.below(60));
                }
            }
            1 if self.knobs.cancels > 0 => {
                let Some(run) = self.any_run(|_| true) else { return };
                self.knobs.cancels -= 1;
                self.cancel_run(run, "by chance");
            }
            2 if self.knobs.freezes > 0 => {
                self.knobs.freezes -= 1;
                self.mishaps.freezes += 1;
                let time = Duration::from_millis(self.dice.below(FREEZE.as_millis() as u64));
                let at = if self.allowed.bulk > 0 { self.dice.below(self.processes.len() as u64) as usize } else { at };
                self.processes[at].frozen_until = self.clock.now() + time;
                self.add_to_story(format!("worker {at} stands still for {time:?}"));
            }
            3 if self.knobs.brown_outs > 0 => {
                self.knobs.brown_outs -= 1;
                self.mishaps.brown_outs += 1;
                let until = self.clock.now() + Duration::from_secs(600 + self.dice.below(800));
                self.shared.brown_out_until.store(until.as_millis(), SeqCst);
                self.add_to_story(format!("the storage refuses everything until {until}"));
            }
            4 => drop(self.rerun_random_run()),
            5 => self.query_at_random(),
            6 => {
                let engine = self.processes[at].engine.clone();
                self.scheduler.spawn(at, async move { drop(engine.expel_overdue().await) });
            }
            7 if self.knobs.kills > 0 => self.doom = Some(self.dice.below(60)),
            8 if self.knobs.lags > 0 => {
                self.knobs.lags -= 1;
                let stand = self.listings.stand_still_or_go_on();
                self.add_to_story(format!("listings {}", if stand { "stand still" } else { "go on" }));
            }
            9 if self.dice.one_in(8) => {
                // A wake of a run that does not exist, as after retention has removed a run.
                let wake = Wake { run: RunId::new(self.begun, 7), cause: WakeCause::Due, group: "gone".into() };
                at_once(self.memory.commit(Commit { wakes: vec![wake], ..Commit::default() }));
            }
            _ => {}
        }
    }

    /// Kills a busy process once `doom` has counted down to zero.
    pub(super) fn kill_worker_within_actions(&mut self) {
        match self.doom {
            None => return,
            Some(0) => {}
            Some(more) => return self.doom = Some(more - 1),
        }
        self.doom = None;
        let busy: Vec<usize> = (0..self.processes.len()).filter(|n| self.scheduler.tasks_of(*n) > 0).collect();
        if self.knobs.kills == 0 || busy.is_empty() {
            return;
        }
        self.knobs.kills -= 1;
        let at = busy[self.dice.below(busy.len() as u64) as usize];
        self.add_to_story(format!("worker {at} is ended"));
        self.processes[at].wire.0.kill();
    }

    fn cancel_run(&mut self, run: RunId, why: &'static str) {
        let at = self.random_worker();
        self.add_to_story(format!("{run} is cancelled at worker {at}: {why}"));
        let (engine, cancelled, clock) =
            (self.processes[at].engine.clone(), self.cancelled.clone(), self.clock.clone());
        let patience = self.delay_covering_faults();
        self.scheduler.spawn(at, async move {
            if engine.control().cancel(run, why).await.is_ok() {
                cancelled.borrow_mut().push((run, clock.now(), patience));
            }
        });
    }

    /// Sends all kinds of queries about a run. They must not change anything, and must report an
    /// ended run as ended.
    fn query_at_random(&mut self) {
        let Some(run) = self.any_run(|_| true) else { return };
        let at = self.random_worker();
        let engine = self.processes[at].engine.clone();
        let has_ended = |run: RunId| journal(&self.memory, run).iter().any(|entry| entry.fact.is_end());
        let ended: Vec<RunId> = rows(&self.memory).into_iter().map(|row| row.run).filter(|r| has_ended(*r)).collect();
        let (untrue, event) = (self.untrue.clone(), format!("e{}", self.dice.below(3)));
        self.scheduler.spawn(at, async move {
            // A user may skip a wait that ends at a certain time.
            if let Ok(detail) = engine.query().run(run).await
                && let Some(step) = detail.steps.iter().find(|step| waits_for_time(step))
            {
                drop(engine.control().skip_wait(run, &step.id).await);
            }
            drop(engine.control().skip_handler_wait(run).await);
            drop(engine.query().event(&event).await);
            drop(engine.query().journal(run, 0, 100).await);
            drop(engine.query().run_at(run, Some(3)).await);
            drop(engine.query().entries_since(run, 2).await);
            drop(engine.query().health().await);
            drop(engine.functions().paused().await);
            drop(engine.subscriptions().callback_token(run, "no step").await);
            drop(engine.query().wait_queues_of(super::functions::MAIN).await);
            drop(engine.query().events(None, 5).await);
            let Ok(page) = engine.query().runs(RunFilter::default()).await else { return };
            let shown = page.runs.into_iter().find(|shown| ended.contains(&shown.run) && !shown.status.is_end());
            if let Some(shown) = shown {
                *untrue.borrow_mut() = Some(format!("{} has ended, and is shown as {}", shown.run, shown.status));
            }
        });
    }

    /// Returns a run that has ended but is listed as live, if there is one.
    pub(super) fn is_torn(&self) -> Option<RunId> {
        let is_torn = |run: &RunId| journal(&self.memory, *run).iter().any(|entry| entry.fact.is_end());
        let torn = rows(&self.memory).into_iter().filter(|row| row.ended.is_none()).map(|row| row.run);
        torn.filter(is_torn).find(|run| self.cancelled.borrow().iter().all(|(told, ..)| told != run))
    }

    /// Cancels a run that has ended but is listed as live: its last wake was lost (rule 28), and
    /// the cancellation repairs the listing.
    pub(super) fn cancel_ended_run(&mut self) -> bool {
        let Some(run) = self.is_torn() else { return false };
        self.cancel_run(run, "it has ended");
        true
    }

    /// Returns whether the disturbances explain a dead letter. Each failed delivery of its wake
    /// must have a cause: a dead or frozen worker, a repetition, or a failed call.
    pub(super) fn has_an_excuse_for_dead_letters(&self) -> bool {
        let DisturbanceCounts { deaths, of_bodies, freezes, redeliveries, .. } = self.mishaps;
        // A deadly body costs each wake only one delivery, because the takeover of its attempt
        // sends a new wake (rule 14).
        let excuses = deaths - of_bodies + of_bodies.min(1) + freezes + redeliveries + self.used_faults();
        // A wake that met a permanent error becomes a dead letter at once (rule 34), so one denial
        // is excuse enough.
        excuses >= super::DELIVERIES - 1 || self.knobs.denials < self.allowed.denials
    }

    /// Returns whether nothing has gone wrong so far.
    pub(super) fn is_calm(&self) -> bool {
        let DisturbanceCounts { deaths, freezes, brown_outs, losses, redeliveries, standstills, .. } = self.mishaps;
        deaths + freezes + brown_outs + losses + redeliveries + standstills + self.used_faults() == 0
    }

    /// Returns the number of injected faults so far.
    pub(super) fn used_faults(&self) -> u32 {
        let allowed = self.allowed.faults as u32;
        allowed - self.shared.faults_left.load(SeqCst).min(allowed)
    }

    /// Describes the runs that are still live although nothing is left to do.
    pub(super) fn describe_standstill(&self) -> Violation {
        let live = rows(&self.memory).into_iter().filter(|row| row.ended.is_none());
        let live: Vec<_> = live.map(|row| format!("{} of `{}`", row.run, row.function)).collect();
        format!("nothing happens any more, and these have not ended: {}", live.join(", "))
    }

    pub(super) fn any_run(&self, fits: impl Fn(bool) -> bool) -> Option<RunId> {
        let runs: Vec<_> = rows(&self.memory).into_iter().filter(|row| fits(row.ended.is_some())).collect();
        (!runs.is_empty()).then(|| runs[self.dice.below(runs.len() as u64) as usize].run)
    }

    /// Returns the time that an immediate action may take, given the disturbances so far.
    pub(super) fn allowed_delay(&self) -> Duration {
        let mishaps = self.mishaps;
        let used = self.used_faults();
        let slow = 2 * Duration::from_millis(2 * self.allowed.skew);
        PROMPT
            + slow
            + mishaps.drift
            + mishaps.stood
            + self.executors.excuses().delay
            + OLD * u32::from(self.allowed.old > 0)
            + MISHAP * (used + mishaps.deaths + mishaps.redeliveries)
            + (FREEZE + MISHAP) * mishaps.freezes
            + (BROWN_OUT + MISHAP) * mishaps.brown_outs
            + WATCHDOG * mishaps.losses
    }

    /// Like [`Self::patience`], but to compare two moments: the difference covers what went wrong
    /// between them. A fault counts when it occurs, not when it is prepared.
    fn delay_covering_faults(&self) -> Duration {
        self.allowed_delay() + MISHAP * self.shared.faults_met.load(SeqCst)
    }

    /// Checks that no slot stays free while a ticket waits for it, and that no slot is held without
    /// an executing body.
    pub(super) fn check_free_and_unused_slots(&self, now: Timestamp) -> Result<(), Violation> {
        let patience = self.allowed_delay();
        match self.invariants.longest_idle(now) {
            Some((time, limit)) if time > patience => {
                Err(format!("a slot of `{}` is free for {time:?} while a ticket waits for it", limit.key))
            }
            _ => match self.invariants.holdings.longest_unused(now) {
                Some((time, key, holder)) if time > patience => {
                    Err(format!("a slot of `{key}` is held for {time:?} by {holder:?}, which no process executes"))
                }
                _ => Ok(()),
            },
        }
    }

    /// Checks that no run stood still without a reason.
    pub(super) fn check_no_run_stood_still(&self) -> Result<(), Violation> {
        let patience = self.allowed_delay();
        for row in rows(&self.memory) {
            let limited = self.registered.iter().any(|function| {
                let spec = function.spec();
                *spec.id == *row.function && !spec.concurrency.is_empty()
            });
            if limited {
                continue; // the run may have waited for a slot; another check covers slots
            }
            let records = at_once(self.memory.read(row.run, 0));
            let ended = |run| journal(&self.memory, run).into_iter().find(|e| e.fact.is_end()).map(|end| end.at);
            let late = gaps::longest_gap(row.run, &records, ended).filter(|(late, _)| *late > patience);
            if let Some((late, entry)) = late {
                let fact = format!("{:?}", entry.fact);
                return Err(format!("{} stood still for {late:?} before {fact:.100}; at most {patience:?}", row.run));
            }
        }
        Ok(())
    }

    /// Checks that every accepted event is stored with its runs, and that every cancelled run has
    /// ended.
    pub(super) fn check_accepted_requests(&mut self) -> Result<(), Violation> {
        for id in self.requests.borrow().jobs() {
            if at_once(self.memory.event(*id)).is_none() {
                return Err(format!("event {id} was accepted and is not there"));
            }
            let runs = at_once(self.memory.runs_of(*id));
            for function in [super::functions::MAIN, super::functions::OTHER] {
                let started = runs.iter().filter(|row| *row.function == *function);
                // An event may have several runs of a function: reruns belong to the original
                // event.
                if started.count() == 0 {
                    return Err(format!("event {id} was accepted, and no run of `{function}` is there"));
                }
            }
        }
        let (now, patience) = (self.clock.now(), self.delay_covering_faults());
        for (run, at, before) in self.cancelled.borrow().iter() {
            if !journal(&self.memory, *run).iter().any(|entry| entry.fact.is_end()) {
                return Err(format!("{run} was cancelled, and goes on"));
            }
            // Disturbances before the acknowledgement do not excuse a delay after it, except for a
            // standstill, which lasts.
            let within = (patience - *before) + PROMPT + self.mishaps.stood;
            if now.since(*at) > within && at_once(self.memory.row(*run)).is_none_or(|row| row.ended.is_none()) {
                return Err(format!("{run} was cancelled at {at}, and is not listed as ended after {within:?}"));
            }
        }
        Ok(())
    }
}

fn waits_for_time(step: &StepView) -> bool {
    matches!(step.status, StepStatus::Sleeping | StepStatus::Retrying)
}
