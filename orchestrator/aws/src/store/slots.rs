//! Slots: the holders of a limit, 16 in an item, each item a map from holder to the end of its lease.
//!
//! An item has room for its share of the limit and no more, and a holder is added only on the condition that there is
//! room: the sum never exceeds the limit, whatever races. Giving back removes one key of the map, whoever else writes.
//!
//! Whether the asker's turn has come is judged by the line as it was read a moment ago (rule 25): someone may have
//! joined it since. The limit holds all the same, and who joined asks again after joining (rule 21).

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use stepladder_core::slot::{ARRIVAL, HeldSlot, Holder, Limit, Ticket, may_acquire};
use stepladder_core::{RunId, StepId, Timestamp};
use stepladder_engine::ports::{AcquireResult, Slots, StoreError, StoreResult};

use crate::Aws;
use crate::item::{Read, number};
use crate::layout::{self, HOLDERS, Key};
use crate::table::Put;

use super::holders::{Change, Shard, Write, name_of, share};

/// How often an asker tries again when others took what it saw free.
const ROUNDS: usize = 40;

/// What is seen of a limit by who asks.
enum Seen {
    /// The asker holds already, in this item.
    Held(u32),
    /// This item has room; the asker's place in line, if it has one.
    Free(Shard, Option<Ticket>),
    /// No slot for the asker.
    Refused(AcquireResult),
}

