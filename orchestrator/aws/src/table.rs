//! The basic requests to DynamoDB. They read all pages, and repeat the part of a request that
//! DynamoDB left undone.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, PutRequest, ReturnValuesOnConditionCheckFailure, WriteRequest,
};
use futures::future::try_join_all;
use stepladder_engine::clock::{Entropy, SystemEntropy};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::Aws;
use crate::error::{condition_failed, request_error};
use crate::item::{Item, key_attributes, text};
use crate::layout::ItemKey;

/// The condition that the item does not exist.
pub(crate) const IS_NEW: &str = "attribute_not_exists(PK)";

/// The reserved words among the attribute names, with their aliases in expressions.
const ALIASES: [(&str, &str); 4] = [("#s", "status"), ("#l", "line"), ("#a", "at"), ("#f", "function")];

/// The maximum number of items in one BatchWriteItem.
const MAX_WRITES: usize = 25;

/// The maximum number of keys in one BatchGetItem.
const MAX_GETS: usize = 100;

/// The outcome of a conditional put.
#[derive(Debug)]
pub(crate) enum PutOutcome {
    /// The item was written.
    Written,
    /// The condition was false. Contains the existing item, or an empty item if there is none.
    Refused(Item),
}

#[derive(Clone, Debug)]
pub(crate) struct PutCondition<'a> {
    pub(crate) expression: &'a str,
    /// An alias in the expression, with the reserved attribute name that it represents.
    pub(crate) alias: Option<(&'a str, &'a str)>,
    /// A placeholder in the expression, with its value.
    pub(crate) value: Option<(&'a str, AttributeValue)>,
}

/// A query of one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableQuery<'a> {
    pub(crate) index: Option<&'static str>,
    /// The attribute of the partition key, with its value.
    pub(crate) partition: (&'static str, String),
    /// A condition on the sort key, with the values of `:a` and `:b`.
    pub(crate) range: Option<(&'static str, Vec<String>)>,
    /// A filter on attributes, with the values in the filter.
    pub(crate) filter: Option<(&'static str, Vec<(&'static str, AttributeValue)>)>,
    pub(crate) strong: bool,
    pub(crate) backward: bool,
    /// The maximum number of items to return; `None` for all.
    pub(crate) limit: Option<usize>,
    pub(crate) attributes: Option<&'a str>,
}

impl Aws {
    /// Writes an item. Replaces an existing item with the same key.
    pub(crate) async fn put(&self, item: Item) -> StoreResult<()> {
        let request = self.dynamo.put_item().table_name(&self.table).set_item(Some(item));
        request.send().await.map(drop).map_err(|e| request_error("PutItem", e))
    }

    /// Writes an item if none with the same key exists yet.
    pub(crate) async fn put_new(&self, item: Item) -> StoreResult<PutOutcome> {
        self.put_if(item, PutCondition { expression: IS_NEW, alias: None, value: None }).await
    }

