//! Invariants that are checked after every action.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::slot::{HeldSlot, Holder, Limit, Ticket};
use stepladder_core::{RunId, RunRow, StepId, Timestamp};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::ports::{AcquireRequest, Journals, Listings, OwnTickets, RunQuery, SlotOperations};
use stepladder_testkit::memory::Memory;

use super::account::{BodyId, ExecutionLog, RequestTarget};
use super::executors::OUT_OF_REACH;
use super::holding::SlotChecks;
use super::tree::{DECLINED, ONCE, own_name};

/// A violation, as a sentence.
pub(crate) type Violation = String;

/// The checks of the invariants, against the store and the log of executed bodies.
pub(crate) struct InvariantChecks {
    memory: Arc<Memory>,
    account: ExecutionLog,
    /// The largest difference between two clocks. A lease may expire earlier by this time.
    skew: Duration,
    lines: Vec<LimitSnapshot>,
    pub(crate) holdings: SlotChecks,
    /// How often each body had been executed when its outcome was recorded.
    memoized: HashMap<BodyId, u32>,
    /// The latest request of each holder. In one call, a step may be enqueued before other tickets
    /// and acquire its slot, so that no check sees its ticket in the queue.
    requests: HashMap<Holder, AcquireRequest>,
}

/// The slots and tickets of a limit at the last check.
struct LimitSnapshot {
    limit: Limit,
    places: Vec<Ticket>,
    held: Vec<HeldSlot>,
    /// The time since when a slot has been free although a ticket could use it.
    idle_since: Option<Timestamp>,
}

/// Reads the journal of a run.
pub(crate) fn journal(memory: &Memory, run: RunId) -> Vec<Entry> {
    let records = at_once(memory.read(run, 0));
    records.into_iter().flat_map(|record| record.entries).collect()
}

/// Returns whether the first of these entries of a record is the start of a step that a call has
/// executed: its outcome was written with it.
fn is_of_call(entries: &[Entry]) -> bool {
    let [start, next, ..] = entries else { return false };
    let Fact::StepStarted { step, attempt, .. } = &start.fact else { return false };
    match &next.fact {
        Fact::StepSucceeded { step: of, attempt: n, .. } | Fact::StepFailed { step: of, attempt: n, .. } => {
            of == step && n == attempt
        }
        _ => false,
    }
}

/// Reads the rows of all runs.
pub(crate) fn rows(memory: &Memory) -> Vec<RunRow> {
    at_once(memory.runs(RunQuery { limit: usize::MAX, ..RunQuery::default() }))
}

/// Returns the result of a call of the store in memory, which completes at its first poll.
pub(crate) fn at_once<T, E: std::fmt::Debug>(answer: impl Future<Output = Result<T, E>>) -> T {
    answer.now_or_never().expect("memory answers at once").expect("memory answers")
}

impl InvariantChecks {
    pub(crate) fn new(
        memory: Arc<Memory>,
        account: ExecutionLog,
        limits: &[Limit],
        registered: &[RegisteredFunction],
        skew: Duration,
    ) -> Self {
        let holdings = SlotChecks::new(memory.clone(), registered.to_vec());
        let line =
            |limit: &Limit| LimitSnapshot { limit: limit.clone(), places: vec![], held: vec![], idle_since: None };
        let lines = limits.iter().map(line).collect();
        Self { memory, account, skew, lines, holdings, memoized: HashMap::new(), requests: HashMap::new() }
    }

    /// Checks all invariants. `now` is the true time, without any worker's clock skew. `touched`
    /// lists the runs with new entries, and `requests` the new requests for slots.
    pub(crate) fn check(
        &mut self,
        now: Timestamp,
        touched: Vec<RunId>,
        requests: Vec<AcquireRequest>,
    ) -> Result<(), Violation> {
        for run in touched.into_iter().collect::<HashSet<_>>() {
            self.check_run(run)?;
        }
        self.check_leases(now)?;
        let limits: Vec<Limit> = self.limits().cloned().collect();
        self.holdings.check(&self.account, &limits, now, self.skew)?;
        self.requests.extend(requests.into_iter().map(|request| (request.holder.clone(), request)));
        for at in 0..self.lines.len() {
            self.check_order(at, now)?;
        }
        self.lines.iter_mut().for_each(|line| line.observe(&self.memory));
        self.note_idle(now);
        Ok(())
    }

