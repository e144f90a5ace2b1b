//! Loads runs and appends entries to their journals.

mod cache;
mod leaving;

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::hop::WriteResult;
use stepladder_core::journal::{Entry, Fact, Record};
use stepladder_core::state::RunState;
use stepladder_core::{RunId, Timestamp, WakeCause, bounds};

pub(crate) use cache::RunCache;
pub(crate) use leaving::LeavingHop;
use leaving::LeavingRuns;

use crate::EngineError;
use crate::control::Cancellation;
use crate::engine::no_such_run;
use crate::ports::{Commit, CommitResult, JournalAppend, RunStart, StartResult, StoreError};
use crate::retries::{self, RepeatedCall};
use crate::runtime::Runtime;

/// Reads and writes journals. Caches the states of runs that this process moved recently.
pub(crate) struct Runs {
    runtime: Arc<Runtime>,
    /// The states of runs that this process moved recently, so that a hop needs to read only newer
    /// entries. A cached state may be stale. Before using it, the caller must read the entries
    /// after it.
    states: RunCache<Arc<RunState>>,
    /// Second states of runs, so that the next reader or hop does not read the whole journal again:
    /// states that were read while a hop had the run, or that another hop of the run has kept.
    read_states: RunCache<Arc<RunState>>,
    leaving: LeavingRuns,
}

/// How long a hop waits for an earlier hop to leave the run.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

/// The part of the cache for runs that are read while a hop has them.
const READ_SHARE: usize = 4;

/// The approximate size in bytes of a state without its outcomes, event data and steps.
const STATE_BYTES: usize = 2_048;
/// The approximate size in bytes of the state of a step.
const STEP_BYTES: usize = 256;

/// How an append behaves if it does not succeed at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AppendPatience {
    /// Until when a commit with entries is repeated if the storage is unavailable. With `None`, it
    /// is repeated as often as any other call.
    pub(crate) repeat_until: Option<Timestamp>,
    /// The number of conflicts of this writer in a row.
    pub(crate) conflicts: u32,
}

/// The result of an append.
#[derive(Debug)]
pub(crate) enum AppendOutcome {
    /// The entries were written, and the rest of the commit was carried out.
    Done,
    /// Another writer was faster. The state now includes the entries of that writer, so the caller
    /// must decide again.
    Conflict,
    /// The state no longer admits the entries, so the caller must decide again.
    Refused,
}

impl AppendOutcome {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

impl Runs {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        let bytes = runtime.config.cache_bytes;
        Self {
            runtime,
            states: RunCache::new(bytes),
            read_states: RunCache::new(bytes / READ_SHARE),
            leaving: LeavingRuns::default(),
        }
    }

    /// Records that a hop is about to leave this run, until the returned value is dropped.
    pub(crate) fn begin_leaving(&self, run: RunId) -> Option<LeavingHop> {
        self.leaving.begin(run)
    }

    /// Keeps the state of a run for the next hop. A run that has ended has none.
    pub(crate) fn keep_state(&self, state: Arc<RunState>) {
        if state.end.is_some() {
            let _ = (self.states.take(state.run), self.read_states.take(state.run));
            return;
        }
        let bytes = bytes_of(&state);
        // parallel steps have hops at the same time, and each of them keeps a state
        if let Some(other) = self.states.take(state.run) {
            let bytes = bytes_of(&other);
            self.read_states.put(other.run, other, bytes);
        }
        self.states.put(state.run, state, bytes);
    }

    /// Returns the states of runs that are about to be created. If other processes may execute
    /// their first hops, returns nothing.
    pub(crate) fn states_of(&self, starts: &[RunStart]) -> Vec<Option<RunState>> {
        if !self.runtime.backend.is_exclusive() {
            return Vec::new();
        }
        starts.iter().map(|start| RunState::fold(start.row.run, [&start.record]).ok()).collect()
    }

