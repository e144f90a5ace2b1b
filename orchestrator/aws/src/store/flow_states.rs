//! Flow state, and the links from events to runs that other events created.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{Delete, Put as PutItem, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use futures::{StreamExt, TryStreamExt, stream};
use stepladder_core::{EventId, RunId, Timestamp};
use stepladder_engine::ports::{FlowStateChange, FlowStates, StoreError, StoreResult};

use crate::Aws;
use crate::error::{condition_failed, request_error};
use crate::item::{Item, ReadItem, key_attributes, new_item, text};
use crate::layout::{self, ItemKey};
use crate::table::{IS_NEW, PutCondition, PutOutcome};

/// How long flow state is kept after it has expired, because clocks differ.
const TTL_MARGIN: Duration = Duration::from_secs(3_600);

/// The maximum number of flow states that are changed concurrently.
const CONCURRENCY: usize = 16;

/// The attribute that contains the flow state. (`text` is a reserved word.)
const TEXT_ATTRIBUTE: &str = "note";

/// The condition that the stored flow state is still the one that the caller read.
const IS_UNCHANGED: &str = "note = :seen";

#[async_trait]
impl FlowStates for Aws {
    async fn read_flow_state(&self, wanted: Vec<Arc<str>>) -> StoreResult<Vec<Option<Arc<str>>>> {
        if let [key] = &wanted[..] {
            return Ok(vec![self.get(&layout::flow_state(key)).await?.map(|item| state_of(&item)).transpose()?]);
        }
        // a batch must not contain a key twice
        let distinct: HashSet<ItemKey> = wanted.iter().map(|key| layout::flow_state(key)).collect();
        let found = self.get_many(distinct.into_iter().collect()).await?;
        let states: HashMap<&str, Arc<str>> =
            found.iter().map(|item| Ok((item.text("PK")?, state_of(item)?))).collect::<StoreResult<_>>()?;
        Ok(wanted.iter().map(|key| states.get(&*layout::flow_state(key).pk).cloned()).collect())
    }

    async fn change_flow_state(&self, changes: Vec<FlowStateChange>) -> StoreResult<Vec<bool>> {
        let each: Vec<_> = changes.iter().map(|change| self.change(change)).collect();
        stream::iter(each).buffered(CONCURRENCY).try_collect().await
    }
}

impl Aws {
    async fn change(&self, change: &FlowStateChange) -> StoreResult<bool> {
        let outcome = match (&change.seen, &change.becomes) {
            (None, None) => return Ok(self.get(&layout::flow_state(&change.key)).await?.is_none()),
            (None, Some(_)) => self.put_new(self.state_item(change)).await?,
            (Some(seen), Some(_)) => {
                let value = Some((":seen", text(&**seen)));
                let is_unchanged = PutCondition { expression: IS_UNCHANGED, alias: None, value };
                self.put_if(self.state_item(change), is_unchanged).await?
            }
            (Some(seen), None) => self.delete_if(&layout::flow_state(&change.key), seen).await?,
        };
        Ok(match outcome {
            PutOutcome::Written => true,
            // the flow state is already as requested: an earlier attempt lost its reply, or another
            // process made the same change
            PutOutcome::Refused(existing) if existing.is_empty() => change.becomes.is_none(),
            PutOutcome::Refused(existing) => Some(state_of(&existing)?) == change.becomes,
        })
    }

    async fn delete_if(&self, key: &ItemKey, seen: &str) -> StoreResult<PutOutcome> {
        let request = self
            .dynamo
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key_attributes(key)))
            .condition_expression(IS_UNCHANGED)
            .expression_attribute_values(":seen", text(seen));
        match request.send().await {
            Ok(_) => Ok(PutOutcome::Written),
            Err(e) if condition_failed(&e) => Ok(PutOutcome::Refused(self.get(key).await?.unwrap_or_default())),
            Err(e) => Err(request_error("DeleteItem", e)),
        }
    }

    fn state_item(&self, FlowStateChange { key, becomes, until, .. }: &FlowStateChange) -> Item {
        let mut item = new_item(&layout::flow_state(key), (*until + TTL_MARGIN).as_millis() / 1_000);
        item.extend(becomes.as_ref().map(|becomes| (TEXT_ATTRIBUTE.to_owned(), text(&**becomes))));
        item
    }

    /// Returns the write for a change of flow state, as a part of a transaction.
    pub(super) fn flow_state_write(&self, change: &FlowStateChange) -> StoreResult<TransactWriteItem> {
        let invalid = StoreError::unreadable::<aws_sdk_dynamodb::error::BuildError>;
        let none = ReturnValuesOnConditionCheckFailure::None;
        let write = TransactWriteItem::builder();
        let seen = change.seen.as_ref().map(|seen| HashMap::from([(":seen".to_owned(), text(&**seen))]));
        let condition = if seen.is_some() { IS_UNCHANGED } else { IS_NEW };
        if change.becomes.is_some() {
            let put = PutItem::builder().table_name(&self.table).set_item(Some(self.state_item(change)));
            let put = put.condition_expression(condition).set_expression_attribute_values(seen);
            return Ok(write.put(put.return_values_on_condition_check_failure(none).build().map_err(invalid)?).build());
        }
        let delete =
            Delete::builder().table_name(&self.table).set_key(Some(key_attributes(&layout::flow_state(&change.key))));
        let delete = delete.condition_expression(condition).set_expression_attribute_values(seen);
        Ok(write.delete(delete.return_values_on_condition_check_failure(none).build().map_err(invalid)?).build())
    }

    /// Links runs to the events that joined them.
    pub(super) async fn link_events(&self, links: Vec<(RunId, EventId)>, now: Timestamp) -> StoreResult<()> {
        let mut seen = HashSet::new();
        let distinct = links.into_iter().filter(|link| seen.insert(*link));
        self.put_many(distinct.map(|(run, event)| new_item(&layout::run_of(event, run), self.ttl(now))).collect()).await
    }
}

fn state_of(item: &Item) -> StoreResult<Arc<str>> {
    item.text(TEXT_ATTRIBUTE).map(Into::into)
}
