//! Slots and lines in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;
use stepladder_core::slot::{ARRIVAL, Holder, Holding, Limit, Place, may_take};
use stepladder_core::{RunId, StepId, Timestamp};

use super::Memory;
use crate::ports::{StoreResult, Taken};

/// The slots of one key, and its line.
#[derive(Default)]
pub(super) struct Slots {
    held: Vec<Holding>,
    line: BTreeSet<Place>,
}

impl Slots {
    pub(super) fn release(&mut self, holder: &Holder) {
        self.held.retain(|holding| holding.holder != *holder);
    }

    pub(super) fn leave(&mut self, run: RunId, step: Option<&StepId>) {
        self.line.retain(|place| place.run != run || step.is_some_and(|step| place.step != *step));
    }

    pub(super) fn park(&mut self, place: Place) {
        if !self.line.iter().any(|known| known.run == place.run && known.step == place.step) {
            self.line.insert(place);
        }
    }

    fn take(&mut self, slots: u32, holder: &Holder, lease_until: Timestamp, now: Timestamp) -> Taken {
        if let Some(held) = self.held.iter_mut().find(|holding| holding.holder == *holder) {
            held.lease_until = lease_until;
            return Taken::Held;
        }
        self.held.retain(|holding| holding.lease_until > now);
        let free = slots.saturating_sub(u32::try_from(self.held.len()).unwrap_or(u32::MAX));
        let of_step = |place: &Place| place.run == holder.run && place.step == holder.step;
        let of_arrival = |place: &Place| place.run == holder.run && &*place.step == ARRIVAL;
        let ahead = self.line.iter().position(of_step).or_else(|| self.line.iter().position(of_arrival));
        if !may_take(free, ahead, self.line.len()) {
            return Taken::Full { free_at: self.held.iter().map(|holding| holding.lease_until).min() };
        }
        if let Some(place) = ahead.and_then(|ahead| self.line.iter().nth(ahead).cloned()) {
            self.line.remove(&place);
        }
        self.held.push(Holding { holder: holder.clone(), lease_until });
        Taken::Held
    }
}

#[async_trait]
impl crate::ports::Slots for Memory {
    async fn take(
        &self,
        limit: &Limit,
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Taken> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.slots.entry(limit.key.clone()).or_default().take(limit.slots, holder, lease_until, now))
    }

    async fn park(&self, limit: &Limit, place: Place) -> StoreResult<()> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        inner.slots.entry(limit.key.clone()).or_default().park(place);
        Ok(())
    }

    async fn line(&self, limit: &Limit, n: usize) -> StoreResult<Vec<Place>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.slots.get(&limit.key).map_or_else(Vec::new, |slots| slots.line.iter().take(n).cloned().collect()))
    }

    async fn holders(&self, limit: &Limit) -> StoreResult<Vec<Holding>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.slots.get(&limit.key).map_or_else(Vec::new, |slots| slots.held.clone()))
    }

    async fn position(&self, limit: &Limit, run: RunId) -> StoreResult<Option<usize>> {
        let mut inner = self.lock();
        inner.counts.slots += 1;
        Ok(inner.slots.get(&limit.key).and_then(|slots| slots.line.iter().position(|place| place.run == run)))
    }
}
