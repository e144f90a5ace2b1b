//! Pauses and resumes functions. Runs of a paused function do not start until it is resumed; runs
//! that have started continue. Other processes notice a pause within [`UNPAUSED_FOR`].
//!
//! A pause is stored as a flow state. A run that finds this flow state is enqueued and then reads
//! it again (rule 21), because the function may have been resumed in between. To resume a function,
//! the flow state is removed first, and then all tickets in the queue are woken.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use stepladder_core::slot::{self, Ticket};
use stepladder_core::state::RunState;
use stepladder_core::{RunOrStep, Timestamp, Wake, WakeCause};

use crate::EngineError;
use crate::functions::FunctionControl;
use crate::ports::{Commit, FlowStateChange, LateWrite, SnapshotParts, StoreError};

/// How long a process relies on the last reading that a function is not paused, so that starting a
/// run does not cost a read. A pause takes effect immediately in the process that wrote it, and
/// after this time in all others.
const UNPAUSED_FOR: Duration = Duration::from_secs(10);
/// The number of runs that are woken in one commit.
const PAGE: usize = 100;

impl FunctionControl {
    /// Pauses a function: its runs that have not started must wait. Returns `false` if it was
    /// already paused.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for a function that is not registered; [`EngineError::Store`].
    pub async fn pause(&self, function: &str) -> Result<bool, EngineError> {
        self.require_registered(function).await?;
        self.lock_unpaused().remove(function);
        if self.read_pause(function).await?.is_some() {
            return Ok(false);
        }
        let now = self.runtime.now().as_millis().to_string();
        let change = FlowStateChange {
            key: slot::pause_key(function),
            seen: None,
            becomes: Some(now.into()),
            until: Timestamp::MAX,
        };
        Ok(self.runtime.backend.change_flow_state(vec![change]).await?[..] == [true])
    }

    /// Resumes a function: its waiting runs start, and new runs do not wait. Returns the number of
    /// runs that were woken.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for a function that is not registered. After
    /// [`EngineError::Store`], some runs may still wait; the next call wakes them.
    pub async fn resume(&self, function: &str) -> Result<usize, EngineError> {
        self.require_registered(function).await?;
        if let Some(seen) = self.read_pause(function).await? {
            let change = FlowStateChange {
                key: slot::pause_key(function),
                seen: Some(seen),
                becomes: None,
                until: self.runtime.now(),
            };
            if self.runtime.backend.change_flow_state(vec![change]).await?[..] != [true] {
                // the function was paused again in the meantime
                return Ok(0);
            }
        }
        let queue = slot::pause_key(function);
        let mut woken = 0;
        loop {
            let tickets = self.runtime.backend.snapshot(&queue, SnapshotParts::first(PAGE)).await?.first;
            let group: Arc<str> = function.into();
            let wakes =
                tickets.iter().map(|p| Wake { run: p.run, cause: WakeCause::Next, group: group.clone() }).collect();
            // the wakes are sent before the tickets are removed: if the process dies in between,
            // the next call wakes the runs of the remaining tickets once more
            self.runtime.carry_out(Commit { wakes, ..Commit::default() }).await?;
            let leave = |ticket: &Ticket| LateWrite::DequeuePaused { queue: queue.clone(), run: ticket.run };
            self.runtime.carry_out(Commit { after: tickets.iter().map(leave).collect(), ..Commit::default() }).await?;
            woken += tickets.len();
            if tickets.len() < PAGE {
                return Ok(woken);
            }
        }
    }

    /// Returns since when a function has been paused; `None` if it is not paused.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn paused_since(&self, function: &str) -> Result<Option<Timestamp>, EngineError> {
        let since = self.read_pause(function).await?;
        Ok(since.and_then(|text| text.parse().ok()).map(Timestamp::from_millis))
    }

    /// Returns all paused functions, with the time at which each was paused. This needs one read
    /// for all functions.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn paused(&self) -> Result<HashMap<Arc<str>, Timestamp>, EngineError> {
        let catalog = self.runtime.snapshot();
        let functions: Vec<&Arc<str>> = catalog.specs().map(|spec| &spec.id).collect();
        let stored = self
            .runtime
            .backend
            .read_flow_state(functions.iter().map(|function| slot::pause_key(function)).collect())
            .await?;
        let (mut paused, mut unpaused, now) = (HashMap::new(), self.lock_unpaused(), self.runtime.now());
        for (function, text) in functions.into_iter().zip(stored) {
            match text.and_then(|text| text.parse().ok()).map(Timestamp::from_millis) {
                Some(since) => drop(paused.insert(function.clone(), since)),
                None => drop(unpaused.insert(function.clone(), now)),
            }
        }
        Ok(paused)
    }

    /// Returns whether a run that is about to start must wait until its function is resumed. If so,
    /// the run was enqueued.
    pub(crate) async fn waits_for_resumption(&self, state: &RunState) -> Result<bool, StoreError> {
        let (function, now) = (&state.created.function, self.runtime.now());
        if self.lock_unpaused().get(function).is_some_and(|seen| *seen + UNPAUSED_FOR > now) {
            return Ok(false);
        }
        if self.read_pause(function).await?.is_none() {
            self.lock_unpaused().insert(function.clone(), now);
            return Ok(false);
        }
        let ticket =
            Ticket { queued_at: state.created_at, event: state.created.event.id, run: state.run, of: RunOrStep::Run };
        self.runtime.backend.enqueue_paused(&slot::pause_key(function), ticket).await?;
        Ok(self.read_pause(function).await?.is_some())
    }

    async fn read_pause(&self, function: &str) -> Result<Option<Arc<str>>, StoreError> {
        Ok(self.runtime.backend.read_flow_state(vec![slot::pause_key(function)]).await?.pop().flatten())
    }

    fn lock_unpaused(&self) -> MutexGuard<'_, HashMap<Arc<str>, Timestamp>> {
        self.unpaused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn require_registered(&self, function: &str) -> Result<(), EngineError> {
        match self.runtime.current_for(function).await.newest(function) {
            Some(_) => Ok(()),
            None => Err(EngineError::NotFound(format!("there is no function `{function}`"))),
        }
    }
}
