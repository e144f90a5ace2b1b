//! Carries out the effects that concern the store and the queue, through the services of the
//! engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use stepladder_core::decide::{Operation, Want};
use stepladder_core::hop::{Effect, FoundRun, Hop, Input, LoadedRun, StoreFault, TicketSearch, Write, WriteResult};
use stepladder_core::slot::{Holder, Limit, Ticket};
use stepladder_core::state::RunState;
use stepladder_core::{EventId, RunId, RunOrStep};

use crate::EngineError;
use crate::functions::Catalog;
use crate::hop::Hops;
use crate::ports::{Commit, Receipt, SnapshotParts, StoreError};
use crate::retries;
use crate::runs::{AppendPatience, LeavingHop};

type Answer = Result<Input, StoreError>;

/// The store and the queue, as one hop uses them.
pub(super) struct Storage<'h> {
    pub(super) hops: &'h Hops,
    /// The functions that were known when the hop started.
    pub(super) catalog: Arc<Catalog>,
    /// The receipt that acknowledges the wake.
    pub(super) receipt: Receipt,
    /// The number of writes in a row for which another writer was faster.
    pub(super) conflicts: AtomicU32,
    /// Set from the write with which the hop leaves the run.
    pub(super) leaving: Mutex<Option<LeavingHop>>,
}

