//! The slots of one key, and the line of those that wait for one.

use std::collections::{BTreeSet, HashMap};

use stepladder_core::slot::{ARRIVAL, Holder, Holding, Place, may_take};
use stepladder_core::{RunId, StepId, Timestamp};

use crate::ports::Taken;

/// Who holds and who waits.
#[derive(Debug, Default)]
pub struct Line {
    held: Vec<Holding>,
    places: BTreeSet<Place>,
    /// The places again, by run: most runs have one.
    of_run: HashMap<RunId, Vec<Place>>,
}

impl Line {
    /// What [`take`](Self::take) would say.
    pub fn would_say(&self, slots: u32, holder: &Holder, now: Timestamp) -> Taken {
        if self.held.iter().any(|holding| holding.holder == *holder) {
            return Taken::Held;
        }
        let alive = || self.held.iter().filter(|holding| holding.lease_until > now);
        let free = slots.saturating_sub(u32::try_from(alive().count()).unwrap_or(u32::MAX));
        if free == 0 {
            return Taken::Full { free_at: alive().map(|holding| holding.lease_until).min() };
        }
        // who is not among the first `free` need not be counted out
        let ahead = self.place_of(holder).map(|place| self.places.range(..place).take(free as usize).count());
        if may_take(free, ahead, self.places.len()) { Taken::Held } else { Taken::Behind }
    }

    /// Takes a slot, as [`Slots::take`](crate::ports::Slots::take) says. Tells the place that was left, if one was.
    pub fn take(
        &mut self,
        slots: u32,
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> (Taken, Option<Place>) {
        if let Some(held) = self.held.iter_mut().find(|holding| holding.holder == *holder) {
            held.lease_until = lease_until;
            // it may have parked after another of its hops had taken the slot
            let place = self.of_step(holder.run, &holder.step).cloned();
            self.leave(holder.run, Some(&holder.step));
            return (Taken::Held, place);
        }
        let said = self.would_say(slots, holder, now);
        self.held.retain(|holding| holding.lease_until > now);
        if said != Taken::Held {
            return (said, None);
        }
        let place = self.place_of(holder).cloned();
        if let Some(place) = &place {
            self.leave(place.run, Some(&place.step));
        }
        self.held.push(Holding { holder: holder.clone(), lease_until });
        (Taken::Held, place)
    }

    /// Gives a slot back; nothing happens when the holder holds none.
    pub fn release(&mut self, holder: &Holder) {
        self.held.retain(|holding| holding.holder != *holder);
    }

    /// Joins the line; who is in it keeps the place that he has. Tells whether it was joined.
    pub fn park(&mut self, place: Place) -> bool {
        if self.of_step(place.run, &place.step).is_some() {
            return false;
        }
        self.of_run.entry(place.run).or_default().push(place.clone());
        self.places.insert(place)
    }

    /// Gives up the place of this step, or all of the run's.
    pub fn leave(&mut self, run: RunId, step: Option<&StepId>) {
        let Some(mut places) = self.of_run.remove(&run) else { return };
        places.retain(|place| {
            let leaves = step.is_none_or(|step| place.step == *step);
            if leaves {
                self.places.remove(place);
            }
            !leaves
        });
        if !places.is_empty() {
            self.of_run.insert(run, places);
        }
    }

    /// Those who wait, first to last.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Those who hold a slot, dead leases included.
    pub fn holders(&self) -> &[Holding] {
        &self.held
    }

    /// The place of this step, or the first of all that the run has.
    pub fn place(&self, run: RunId, step: Option<&StepId>) -> Option<&Place> {
        let places = self.of_run.get(&run)?;
        match step {
            Some(step) => places.iter().find(|place| place.step == *step),
            None => places.iter().min(),
        }
    }

    /// Where the first of a run's places stands, counted from 0.
    pub fn position(&self, run: RunId) -> Option<usize> {
        self.place(run, None).map(|first| self.places.range(..first).count())
    }

    /// Whether nobody holds and nobody waits: then nothing is lost by forgetting it.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.places.is_empty()
    }

    /// From where somebody asks: a step is not behind the place of its own run's arrival.
    fn place_of(&self, holder: &Holder) -> Option<&Place> {
        let places = [self.of_step(holder.run, &holder.step), self.of_step(holder.run, ARRIVAL)];
        places.into_iter().flatten().min()
    }

    fn of_step(&self, run: RunId, step: &str) -> Option<&Place> {
        self.of_run.get(&run)?.iter().find(|place| &*place.step == step)
    }
}
