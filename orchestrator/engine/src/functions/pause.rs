//! Pausing a function: its runs do not begin until it is resumed; those that have begun go on.
//! Other processes notice within ten seconds.
//!
//! That a function is paused is a note. A run that meets it joins a line, and looks once more (rule
//! 21): it may have been resumed between the two. Who resumes removes the note first, and then
//! wakes the whole line.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use stepladder_core::slot::{ARRIVAL, Limit, Ticket};
use stepladder_core::state::RunState;
use stepladder_core::{Timestamp, Wake, WakeCause};

use crate::EngineError;
use crate::functions::Functions;
use crate::intake::note_key;
use crate::ports::{Commit, FlowStateChange, LateWrite, StoreError};

/// For so long a process need not look again at a function that was not paused: the step path stays
/// as it is, and a pause holds everywhere after so long, at once where it was asked for.
const SEEN: Duration = Duration::from_secs(10);
/// Runs that are woken in one commit.
const PAGE: usize = 100;

impl Functions {
    /// Pauses a function: what has not begun waits. Whether it was running until now.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for a function that is not registered; [`EngineError::Store`].
    pub async fn pause(&self, function: &str) -> Result<bool, EngineError> {
        self.registered(function)?;
        self.unpaused().remove(function);
        if self.paused_note(function).await?.is_some() {
            return Ok(false);
        }
        let now = self.runtime.now().as_millis().to_string();
        let note = FlowStateChange { key: key(function), seen: None, becomes: Some(now.into()), until: Timestamp::MAX };
        Ok(self.runtime.backend.change_flow_state(vec![note]).await?[..] == [true])
    }

    /// Lets a function's runs begin again, those that waited and those that come. Says how many it
    /// woke.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for a function that is not registered; [`EngineError::Store`]:
    /// then it may be that not all were woken, and asking again goes on with those.
    pub async fn resume(&self, function: &str) -> Result<usize, EngineError> {
        self.registered(function)?;
        if let Some(seen) = self.paused_note(function).await? {
            let note =
                FlowStateChange { key: key(function), seen: Some(seen), becomes: None, until: self.runtime.now() };
            if self.runtime.backend.change_flow_state(vec![note]).await?[..] != [true] {
                // paused anew meanwhile
                return Ok(0);
            }
        }
        let limit = line(function);
        let mut woken = 0;
        loop {
            let places = self.runtime.backend.tickets(&limit, PAGE).await?;
            let group: Arc<str> = function.into();
            let wakes =
                places.iter().map(|p| Wake { run: p.run, cause: WakeCause::Next, group: group.clone() }).collect();
            // the wakes go first: who dies in between leaves places, and wakes those runs once more
            self.runtime.carry_out(Commit { wakes, ..Commit::default() }).await?;
            let leave = |place: &Ticket| LateWrite::Dequeue { limit: limit.clone(), run: place.run, step: None };
            self.runtime.carry_out(Commit { after: places.iter().map(leave).collect(), ..Commit::default() }).await?;
            woken += places.len();
            if places.len() < PAGE {
                return Ok(woken);
            }
        }
    }

    /// Since when a function is paused, if it is.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn paused_since(&self, function: &str) -> Result<Option<Timestamp>, EngineError> {
        let since = self.paused_note(function).await?;
        Ok(since.and_then(|text| text.parse().ok()).map(Timestamp::from_millis))
    }

    /// The functions that are paused, and since when: one look at the storage for all.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn paused(&self) -> Result<HashMap<Arc<str>, Timestamp>, EngineError> {
        let functions: Vec<&Arc<str>> = self.runtime.specs().map(|spec| &spec.id).collect();
        let noted =
            self.runtime.backend.read_flow_state(functions.iter().map(|function| key(function)).collect()).await?;
        let (mut paused, mut unpaused, now) = (HashMap::new(), self.unpaused(), self.runtime.now());
        for (function, text) in functions.into_iter().zip(noted) {
            match text.and_then(|text| text.parse().ok()).map(Timestamp::from_millis) {
                Some(since) => drop(paused.insert(function.clone(), since)),
                None => drop(unpaused.insert(function.clone(), now)),
            }
        }
        Ok(paused)
    }

    /// Whether a run that is about to begin waits for its function to be resumed: then it is in the
    /// line.
    pub(crate) async fn waits_for_resumption(&self, state: &RunState) -> Result<bool, StoreError> {
        let (function, now) = (&state.created.function, self.runtime.now());
        if self.unpaused().get(function).is_some_and(|seen| *seen + SEEN > now) {
            return Ok(false);
        }
        if self.paused_note(function).await?.is_none() {
            self.unpaused().insert(function.clone(), now);
            return Ok(false);
        }
        let place =
            Ticket { queued_at: state.created_at, event: state.created.event.id, run: state.run, step: ARRIVAL.into() };
        self.runtime.backend.enqueue(&line(function), place).await?;
        Ok(self.paused_note(function).await?.is_some())
    }

    async fn paused_note(&self, function: &str) -> Result<Option<Arc<str>>, StoreError> {
        Ok(self.runtime.backend.read_flow_state(vec![key(function)]).await?.pop().flatten())
    }

    /// When functions were seen not to be paused.
    fn unpaused(&self) -> MutexGuard<'_, HashMap<Arc<str>, Timestamp>> {
        self.unpaused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registered(&self, function: &str) -> Result<(), EngineError> {
        match self.runtime.program(function) {
            Some(_) => Ok(()),
            None => Err(EngineError::NotFound(format!("there is no function `{function}`"))),
        }
    }
}

fn key(function: &str) -> Arc<str> {
    note_key("paused", function, "")
}

/// The wait queue of runs whose function is paused. It has no slots, so no ticket can acquire one.
pub(crate) fn line(function: &str) -> Limit {
    Limit { key: key(function), slots: 0 }
}
