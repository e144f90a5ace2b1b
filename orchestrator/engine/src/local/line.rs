//! The slots of one key, and the line of those that wait for one.

use std::collections::{BTreeSet, HashMap};

use stepladder_core::slot::{ARRIVAL, HeldSlot, Holder, Ticket, may_acquire};
use stepladder_core::{RunId, StepId, Timestamp};

use crate::ports::AcquireResult;

/// Who holds and who waits.
#[derive(Debug, Default)]
pub struct WaitQueue {
    held: Vec<HeldSlot>,
    tickets: BTreeSet<Ticket>,
    /// The places again, by run: most runs have one.
    of_run: HashMap<RunId, Vec<Ticket>>,
}

impl WaitQueue {
    /// What [`take`](Self::take) would say.
    pub fn peek(&self, slots: u32, holder: &Holder, now: Timestamp) -> AcquireResult {
        if self.held.iter().any(|holding| holding.holder == *holder) {
            return AcquireResult::Acquired;
        }
        let alive = || self.held.iter().filter(|holding| holding.lease_until > now);
        let free = slots.saturating_sub(u32::try_from(alive().count()).unwrap_or(u32::MAX));
        if free == 0 {
            return AcquireResult::Full { free_at: alive().map(|holding| holding.lease_until).min() };
        }
        // who is not among the first `free` need not be counted out
        let ahead = self.ticket_of(holder).map(|place| self.tickets.range(..place).take(free as usize).count());
        if may_acquire(free, ahead, self.tickets.len()) { AcquireResult::Acquired } else { AcquireResult::Behind }
    }

    /// Takes a slot, as [`Slots::take`](crate::ports::Slots::take) says. Tells the place that was
    /// left, if one was.
    pub fn acquire(
        &mut self,
        slots: u32,
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> (AcquireResult, Option<Ticket>) {
        if let Some(held) = self.held.iter_mut().find(|holding| holding.holder == *holder) {
            held.lease_until = lease_until;
            // it may have parked after another of its hops had taken the slot
            let place = self.ticket_of_step(holder.run, &holder.step).cloned();
            self.dequeue(holder.run, Some(&holder.step));
            return (AcquireResult::Acquired, place);
        }
        let said = self.peek(slots, holder, now);
        self.held.retain(|holding| holding.lease_until > now);
        if said != AcquireResult::Acquired {
            return (said, None);
        }
        let place = self.ticket_of(holder).cloned();
        if let Some(place) = &place {
            self.dequeue(place.run, Some(&place.step));
        }
        self.held.push(HeldSlot { holder: holder.clone(), lease_until });
        (AcquireResult::Acquired, place)
    }

    /// Gives a slot back; nothing happens when the holder holds none.
    pub fn release(&mut self, holder: &Holder) {
        self.held.retain(|holding| holding.holder != *holder);
    }

    /// Joins the line; who is in it keeps the place that he has. Tells whether it was joined.
    pub fn enqueue(&mut self, place: Ticket) -> bool {
        if self.ticket_of_step(place.run, &place.step).is_some() {
            return false;
        }
        self.of_run.entry(place.run).or_default().push(place.clone());
        self.tickets.insert(place)
    }

    /// Gives up the place of this step, or all of the run's.
    pub fn dequeue(&mut self, run: RunId, step: Option<&StepId>) {
        let Some(mut places) = self.of_run.remove(&run) else { return };
        places.retain(|place| {
            let leaves = step.is_none_or(|step| place.step == *step);
            if leaves {
                self.tickets.remove(place);
            }
            !leaves
        });
        if !places.is_empty() {
            self.of_run.insert(run, places);
        }
    }

    /// Those who wait, first to last.
    pub fn places(&self) -> impl Iterator<Item = &Ticket> {
        self.tickets.iter()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Those who hold a slot, dead leases included.
    pub fn holders(&self) -> &[HeldSlot] {
        &self.held
    }

    /// The place of this step, or the first of all that the run has.
    pub fn ticket(&self, run: RunId, step: Option<&StepId>) -> Option<&Ticket> {
        let places = self.of_run.get(&run)?;
        match step {
            Some(step) => places.iter().find(|place| place.step == *step),
            None => places.iter().min(),
        }
    }

    /// Where the first of a run's places stands, counted from 0.
    pub fn position(&self, run: RunId) -> Option<usize> {
        self.ticket(run, None).map(|first| self.tickets.range(..first).count())
    }

    /// Whether nobody holds and nobody waits: then nothing is lost by forgetting it.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.tickets.is_empty()
    }

    /// From where somebody asks: a step is not behind the place of its own run's arrival.
    fn ticket_of(&self, holder: &Holder) -> Option<&Ticket> {
        let places = [self.ticket_of_step(holder.run, &holder.step), self.ticket_of_step(holder.run, ARRIVAL)];
        places.into_iter().flatten().min()
    }

    fn ticket_of_step(&self, run: RunId, step: &str) -> Option<&Ticket> {
        self.of_run.get(&run)?.iter().find(|place| &*place.step == step)
    }
}
