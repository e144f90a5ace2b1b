//! The state that all services of the engine share: the ports, the settings, and the registered
//! functions.

use std::sync::Arc;

use stepladder_core::expr::ExprCache;
use stepladder_core::hop::{self, later};
use stepladder_core::sentence::WithCauses;
use stepladder_core::state::RunState;
use stepladder_core::{Timestamp, Wake, WakeCause};

use crate::clock::{Clock, Entropy};
use crate::config::{Config, Pace};
use crate::functions::{Catalog, Functions};
use crate::ports::{Backend, Commit, CommitResult, EarlyWrite, StoreError};
use crate::retries::{self, RepeatedCall, StorageRetries};

/// The ports, the settings and the functions of an engine.
pub(crate) struct Runtime {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) config: Config,
    pub(crate) functions: Arc<dyn Functions>,
    /// The id of this process in its leases.
    pub(crate) worker: Arc<str>,
}

impl Runtime {
    /// Returns a copy of this runtime with another backend.
    pub(crate) fn over(&self, backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            config: self.config.clone(),
            functions: self.functions.clone(),
            worker: self.worker.clone(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the current functions, without looking for changes. A task takes one snapshot and
    /// keeps it.
    pub(crate) fn snapshot(&self) -> Arc<Catalog> {
        self.functions.snapshot()
    }

    /// Returns the current functions, including those that another process has registered.
    pub(crate) async fn current(&self) -> Arc<Catalog> {
        self.current_with(|_| true).await
    }

    /// Returns the current functions like [`Runtime::current`]. If `function` is missing, looks for
    /// changes once more, because it may have been registered a moment ago.
    pub(crate) async fn current_for(&self, function: &str) -> Arc<Catalog> {
        self.current_with(|catalog| catalog.newest(function).is_some()).await
    }

    /// Returns the current functions. If they do not satisfy `is_enough`, looks for changes once
    /// more.
    pub(crate) async fn current_with(&self, is_enough: impl Fn(&Catalog) -> bool + Sync) -> Arc<Catalog> {
        match self.functions.may_change() {
            true => self.functions.current(&is_enough).await,
            false => self.snapshot(),
        }
    }

    /// Carries out a commit. If the reply is lost, the same commit is sent again: its token shows
    /// whether it was already written (rule 1).
    pub(crate) async fn carry_out(&self, commit: Commit) -> Result<CommitResult, StoreError> {
        self.again(RepeatedCall::Commit, None, || self.backend.commit(commit.clone())).await
    }

    /// Calls the storage, and repeats the call while the storage is unavailable. The repetitions
    /// follow the retry settings and the deadline of the task; with `until`, they continue until
    /// that time. Calls that the adapter repeats itself are repeated only with `until`.
    pub(crate) async fn again<T, F>(
        &self,
        call: RepeatedCall,
        until: Option<Timestamp>,
        ask: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let policy = self.config.storage_retries;
        let retries = match until {
            Some(_) => StorageRetries { attempts: u32::MAX, ..policy },
            None if self.backend.repeats_requests() => StorageRetries { attempts: 1, ..policy },
            None => policy,
        };
        let mut attempt = 1;
        loop {
            let error = match ask().await {
                Err(error) if !error.is_permanent() => error,
                answer => return answer,
            };
            let pause = retries.pause_before_retry(&*self.clock, attempt, self.entropy.bits() as u64);
            let repeats = match until {
                Some(until) => retries::run_within(self.clock.clone(), until, pause).await,
                None => pause.await,
            };
            if !repeats {
                return Err(error);
            }
            let why = WithCauses(&error).to_string();
            tracing::warn!(attempt, why, "a {} failed, it is sent again", call.name());
            attempt += 1;
        }
    }

    /// Creates a wake for a run.
    pub(crate) fn wake_of(&self, state: &RunState, cause: WakeCause) -> Wake {
        Wake { run: state.run, cause, group: state.created.function.clone() }
    }

    /// Returns the write that wakes a run at `due`: a delayed wake if the queue supports the delay,
    /// otherwise a timer for the sweep.
    pub(crate) fn later(&self, wake: Wake, due: Timestamp) -> EarlyWrite {
        later(wake, due, self.now(), self.backend.max_delay())
    }

    /// Returns the worker that executes the hops of this process.
    pub(crate) fn worker_of_hops(&self, exprs: Arc<ExprCache>) -> hop::Worker {
        hop::Worker {
            process: self.worker.clone(),
            is_alone: self.backend.is_exclusive(),
            goes_on: self.config.pace == Pace::WithinBudget,
            side_by_side: self.config.side_by_side,
            lease_margin: self.config.lease_margin,
            retry_delay: self.config.retry_delay,
            max_delay: self.backend.max_delay(),
            exprs,
        }
    }
}
