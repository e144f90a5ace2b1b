//! The items that hold a limit's holders, and how they are written: a holder is added only where there is room, alone or,
//! where a step needs a slot of several limits, together with the others or not at all.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError as Failed;
use aws_sdk_dynamodb::types::{self, AttributeValue, TransactWriteItem};
use stepladder_core::Timestamp;
use stepladder_core::slot::{HeldSlot, Holder, Limit};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::Aws;
use crate::fault::{CONDITION, is_code, lasting, unavailable};
use crate::item::{Item, item, keys, number, text};
use crate::layout::{self, HOLDERS, Key};
use crate::table::IS_NEW;

/// The holders of one item.
pub(super) struct Shard {
    pub(super) number: u32,
    pub(super) exists: bool,
    pub(super) held: Vec<HeldSlot>,
}

/// A write that adds a holder.
pub(super) enum Write {
    /// The first of an item that is not there yet.
    New(Item),
    Change(Change),
}

/// A conditional update of one item.
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) update: String,
    pub(super) condition: String,
    pub(super) names: Vec<(String, String)>,
    pub(super) values: Vec<(String, AttributeValue)>,
}

/// A holder as a key of the map.
pub(super) fn name_of(holder: &Holder) -> String {
    format!("{}/{}.{:x}/{}", holder.run, holder.attempt, holder.hop, holder.step)
}

/// An item's share of the limit.
pub(super) fn share(limit: &Limit, shard: u32) -> u32 {
    limit.slots.saturating_sub(shard.saturating_mul(HOLDERS)).min(HOLDERS)
}

impl Aws {
    /// The write that adds a holder.
    pub(super) fn holding(
        &self,
        limit: &Limit,
        shard: &Shard,
        holder: &Holder,
        (lease_until, now): (Timestamp, Timestamp),
    ) -> Write {
        let until = number(lease_until.as_millis());
        let key = layout::holders_shard(limit, shard.number);
        if !shard.exists {
            let mut item = item(&key, self.ttl(now));
            item.insert("key".into(), text(&*limit.key));
            item.insert("h".into(), AttributeValue::M(HashMap::from([(name_of(holder), until)])));
            return Write::New(item);
        }
        let dead: Vec<&HeldSlot> = shard.held.iter().filter(|h| h.lease_until <= now).collect();
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
        Write::Change(Change { key, update, condition, names, values })
    }

    /// A conditional update of one item; whether the condition held.
    pub(super) async fn change_holders(&self, change: Change) -> StoreResult<bool> {
        let values: Item = change.values.into_iter().collect();
        let request = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(keys(&change.key)))
            .update_expression(change.update)
            .condition_expression(change.condition)
            .set_expression_attribute_names(Some(change.names.into_iter().collect()))
            .set_expression_attribute_values((!values.is_empty()).then_some(values));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(e) if is_code(&e, CONDITION) => Ok(false),
            Err(e) => Err(unavailable("UpdateItem", &e)),
        }
    }

    /// Several writes in one transaction; false when one of their conditions did not hold, or others write to the same
    /// items.
    pub(super) async fn all_or_none(&self, writes: impl Iterator<Item = Write>) -> StoreResult<bool> {
        let built = writes.map(|write| self.transacted(write)).collect::<Result<Vec<_>, _>>();
        let built = built.map_err(|error| StoreError::Unreadable(error.to_string()))?;
        match self.dynamo.transact_write_items().set_transact_items(Some(built)).send().await {
            Ok(_) => Ok(true),
            Err(e) if is_code(&e, "TransactionInProgressException") => Ok(false),
            Err(e) => match e.as_service_error() {
                Some(Failed::TransactionCanceledException(cancelled)) => {
                    lasting(cancelled.cancellation_reasons()).map_or(Ok(false), Err)
                }
                Some(_) | None => Err(unavailable("TransactWriteItems", &e)),
            },
        }
    }

    fn transacted(&self, write: Write) -> Result<TransactWriteItem, BuildError> {
        Ok(match write {
            Write::New(item) => {
                let put = types::Put::builder().table_name(&self.table).set_item(Some(item));
                TransactWriteItem::builder().put(put.condition_expression(IS_NEW).build()?).build()
            }
            Write::Change(change) => {
                let update = types::Update::builder()
                    .table_name(&self.table)
                    .set_key(Some(keys(&change.key)))
                    .update_expression(change.update)
                    .condition_expression(change.condition)
                    .set_expression_attribute_names(Some(change.names.into_iter().collect()))
                    .set_expression_attribute_values(Some(change.values.into_iter().collect()));
                TransactWriteItem::builder().update(update.build()?).build()
            }
        })
    }
}
