//! Slots that could not be given back: the storage failed. Whoever took them is alive, so nobody has to wait for the end of
//! their leases; the next hop or sweep of this process gives them back.

use crate::slots::Slots;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepladder_core::slot::Limit;

use crate::ports::{Commit, LateWrite};

/// What this process has yet to give back, and whom it has yet to wake.
#[derive(Debug, Default)]
pub(crate) struct Unreleased(Mutex<PendingReleases>);

#[derive(Clone, Debug, Default)]
struct PendingReleases {
    releases: Vec<LateWrite>,
    /// Limits of which something was given back, and nobody was woken for it.
    unwoken: Vec<Limit>,
}

impl Unreleased {
    /// Adds the slots that a commit that was not carried out would have given back. Not places in line: whoever waits may
    /// have joined again meanwhile, and the repeated wake decides that anew.
    pub(crate) fn add(&self, afters: impl IntoIterator<Item = LateWrite>) {
        for after in afters {
            let LateWrite::Release { limit, .. } = &after else { continue };
            let limit = limit.clone();
            let mut debts = self.debts();
            debts.releases.push(after);
            debts.unwoken.push(limit);
        }
    }

    /// Adds limits whose lines are to be woken.
    pub(crate) fn add_unwoken(&self, limits: &[Limit]) {
        self.debts().unwoken.extend_from_slice(limits);
    }

    fn debts(&self) -> MutexGuard<'_, PendingReleases> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Gives back what is owed, if anything is, and wakes who waits for it. What fails remains owed.
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