    /// Records idle slots. A slot is idle if it is free and a ticket could acquire it: the ticket
    /// is among the first, and no other limit stops its run.
    fn note_idle(&mut self, now: Timestamp) {
        let free = |line: &LimitSnapshot| {
            let alive = line.held.iter().filter(|holding| holding.lease_until > now).count();
            (line.limit.slots as usize).saturating_sub(alive)
        };
        let may_take = |run: RunId| {
            self.lines.iter().all(|line| match line.places.iter().position(|place| place.run == run) {
                Some(ahead) => ahead < free(line),
                // The run has no ticket at this limit, so the limit does not stop it.
                None => true,
            })
        };
        let is_idle = |line: &LimitSnapshot| line.places.iter().take(free(line)).any(|place| may_take(place.run));
        let idle: Vec<bool> = self.lines.iter().map(is_idle).collect();
        for (line, is_idle) in self.lines.iter_mut().zip(idle) {
            line.idle_since = line.idle_since.or(Some(now)).filter(|_| is_idle);
        }
    }

    /// Resets the times of idle slots, because the clock was moved while no run waited.
    pub(crate) fn forget_idle(&mut self) {
        self.lines.iter_mut().for_each(|line| line.idle_since = None);
    }

    /// Returns the limit with the slot that has been idle for the longest time, and that time.
    pub(crate) fn longest_idle(&self, now: Timestamp) -> Option<(Duration, &Limit)> {
        let idle = self.lines.iter().filter_map(|line| Some((now.since(line.idle_since?), &line.limit)));
        idle.max_by_key(|(time, _)| *time)
    }

    /// Returns how often a body was executed.
    pub(crate) fn executions(&self, body: &BodyId) -> u32 {
        self.account.executions(body)
    }

    /// Returns the log of executed bodies.
    pub(crate) fn account(&self) -> &ExecutionLog {
        &self.account
    }

