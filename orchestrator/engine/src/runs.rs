//! Loading a run and appending to it: the two ends of every decision.

mod cache;

use std::sync::Arc;

use stepladder_core::journal::{Entry, Fact, Record};
use stepladder_core::state::RunState;
use stepladder_core::{RunId, Status, WakeCause, bounds};

use cache::Cache;

use crate::EngineError;
use crate::engine::no_such_run;
use crate::ports::{Commit, CommitResult, JournalAppend, StoreError};
use crate::runtime::Runtime;

/// Reads and writes journals, and keeps the states of runs that this process moved lately.
pub(crate) struct Runs {
    runtime: Arc<Runtime>,
    pub(crate) cache: Cache,
}

/// How often a write whose reply was lost is sent, with its token, before the wake is put off; and
/// a read in its way.
const ATTEMPTS: u32 = 3;

/// What became of an append.
#[derive(Debug)]
pub(crate) enum Appended {
    /// It is there, and all that comes with it was carried out.
    Done,
    /// Somebody else was faster. The state has read on; decide again.
    Conflict,
    /// The journal does not admit it any more; decide again.
    Refused,
}

impl Appended {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

impl Runs {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        let cache = Cache::new(runtime.config.cache_bytes);
        Self { runtime, cache }
    }

    /// The state of a run as of now, for looking at; `None` when there is no such run.
    pub(crate) async fn state(&self, run: RunId) -> Result<Option<Arc<RunState>>, StoreError> {
        self.read_on(run, self.cache.peek(run)).await
    }

    /// The state of a run as of now, taken out of the cache: for the one who moves it.
    pub(crate) async fn take_state(&self, run: RunId) -> Result<Option<Arc<RunState>>, StoreError> {
        self.read_on(run, self.cache.take(run)).await
    }

    async fn read_on(&self, run: RunId, warm: Option<Arc<RunState>>) -> Result<Option<Arc<RunState>>, StoreError> {
        let Some(mut state) = warm else {
            let records = self.runtime.backend.read(run, 0).await?;
            if records.is_empty() {
                return Ok(None);
            }
            return RunState::fold(run, &records).map(|state| Some(Arc::new(state))).map_err(unreadable);
        };
        let records = self.runtime.backend.read(run, state.next).await?;
        if !records.is_empty() {
            let state = Arc::make_mut(&mut state);
            records.iter().try_for_each(|record| state.extend(record)).map_err(unreadable)?;
        }
        Ok(Some(state))
    }

    /// Appends entries, and carries out the rest of the commit with them. Without entries, only the
    /// rest.
    ///
    /// The commit is taken when it was carried out and left as it is otherwise, so that the caller
    /// can give up what it reserved.
    pub(crate) async fn append(
        &self,
        state: &mut RunState,
        entries: Vec<Entry>,
        commit: &mut Commit,
    ) -> Result<Appended, StoreError> {
        if entries.is_empty() {
            self.runtime.carry_out(std::mem::take(commit)).await?;
            return Ok(Appended::Done);
        }
        // rule 33, for every way into a journal
        let entries = bounds::fit_entries(state, entries);
        if let Err(refusal) = state.admits_all(&entries) {
            tracing::debug!(run = %state.run, %refusal, "not admitted; deciding again");
            return Ok(Appended::Refused);
        }
        let record = Record {
            seq: state.next,
            token: self.runtime.entropy.bits(),
            code: self.runtime.config.code.clone(),
            entries,
        };
        let whole = Commit { append: Some(JournalAppend { run: state.run, record: record.clone() }), ..commit.clone() };
        match self.runtime.carry_out(whole).await? {
            CommitResult::Done => {
                state.extend(&record).map_err(unreadable)?;
                *commit = Commit::default();
                Ok(Appended::Done)
            }
            CommitResult::Conflict => {
                self.catch_up(state).await?;
                Ok(Appended::Conflict)
            }
        }
    }

    /// Reads on what others have written since; whether there was anything. A read that fails is
    /// asked again: an outcome may wait to be written behind what it finds, and a body would be
    /// executed once more for it.
    pub(crate) async fn catch_up(&self, state: &mut RunState) -> Result<bool, StoreError> {
        let records = again("read", || self.runtime.backend.read(state.run, state.next)).await?;
        records.iter().try_for_each(|record| state.extend(record)).map_err(unreadable)?;
        Ok(!records.is_empty())
    }

    /// Cancels a run. A body that runs ends, but its outcome is refused. A finished run stays as it
    /// is; its finishing work is done again (rule 28).
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Store`].
    pub(crate) async fn cancel(&self, run: RunId, reason: &str) -> Result<Status, EngineError> {
        let state = self.state(run).await?.ok_or_else(|| no_such_run(run))?;
        let mut state = Arc::unwrap_or_clone(state);
        let reason: Arc<str> = reason.into();
        loop {
            let mut commit =
                Commit { wakes: vec![self.runtime.wake_of(&state, WakeCause::Cancelled)], ..Commit::default() };
            let entries = match state.end {
                Some(_) => Vec::new(),
                None => vec![Fact::RunCancelled { reason: reason.clone() }.at(self.runtime.now())],
            };
            let ends = !entries.is_empty();
            if self.append(&mut state, entries, &mut commit).await?.is_done() {
                if let Some(end) = state.end.as_ref().filter(|_| ends) {
                    crate::hop::log_end(&state, end);
                }
                return Ok(state.status());
            }
        }
    }
}

/// Asks the storage, and a few times more while it is unavailable.
pub(crate) async fn again<T, F>(what: &str, ask: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut attempt = 1;
    loop {
        match ask().await {
            Err(StoreError::Unavailable(why)) if attempt < ATTEMPTS => {
                tracing::warn!(attempt, why, "a {what} failed, it is sent again");
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn unreadable(corrupt: stepladder_core::state::CorruptJournal) -> StoreError {
    StoreError::Unreadable(corrupt.to_string())
}
