//! Remembers slots that could not be released because the storage failed. The next hop or sweep of
//! this process releases them, so that waiting steps need not wait until the leases expire.

use std::sync::{Mutex, MutexGuard, PoisonError};

use stepladder_core::slot::{Holder, Limit};

use crate::slots::Slots;

/// The slots to release later, and the limits with tickets to promote.
#[derive(Debug, Default)]
pub(crate) struct UnreleasedSlots(Mutex<PendingReleases>);

#[derive(Clone, Debug, Default)]
struct PendingReleases {
    slots: Vec<(Limit, Holder)>,
    /// The limits with a released slot and without a promoted ticket.
    unwoken: Vec<Limit>,
}

impl UnreleasedSlots {
    /// Adds slots that a failed hop did not release. Tickets are not removed, because the step may
    /// have been enqueued again in the meantime; the redelivered wake decides about them.
    pub(crate) fn add(&self, releases: impl IntoIterator<Item = (Limit, Holder)>) {
        let mut pending = self.pending();
        for (limit, holder) in releases {
            pending.unwoken.push(limit.clone());
            pending.slots.push((limit, holder));
        }
    }

    /// Adds limits with waiting tickets that must be promoted.
    pub(crate) fn add_unwoken(&self, limits: &[Limit]) {
        self.pending().unwoken.extend_from_slice(limits);
    }

    fn pending(&self) -> MutexGuard<'_, PendingReleases> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Releases the pending slots, and promotes waiting tickets. Slots that cannot be released stay
    /// pending.
    pub(crate) async fn release_pending(&self) {
        let mut pending = std::mem::take(&mut *self.unreleased.pending());
        if pending.unwoken.is_empty() {
            return;
        }
        pending.unwoken.sort();
        pending.unwoken.dedup();
        if let Err(error) = self.release(pending.slots.clone(), &pending.unwoken).await {
            tracing::debug!(%error, "slots could not be released yet");
            let mut unreleased = self.unreleased.pending();
            unreleased.slots.append(&mut pending.slots);
            unreleased.unwoken.append(&mut pending.unwoken);
        }
    }
}
