//! The run's inbox: events that matched a subscription in the index before the journal had it.
//!
//! The index is written before the entry, so an event may find one and not the other. The process
//! that delivers the event then puts it into the inbox and sends a wake. The hop of that wake finds
//! or writes the journal's entry of the wait, and checks the inbox afterwards. If there is no such
//! entry, the subscription came from a decision that was dropped.

use stepladder_core::journal::Entry;
use stepladder_core::waiting::ArrivingEvent;

use super::{Ack, Hop};
use crate::ports::{LateWrite, StoreError};

impl Hop<'_> {
    /// Returns whether to check the inbox now. It is checked only once a wait is in the journal.
    pub(crate) fn must_check_inbox(&self) -> bool {
        self.look && self.state.awaits_events()
    }

    /// Delivers the inbox's events that match an open wait, and drops the others. Returns `false`
    /// after a conflict: the hop must decide again.
    pub(crate) async fn deliver_from_inbox(&mut self) -> Result<bool, StoreError> {
        let run = self.state.run;
        let mut entries: Vec<Entry> = Vec::new();
        let offered = self.hops.runtime.backend.inbox(run).await?;
        self.look = false;
        if offered.is_empty() {
            return Ok(true);
        }
        for id in &offered {
            // a missing event has outlived its retention
            let Some(event) = self.hops.runtime.backend.event(*id).await? else { continue };
            let mut sight = entries.clone();
            let entry = self.hops.subscriptions.delivery_entry(&self.state, &ArrivingEvent::new(&event));
            sight.extend(entry.clone());
            // an earlier event may have ended the wait
            if self.state.admits_all(&sight).is_ok() {
                entries.extend(entry);
            }
        }
        self.commit.after.extend(offered.into_iter().map(|event| LateWrite::TakeFromInbox { run, event }));
        Ok(self.append(entries, Ack::Later).await?.is_done())
    }
}