    /// Keeps the states of runs that were created, so that their first hops need not read them.
    /// They are kept only after the write: another request may have created a run with the same id.
    pub(crate) fn keep_created(&self, states: Vec<Option<RunState>>, results: &[StartResult]) {
        for (state, result) in states.into_iter().zip(results) {
            if let (Some(state), StartResult::New) = (state, result) {
                self.keep_state(Arc::new(state));
            }
        }
    }

    /// Returns the current state of a run, for reading; `None` for an unknown run.
    pub(crate) async fn state(&self, run: RunId) -> Result<Option<Arc<RunState>>, StoreError> {
        if let Some(cached) = self.states.peek(run) {
            return self.read_newer(run, Some(cached)).await;
        }
        let state = self.read_newer(run, self.read_states.take(run)).await?;
        if let Some(state) = &state {
            self.read_states.put(run, state.clone(), bytes_of(state));
        }
        Ok(state)
    }

    /// Takes the state of a run that was read while a hop had it, without reading newer entries.
    pub(crate) fn take_read_state(&self, run: RunId) -> Option<Arc<RunState>> {
        self.read_states.take(run)
    }

    /// Returns the current state of a run, starting from an older state of it. Returns `None` for
    /// an unknown run.
    pub(crate) async fn read_state(
        &self,
        run: RunId,
        older: Option<Arc<RunState>>,
    ) -> Result<Option<Arc<RunState>>, StoreError> {
        self.read_newer(run, older).await
    }

    /// Keeps the state of a run that a hop has, for the next reader.
    pub(crate) fn keep_read_state(&self, state: Arc<RunState>) {
        let bytes = bytes_of(&state);
        self.read_states.put(state.run, state, bytes);
    }

    /// Returns the current state of a run and removes it from the cache, so that the caller can
    /// change it without a copy. Returns `None` for an unknown run.
    pub(crate) async fn take_state(&self, run: RunId) -> Result<Option<Arc<RunState>>, StoreError> {
        if let Some(left) = self.leaving.wait_for(run) {
            let clock = &self.runtime.clock;
            tokio::select! {
                biased;
                () = left => {}
                () = clock.sleep_until(clock.now() + LEAVES_WITHIN) => {}
            }
        }
        let cached = self.states.take(run).or_else(|| self.read_states.take(run));
        self.read_newer(run, cached).await
    }

    async fn read_newer(&self, run: RunId, cached: Option<Arc<RunState>>) -> Result<Option<Arc<RunState>>, StoreError> {
        let Some(mut state) = cached else {
            let records = self.runtime.backend.read(run, 0).await?;
            if records.is_empty() {
                return Ok(None);
            }
            return RunState::fold(run, &records).map(|state| Some(Arc::new(state))).map_err(unreadable_journal);
        };
        let records = self.runtime.backend.read(run, state.next).await?;
        if !records.is_empty() {
            let state = Arc::make_mut(&mut state);
            records.iter().try_for_each(|record| state.extend(record)).map_err(unreadable_journal)?;
        }
        Ok(Some(state))
    }

    /// Appends entries, and carries out the rest of the commit with them. Without entries, carries
    /// out only the rest.
    ///
    /// On success, `commit` is empty afterwards. Otherwise it is not changed, so that the caller
    /// can release the slots that it acquired for the commit.
    pub(crate) async fn append(
        &self,
        state: &mut RunState,
        entries: Vec<Entry>,
        commit: &mut Commit,
    ) -> Result<AppendOutcome, StoreError> {
        if entries.is_empty() {
            self.runtime.carry_out(std::mem::take(commit)).await?;
            return Ok(AppendOutcome::Done);
        }
        // rule 33: every entry of a journal passes through here
        let entries = bounds::fit_entries(state, entries);
        if let Err(refusal) = state.admits_all(&entries) {
            tracing::debug!(run = %state.run, %refusal, "not admitted; deciding again");
            return Ok(AppendOutcome::Refused);
        }
        match self.append_record(state, entries, commit.clone(), AppendPatience::default()).await? {
            WriteResult::Done(record) => {
                record.iter().try_for_each(|record| state.extend(record)).map_err(unreadable_journal)?;
                *commit = Commit::default();
                Ok(AppendOutcome::Done)
            }
            WriteResult::Conflict(records) => {
                records.iter().try_for_each(|record| state.extend(record)).map_err(unreadable_journal)?;
                Ok(AppendOutcome::Conflict)
            }
        }
    }