#[async_trait]
impl Slots for Aws {
    async fn acquire(
        &self,
        limit: &Limit,
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<AcquireResult> {
        for _ in 0..ROUNDS {
            let (shard, place) = match self.look_for_slot(limit, holder, now).await? {
                Seen::Refused(taken) => return Ok(taken),
                Seen::Held(shard) => match self.hold_on(limit, shard, holder, lease_until).await? {
                    true => return Ok(AcquireResult::Acquired),
                    false => continue,
                },
                Seen::Free(shard, place) => (shard, place),
            };
            if self.hold(limit, &shard, holder, (lease_until, now)).await? {
                self.leave_from(limit, place).await?;
                return Ok(AcquireResult::Acquired);
            }
        }
        Err(StoreError::Unavailable(format!("too many take slots of `{}` at this moment", limit.key)))
    }

    async fn acquire_all(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Result<(), Vec<(usize, AcquireResult)>>> {
        'rounds: for _ in 0..ROUNDS {
            let (mut free, mut refused, mut held) = (Vec::new(), Vec::new(), Vec::new());
            for (n, limit) in limits.iter().enumerate() {
                match self.look_for_slot(limit, holder, now).await? {
                    Seen::Refused(taken) => refused.push((n, taken)),
                    Seen::Held(shard) => held.push((limit, shard)),
                    Seen::Free(shard, place) => free.push((limit, shard, place)),
                }
            }
            if !refused.is_empty() {
                return Ok(Err(refused));
            }
            for (limit, shard) in held {
                if !self.hold_on(limit, shard, holder, lease_until).await? {
                    continue 'rounds;
                }
            }
            let writes = free.iter().map(|(limit, shard, _)| self.holding(limit, shard, holder, (lease_until, now)));
            if free.is_empty() || self.all_or_none(writes).await? {
                for (limit, _, place) in free {
                    self.leave_from(limit, place).await?;
                }
                return Ok(Ok(()));
            }
        }
        let keys: Vec<&str> = limits.iter().map(|limit| &*limit.key).collect();
        Err(StoreError::Unavailable(format!("too many take slots of `{}` at this moment", keys.join("`, `"))))
    }

    async fn enqueue(&self, limit: &Limit, place: Ticket) -> StoreResult<bool> {
        self.join(limit, &place).await
    }

    async fn tickets(&self, limit: &Limit, n: usize) -> StoreResult<Vec<Ticket>> {
        self.first_in_line(limit, n).await
    }

    async fn holders(&self, limit: &Limit) -> StoreResult<Vec<HeldSlot>> {
        Ok(self.shards(limit).await?.into_iter().flat_map(|shard| shard.held).collect())
    }

    async fn ticket(&self, limit: &Limit, run: RunId, step: Option<StepId>) -> StoreResult<Option<Ticket>> {
        match step {
            Some(step) => self.place_of(limit, run, &step).await,
            None => self.first_place(limit, run).await,
        }
    }

    async fn position(&self, limit: &Limit, run: RunId) -> StoreResult<Option<usize>> {
        match self.first_place(limit, run).await? {
            Some(place) => self.ahead_of(limit, &place).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The asker's place among the first of the line, and how many are before it: the step's own or that of the arrival,
/// whichever comes first.
fn own<'a>(line: &'a [Ticket], holder: &Holder) -> Option<(usize, &'a Ticket)> {
    let is_own = |place: &Ticket| place.run == holder.run && (place.step == holder.step || *place.step == *ARRIVAL);
    line.iter().enumerate().find(|(_, place)| is_own(place))
}

/// How many more an item may hold once the dead are gone.
fn room(limit: &Limit, shard: &Shard, now: Timestamp) -> u32 {
    let alive = shard.held.iter().filter(|h| h.lease_until > now).count();
    share(limit, shard.number).saturating_sub(u32::try_from(alive).unwrap_or(u32::MAX))
}

fn holding(name: &str, lease_until: &AttributeValue) -> Option<HeldSlot> {
    let mut fields = name.splitn(3, '/');
    let run = fields.next()?.parse().ok()?;
    let (attempt, hop) = fields.next()?.split_once('.')?;
    let (attempt, hop) = (attempt.parse().ok()?, u64::from_str_radix(hop, 16).ok()?);
    let holder = Holder { run, attempt, hop, step: fields.next()?.into() };
    let lease_until = Timestamp::from_millis(lease_until.as_n().ok()?.parse().ok()?);
    Some(HeldSlot { holder, lease_until })
}

impl Aws {
    /// All items of a limit, those that are not there yet included.
    async fn shards(&self, limit: &Limit) -> StoreResult<Vec<Shard>> {
        let items = self.query_partition(&layout::holders(limit), true).await?;
        let n = limit.slots.div_ceil(HOLDERS).max(1);
        let mut shards: Vec<Shard> = (0..n).map(|number| Shard { number, exists: false, held: Vec::new() }).collect();
        for item in &items {
            let broken = || StoreError::Unreadable(format!("holders of `{}` are not as they were written", limit.key));
            let number = item.text("SK")?.strip_prefix("S#").and_then(|n| n.parse().ok()).ok_or_else(broken)?;
            let map = item.get("h").and_then(|h| h.as_m().ok()).ok_or_else(broken)?;
            let held =
                map.iter().map(|(name, lease)| holding(name, lease)).collect::<Option<_>>().ok_or_else(broken)?;
            let shard = Shard { number, exists: true, held };
            match shards.iter().position(|known| known.number == number) {
                Some(i) => shards[i] = shard,
                // of a time when the limit was higher
                None => shards.push(shard),
            }
        }
        Ok(shards)
    }

    /// A new lease for who holds already; false when it holds no more.
    async fn hold_on(&self, limit: &Limit, shard: u32, holder: &Holder, lease_until: Timestamp) -> StoreResult<bool> {
        let held = self.change_holders(Change {
            key: layout::holders_shard(limit, shard),
            update: "SET h.#me = :until".into(),
            condition: "attribute_exists(h.#me)".into(),
            names: vec![("#me".into(), name_of(holder))],
            values: vec![(":until".into(), number(lease_until.as_millis()))],
        });
        let held = held.await?;
        if held {
            // it was taken before, and what followed is not known: the reply was lost, or the process
            self.leave_as(limit, holder).await?;
        }
        Ok(held)
    }

    /// What the asker sees, a moment before it takes.
    async fn look_for_slot(&self, limit: &Limit, holder: &Holder, now: Timestamp) -> StoreResult<Seen> {
        let mut shards = self.shards(limit).await?;
        if let Some(shard) = shards.iter().find(|shard| shard.held.iter().any(|h| h.holder == *holder)) {
            return Ok(Seen::Held(shard.number));
        }
        let all = || shards.iter().flat_map(|shard| &shard.held);
        let alive = all().filter(|h| h.lease_until > now).count();
        let free = limit.slots.saturating_sub(u32::try_from(alive).unwrap_or(u32::MAX));
        let full = || AcquireResult::Full { free_at: all().map(|h| h.lease_until).filter(|end| *end > now).min() };
        if free == 0 {
            return Ok(Seen::Refused(full()));
        }
        let line = self.first_in_line(limit, free as usize).await?;
        let place = own(&line, holder);
        if !may_acquire(free, place.map(|(ahead, _)| ahead), line.len()) {
            return Ok(Seen::Refused(AcquireResult::Behind));
        }
        // every asker begins with another item: they meet less often
        let first = layout::shard(holder.run, shards.len() as u64) as usize;
        let order = (first..shards.len()).chain(0..first);
        match order.into_iter().find(|n| room(limit, &shards[*n], now) > 0) {
            Some(n) => Ok(Seen::Free(shards.swap_remove(n), place.map(|(_, place)| place.clone()))),
            // the limit was lowered: what is held above it is in items that have no room any more
            None => Ok(Seen::Refused(full())),
        }
    }

    async fn leave_from(&self, limit: &Limit, place: Option<Ticket>) -> StoreResult<()> {
        let Some(place) = place else { return Ok(()) };
        let key = Key { pk: layout::line(limit), sk: layout::place_sk(&place) };
        self.remove_place(&key, &layout::place_of(limit, place.run, &place.step)).await
    }

    /// Adds a holder where there is room, and removes those whose leases are over; false when others were faster.
    async fn hold(
        &self,
        limit: &Limit,
        shard: &Shard,
        holder: &Holder,
        times: (Timestamp, Timestamp),
    ) -> StoreResult<bool> {
        match self.holding(limit, shard, holder, times) {
            Write::New(item) => Ok(matches!(self.put_new(item).await?, Put::Done)),
            Write::Change(change) => self.change_holders(change).await,
        }
    }

    /// Gives a slot back; nothing happens when the holder holds none.
    pub(super) async fn release(&self, limit: &Limit, holder: &Holder) -> StoreResult<()> {
        // where all holders fit into one item, it need not be read to know which
        if limit.slots <= HOLDERS && self.release_from(limit, 0, holder).await? {
            return Ok(());
        }
        for shard in self.shards(limit).await? {
            if shard.held.iter().any(|h| h.holder == *holder) {
                self.release_from(limit, shard.number, holder).await?;
            }
        }
        Ok(())
    }

    async fn release_from(&self, limit: &Limit, shard: u32, holder: &Holder) -> StoreResult<bool> {
        let change = Change {
            key: layout::holders_shard(limit, shard),
            update: "REMOVE h.#me".into(),
            condition: "attribute_exists(h.#me)".into(),
            names: vec![("#me".into(), name_of(holder))],
            values: Vec::new(),
        };
        self.change_holders(change).await
    }
}
