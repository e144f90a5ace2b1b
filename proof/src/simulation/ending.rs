//! The checks that follow the end of all runs.

use std::collections::HashMap;

use stepladder_core::journal::{Fact, RunOrigin};
use stepladder_core::report::HandlerLogLine;
use stepladder_core::state::{RunOutcome, RunState};
use stepladder_core::{ErrorCode, Failure, RunId, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::executor::{PollResult, RunView};
use stepladder_engine::ports::{Journals, Listings, SlotOperations};
use stepladder_sdk::MissedTicks;

use super::controls::FlowControlKind;
use super::functions::{HEARER, MAIN, OTHER};
use super::invariants::{Violation, at_once, journal, rows};
use super::{DisturbanceCounts, Simulation};
use crate::{RunJournal, check, unfinished};

impl Simulation {
    pub(super) fn check_end_state(&mut self) -> Result<(), Violation> {
        self.check_no_run_stood_still()?;
        self.check_lost_attempts()?;
        self.check_wait_queues_are_empty()?;
        self.check_runs_of_events()?;
        self.check_runs_have_sent_events()?;
        self.check_reruns()?;
        self.check_periods()?;
        self.each_start_is_counted_once()?;
        let took = self.clock.now().since(self.begun);
        let (accepted, perhaps) = (self.requests.borrow().events_of_controlled(), self.events_given_up_in_bulk());
        self.controlled.check_at_the_end(&accepted, &perhaps, took)?;
        self.check_bulk_requests()?;
        self.check_announcements()?;
        let DisturbanceCounts { brown_outs, freezes, losses, standstills, deaths, .. } = self.mishaps;
        // After a standstill, missed ticks may have no run unless the policy starts all of them.
        // Two deaths count as a standstill: if both hit sweeps in a row, the ticks are late by
        // minutes.
        let all_start = matches!(self.controlled.control(), Some(FlowControlKind::Cron(MissedTicks::RunAll)));
        let stood = (standstills > 0 || deaths > 1) && !all_start;
        if brown_outs + freezes + losses == 0 && !stood && !self.afterwards {
            let patience = self.allowed_delay();
            let late = Timestamp::from_millis(self.clock.now().as_millis() - patience.as_millis() as i64);
            self.controlled.check_ticks(self.begun, late)?;
        }
        self.check_number_of_wakes()?;
        self.check_run_outcomes()?;
        self.check_journals()?;
        self.check_replays()?;
        self.check_observed_outcomes()
    }

    fn all_facts(&self) -> impl Iterator<Item = (RunId, Fact)> {
        let memory = self.memory.clone();
        let of = move |run| journal(&memory, run).into_iter().map(move |entry| (run, entry.fact));
        rows(&self.memory).into_iter().flat_map(move |row| of(row.run))
    }

    /// Checks that each started attempt has an end, unless a worker died or stood still or at least
    /// three writes failed.
    fn check_lost_attempts(&self) -> Result<(), Violation> {
        let DisturbanceCounts { deaths, freezes, brown_outs, standstills, .. } = self.mishaps;
        if deaths + freezes + brown_outs + standstills > 0 || self.used_faults() > 2 {
            return Ok(());
        }
        let mut running: HashMap<(RunId, String), u32> = HashMap::new();
        for (run, fact) in self.all_facts() {
            let Some(step) = fact.step() else { continue };
            let key = (run, step.to_string());
            match fact {
                Fact::StepStarted { attempt, .. } => {
                    if let Some(before) = running.insert(key, attempt) {
                        return Err(format!(
                            "attempt {before} of `{step}` of {run} was given up, though no process died",
                            step = fact.step().expect("of a step")
                        ));
                    }
                }
                Fact::AttemptInterrupted { .. } => {
                    // The attempt's own worker recorded the interruption, because the attempt's
                    // lease had expired by a faster clock.
                    running.remove(&key);
                }
                Fact::StepSucceeded { .. }
                | Fact::StepFailed { .. }
                | Fact::AttemptUnreachable { .. }
                | Fact::StepAbandoned { .. } => {
                    running.remove(&key);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks that no ended run has a ticket left, unless a worker died or stood still.
    fn check_wait_queues_are_empty(&self) -> Result<(), Violation> {
        let DisturbanceCounts { deaths, freezes, brown_outs, losses, .. } = self.mishaps;
        if deaths + freezes + brown_outs + losses + self.used_faults() > 0 {
            return Ok(());
        }
        // A worker with an older version does not know the limits of a function that it lacks. It
        // puts the wakes of its runs off by a minute; one of them removes the ticket.
        if self.allowed.old > 0 && self.memory.wakes() > 0 {
            return Ok(());
        }
        let mut lines =
            self.invariants.limits().map(|limit| (limit, at_once(self.memory.first_tickets(&limit.key, 9))));
        match lines.find(|(_, line)| !line.is_empty()) {
            Some((limit, line)) => Err(format!("all has ended, and `{}` is left with {line:?} in line", limit.key)),
            None => Ok(()),
        }
    }

    /// Checks that each event led to exactly one run of each matching function.
    fn check_runs_of_events(&self) -> Result<(), Violation> {
        let accepted = self.requests.borrow().jobs().to_vec();
        let sent = self.all_facts().filter_map(|(_, fact)| match fact {
            Fact::EventsSent { ids, .. } => Some(ids),
            _ => None,
        });
        let mut wanted: Vec<_> = accepted.iter().flat_map(|id| [(*id, MAIN), (*id, OTHER)]).collect();
        wanted.extend(sent.flatten().map(|id| (id, HEARER)));
        for (id, function) in wanted {
            let runs = at_once(self.memory.runs_of(id));
            let by_event = runs.iter().filter(|row| *row.function == *function && self.is_of_event(row.run));
            match by_event.count() {
                1 => {}
                n => return Err(format!("event {id} led to {n} runs of `{function}`")),
            }
        }
        Ok(())
    }

    fn is_of_event(&self, run: RunId) -> bool {
        match journal(&self.memory, run).first().map(|entry| &entry.fact) {
            Some(Fact::RunCreated(created)) => created.origin == RunOrigin::Event,
            _ => false,
        }
    }

    /// Checks that the number of wakes is at most a few per entry, or twice as many with wait
    /// queues. Not checked with brown-outs, which repeat wakes every ten seconds.
    fn check_number_of_wakes(&self) -> Result<(), Violation> {
        if self.mishaps.brown_outs > 0 {
            return Ok(());
        }
        let entries = self.all_facts().count() as u64;
        let DisturbanceCounts { deaths, freezes, redeliveries, .. } = self.mishaps;
        let mishaps = u64::from(deaths + freezes + redeliveries) + self.allowed.faults;
        // With limits there are more wakes: a hop that releases a slot, or cannot use one, wakes
        // the next ticket.
        let has_limits = self.invariants.limits().next().is_some();
        // A worker that may not release slots keeps them until their leases end. Until then,
        // tickets wait with wakes for the end of a lease.
        let was_denied = self.knobs.denials < self.allowed.denials;
        let each = if has_limits { 6 } else { 3 } + if has_limits && was_denied { 3 } else { 0 };
        let tries = 2 * self.executors.excuses().unreachable;
        let (sends, most) = (self.memory.counts().sends, 40 + each * entries + 25 * mishaps + tries);
        match sends <= most {
            true => Ok(()),
            false => Err(format!("{sends} wakes were sent for {entries} entries; at most {most}")),
        }
    }

    /// Checks that each run failed only if its function may fail, and that the listed status of
    /// each run is its real one.
    fn check_run_outcomes(&self) -> Result<(), Violation> {
        // A body that waits for another step times out while the executor is out of reach.
        let is_calm = self.is_calm() && self.executors.excuses().unreachable == 0;
        let known = ["hopeless", "tripped", "the child failed"];
        // The check of a poll may start so late that the time of the poll is over.
        let is_late_check = |error: &Failure| !is_calm && error.code() == Some("poll-timeout");
        for (run, fact) in self.all_facts() {
            if let Fact::RunFailed { error } = fact
                && !known.contains(&error.message.as_str())
                && !is_late_check(&error)
                && !(self.allowed.deadly > 0 && error.code == Some(ErrorCode::Interrupted))
            {
                return Err(format!("{run} failed: {}", error.message));
            }
        }
        let timed_out = |fact: &Fact| match fact {
            Fact::StepFailed { error, .. } => error.code() == Some("timeout"),
            _ => false,
        };
        if let Some((run, fact)) = self.all_facts().find(|(_, fact)| is_calm && timed_out(fact)) {
            return Err(format!("{run} waited in vain, though nothing went wrong: {fact:?}"));
        }
        for row in rows(&self.memory) {
            let said = row.ended.map(|(_, status)| status);
            let is = self.state(row.run).map(|state| state.status());
            if said != is {
                return Err(format!("{} is listed as {said:?} and is {is:?}", row.run));
            }
        }
        Ok(())
    }

    fn state(&self, run: RunId) -> Option<RunState> {
        RunState::fold(run, &at_once(self.memory.read(run, 0))).ok()
    }

    fn check_journals(&self) -> Result<(), Violation> {
        let of = |run| RunJournal { run, entries: journal(&self.memory, run) };
        let journals: Vec<RunJournal> = rows(&self.memory).into_iter().map(|row| of(row.run)).collect();
        match check(&journals).into_iter().next() {
            Some(broken) => Err(broken),
            None if unfinished(&journals).is_empty() => Ok(()),
            None => Err("a run is listed as ended, and is not".into()),
        }
    }

    /// Checks that replaying each handler over its journal gives the recorded end.
    fn check_replays(&self) -> Result<(), Violation> {
        self.invariants.account().forget_observed();
        for row in rows(&self.memory) {
            let Some(state) = self.state(row.run) else { continue };
            let Some(end) = &state.end else { continue };
            let function = self.registered.iter().find(|function| *function.spec().id == *row.function);
            let Some(function) = function else { continue };
            // The engine ends a run after ten interrupted calls. The handler does not return then.
            if matches!(&end.how, RunOutcome::Failed(error) if error.code == Some(ErrorCode::Interrupted)) {
                continue;
            }
            let opened = block_on(function.executor.open(RunView::of(&state), Timestamp::MAX));
            let mut execution = opened.map_err(|error| format!("{} does not open: {error:?}", row.run))?;
            let polled = block_on(execution.poll(state.outcomes.clone())).map_err(|unreachable| unreachable.why)?;
            let replayed = polled.result;
            let is_same = match (&end.how, &replayed) {
                (RunOutcome::Completed(output), PollResult::Ended(Ok(again))) => output.get() == again.get(),
                (RunOutcome::Failed(error), PollResult::Ended(Err(again))) => *error == again.failure,
                (RunOutcome::Failed(_), PollResult::Wanted(_)) => self.invariants.account().has_unreported(row.run),
                (RunOutcome::Cancelled(_) | RunOutcome::Skipped(_), _) => true,
                (RunOutcome::Completed(_) | RunOutcome::Failed(_), _) => false,
            };
            // The lines of an app are not recorded.
            let has_lines = !self.executors.is_of_app(&row.function);
            if has_lines && matches!(end.how, RunOutcome::Completed(_) | RunOutcome::Failed(_)) {
                self.check_log_lines(&state, &polled.lines)?;
            }
            if !is_same {
                return Err(format!("{} ended as {:?}; its journal replays to {replayed:?}", row.run, end.how));
            }
        }
        Ok(())
    }

    /// Checks that the log lines recorded for the handler's last attempt are those of a replay, at
    /// the same positions.
    fn check_log_lines(&self, state: &RunState, said: &[HandlerLogLine]) -> Result<(), Violation> {
        let attempt = state.handler_attempt();
        if let Some(lost) = said.iter().find(|placed| !state.logs.has_line(attempt, placed)) {
            return Err(format!("{} said a line that is not in its journal: {lost:?}", state.run));
        }
        let recorded = journal(&self.memory, state.run).into_iter().flat_map(|entry| match entry.fact {
            Fact::LogWritten { attempt: of, lines } if of == attempt => lines,
            _ => Vec::new(),
        });
        match recorded.into_iter().find(|placed| !said.contains(placed)) {
            Some(other) => Err(format!("{} has a line that its replay does not say there: {other:?}", state.run)),
            None => Ok(()),
        }
    }

    /// Checks that no ticket and no live slot is left after the second round.
    pub(super) fn check_nothing_is_left(&self) -> Result<(), Violation> {
        for limit in self.invariants.limits() {
            let (line, held) =
                (at_once(self.memory.first_tickets(&limit.key, 9)), at_once(self.memory.holders(&limit.key)));
            let alive: Vec<_> = held.into_iter().filter(|h| h.lease_until > self.clock.now()).collect();
            if !line.is_empty() || !alive.is_empty() {
                return Err(format!("`{}` is left with {line:?} in line, held by {alive:?}", limit.key));
            }
        }
        Ok(())
    }
}

/// Runs a future that needs no I/O.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(future)
}
