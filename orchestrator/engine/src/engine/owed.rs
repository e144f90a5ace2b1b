//! Slots that could not be given back: the storage failed. Whoever took them is alive, so nobody has to wait for the end of
//! their leases; the next hop or sweep of this process gives them back.

use std::sync::{Mutex, PoisonError};

use super::Engine;
use crate::ports::{After, Commit};

/// What this process has yet to give back.
#[derive(Debug, Default)]
pub(super) struct Owed(Mutex<Vec<After>>);

impl Owed {
    /// Adds what a commit that was not carried out would have given back.
    pub(super) fn add(&self, afters: impl IntoIterator<Item = After>) {
        let is_release = |after: &After| matches!(after, After::Release { .. } | After::Leave { .. });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(afters.into_iter().filter(is_release));
    }

    fn take(&self) -> Vec<After> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine {
    /// Gives back what is owed, if anything is. What the storage does not take remains owed.
    pub(super) async fn pay_what_is_owed(&self) {
        let owed = self.owed.take();
        if owed.is_empty() {
            return;
        }
        let mut limits: Vec<_> = owed
            .iter()
            .filter_map(|after| match after {
                After::Release { limit, .. } | After::Leave { limit, .. } => Some(limit.clone()),
                _ => None,
            })
            .collect();
        limits.sort();
        limits.dedup();
        let commit = Commit { after: owed.clone(), ..Commit::default() };
        let paid = match self.carry_out(commit).await {
            Ok(_) => self.pass_on(&limits).await,
            Err(error) => Err(error),
        };
        if let Err(error) = paid {
            tracing::debug!(%error, "slots are yet to be given back");
            self.owed.add(owed);
        }
    }
}
