//! Notes of flow control, and the links from events to runs that others created.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{Delete, Put as PutItem, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use futures::{StreamExt, TryStreamExt, stream};
use stepladder_core::{EventId, RunId, Timestamp};
use stepladder_engine::ports::{FlowStateChange, FlowStates, StoreError, StoreResult};

use crate::Aws;
use crate::fault::{CONDITION, is_code, unavailable};
use crate::item::{Item, Read, item, keys, text};
use crate::layout::{self, Key};
use crate::table::{IS_NEW, Put};

/// Clocks differ: a note is not forgotten before its time on any of them.
const MARGIN: Duration = Duration::from_secs(3_600);
/// Notes that are changed side by side.
const AT_ONCE: usize = 16;
/// The attribute that has the text; `text` is reserved.
const NOTE: &str = "note";
/// It is as it was seen.
const AS_SEEN: &str = "note = :seen";

#[async_trait]
impl FlowStates for Aws {
    async fn read_flow_state(&self, wanted: Vec<Arc<str>>) -> StoreResult<Vec<Option<Arc<str>>>> {
        if let [key] = &wanted[..] {
            return Ok(vec![self.get(&layout::note(key)).await?.map(|item| note_of(&item)).transpose()?]);
        }
        // a batch must not name an item twice
        let once: HashSet<Key> = wanted.iter().map(|key| layout::note(key)).collect();
        let found = self.get_many(once.into_iter().collect()).await?;
        let notes: HashMap<&str, Arc<str>> =
            found.iter().map(|item| Ok((item.text("PK")?, note_of(item)?))).collect::<StoreResult<_>>()?;
        Ok(wanted.iter().map(|key| notes.get(&*layout::note(key).pk).cloned()).collect())
    }

    async fn change_flow_state(&self, changes: Vec<FlowStateChange>) -> StoreResult<Vec<bool>> {
        let each: Vec<_> = changes.iter().map(|note| self.change(note)).collect();
        stream::iter(each).buffered(AT_ONCE).try_collect().await
    }
}

impl Aws {
    async fn change(&self, note: &FlowStateChange) -> StoreResult<bool> {
        let there = match (&note.seen, &note.becomes) {
            (None, None) => return Ok(self.get(&layout::note(&note.key)).await?.is_none()),
            (None, Some(_)) => self.put_new(self.note_item(note)).await?,
            (Some(seen), Some(_)) => self.put_if_one(self.note_item(note), AS_SEEN, (":seen", text(&**seen))).await?,
            (Some(seen), None) => self.delete_if(&layout::note(&note.key), seen).await?,
        };
        Ok(match there {
            Put::Done => true,
            // one's own, whose reply was lost; or somebody else's that comes to the same
            Put::Refused(there) if there.is_empty() => note.becomes.is_none(),
            Put::Refused(there) => Some(note_of(&there)?) == note.becomes,
        })
    }

    async fn delete_if(&self, key: &Key, seen: &str) -> StoreResult<Put> {
        let request = self
            .dynamo
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(keys(key)))
            .condition_expression(AS_SEEN)
            .expression_attribute_values(":seen", text(seen));
        match request.send().await {
            Ok(_) => Ok(Put::Done),
            Err(e) if is_code(&e, CONDITION) => Ok(Put::Refused(self.get(key).await?.unwrap_or_default())),
            Err(e) => Err(unavailable("DeleteItem", &e)),
        }
    }

    fn note_item(&self, FlowStateChange { key, becomes, until, .. }: &FlowStateChange) -> Item {
        let mut item = item(&layout::note(key), (*until + MARGIN).as_millis() / 1_000);
        item.extend(becomes.as_ref().map(|becomes| (NOTE.to_owned(), text(&**becomes))));
        item
    }

    /// A note's part in a transaction.
    pub(super) fn note_write(&self, note: &FlowStateChange) -> StoreResult<TransactWriteItem> {
        let bad = |e: aws_sdk_dynamodb::error::BuildError| StoreError::Unreadable(e.to_string());
        let none = ReturnValuesOnConditionCheckFailure::None;
        let write = TransactWriteItem::builder();
        let seen = note.seen.as_ref().map(|seen| HashMap::from([(":seen".to_owned(), text(&**seen))]));
        let condition = if seen.is_some() { AS_SEEN } else { IS_NEW };
        if note.becomes.is_some() {
            let put = PutItem::builder().table_name(&self.table).set_item(Some(self.note_item(note)));
            let put = put.condition_expression(condition).set_expression_attribute_values(seen);
            return Ok(write.put(put.return_values_on_condition_check_failure(none).build().map_err(bad)?).build());
        }
        let delete = Delete::builder().table_name(&self.table).set_key(Some(keys(&layout::note(&note.key))));
        let delete = delete.condition_expression(condition).set_expression_attribute_values(seen);
        Ok(write.delete(delete.return_values_on_condition_check_failure(none).build().map_err(bad)?).build())
    }

    /// Lists runs among those that events led to.
    pub(super) async fn link(&self, links: Vec<(RunId, EventId)>, now: Timestamp) -> StoreResult<()> {
        let mut seen = HashSet::new();
        let once = links.into_iter().filter(|link| seen.insert(*link));
        self.put_many(once.map(|(run, event)| item(&layout::run_of(event, run), self.ttl(now))).collect()).await
    }
}

fn note_of(item: &Item) -> StoreResult<Arc<str>> {
    item.text(NOTE).map(Into::into)
}
