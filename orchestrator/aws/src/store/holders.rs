//! The items that contain the holders of a limit's slots, and the writes of these items. A holder
//! is added only if a slot is free. If a step needs slots of several limits, they are acquired
//! together or not at all.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{self, AttributeValue, TransactWriteItem};
use stepladder_core::Timestamp;
use stepladder_core::slot::{HeldSlot, Holder, Limit};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::Aws;
use crate::error::{condition_failed, permanent_reason, request_error};
use crate::item::{Item, key_attributes, new_item, number, text};
use crate::layout::{self, ItemKey, MAX_HOLDERS};
use crate::table::IS_NEW;

/// An item with some of the holders of a limit.
pub(super) struct HolderShard {
    pub(super) number: u32,
    pub(super) exists: bool,
    pub(super) holders: Vec<HeldSlot>,
}

/// The lease of a holder that is being added.
#[derive(Clone, Copy)]
pub(super) struct HolderLease {
    pub(super) until: Timestamp,
    /// The current time. Holders with a lease that ended before it are removed.
    pub(super) now: Timestamp,
}

/// A write that adds a holder to an item.
pub(super) enum HolderWrite {
    /// Creates a new item with its first holder.
    Create(Item),
    Update(HolderUpdate),
}

/// A conditional update of one item with holders.
pub(super) struct HolderUpdate {
    pub(super) key: ItemKey,
    pub(super) update: String,
    pub(super) condition: String,
    pub(super) names: Vec<(String, String)>,
    pub(super) values: Vec<(String, AttributeValue)>,
}

/// Returns the key of a holder in the map: run, attempt, hop and step. For a whole run, attempt and
/// hop are zero and the step is empty.
pub(super) fn holder_name(holder: &Holder) -> String {
    match holder {
        Holder::Run(run) => format!("{run}/0.0/"),
        Holder::Attempt { run, step, attempt, hop } => format!("{run}/{attempt}.{hop:x}/{step}"),
    }
}

/// Returns how many of a limit's slots belong to this item.
pub(super) fn shard_slots(limit: &Limit, shard: u32) -> u32 {
    limit.slots.saturating_sub(shard.saturating_mul(MAX_HOLDERS)).min(MAX_HOLDERS)
}

impl Aws {
    /// Returns the write that adds a holder to an item.
    pub(super) fn holder_write(
        &self,
        limit: &Limit,
        shard: &HolderShard,
        holder: &Holder,
        HolderLease { until, now }: HolderLease,
    ) -> HolderWrite {
        let until = number(until.as_millis());
        let key = layout::holders_shard(&limit.key, shard.number);
        if !shard.exists {
            let mut item = new_item(&key, self.ttl(now));
            item.insert("key".into(), text(&*limit.key));
            item.insert("h".into(), AttributeValue::M(HashMap::from([(holder_name(holder), until)])));
            return HolderWrite::Create(item);
        }
        let expired: Vec<&HeldSlot> = shard.holders.iter().filter(|h| h.lease_until <= now).collect();
        let room = shard_slots(limit, shard.number) as usize + expired.len();
        let mut names = vec![("#me".to_owned(), holder_name(holder)), ("#t".to_owned(), "ttl".to_owned())];
        let mut values = vec![
            (":until".to_owned(), until),
            (":room".to_owned(), number(room)),
            (":ttl".to_owned(), number(self.ttl(now))),
        ];
        let (mut update, mut condition) = ("SET h.#me = :until, #t = :ttl".to_owned(), "size(h) < :room".to_owned());
        for (i, holding) in expired.iter().enumerate() {
            names.push((format!("#d{i}"), holder_name(&holding.holder)));
            values.push((format!(":d{i}"), number(holding.lease_until.as_millis())));
            update.push_str(if i == 0 { " REMOVE " } else { ", " });
            update.push_str(&format!("h.#d{i}"));
            condition.push_str(&format!(" AND h.#d{i} = :d{i}"));
        }
        HolderWrite::Update(HolderUpdate { key, update, condition, names, values })
    }

    /// Executes an update. Returns whether its condition was true.
    pub(super) async fn update_holders(&self, update: HolderUpdate) -> StoreResult<bool> {
        let values: Item = update.values.into_iter().collect();
        let request = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_attributes(&update.key)))
            .update_expression(update.update)
            .condition_expression(update.condition)
            .set_expression_attribute_names(Some(update.names.into_iter().collect()))
            .set_expression_attribute_values((!values.is_empty()).then_some(values));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(e) if condition_failed(&e) => Ok(false),
            Err(e) => Err(request_error("UpdateItem", e)),
        }
    }

    /// Executes several writes in one transaction. Returns false if a condition was false, or if
    /// another request writes to the same items.
    pub(super) async fn write_together(&self, writes: impl Iterator<Item = HolderWrite>) -> StoreResult<bool> {
        let built = writes.map(|write| self.transact_item(write)).collect::<Result<Vec<_>, _>>();
        let built = built.map_err(StoreError::unreadable)?;
        match self.dynamo.transact_write_items().set_transact_items(Some(built)).send().await {
            Ok(_) => Ok(true),
            Err(e) => match e.as_service_error() {
                Some(TransactWriteItemsError::TransactionInProgressException(_)) => Ok(false),
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    permanent_reason(cancelled.cancellation_reasons()).map_or(Ok(false), Err)
                }
                Some(_) | None => Err(request_error("TransactWriteItems", e)),
            },
        }
    }

    fn transact_item(&self, write: HolderWrite) -> Result<TransactWriteItem, BuildError> {
        Ok(match write {
            HolderWrite::Create(item) => {
                let put = types::Put::builder().table_name(&self.table).set_item(Some(item));
                TransactWriteItem::builder().put(put.condition_expression(IS_NEW).build()?).build()
            }
            HolderWrite::Update(update) => {
                let update = types::Update::builder()
                    .table_name(&self.table)
                    .set_key(Some(key_attributes(&update.key)))
                    .update_expression(update.update)
                    .condition_expression(update.condition)
                    .set_expression_attribute_names(Some(update.names.into_iter().collect()))
                    .set_expression_attribute_values(Some(update.values.into_iter().collect()));
                TransactWriteItem::builder().update(update.build()?).build()
            }
        })
    }
}