    /// Appends entries that the run admits, and carries out the rest of the commit with them. After
    /// a conflict, returns what other writers have written in the meantime.
    pub(crate) async fn append_record(
        &self,
        run: &RunState,
        entries: Vec<Entry>,
        commit: Commit,
        patience: AppendPatience,
    ) -> Result<WriteResult, StoreError> {
        if entries.is_empty() {
            self.runtime.carry_out(commit).await?;
            return Ok(WriteResult::Done(None));
        }
        let (seq, token, code) = (run.next, self.runtime.entropy.bits(), self.runtime.config.code.clone());
        let append = Arc::new(JournalAppend { run: run.run, record: Record { seq, token, code, entries } });
        let whole = Commit { append: Some(append.clone()), ..commit };
        let commit = || self.runtime.backend.commit(whole.clone());
        match self.runtime.again(RepeatedCall::Commit, patience.repeat_until, commit).await? {
            CommitResult::Done => {
                drop(whole);
                let record = Arc::unwrap_or_clone(append).record;
                self.runtime.config.observe(run, &record);
                Ok(WriteResult::Done(Some(record)))
            }
            CommitResult::Conflict => {
                self.pause_after_conflict(patience.conflicts).await;
                Ok(WriteResult::Conflict(self.read_since(run).await?))
            }
        }
    }

    /// Waits a random time before the entries of other writers are read, if this is not the
    /// writer's first conflict in a row. Otherwise many writers of one run would disturb each other
    /// again and again.
    async fn pause_after_conflict(&self, before: u32) {
        if before == 0 {
            return;
        }
        let Runtime { clock, config, entropy, .. } = &*self.runtime;
        let wait = config.storage_retries.wait_after(before, entropy.bits() as u64);
        if !wait.is_zero() && retries::time_left().is_none_or(|left| wait < left) {
            clock.sleep_until(clock.now() + wait).await;
        }
    }

    /// Reads the entries that other writers have appended. A failed read is repeated, because the
    /// caller may have an outcome that is not written yet: if this call failed, the body would be
    /// executed again.
    pub(crate) async fn read_since(&self, run: &RunState) -> Result<Vec<Record>, StoreError> {
        self.runtime.again(RepeatedCall::Read, None, || self.runtime.backend.read(run.run, run.next)).await
    }

    /// Cancels a run. If a body is executing, it continues, but its outcome
    /// is not recorded. If the run has already ended, it is not changed, but the work that follows
    /// the end of a run is repeated (rule 28).
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Store`].
    pub(crate) async fn cancel(&self, run: RunId, reason: &str) -> Result<Cancellation, EngineError> {
        let state = self.state(run).await?.ok_or_else(|| no_such_run(run))?;
        let mut state = Arc::unwrap_or_clone(state);
        let reason: Arc<str> = reason.into();
        loop {
            let mut commit =
                Commit { wakes: vec![self.runtime.wake_of(&state, WakeCause::Cancelled)], ..Commit::default() };
            let entries = match state.end {
                Some(_) => Vec::new(),
                None => vec![Fact::RunCancelled { reason: reason.clone() }.into_entry(self.runtime.now())],
            };
            let ends = !entries.is_empty();
            if self.append(&mut state, entries, &mut commit).await?.is_done() {
                if let Some(end) = state.end.as_ref().filter(|_| ends) {
                    crate::hop::log_end(&self.runtime.config, &state, end);
                }
                return Ok(Cancellation { status: state.status(), is_new: ends });
            }
        }
    }
}

fn bytes_of(state: &RunState) -> usize {
    let event = state.created.event.data.get().len();
    STATE_BYTES + state.bytes + state.logs.bytes() + event + STEP_BYTES * state.steps.len()
}

fn unreadable_journal(corrupt: stepladder_core::state::CorruptJournal) -> StoreError {
    StoreError::unreadable(corrupt)
}
