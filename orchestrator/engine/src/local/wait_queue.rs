//! The slots of one key, and the wait queue for these slots.

use std::collections::{BTreeSet, HashMap};

use stepladder_core::slot::{HeldSlot, Holder, Ticket, may_acquire};
use stepladder_core::{RunId, RunOrStep, Timestamp};

use crate::ports::RefusalReason;

/// The holders and the tickets of one key.
#[derive(Debug, Default)]
pub struct WaitQueue {
    held: Vec<HeldSlot>,
    tickets: BTreeSet<Ticket>,
    /// The tickets by run. Most runs have one ticket.
    of_run: HashMap<RunId, Vec<Ticket>>,
}

impl WaitQueue {
    /// Returns why [`acquire`](Self::acquire) would refuse a slot; `None` if it would not refuse.
    pub fn refusal(&self, slots: u32, holder: &Holder, now: Timestamp) -> Option<RefusalReason> {
        if self.held.iter().any(|holding| holding.holder == *holder) {
            return None;
        }
        let alive = || self.held.iter().filter(|holding| holding.lease_until > now);
        let free = slots.saturating_sub(u32::try_from(alive().count()).unwrap_or(u32::MAX));
        if free == 0 {
            return Some(RefusalReason::Full { free_at: alive().map(|holding| holding.lease_until).min() });
        }
        // counting stops at `free` tickets, because then the holder gets no slot anyway
        let ahead = self
            .first_ticket(|ticket| holder.may_use(ticket), holder.run())
            .map(|own| self.tickets.range(..own).take(free as usize).count());
        if may_acquire(free, ahead, self.tickets.len()) { None } else { Some(RefusalReason::Behind) }
    }

    /// Acquires a slot, as [`Slots::acquire`](crate::ports::Slots::acquire) does. Returns the
    /// ticket that was removed, if there was one.
    ///
    /// # Errors
    /// The reason why the slot is refused.
    pub fn acquire(
        &mut self,
        slots: u32,
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Ticket>, RefusalReason> {
        if let Some(held) = self.held.iter_mut().find(|holding| holding.holder == *holder) {
            held.lease_until = lease_until;
            // two hops may handle the same step: one acquired the slot, and then the other one
            // enqueued a ticket
            let own = holder.run_or_step();
            let ticket = self.ticket(holder.run(), Some(&own)).cloned();
            self.dequeue(holder.run(), Some(&own));
            return Ok(ticket);
        }
        let refusal = self.refusal(slots, holder, now);
        self.held.retain(|holding| holding.lease_until > now);
        if let Some(reason) = refusal {
            return Err(reason);
        }
        let ticket = self.first_ticket(|ticket| holder.owns(ticket), holder.run()).cloned();
        if let Some(ticket) = &ticket {
            self.dequeue(ticket.run, Some(&ticket.of));
        }
        self.held.push(HeldSlot { holder: holder.clone(), lease_until });
        Ok(ticket)
    }

    /// Releases the slot of a holder. Does nothing if the holder has none.
    pub fn release(&mut self, holder: &Holder) {
        self.held.retain(|holding| holding.holder != *holder);
    }

    /// Enqueues a ticket, and returns whether it is new. If the step already has a ticket, it is
    /// kept.
    pub fn enqueue(&mut self, ticket: Ticket) -> bool {
        if self.ticket(ticket.run, Some(&ticket.of)).is_some() {
            return false;
        }
        self.of_run.entry(ticket.run).or_default().push(ticket.clone());
        self.tickets.insert(ticket)
    }

    /// Removes the ticket of the run or of one of its steps, or all tickets of the run.
    pub fn dequeue(&mut self, run: RunId, of: Option<&RunOrStep>) {
        let Some(mut tickets) = self.of_run.remove(&run) else { return };
        tickets.retain(|ticket| {
            let is_removed = of.is_none_or(|of| ticket.of == *of);
            if is_removed {
                self.tickets.remove(ticket);
            }
            !is_removed
        });
        if !tickets.is_empty() {
            self.of_run.insert(run, tickets);
        }
    }

    /// Returns the tickets in the order in which they are served.
    pub fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.tickets.iter()
    }

    /// Returns the number of tickets.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Returns whether the queue has no tickets.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Returns the held slots, including those with an expired lease.
    pub fn holders(&self) -> &[HeldSlot] {
        &self.held
    }

    /// Returns the ticket of the run or of one of its steps, or the first ticket of the run.
    pub fn ticket(&self, run: RunId, of: Option<&RunOrStep>) -> Option<&Ticket> {
        let tickets = self.of_run.get(&run)?;
        match of {
            Some(of) => tickets.iter().find(|ticket| ticket.of == *of),
            None => tickets.iter().min(),
        }
    }

    /// Returns the number of tickets before this one.
    pub fn count_before(&self, ticket: &Ticket) -> usize {
        self.tickets.range(..ticket).count()
    }

    /// Returns whether there is neither a holder nor a ticket. Such a wait queue can be dropped.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.tickets.is_empty()
    }

    /// Returns the first of these tickets of a run.
    fn first_ticket(&self, is_wanted: impl Fn(&Ticket) -> bool, run: RunId) -> Option<&Ticket> {
        self.of_run.get(&run)?.iter().filter(|ticket| is_wanted(ticket)).min()
    }
}
