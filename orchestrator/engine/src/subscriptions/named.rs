//! Callbacks with a name: a run waits for a name, and a post to the name resumes it. The token of
//! the wait is not needed.
//!
//! The index of subscriptions has the waits by name. As with events, the journal decides whether a
//! run still waits. Unlike data for a token, data for a name is not kept until a run waits.

use std::sync::Arc;

use stepladder_core::signal::{NAMED, key_of_name};
use stepladder_core::{Json, RunId, StepId};

use crate::EngineError;
use crate::ports::{Commit, LateWrite};
use crate::subscriptions::callbacks::{CallbackPost, SignalReceipt};
use crate::subscriptions::{PAGE, Subscriptions};

impl Subscriptions {
    /// Posts data to each run that waits for a callback with this name. Returns the first of them;
    /// `None` if no run waits.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if the name or the data is invalid, as in [`signal`](Self::signal);
    /// [`EngineError::Store`]. After an error, some runs may have the data.
    pub async fn named_signal(&self, name: &str, data: Json) -> Result<Option<SignalReceipt>, EngineError> {
        let key = key_of_name(name).map_err(EngineError::Invalid)?;
        let post = CallbackPost::Data(data);
        if let Some(problem) = post.problem() {
            return Err(EngineError::Invalid(problem));
        }
        let (mut first, mut over) = (None, Vec::new());
        let mut after: Option<(RunId, StepId)> = None;
        loop {
            let page = self.runtime.backend.subscriptions(NAMED, &key, after.take(), PAGE).await?;
            let has_more = page.len() == PAGE;
            after = page.last().map(|subscription| (subscription.run, subscription.step.clone()));
            for subscription in page {
                if let Some(state) = self.runs.take_state(subscription.run).await? {
                    let state = Arc::unwrap_or_clone(state);
                    match self.post_to(state, subscription.step.clone(), &post).await {
                        Ok(receipt) if !receipt.before => _ = first.get_or_insert(receipt),
                        Ok(_) | Err(EngineError::TooLate(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                over.push(LateWrite::Unsubscribe(subscription));
            }
            if !has_more {
                break;
            }
        }
        if !over.is_empty() {
            self.runtime.carry_out(Commit { after: over, ..Commit::default() }).await?;
        }
        Ok(first)
    }
}
