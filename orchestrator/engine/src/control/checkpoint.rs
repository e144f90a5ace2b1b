//! Records outcomes of steps while the executor of their function is still being called.

use std::sync::Arc;

use stepladder_core::bounds::fit_entries;
use stepladder_core::hop::{Checkpoint, CheckpointFault, record_checkpoint};
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::state::RunState;
use stepladder_core::{RunId, Timestamp};

use crate::control::RunControl;
use crate::engine::{EngineError, no_such_run};
use crate::functions::Catalog;
use crate::ports::Commit;

/// The result of a checkpoint that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointReceipt {
    /// Whether the executor must end its call now, and execute no further step in it.
    pub ends_call: bool,
}

impl RunControl {
    /// Records a checkpoint of a call that is in progress. A repeated checkpoint changes nothing.
    ///
    /// The call must end if more than half of its time has passed, because the next step may take
    /// as long as its worker allows. It must also end if an outcome was recorded as a failure,
    /// because the run has no room for it.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::TooLate`] if the call is no
    /// longer in progress, or the run has ended: then nothing is recorded; [`EngineError::Store`].
    pub(crate) async fn checkpoint(
        &self,
        run: RunId,
        checkpoint: &Checkpoint,
    ) -> Result<CheckpointReceipt, EngineError> {
        let (mut state, mut is_current) = match self.runs.take_read_state(run) {
            // the state is stale in most cases only if another writer is at work
            Some(state) => (state, false),
            None => (self.runs.read_state(run, None).await?.ok_or_else(|| no_such_run(run))?, true),
        };
        let mut catalog = self.runtime.snapshot();
        if catalog.descriptions().for_run(&state).is_none() {
            // the app may have been registered at another process
            catalog = self.runtime.current_for(&state.created.function).await;
        }
        loop {
            let now = self.runtime.now();
            let entries = match checkpoint_entries(&catalog, &state, checkpoint, now) {
                Ok(entries) if is_current || !entries.is_empty() => entries,
                Err(fault) if is_current => {
                    self.runs.keep_read_state(state);
                    return Err(EngineError::TooLate(format!("run {run}: {fault}")));
                }
                Ok(_) | Err(_) => {
                    state = self.runs.read_state(run, Some(state)).await?.ok_or_else(|| no_such_run(run))?;
                    is_current = true;
                    continue;
                }
            };
            let before = state.last_at;
            let written = entries.clone();
            let outcome = self.runs.append(Arc::make_mut(&mut state), entries, &mut Commit::default()).await?;
            if !outcome.is_done() {
                // after a conflict, the state includes the entries of the other writer
                is_current = true;
                continue;
            }
            for entry in &written {
                crate::hop::log_attempt(&self.runtime.config, &state, entry, now.since(before));
            }
            let ends_call = written.iter().any(is_failure) || is_half_over(&state, now);
            self.runs.keep_read_state(state);
            return Ok(CheckpointReceipt { ends_call });
        }
    }
}

fn checkpoint_entries(
    catalog: &Catalog,
    state: &RunState,
    checkpoint: &Checkpoint,
    now: Timestamp,
) -> Result<Vec<Entry>, CheckpointFault> {
    let chosen = catalog.descriptions().for_run(state);
    let chosen = chosen.ok_or(CheckpointFault::NotInProgress(checkpoint.call))?;
    let entries = record_checkpoint(state, checkpoint, &chosen.function.spec, now)?;
    Ok(fit_entries(state, entries))
}

fn is_failure(entry: &Entry) -> bool {
    matches!(entry.fact, Fact::StepFailed { .. } | Fact::StepRefused { .. })
}

/// Returns whether more than half of the time of the call has passed.
fn is_half_over(state: &RunState, now: Timestamp) -> bool {
    state.call.as_ref().is_some_and(|call| now.since(call.began) >= call.lease_until.since(now))
}