    /// Returns all limits.
    pub(crate) fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.lines.iter().map(|line| &line.limit)
    }

    /// Checks a run: each step has at most one outcome, no body executes before its start is
    /// recorded, and none executes after its outcome is recorded.
    fn check_run(&mut self, run: RunId) -> Result<(), Violation> {
        let mut outcomes: HashMap<StepId, u32> = HashMap::new();
        let mut starts: HashMap<StepId, u32> = HashMap::new();
        let mut declined: HashMap<StepId, u32> = HashMap::new();
        let mut calls = 0;
        let records = at_once(self.memory.read(run, 0));
        let entries = records.iter().flat_map(|record| (0..record.entries.len()).map(|n| &record.entries[n..]));
        for entries in entries {
            let entry = &entries[0];
            if let Fact::StepFailed { error, .. } | Fact::HandlerFailed { error, .. } | Fact::RunFailed { error } =
                &entry.fact
                && error.message.contains(OUT_OF_REACH)
            {
                return Err(format!("an executor out of reach counts as a failure of {run}: {:?}", entry.fact));
            }
            if let Fact::StepFailed { step, error, retry_at: Some(_), .. } = &entry.fact
                && error.message == DECLINED
            {
                *declined.entry(step.clone()).or_default() += 1;
            }
            match &entry.fact {
                Fact::CallStarted { .. } => calls += 1,
                Fact::StepAbandoned { step, attempt, .. } => self.account.give_up_attempt(run, step, Some(*attempt)),
                Fact::StepSucceeded { step, .. } | Fact::StepFailed { step, retry_at: None, .. } => {
                    let body = (run, step.clone());
                    let executions = self.account.expected_executions(&body);
                    self.memoized.entry(body).or_insert(executions);
                    *outcomes.entry(step.clone()).or_default() += 1;
                }
                Fact::StepStarted { step, .. } if !is_of_call(entries) => *starts.entry(step.clone()).or_default() += 1,
                _ => {}
            }
        }
        if let Some((step, n)) = outcomes.iter().find(|(_, n)| **n > 1) {
            return Err(format!("`{step}` of {run} has {n} outcomes"));
        }
        for (step, executions) in self.account.of_run(run) {
            // A call executes each step at most once. If its answer is lost, so are the starts.
            // Other starts come without their outcome.
            let allowed = calls + starts.get(&step).copied().unwrap_or(0);
            if executions > allowed {
                return Err(format!(
                    "`{step}` of {run} was executed {executions} times, more often than it was started"
                ));
            }
            let declined = declined.get(&step).copied().unwrap_or(0);
            if own_name(&step).starts_with(ONCE) && executions > 1 + declined {
                return Err(format!(
                    "`{step}` of {run} starts at most once, and was executed {executions} times after {declined} errors"
                ));
            }
            let body = (run, step.clone());
            let expected = self.account.expected_executions(&body);
            if self.memoized.get(&body).is_some_and(|before| expected > *before) {
                return Err(format!("`{step}` of {run} was executed again after its outcome was written"));
            }
        }
        Ok(())
    }

    fn check_leases(&self, now: Timestamp) -> Result<(), Violation> {
        for ((run, step), requests) in self.account.executing_twice(now) {
            let (mut leases, mut of_calls, mut of_requests) = (Vec::new(), Vec::new(), Vec::new());
            for entry in journal(&self.memory, run) {
                match entry.fact {
                    Fact::StepStarted { step: started, attempt, lease_until, .. } if started == step => {
                        leases.push(lease_until);
                        let is_its = |of: &RequestTarget| matches!(of, RequestTarget::Attempt(of, n) if *of == step && *n == attempt);
                        of_requests.extend(requests.iter().any(is_its).then_some(lease_until));
                    }
                    Fact::CallStarted { call, lease_until, .. } => {
                        of_calls.push((call, lease_until));
                        let is_its = |of: &RequestTarget| matches!(of, RequestTarget::Call(n) if *n == call);
                        of_requests.extend(requests.iter().any(is_its).then_some(lease_until));
                    }
                    // Its own worker has ended it, so it executes nothing.
                    Fact::CallEnded { call, interrupted: false } => of_calls.retain(|(open, _)| *open != call),
                    _ => {}
                }
            }
            if !requests.is_empty() {
                leases = of_requests;
            } else if !of_calls.is_empty() {
                leases = of_calls.into_iter().map(|(_, lease_until)| lease_until).collect();
            }
            // Only the latest attempt or call may still have a live lease.
            leases.pop();
            if leases.last().is_none_or(|before| *before > now + self.skew) {
                return Err(format!(
                    "`{step}` of {run} is executed twice at once, at {now}; leases before: {leases:?}"
                ));
            }
        }
        Ok(())
    }

    /// Checks that at most all slots of a limit are held, and that each new holder had one of the
    /// first tickets, or that no ticket was waiting.
    fn check_order(&self, at: usize, now: Timestamp) -> Result<(), Violation> {
        let LimitSnapshot { limit, places, held: before, .. } = &self.lines[at];
        let held = at_once(self.memory.holders(&limit.key));
        let slots = limit.slots as usize;
        if held.len() > slots {
            return Err(format!("{} hold one of {slots} slots of `{}`: {held:?}", held.len(), limit.key));
        }
        // A lease that is live by the true time may have expired by a fast clock.
        let alive = before.iter().filter(|before| before.lease_until > now + self.skew).count();
        let free = slots.saturating_sub(alive);
        for HeldSlot { holder, .. } in held.iter().filter(|new| before.iter().all(|old| old.holder != new.holder)) {
            let own = places.iter().position(|ticket| holder.may_use(ticket));
            // With a slow clock, the ticket of a request may be earlier than another one of its
            // run.
            let requested = self.ticket_of_request(holder);
            let requested = requested.map(|ticket| places.iter().filter(|place| **place < ticket).count());
            let ahead = own.into_iter().chain(requested).min().unwrap_or(places.len());
            if ahead >= free && !places.is_empty() {
                return Err(format!(
                    "{holder:?} took one of {free} free slots of `{}`, {ahead} stood before it in {places:?}",
                    limit.key
                ));
            }
        }
        Ok(())
    }

    /// Returns the ticket with which the request of a holder is enqueued. A ticket that is moved
    /// from another queue keeps its time.
    fn ticket_of_request(&self, holder: &Holder) -> Option<Ticket> {
        let AcquireRequest { limits, own, ticket, .. } = self.requests.get(holder)?;
        let is_own =
            |place: &&Ticket| holder.may_use(place) || (*own == OwnTickets::OfRun && place.run == holder.run());
        let lines = self.lines.iter().filter(|line| limits.contains(&line.limit));
        let earlier = lines.flat_map(|line| line.places.iter().filter(is_own)).map(|place| place.queued_at).min();
        let ticket = ticket.clone()?;
        Some(Ticket { queued_at: earlier.unwrap_or(ticket.queued_at).min(ticket.queued_at), ..ticket })
    }
}

impl LimitSnapshot {
    /// Reads the slots and the tickets.
    fn observe(&mut self, memory: &Memory) {
        self.held = at_once(memory.holders(&self.limit.key));
        self.places = at_once(memory.first_tickets(&self.limit.key, usize::MAX));
    }
}
