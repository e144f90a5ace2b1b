//! Rule 27: what belongs to a live run does not expire under it.
//!
//! Each item is written with a time to live of the retention and two days. The watchdog visits a live run at least once
//! a day and calls this; once half of the retention is used up, the items of the run are given a new time. The first
//! record comes last: as long as it is there, so is all the rest. The hour and the day under which listings find the run are
//! renewed with it.

use futures::{StreamExt, TryStreamExt, stream};
use stepladder_core::{EventId, RunId, Timestamp};
use stepladder_engine::ports::StoreResult;

use crate::Aws;
use crate::fault::{CONDITION, is_code, unavailable};
use crate::item::{Read, keys, number};
use crate::layout::{self, Key};
use crate::table::Ask;
use crate::value::partition;

/// How many items are renewed side by side.
const AT_ONCE: usize = 16;

impl Aws {
    pub(super) async fn renew(&self, run: RunId, event: EventId, now: Timestamp) -> StoreResult<()> {
        let first = layout::record(run, 0);
        let Some(there) = self.get(&first).await? else { return Ok(()) };
        let half = (now + self.retention / 2).as_millis() / 1_000;
        if there.number("ttl")? > half {
            return Ok(());
        }
        let mut wanted = Vec::new();
        for pk in [layout::run(run), layout::event(event).pk] {
            let items = self.query(Ask {
                partition: ("PK", pk),
                strong: true,
                attributes: Some("PK, SK, b, #l, #a, #f"),
                ..Ask::default()
            });
            for item in items.await? {
                if let Some(parts) = partition(&item) {
                    let parts = self.query_partition(parts, true).await?;
                    wanted.extend(parts.iter().map(key).collect::<StoreResult<Vec<_>>>()?);
                }
                if item.contains_key("line") {
                    wanted.push(Key { pk: item.text("line")?.into(), sk: item.text("at")?.into() });
                }
                if item.contains_key("function") {
                    for key in layout::listed(run, item.text("function")?) {
                        self.put_listed(&key, now).await?;
                    }
                }
                wanted.push(key(&item)?);
            }
        }
        wanted.retain(|key| *key != first);
        let ttl = self.ttl(now);
        stream::iter(wanted)
            .map(|key| self.set_ttl(key, ttl))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        self.set_ttl(first, ttl).await
    }

    async fn set_ttl(&self, key: Key, ttl: i64) -> StoreResult<()> {
        let request = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(keys(&key)))
            .update_expression("SET #t = :ttl")
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_names("#t", "ttl")
            .expression_attribute_values(":ttl", number(ttl));
        match request.send().await {
            Ok(_) => Ok(()),
            // a place that was given up meanwhile
            Err(e) if is_code(&e, CONDITION) => Ok(()),
            Err(e) => Err(unavailable("UpdateItem", &e)),
        }
    }
}

fn key(item: &crate::item::Item) -> StoreResult<Key> {
    Ok(Key { pk: item.text("PK")?.into(), sk: item.text("SK")?.into() })
}
