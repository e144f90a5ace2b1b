//! Slots: the holders of a limit, 16 in an item, each item a map from holder to the end of its lease.
//!
//! An item has room for its share of the limit and no more, and a holder is added only on the condition that there is
//! room: the sum never exceeds the limit, whatever races. Giving back removes one key of the map, whoever else writes.
//!
//! Whether the asker's turn has come is judged by the line as it was read a moment ago (rule 25): someone may have
//! joined it since. The limit holds all the same, and who joined asks again after joining (rule 21).

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use stepladder_core::slot::{ARRIVAL, Holder, Holding, Limit, Place, may_take};
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::ports::{Slots, StoreError, StoreResult, Taken};

use crate::Aws;
use crate::fault::{CONDITION, is_code, unavailable};
use crate::item::{Item, Read, item, keys, number, text};
use crate::layout::{self, HOLDERS};
use crate::table::Put;

/// How often an asker tries again when others took what it saw free.
const ROUNDS: usize = 40;

/// The holders of one item.
struct Shard {
    number: u32,
    exists: bool,
    held: Vec<Holding>,
}

#[async_trait]
impl Slots for Aws {
    async fn take(&self, limit: &Limit, holder: &Holder, lease_until: Timestamp, now: Timestamp) -> StoreResult<Taken> {
        for _ in 0..ROUNDS {
            let shards = self.shards(limit).await?;
            let all = || shards.iter().flat_map(|shard| &shard.held);
            if let Some(shard) = shards.iter().find(|shard| shard.held.iter().any(|h| h.holder == *holder)) {
                if self.hold_on(limit, shard.number, holder, lease_until).await? {
                    // it was taken before, and what followed is not known: the reply was lost, or the process
                    self.leave_as(limit, holder).await?;
                    return Ok(Taken::Held);
                }
                continue;
            }
            let alive = all().filter(|h| h.lease_until > now).count();
            let free = limit.slots.saturating_sub(u32::try_from(alive).unwrap_or(u32::MAX));
            let full = || Taken::Full { free_at: all().map(|h| h.lease_until).filter(|end| *end > now).min() };
            if free == 0 {
                return Ok(full());
            }
            let line = self.first_in_line(limit, free as usize).await?;
            let place = own(&line, holder);
            if !may_take(free, place.map(|(ahead, _)| ahead), line.len()) {
                return Ok(Taken::Behind);
            }
            // every asker begins with another item: they meet less often
            let first = layout::shard(holder.run, shards.len() as u64) as usize;
            let mut order = shards[first..].iter().chain(&shards[..first]);
            let Some(shard) = order.find(|shard| room(limit, shard, now) > 0) else {
                // the limit was lowered: what is held above it is in items that have no room any more
                return Ok(full());
            };
            if self.hold(limit, shard, holder, (lease_until, now)).await? {
                if let Some((_, place)) = place {
                    let key = layout::Key { pk: layout::line(limit), sk: layout::place_sk(place) };
                    self.remove_place(&key, &layout::place_of(limit, place.run, &place.step)).await?;
                }
                return Ok(Taken::Held);
            }
        }
        Err(StoreError::Unavailable(format!("too many take slots of `{}` at this moment", limit.key)))
    }

    async fn park(&self, limit: &Limit, place: Place) -> StoreResult<()> {
        self.join(limit, &place).await
    }

    async fn line(&self, limit: &Limit, n: usize) -> StoreResult<Vec<Place>> {
        self.first_in_line(limit, n).await
    }

    async fn holders(&self, limit: &Limit) -> StoreResult<Vec<Holding>> {
        Ok(self.shards(limit).await?.into_iter().flat_map(|shard| shard.held).collect())
    }

    async fn place(&self, limit: &Limit, run: RunId) -> StoreResult<Option<Place>> {
        self.first_place(limit, run).await
    }

