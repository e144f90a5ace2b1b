//! The run's inbox: events that met the run in the index of those who wait, and not yet in its journal.
//!
//! They came in the moment of registering: the index is written before the entry, so an event may find the one and not the
//! other. Whoever gives it to the run leaves it here then, and sends a wake. The hop of that wake finds the wait written
//! down meanwhile, or writes it down itself, and looks here after that. If it does neither, the index was of a decision that
//! was overtaken, and nobody waits.

use stepladder_core::journal::Entry;
use stepladder_core::waiting::ArrivingEvent;

use super::{Ack, Hop};
use crate::ports::{LateWrite, StoreError};

impl Hop<'_> {
    /// Whether the inbox is to be looked into now: not before a wait is written down.
    pub(crate) fn must_check_inbox(&self) -> bool {
        self.look && self.state.awaits_events()
    }

    /// Lets the events of the inbox enter that a wait is open for, and drops the others. Whether that was written; if not,
    /// somebody else has written, and it is to be decided anew.
    pub(crate) async fn deliver_from_inbox(&mut self) -> Result<bool, StoreError> {
        let run = self.state.run;
        let mut entries: Vec<Entry> = Vec::new();
        let offered = self.hops.runtime.backend.inbox(run).await?;
        self.look = false;
        if offered.is_empty() {
            return Ok(true);
        }
        for id in &offered {
            // one that is not there any more has outlived its retention
            let Some(event) = self.hops.runtime.backend.event(*id).await? else { continue };
            let mut sight = entries.clone();
            let entry = self.hops.subscriptions.delivery_entry(&self.state, &ArrivingEvent::new(&event));
            sight.extend(entry.clone());
            // one before it may have fulfilled the wait
            if self.state.admits_all(&sight).is_ok() {
                entries.extend(entry);
            }
        }
        self.commit.after.extend(offered.into_iter().map(|event| LateWrite::TakeFromInbox { run, event }));
        Ok(self.append(entries, Ack::Later).await?.is_done())
    }
}