impl Storage<'_> {
    /// If the run's function calls a function that the hop does not know, returns the current
    /// functions, because the called function may have been registered since the hop started.
    pub(super) async fn find_called(&self, wants: &[Want]) -> Option<Arc<Catalog>> {
        let called = wants.iter().filter_map(|want| match &want.operation {
            Operation::Invoke { function, .. } => Some(function),
            _ => None,
        });
        let called: Vec<&Arc<str>> = called.collect();
        let has_all = |catalog: &Catalog| called.iter().all(|function| catalog.newest(function).is_some());
        if has_all(&self.catalog) {
            return None;
        }
        Some(self.hops.runtime.current_with(has_all).await)
    }

    /// Carries out an effect on the store or the queue, and returns the answer. The time limit of
    /// the invocation does not apply to the calls that return the wake to the queue after a
    /// failure.
    pub(super) async fn answer(&self, hop: &Hop, effect: Effect) -> Input {
        let call = self.call(hop, effect);
        let answer = match hop.has_failed() {
            true => retries::run_without_limit(self.hops.runtime.clock.clone(), call).await,
            false => call.await,
        };
        answer.unwrap_or_else(|error| Input::StoreFailed(error.into()))
    }

    /// Calls a service of the engine. Each call is boxed: otherwise the future of a hop would have
    /// room for the largest call, and would copy that room at each effect.
    fn call<'c>(&'c self, hop: &'c Hop, effect: Effect) -> BoxFuture<'c, Answer> {
        let hops = self.hops;
        match (effect, hop.run()) {
            (Effect::Load, _) => Box::pin(self.load(hop)),
            (Effect::Write(write), run) => Box::pin(self.write(run, *write)),
            (Effect::CreateTick { minute }, _) => done(hops.intake.begin_tick(hop.wake(), minute)),
            (Effect::PutBack(due), _) => {
                Box::pin(async move { hops.runtime.backend.put_back(&self.receipt, due).await.map(Input::PutBack) })
            }
            (effect, Some(run)) => self.call_for_run(run, effect),
            (effect, None) => {
                let error = StoreError::Unavailable(format!("no run is loaded for {effect:?}").into());
                Box::pin(async move { Err(error) })
            }
        }
    }

    fn call_for_run<'c>(&'c self, run: &'c RunState, effect: Effect) -> BoxFuture<'c, Answer> {
        let hops = self.hops;
        match effect {
            Effect::Promote(limits) => Box::pin(async move { hops.slots.promote(&limits).await.map(|()| Input::Done) }),
            Effect::ReadOn => Box::pin(async move { hops.runs.read_since(run).await.map(Input::Entries) }),
            Effect::AskIfPaused => {
                Box::pin(async move { hops.functions.waits_for_resumption(run).await.map(Input::Paused) })
            }
            Effect::AskFlowControl => Box::pin(self.ask_flow_control(run)),
            Effect::CancelReplaced => done(self.cancel_replaced_run(run)),
            Effect::FindRun(of) => Box::pin(self.find_run(of)),
            Effect::FindTickets { limits, place } => Box::pin(self.find_tickets(run.run, limits, place)),
            Effect::FindHolders(limits) => Box::pin(self.find_holders(run.run, limits)),
            Effect::Acquire(request) => {
                Box::pin(async move { hops.slots.acquire_slots(run, request).await.map(Input::Slots) })
            }
            Effect::PassOnLeaseWakes(limits) => {
                Box::pin(async move { hops.slots.pass_on_lease_wakes(&limits).await.map(|()| Input::Done) })
            }
            Effect::ReleaseEnded(limits) => {
                Box::pin(async move { hops.slots.release_ended(&limits).await.map(|()| Input::Done) })
            }
            Effect::ReadInbox => Box::pin(self.read_inbox(run.run)),
            Effect::Send(mut events) => {
                let now = hops.runtime.now();
                hops.runtime.config.trace_sent(run, &mut events);
                Box::pin(async move { hops.intake.accept(events, now).await.map(Input::Sent) })
            }
            Effect::StartRun(start) => {
                let (run, created) = *start;
                done(hops.intake.start_runs(vec![(run, created, Vec::new())]))
            }
            Effect::CancelRuns { runs, reason } => {
                Box::pin(async move { self.cancel_runs(runs, &reason).await.map(|()| Input::Done) })
            }
            Effect::AnnounceEnd(end) => Box::pin(async move {
                let listeners = self.catalog.descriptions().listeners();
                hops.send_end_events(listeners, run, &end).await.map(|()| Input::Done)
            }),
            Effect::Load
            | Effect::Write(_)
            | Effect::CreateTick { .. }
            | Effect::PutBack(_)
            | Effect::Open(_)
            | Effect::Poll(_)
            | Effect::AwaitAttempts(_)
            | Effect::RevealRecorded(_)
            | Effect::Run(_)
            | Effect::Stop { .. }
            | Effect::Close
            | Effect::Defer { .. }
            | Effect::Log(_) => Box::pin(async { Ok(Input::Done) }),
        }
    }

    async fn load(&self, hop: &Hop) -> Answer {
        let (runs, config) = (&self.hops.runs, &self.hops.runtime.config);
        let Some(run) = runs.take_state(hop.wake().run).await? else { return Ok(Input::Loaded(None)) };
        let function = run.created.function.clone();
        let run = Arc::unwrap_or_clone(run);
        let (worker_timeout, longest_step) = (config.worker_timeout_of(&function), config.longest_step(&function));
        Ok(Input::Loaded(Some(Box::new(LoadedRun { run, worker_timeout, longest_step }))))
    }

    async fn write(&self, run: Option<&RunState>, write: Write) -> Answer {
        let Write { before, entries, after, wakes, acknowledges, repeat_until } = write;
        // the next hop may begin before this one has returned the state of the run
        let leaving = run.filter(|_| acknowledges && !wakes.is_empty());
        let leaving = leaving.and_then(|run| self.hops.runs.begin_leaving(run.run));
        let acks = acknowledges.then(|| self.receipt.clone()).into_iter().collect();
        let commit = Commit { before, append: None, after, wakes, acks };
        let written = match run {
            Some(run) => {
                let patience = AppendPatience { repeat_until, conflicts: self.conflicts.load(Ordering::Relaxed) };
                self.hops.runs.append_record(run, entries, commit, patience).await?
            }
            None => {
                self.hops.runtime.carry_out(commit).await?;
                WriteResult::Done(None)
            }
        };
        match &written {
            WriteResult::Conflict(_) => drop(self.conflicts.fetch_add(1, Ordering::Relaxed)),
            WriteResult::Done(Some(_)) => self.conflicts.store(0, Ordering::Relaxed),
            WriteResult::Done(None) => {}
        }
        if let WriteResult::Done(_) = written {
            *self.leaving.lock() = leaving;
        }
        Ok(Input::Written(written))
    }

    async fn ask_flow_control(&self, run: &RunState) -> Answer {
        let chosen = self.catalog.descriptions().for_run(run);
        let spec = chosen.map(|chosen| &chosen.function.spec);
        let Some(spec) = spec else { return Ok(Input::Admission(None)) };
        self.hops.intake.admission(spec, run).await.map(Input::Admission)
    }

    /// Cancels the run that this run replaces. If that run had not started, also cancels the run
    /// that it was to replace.
    async fn cancel_replaced_run(&self, run: &RunState) -> Result<(), StoreError> {
        let reason = format!("run {} takes its place", run.run);
        let mut next = run.created.replaces;
        while let Some(before) = next {
            let Some(state) = self.hops.runs.state(before).await? else { break };
            next = state.created.replaces.filter(|_| state.first_run_at.is_none());
            if state.end.is_none() {
                self.cancel(before, &reason).await?;
            }
        }
        Ok(())
    }

    /// Cancels runs. The cancellation of a run that has already ended is skipped, because it would
    /// wake this run, which would cancel the run again.
    async fn cancel_runs(&self, runs: Vec<RunId>, reason: &str) -> Result<(), StoreError> {
        for run in runs {
            if self.hops.runs.state(run).await?.is_some_and(|state| state.end.is_none()) {
                self.cancel(run, reason).await?;
            }
        }
        Ok(())
    }

    async fn cancel(&self, run: RunId, reason: &str) -> Result<(), StoreError> {
        match self.hops.runs.cancel(run, reason).await {
            Ok(_) | Err(EngineError::NotFound(_) | EngineError::Invalid(_) | EngineError::TooLate(_)) => Ok(()),
            Err(EngineError::Store(error)) => Err(error),
        }
    }

    async fn find_run(&self, run: RunId) -> Answer {
        let found = self.hops.runs.state(run).await?;
        let of = |state: &RunState| FoundRun { next: state.next, end: state.end.as_ref().map(|end| end.how.outcome()) };
        Ok(Input::Found(found.as_deref().map(of)))
    }

    async fn find_tickets(&self, run: RunId, limits: Vec<Limit>, place: TicketSearch) -> Answer {
        let mut found = Vec::new();
        for limit in limits {
            if self.has_ticket(run, &limit, &place).await? {
                found.push(limit);
            }
        }
        Ok(Input::Tickets(found))
    }

    async fn has_ticket(&self, run: RunId, limit: &Limit, place: &TicketSearch) -> Result<bool, StoreError> {
        match place {
            TicketSearch::OfRun => self.waits_at(run, limit, None).await,
            TicketSearch::Own(of) => self.waits_at(run, limit, Some(of.clone())).await,
            TicketSearch::AtHeadOrOfRun => {
                let is_at_head = self.has_at_head(limit, |ticket| ticket.run == run).await?;
                Ok(is_at_head || self.waits_at(run, limit, None).await?)
            }
            TicketSearch::OwnAtHead(of) => {
                self.has_at_head(limit, |ticket| ticket.run == run && ticket.of == *of).await
            }
        }
    }

    async fn waits_at(&self, run: RunId, limit: &Limit, of: Option<RunOrStep>) -> Result<bool, StoreError> {
        let parts = SnapshotParts::ticket(run, of);
        Ok(self.hops.runtime.backend.snapshot(&limit.key, parts).await?.ticket.is_some())
    }

    async fn has_at_head(&self, limit: &Limit, is_it: impl Fn(&Ticket) -> bool) -> Result<bool, StoreError> {
        let parts = SnapshotParts::first(limit.slots as usize);
        Ok(self.hops.runtime.backend.snapshot(&limit.key, parts).await?.first.iter().any(is_it))
    }

    async fn find_holders(&self, run: RunId, limits: Vec<Limit>) -> Answer {
        let mut found: Vec<(Limit, Holder)> = Vec::new();
        for limit in limits {
            let snapshot = self.hops.runtime.backend.snapshot(&limit.key, SnapshotParts::holders()).await?;
            let held = snapshot.holders.into_iter().map(|held| held.holder);
            found.extend(held.filter(|holder| holder.run() == run).map(|holder| (limit.clone(), holder)));
        }
        Ok(Input::Holders(found))
    }

    async fn read_inbox(&self, run: RunId) -> Answer {
        let backend = &self.hops.runtime.backend;
        let offered: Vec<EventId> = backend.inbox(run).await?;
        let mut events = Vec::with_capacity(offered.len());
        for id in offered {
            events.push((id, backend.event(id).await?));
        }
        Ok(Input::Inbox(events))
    }

    pub(super) fn defer(&self, releases: Vec<(Limit, Holder)>, promote: &[Limit]) -> Option<Input> {
        let unreleased = &self.hops.slots.unreleased;
        unreleased.add(releases);
        if !promote.is_empty() {
            unreleased.add_unwoken(promote);
        }
        None
    }

    /// Records a permanent failure. From now on, the tickets that this process promotes are
    /// remembered.
    pub(super) fn note_fault(&self, fault: &StoreFault) {
        if fault.is_permanent() {
            self.hops.slots.promotions.note(self.hops.runtime.now());
        }
    }
}

/// Boxes a call that answers only that it was carried out.
fn done<'c, T: Send>(call: impl Future<Output = Result<T, StoreError>> + Send + 'c) -> BoxFuture<'c, Answer> {
    Box::pin(async move { call.await.map(|_| Input::Done) })
}
