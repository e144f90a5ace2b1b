//! Renews the items of a live run before they expire (rule 27).
//!
//! Each item is written with a time to live of the retention plus two days. The watchdog checks a
//! live run at least once a day and calls this module. Once half of the retention has passed, all
//! items of the run are renewed, including the day under which listings find the run. The first
//! record is renewed last: as long as it exists, all other items exist.

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use stepladder_core::{EventId, Fact, RunId, Timestamp};
use stepladder_engine::ports::{Journals, Retention, StoreResult};

use crate::Aws;
use crate::error::{condition_failed, request_error};
use crate::item::{Item, ReadItem, key_attributes, number};
use crate::layout::{self, ItemKey};
use crate::table::TableQuery;
use crate::value::parts_partition;

/// The maximum number of items that are renewed concurrently.
const CONCURRENCY: usize = 16;

#[async_trait]
impl Retention for Aws {
    async fn renew_retention(&self, run: RunId, event: EventId, now: Timestamp) -> StoreResult<()> {
        let first = layout::record(run, 0);
        let Some(first_item) = self.get(&first).await? else { return Ok(()) };
        let half = (now + self.retention / 2).as_millis() / 1_000;
        if first_item.number("ttl")? > half {
            return Ok(());
        }
        let mut renewed = Vec::new();
        for pk in [layout::run_partition(run), layout::event(event).pk] {
            let query = TableQuery {
                partition: ("PK", pk),
                strong: true,
                attributes: Some("PK, SK, b, #l, #a, #f"),
                ..TableQuery::default()
            };
            for item in self.query(query).await? {
                if let Some(parts) = parts_partition(&item) {
                    let parts = self.query_partition(parts, true).await?;
                    renewed.extend(parts.iter().map(item_key).collect::<StoreResult<Vec<_>>>()?);
                }
                if item.contains_key("line") {
                    renewed.push(ItemKey { pk: item.text("line")?.into(), sk: item.text("at")?.into() });
                }
                if item.contains_key("function") {
                    self.put_listed_days(&layout::listed_days(run, item.text("function")?), now).await?;
                }
                renewed.push(item_key(&item)?);
            }
        }
        for entry in self.read(run, 0).await?.iter().flat_map(|record| &record.entries) {
            match &entry.fact {
                Fact::RunCreated(created) => {
                    renewed.extend(created.labels.iter().map(|label| layout::label(label, run)));
                }
                Fact::LabelsAdded { labels } => renewed.extend(labels.iter().map(|label| layout::label(label, run))),
                Fact::EventDelivered { event, .. } => renewed.push(layout::delivery(event.id, run)),
                _ => {}
            }
        }
        renewed.retain(|key| *key != first);
        let ttl = self.ttl(now);
        stream::iter(renewed)
            .map(|key| self.set_ttl(key, ttl))
            .buffer_unordered(CONCURRENCY)
            .try_collect::<Vec<_>>()
            .await?;
        self.set_ttl(first, ttl).await
    }
}

impl Aws {
    async fn set_ttl(&self, key: ItemKey, ttl: i64) -> StoreResult<()> {
        let request = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_attributes(&key)))
            .update_expression("SET #t = :ttl")
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_names("#t", "ttl")
            .expression_attribute_values(":ttl", number(ttl));
        match request.send().await {
            Ok(_) => Ok(()),
            // the ticket was deleted in the meantime
            Err(e) if condition_failed(&e) => Ok(()),
            Err(e) => Err(request_error("UpdateItem", e)),
        }
    }
}

fn item_key(item: &Item) -> StoreResult<ItemKey> {
    Ok(ItemKey { pk: item.text("PK")?.into(), sk: item.text("SK")?.into() })
}
