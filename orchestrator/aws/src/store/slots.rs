//! The slots of limits. An item contains at most 16 holders, as a map from each holder to the end
//! of its lease.
//!
//! Each item has room only for its share of the limit. A holder is added on the condition that the
//! item has room, so the sum of all items never exceeds the limit, even with concurrent writes. A
//! release removes one key of the map, which does not conflict with other writes.
//!
//! The wait queue is read shortly before the write, so a ticket may have been added in between
//! (rule 25). Even then the limit is respected, and a run tries to acquire a slot again after it
//! was enqueued (rule 21).

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket, may_acquire};
use stepladder_core::{RunId, RunOrStep, StepId, Timestamp};
use stepladder_engine::ports::{Refusal, RefusalReason, SlotOperations, StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, ReadItem, number};
use crate::layout::{self, ItemKey, MAX_HOLDERS};
use crate::table::PutOutcome;

use super::holders::{HolderLease, HolderShard, HolderUpdate, HolderWrite, holder_name, shard_slots};

/// The maximum number of attempts to acquire a slot, if other holders acquire the free slots first.
const MAX_ATTEMPTS: usize = 40;

/// The state of a limit, as one holder sees it.
enum SlotView {
    /// The holder already has a slot, in the item with this number.
    Held(u32),
    /// This item has a free slot. If the holder has a ticket, it is included.
    Free(HolderShard, Option<Ticket>),
    /// The holder gets no slot now.
    Refused(RefusalReason),
}