    /// Writes an item if the condition is true for the existing item with the same key.
    pub(crate) async fn put_if(&self, item: Item, condition: PutCondition<'_>) -> StoreResult<PutOutcome> {
        let names = condition.alias.map(|(alias, name)| HashMap::from([(alias.to_owned(), name.to_owned())]));
        let values = condition.value.map(|(placeholder, value)| HashMap::from([(placeholder.to_owned(), value)]));
        let key = ItemKey { pk: item_text(&item, "PK"), sk: item_text(&item, "SK") };
        let request = self
            .dynamo
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition.expression)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(_) => Ok(PutOutcome::Written),
            Err(e) if condition_failed(&e) => {
                use aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException as Failed;
                let found = match e.as_service_error() {
                    Some(Failed(failed)) => failed.item().cloned(),
                    Some(_) | None => None,
                };
                match found {
                    Some(found) => Ok(PutOutcome::Refused(found)),
                    None => Ok(PutOutcome::Refused(self.get(&key).await?.unwrap_or_default())),
                }
            }
            Err(e) => Err(request_error("PutItem", e)),
        }
    }

    /// Reads an item with strong consistency.
    pub(crate) async fn get(&self, key: &ItemKey) -> StoreResult<Option<Item>> {
        let request =
            self.dynamo.get_item().table_name(&self.table).set_key(Some(key_attributes(key))).consistent_read(true);
        request.send().await.map(|answer| answer.item).map_err(|e| request_error("GetItem", e))
    }

    /// Deletes an item. Does nothing if it does not exist.
    pub(crate) async fn delete(&self, key: &ItemKey) -> StoreResult<()> {
        let request = self.dynamo.delete_item().table_name(&self.table).set_key(Some(key_attributes(key)));
        request.send().await.map(drop).map_err(|e| request_error("DeleteItem", e))
    }

    /// Deletes several items. Those that do not exist are skipped.
    pub(crate) async fn delete_all(&self, keys: Vec<ItemKey>) -> StoreResult<()> {
        try_join_all(keys.iter().map(|key| self.delete(key))).await.map(drop)
    }

    /// Returns the items of a query in order. Reads as many pages as needed.
    pub(crate) async fn query(&self, query: TableQuery<'_>) -> StoreResult<Vec<Item>> {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let page = self.query_page(&query, found.len(), from).await?;
            found.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key;
            if from.is_none() || query.limit.is_some_and(|limit| found.len() >= limit) {
                found.truncate(query.limit.unwrap_or(usize::MAX));
                return Ok(found);
            }
        }
    }

    /// Returns the number of items that a query would return.
    pub(crate) async fn count(&self, query: TableQuery<'_>) -> StoreResult<usize> {
        let (mut count, mut from) = (0, None);
        loop {
            let request = self.query_request(&query, 0, from).select(aws_sdk_dynamodb::types::Select::Count);
            let page = request.send().await.map_err(|e| request_error("Query", e))?;
            count += usize::try_from(page.count).unwrap_or(0);
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(count);
            }
        }
    }

    pub(crate) async fn query_partition(&self, pk: &str, strong: bool) -> StoreResult<Vec<Item>> {
        self.query(TableQuery { partition: ("PK", pk.to_owned()), strong, ..TableQuery::default() }).await
    }

    async fn query_page(
        &self,
        query: &TableQuery<'_>,
        found: usize,
        from: Option<Item>,
    ) -> StoreResult<aws_sdk_dynamodb::operation::query::QueryOutput> {
        self.query_request(query, found, from).send().await.map_err(|e| request_error("Query", e))
    }

    fn query_request(
        &self,
        query: &TableQuery<'_>,
        found: usize,
        from: Option<Item>,
    ) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        let (name, value) = &query.partition;
        let mut condition = "#p = :p".to_owned();
        let mut request = self
            .dynamo
            .query()
            .table_name(&self.table)
            .set_index_name(query.index.map(str::to_owned))
            .expression_attribute_names("#p", *name)
            .expression_attribute_values(":p", text(value))
            .scan_index_forward(!query.backward)
            .set_consistent_read(query.strong.then_some(true))
            .set_exclusive_start_key(from);
        if let Some((range, bounds)) = &query.range {
            condition.push_str(" AND ");
            condition.push_str(range);
            for (name, bound) in [":a", ":b"].into_iter().zip(bounds) {
                request = request.expression_attribute_values(name, text(bound));
            }
        }
        if let Some((filter, values)) = &query.filter {
            request = request.filter_expression(*filter);
            for (name, value) in values {
                request = request.expression_attribute_values(*name, value.clone());
            }
        }
        if let Some(attributes) = query.attributes {
            request = request.projection_expression(attributes);
        }
        let used = |alias: &str| {
            let range = query.range.as_ref().is_some_and(|(range, _)| range.contains(alias));
            let filter = query.filter.as_ref().is_some_and(|(filter, _)| filter.contains(alias));
            range || filter || query.attributes.is_some_and(|attributes| attributes.contains(alias))
        };
        for (alias, name) in ALIASES.into_iter().filter(|(alias, _)| used(alias)) {
            request = request.expression_attribute_names(alias, name);
        }
        // the limit applies before the filter, so a filter that drops many items needs larger pages
        let limit =
            query.limit.map(|limit| if query.filter.is_some() { limit.max(100) } else { limit - found.min(limit) });
        request.key_condition_expression(condition).set_limit(limit.and_then(|limit| i32::try_from(limit).ok()))
    }

    /// Reads many items with strong consistency. Items that do not exist are not part of the
    /// result. Keys that DynamoDB did not process are requested again.
    pub(crate) async fn get_many(&self, wanted: Vec<ItemKey>) -> StoreResult<Vec<Item>> {
        let mut found = Vec::new();
        for chunk in wanted.chunks(MAX_GETS) {
            let mut left: Vec<Item> = chunk.iter().map(key_attributes).collect();
            let mut round = 0;
            while !left.is_empty() {
                self.pause_before_round(&mut round, "BatchGetItem", left.len()).await?;
                let keys = KeysAndAttributes::builder()
                    .set_keys(Some(std::mem::take(&mut left)))
                    .consistent_read(true)
                    .build()
                    .map_err(StoreError::unreadable)?;
                let request = self.dynamo.batch_get_item().request_items(&self.table, keys);
                let answer = request.send().await.map_err(|e| request_error("BatchGetItem", e))?;
                found.extend(answer.responses.unwrap_or_default().into_values().flatten());
                left.extend(answer.unprocessed_keys.unwrap_or_default().into_values().flat_map(|left| left.keys));
            }
        }
        Ok(found)
    }

    /// Writes many items, in any order. Items that DynamoDB did not process are sent again.
    pub(crate) async fn put_many(&self, items: Vec<Item>) -> StoreResult<()> {
        let put = |item| {
            PutRequest::builder()
                .set_item(Some(item))
                .build()
                .map(|put| WriteRequest::builder().put_request(put).build())
        };
        self.write_many(items.into_iter().map(put).collect::<Result<_, _>>()).await
    }

    async fn write_many(
        &self,
        writes: Result<Vec<WriteRequest>, aws_sdk_dynamodb::error::BuildError>,
    ) -> StoreResult<()> {
        let writes = writes.map_err(StoreError::unreadable)?;
        for chunk in writes.chunks(MAX_WRITES) {
            let mut left = chunk.to_vec();
            let mut round = 0;
            while !left.is_empty() {
                self.pause_before_round(&mut round, "BatchWriteItem", left.len()).await?;
                let request = self.dynamo.batch_write_item().request_items(&self.table, std::mem::take(&mut left));
                let answer = request.send().await.map_err(|e| request_error("BatchWriteItem", e))?;
                left.extend(answer.unprocessed_items.unwrap_or_default().into_values().flatten());
            }
        }
        Ok(())
    }

    /// Waits before a request is repeated. Fails if no attempts or no time is left.
    pub(crate) async fn pause_before_round(&self, round: &mut u32, operation: &str, left: usize) -> StoreResult<()> {
        let random = || SystemEntropy.bits() as u64;
        if *round > 0 && !self.retries.pause_before_retry(&*self.clock, *round, random()).await {
            return Err(StoreError::Unavailable(
                format!("{operation}: {left} items are left undone: throttled, or others write to them").into(),
            ));
        }
        *round += 1;
        Ok(())
    }
}

fn item_text(item: &Item, name: &str) -> String {
    item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
}
