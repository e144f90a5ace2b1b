//! Slots that could not be released because the storage failed. Their process is alive, so the next
//! hop or sweep of this process releases them. Other steps need not wait for the end of their
//! leases.

use std::sync::{Mutex, MutexGuard, PoisonError};

use stepladder_core::slot::Limit;

use crate::ports::{Commit, LateWrite};
use crate::slots::Slots;

/// The slots to release, and the limits with tickets to promote.
#[derive(Debug, Default)]
pub(crate) struct Unreleased(Mutex<PendingReleases>);

#[derive(Clone, Debug, Default)]
struct PendingReleases {
    releases: Vec<LateWrite>,
    /// Limits with a released slot and tickets that were not promoted.
    unwoken: Vec<Limit>,
}

impl Unreleased {
    /// Adds the releases of a commit that failed. Tickets are not removed: the step may have been
    /// enqueued again meanwhile, and the repeated wake decides that again.
    pub(crate) fn add(&self, afters: impl IntoIterator<Item = LateWrite>) {
        for after in afters {
            let LateWrite::Release { limit, .. } = &after else { continue };
            let limit = limit.clone();
            let mut debts = self.debts();
            debts.releases.push(after);
            debts.unwoken.push(limit);
        }
    }

    /// Adds limits with waiting tickets to promote.
    pub(crate) fn add_unwoken(&self, limits: &[Limit]) {
        self.debts().unwoken.extend_from_slice(limits);
    }

    fn debts(&self) -> MutexGuard<'_, PendingReleases> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Releases the pending slots, and promotes waiting tickets. Failed releases stay pending.
    pub(crate) async fn release_pending(&self) {
        let mut debts = std::mem::take(&mut *self.unreleased.debts());
        if debts.unwoken.is_empty() {
            return;
        }
        debts.unwoken.sort();
        debts.unwoken.dedup();
        let commit = Commit { after: debts.releases.clone(), ..Commit::default() };
        let paid = match self.runtime.carry_out(commit).await {
            Ok(_) => self.promote(&debts.unwoken).await,
            Err(error) => Err(error),
        };
        if let Err(error) = paid {
            tracing::debug!(%error, "slots are yet to be given back");
            let mut owed = self.unreleased.debts();
            owed.releases.append(&mut debts.releases);
            owed.unwoken.append(&mut debts.unwoken);
        }
    }
}