#[async_trait]
impl SlotOperations for Aws {
    async fn try_acquire(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Vec<Refusal>> {
        let lease = HolderLease { until: lease_until, now };
        match limits {
            [limit] => self.acquire_one(limit, holder, lease).await,
            _ => self.acquire_together(limits, holder, lease).await,
        }
    }

    async fn release_slot(&self, limit: &Limit, holder: &Holder) -> StoreResult<()> {
        self.release_holder(limit, holder).await
    }

    async fn holders(&self, queue: &QueueKey) -> StoreResult<Vec<HeldSlot>> {
        Ok(self.stored_shards(queue).await?.into_iter().flat_map(|shard| shard.holders).collect())
    }

    async fn enqueue(&self, limit: &Limit, ticket: Ticket) -> StoreResult<bool> {
        self.add_ticket(&limit.key, &ticket).await
    }

    async fn enqueue_without_slots(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()> {
        self.add_ticket(queue, &ticket).await.map(drop)
    }

    async fn dequeue(&self, limit: &Limit, ticket: &Ticket) -> StoreResult<()> {
        self.delete_tickets_of(limit, ticket.run, Some(&ticket.of)).await
    }

    async fn first_tickets(&self, queue: &QueueKey, n: usize) -> StoreResult<Vec<Ticket>> {
        self.read_first_tickets(queue, n).await
    }

    async fn ticket(&self, queue: &QueueKey, run: RunId, of: Option<&RunOrStep>) -> StoreResult<Option<Ticket>> {
        match of {
            Some(of) => self.ticket_of_step(queue, run, of).await,
            None => self.oldest_ticket(queue, run).await,
        }
    }

    async fn count_before(&self, queue: &QueueKey, ticket: &Ticket) -> StoreResult<usize> {
        self.count_tickets_before(queue, ticket).await
    }
}

/// Returns the first ticket in the queue that the holder may use, with the number of tickets before
/// it. The holder may have two tickets: that of its step, and that of its run from the run's
/// creation. A call may also use those of its run's steps.
fn usable_ticket<'a>(queue: &'a [Ticket], holder: &Holder) -> Option<(usize, &'a Ticket)> {
    queue.iter().enumerate().find(|(_, ticket)| holder.may_use(ticket))
}

/// Returns how many holders may be added to an item, after expired holders were removed.
fn free_slots(limit: &Limit, shard: &HolderShard, now: Timestamp) -> u32 {
    let alive = shard.holders.iter().filter(|h| h.lease_until > now).count();
    shard_slots(limit, shard.number).saturating_sub(u32::try_from(alive).unwrap_or(u32::MAX))
}

fn parse_holding(name: &str, lease_until: &AttributeValue) -> Option<HeldSlot> {
    let mut fields = name.splitn(3, '/');
    let run = fields.next()?.parse().ok()?;
    let (attempt, hop) = fields.next()?.split_once('.')?;
    let (attempt, hop) = (attempt.parse().ok()?, u64::from_str_radix(hop, 16).ok()?);
    let holder = match StepId::from(fields.next()?).into() {
        RunOrStep::Run => Holder::Run(run),
        RunOrStep::Step(step) => Holder::Attempt { run, step, attempt, hop },
    };
    let lease_until = Timestamp::from_millis(lease_until.as_n().ok()?.parse().ok()?);
    Some(HeldSlot { holder, lease_until })
}

impl Aws {
    /// Acquires a slot of one limit.
    async fn acquire_one(&self, limit: &Limit, holder: &Holder, lease: HolderLease) -> StoreResult<Vec<Refusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let (shard, ticket) = match self.find_slot(limit, holder, lease.now).await? {
                SlotView::Refused(reason) => return Ok(vec![Refusal { limit: 0, reason }]),
                SlotView::Held(shard) => match self.renew_lease(limit, shard, holder, lease.until).await? {
                    true => return Ok(Vec::new()),
                    false => continue,
                },
                SlotView::Free(shard, ticket) => (shard, ticket),
            };
            if self.add_holder(limit, &shard, holder, lease).await? {
                self.delete_used_ticket(limit, ticket).await?;
                return Ok(Vec::new());
            }
        }
        Err(StoreError::Unavailable(format!("too many runs acquire slots of `{}` at the same time", limit.key).into()))
    }

    /// Acquires a slot of each of several limits, in one transaction.
    async fn acquire_together(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease: HolderLease,
    ) -> StoreResult<Vec<Refusal>> {
        'rounds: for _ in 0..MAX_ATTEMPTS {
            let (mut free, mut refused, mut held) = (Vec::new(), Vec::new(), Vec::new());
            for (at, limit) in limits.iter().enumerate() {
                match self.find_slot(limit, holder, lease.now).await? {
                    SlotView::Refused(reason) => refused.push(Refusal { limit: at, reason }),
                    SlotView::Held(shard) => held.push((limit, shard)),
                    SlotView::Free(shard, ticket) => free.push((limit, shard, ticket)),
                }
            }
            if !refused.is_empty() {
                return Ok(refused);
            }
            for (limit, shard) in held {
                if !self.renew_lease(limit, shard, holder, lease.until).await? {
                    continue 'rounds;
                }
            }
            let writes = free.iter().map(|(limit, shard, _)| self.holder_write(limit, shard, holder, lease));
            if free.is_empty() || self.write_together(writes).await? {
                for (limit, _, ticket) in free {
                    self.delete_used_ticket(limit, ticket).await?;
                }
                return Ok(Vec::new());
            }
        }
        let keys: Vec<&str> = limits.iter().map(|limit| &*limit.key).collect();
        Err(StoreError::Unavailable(
            format!("too many runs acquire slots of `{}` at the same time", keys.join("`, `")).into(),
        ))
    }

    /// Returns all items with holders of a limit. An item that is not stored yet is returned as
    /// empty.
    async fn read_shards(&self, limit: &Limit) -> StoreResult<Vec<HolderShard>> {
        let n = limit.slots.div_ceil(MAX_HOLDERS).max(1);
        let mut shards: Vec<HolderShard> =
            (0..n).map(|number| HolderShard { number, exists: false, holders: Vec::new() }).collect();
        for shard in self.stored_shards(&limit.key).await? {
            match shards.iter().position(|known| known.number == shard.number) {
                Some(i) => shards[i] = shard,
                // this item is left over from a time when the limit was higher
                None => shards.push(shard),
            }
        }
        Ok(shards)
    }

    /// Returns the items of a limit.
    async fn stored_shards(&self, key: &str) -> StoreResult<Vec<HolderShard>> {
        let items = self.query_partition(&layout::holders_partition(key), true).await?;
        let shard = |item: &Item| {
            let broken = || StoreError::Unreadable(format!("the holders of `{key}` are not valid").into());
            let number = item.text("SK")?.strip_prefix("S#").and_then(|n| n.parse().ok()).ok_or_else(broken)?;
            let map = item.get("h").and_then(|h| h.as_m().ok()).ok_or_else(broken)?;
            let holders = map.iter().map(|(name, lease)| parse_holding(name, lease)).collect::<Option<_>>();
            Ok(HolderShard { number, exists: true, holders: holders.ok_or_else(broken)? })
        };
        items.iter().map(shard).collect()
    }

    /// Renews the lease of a holder. Returns false if the holder has no slot any more.
    async fn renew_lease(
        &self,
        limit: &Limit,
        shard: u32,
        holder: &Holder,
        lease_until: Timestamp,
    ) -> StoreResult<bool> {
        let held = self.update_holders(HolderUpdate {
            key: layout::holders_shard(&limit.key, shard),
            update: "SET h.#me = :until".into(),
            condition: "attribute_exists(h.#me)".into(),
            names: vec![("#me".into(), holder_name(holder))],
            values: vec![(":until".into(), number(lease_until.as_millis()))],
        });
        let held = held.await?;
        if held {
            // the slot was acquired by an earlier attempt, which may have died before it deleted
            // the ticket
            self.dequeue_holder(limit, holder).await?;
        }
        Ok(held)
    }

    /// Reads the limit, shortly before a slot is acquired.
    async fn find_slot(&self, limit: &Limit, holder: &Holder, now: Timestamp) -> StoreResult<SlotView> {
        let mut shards = self.read_shards(limit).await?;
        if let Some(shard) = shards.iter().find(|shard| shard.holders.iter().any(|h| h.holder == *holder)) {
            return Ok(SlotView::Held(shard.number));
        }
        let all = || shards.iter().flat_map(|shard| &shard.holders);
        let alive = all().filter(|h| h.lease_until > now).count();
        let free = limit.slots.saturating_sub(u32::try_from(alive).unwrap_or(u32::MAX));
        let full = || RefusalReason::Full { free_at: all().map(|h| h.lease_until).filter(|end| *end > now).min() };
        if free == 0 {
            return Ok(SlotView::Refused(full()));
        }
        let queue = self.read_first_tickets(&limit.key, free as usize).await?;
        let ticket = usable_ticket(&queue, holder);
        if !may_acquire(free, ticket.map(|(ahead, _)| ahead), queue.len()) {
            return Ok(SlotView::Refused(RefusalReason::Behind));
        }
        let used = match ticket {
            Some((_, ticket)) if holder.owns(ticket) => Some(ticket.clone()),
            // it acquires the slot with the ticket of another step, and has no use for its own
            Some(_) => self.ticket(&limit.key, holder.run(), Some(&holder.run_or_step())).await?,
            None => None,
        };
        // the search starts at a different item for each run, so that fewer writes conflict
        let first = layout::shard_number(holder.run(), shards.len() as u64) as usize;
        let order = (first..shards.len()).chain(0..first);
        match order.into_iter().find(|n| free_slots(limit, &shards[*n], now) > 0) {
            Some(n) => Ok(SlotView::Free(shards.swap_remove(n), used)),
            // the limit was lowered, and the slots beyond it are still held in other items
            None => Ok(SlotView::Refused(full())),
        }
    }

    async fn delete_used_ticket(&self, limit: &Limit, ticket: Option<Ticket>) -> StoreResult<()> {
        let Some(ticket) = ticket else { return Ok(()) };
        let key = ItemKey { pk: layout::wait_queue(&limit.key), sk: layout::ticket_sk(&ticket) };
        self.delete_ticket(&key, &layout::ticket_of_run(&limit.key, ticket.run, &ticket.of)).await
    }

    /// Adds a holder, and removes holders with expired leases. Returns false if another write came
    /// first.
    async fn add_holder(
        &self,
        limit: &Limit,
        shard: &HolderShard,
        holder: &Holder,
        lease: HolderLease,
    ) -> StoreResult<bool> {
        match self.holder_write(limit, shard, holder, lease) {
            HolderWrite::Create(item) => Ok(matches!(self.put_new(item).await?, PutOutcome::Written)),
            HolderWrite::Update(update) => self.update_holders(update).await,
        }
    }

    /// Releases a slot. Does nothing if the holder has none.
    pub(super) async fn release_holder(&self, limit: &Limit, holder: &Holder) -> StoreResult<()> {
        // if one item can contain all holders, it need not be read first
        if limit.slots <= MAX_HOLDERS && self.release_from(limit, 0, holder).await? {
            return Ok(());
        }
        for shard in self.read_shards(limit).await? {
            if shard.holders.iter().any(|h| h.holder == *holder) {
                self.release_from(limit, shard.number, holder).await?;
            }
        }
        Ok(())
    }

    async fn release_from(&self, limit: &Limit, shard: u32, holder: &Holder) -> StoreResult<bool> {
        let update = HolderUpdate {
            key: layout::holders_shard(&limit.key, shard),
            update: "REMOVE h.#me".into(),
            condition: "attribute_exists(h.#me)".into(),
            names: vec![("#me".into(), holder_name(holder))],
            values: Vec::new(),
        };
        self.update_holders(update).await
    }
}