    async fn position(&self, limit: &Limit, run: RunId) -> StoreResult<Option<usize>> {
        match self.first_place(limit, run).await? {
            Some(place) => self.ahead_of(limit, &place).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The asker's place among the first of the line, and how many are before it: the step's own, else the arrival's.
fn own<'a>(line: &'a [Place], holder: &Holder) -> Option<(usize, &'a Place)> {
    let of = |step: &str| line.iter().enumerate().find(|(_, place)| place.run == holder.run && *place.step == *step);
    of(&holder.step).or_else(|| of(ARRIVAL))
}

/// How many more an item may hold once the dead are gone.
fn room(limit: &Limit, shard: &Shard, now: Timestamp) -> u32 {
    let alive = shard.held.iter().filter(|h| h.lease_until > now).count();
    share(limit, shard.number).saturating_sub(u32::try_from(alive).unwrap_or(u32::MAX))
}

/// An item's share of the limit.
fn share(limit: &Limit, shard: u32) -> u32 {
    limit.slots.saturating_sub(shard.saturating_mul(HOLDERS)).min(HOLDERS)
}

/// A holder as a key of the map.
fn name_of(holder: &Holder) -> String {
    format!("{}/{}/{}", holder.run, holder.attempt, holder.step)
}

fn holding(name: &str, lease_until: &AttributeValue) -> Option<Holding> {
    let mut fields = name.splitn(3, '/');
    let holder = Holder {
        run: fields.next()?.parse().ok()?,
        attempt: fields.next()?.parse().ok()?,
        step: fields.next()?.into(),
    };
    let lease_until = Timestamp::from_millis(lease_until.as_n().ok()?.parse().ok()?);
    Some(Holding { holder, lease_until })
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
        self.update_holders(
            limit,
            shard,
            "SET h.#me = :until",
            "attribute_exists(h.#me)",
            vec![("#me".into(), name_of(holder))],
            vec![(":until".into(), number(lease_until.as_millis()))],
        )
        .await
    }

    /// Adds a holder where there is room, and removes those whose leases are over; false when others were faster.
    async fn hold(
        &self,
        limit: &Limit,
        shard: &Shard,
        holder: &Holder,
        (lease_until, now): (Timestamp, Timestamp),
    ) -> StoreResult<bool> {
        let until = number(lease_until.as_millis());
        if !shard.exists {
            let mut item = item(&layout::holders_shard(limit, shard.number), self.ttl(now));
            item.insert("key".into(), text(&*limit.key));
            item.insert("h".into(), AttributeValue::M(HashMap::from([(name_of(holder), until)])));
            return Ok(matches!(self.put_new(item).await?, Put::Done));
        }
        let dead: Vec<&Holding> = shard.held.iter().filter(|h| h.lease_until <= now).collect();
        let room = share(limit, shard.number) as usize + dead.len();
        let mut names = vec![("#me".to_owned(), name_of(holder)), ("#t".to_owned(), "ttl".to_owned())];
        let mut values = vec![
            (":until".to_owned(), until),
            (":room".to_owned(), number(room)),
            (":ttl".to_owned(), number(self.ttl(now))),
        ];
        let (mut update, mut condition) = ("SET h.#me = :until, #t = :ttl".to_owned(), "size(h) < :room".to_owned());
        for (i, holding) in dead.iter().enumerate() {
            names.push((format!("#d{i}"), name_of(&holding.holder)));
            values.push((format!(":d{i}"), number(holding.lease_until.as_millis())));
            update.push_str(if i == 0 { " REMOVE " } else { ", " });
            update.push_str(&format!("h.#d{i}"));
            condition.push_str(&format!(" AND h.#d{i} = :d{i}"));
        }
        self.update_holders(limit, shard.number, &update, &condition, names, values).await
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
        let condition = "attribute_exists(h.#me)";
        let names = vec![("#me".into(), name_of(holder))];
        self.update_holders(limit, shard, "REMOVE h.#me", condition, names, Vec::new()).await
    }

    /// A conditional update of one item; whether the condition held.
    async fn update_holders(
        &self,
        limit: &Limit,
        shard: u32,
        update: &str,
        condition: &str,
        names: Vec<(String, String)>,
        values: Vec<(String, AttributeValue)>,
    ) -> StoreResult<bool> {
        let values: Item = values.into_iter().collect();
        let request = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(keys(&layout::holders_shard(limit, shard))))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names.into_iter().collect()))
            .set_expression_attribute_values((!values.is_empty()).then_some(values));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(e) if is_code(&e, CONDITION) => Ok(false),
            Err(e) => Err(unavailable("UpdateItem", &e)),
        }
    }
}
