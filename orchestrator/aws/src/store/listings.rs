//! Lists runs, newest first, by the rows in the indexes.
//!
//! A partition of an index contains one shard of an hour, or of a function's day. The hours and
//! days with runs are themselves listed, in separate partitions. So if a table was quiet for a
//! month, the hours of that month need no queries.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use stepladder_core::{Event, EventId, RunId, RunRow};
use stepladder_engine::ports::{Listings, RunQuery, RunStatusFilter, StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, ReadItem, text};
use crate::layout::{self, BY_FUNCTION, BY_HOUR, LISTING_SHARDS};
use crate::table::TableQuery;

#[async_trait]
impl Listings for Aws {
    async fn runs(&self, query: RunQuery) -> StoreResult<Vec<RunRow>> {
        let mut rows = Vec::new();
        for period in self.listed_periods(&query).await? {
            let partitions = (0..LISTING_SHARDS).map(|shard| self.read_shard(&query, period, shard));
            let mut of_period = try_join_all(partitions).await?.concat();
            of_period.sort_by_key(|row| std::cmp::Reverse(row.run));
            rows.extend(of_period);
            rows.truncate(rows.partition_point(|row: &RunRow| query.from.is_none_or(|from| row.run >= from)));
            if rows.len() >= query.limit {
                rows.truncate(query.limit);
                break;
            }
        }
        Ok(rows)
    }

    /// Lists events by the rows of the runs that they created. An index of events would cost one
    /// write per event.
    async fn events(&self, before: Option<EventId>, limit: usize) -> StoreResult<Vec<Event>> {
        // the id of a run starts with the time of the event that created it
        let mut cursor = before.map(|event| RunId::new(event.time() + Duration::from_millis(1), 0));
        let mut ids: Vec<EventId> = Vec::new();
        let page = limit.saturating_mul(2);
        loop {
            let rows = self.runs(RunQuery { before: cursor, limit: page, ..RunQuery::default() }).await?;
            cursor = rows.last().map(|row| row.run);
            // the ids of called runs and reruns start with another time
            let started = rows.iter().filter(|row| row.event.time() == row.run.time()).map(|row| row.event);
            ids.extend(started.filter(|id| before.is_none_or(|before| *id < before)));
            ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
            ids.dedup();
            if ids.len() > limit || rows.len() < page {
                break;
            }
        }
        ids.truncate(limit);
        let found = self.get_many(ids.into_iter().map(layout::event).collect()).await?;
        let mut events = try_join_all(found.iter().map(|item| self.event_of(item))).await?;
        events.sort_by_key(|event| std::cmp::Reverse(event.id));
        Ok(events)
    }

    async fn runs_of(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        let links = TableQuery {
            partition: ("PK", layout::event(event).pk),
            range: Some(("begins_with(SK, :a)", vec!["R#".into()])),
            strong: true,
            ..TableQuery::default()
        };
        let runs = self.query(links).await?;
        let run_of = |link: &Item| {
            let run = link.text("SK")?.strip_prefix("R#").and_then(|id| id.parse().ok());
            run.map(layout::row_key)
                .ok_or_else(|| StoreError::Unreadable(format!("a run of event {event} has no id").into()))
        };
        let wanted = runs.iter().map(run_of).collect::<StoreResult<Vec<_>>>()?;
        let mut rows = self.get_many(wanted).await?.iter().map(row).collect::<StoreResult<Vec<_>>>()?;
        rows.sort_by_key(|row| (row.created_at, row.run));
        Ok(rows)
    }

    async fn row(&self, run: RunId) -> StoreResult<Option<RunRow>> {
        self.get(&layout::row_key(run)).await?.map(|item| row(&item)).transpose()
    }
}

impl Aws {
    /// Returns the hours with runs, or a function's days with runs, newest first.
    async fn listed_periods(&self, query: &RunQuery) -> StoreResult<Vec<i64>> {
        let before = query.before.map(RunId::time);
        let (partition, last) = match &query.function {
            None => (layout::HOURS.to_owned(), before.map(|at| format!("{:08}", layout::hour_of(at)))),
            Some(function) => (layout::days_partition(function), before.map(|at| format!("{:06}", layout::day_of(at)))),
        };
        let listed = TableQuery {
            partition: ("PK", partition),
            range: last.map(|last| ("SK <= :a", vec![last])),
            backward: true,
            // a strong read, because a run must be found immediately after it was created
            strong: true,
            ..TableQuery::default()
        };
        let number = |item: &Item| {
            let number = item.text("SK")?.parse();
            number.map_err(|_| StoreError::Unreadable("a listed hour or day is not a number".into()))
        };
        let mut periods = self.query(listed).await?.iter().map(number).collect::<StoreResult<Vec<i64>>>()?;
        if let Some(from) = query.from.map(RunId::time) {
            let first = if query.function.is_none() { layout::hour_of(from) } else { layout::day_of(from) };
            periods.retain(|period| *period >= first);
        }
        Ok(periods)
    }

    async fn read_shard(&self, query: &RunQuery, period: i64, shard: u64) -> StoreResult<Vec<RunRow>> {
        let (index, partition) = match &query.function {
            None => (BY_HOUR, ("hour", layout::hour_shard(period, shard))),
            Some(function) => (BY_FUNCTION, ("day", layout::day_shard(function, period, shard))),
        };
        let filter: Option<(&'static str, Vec<(&'static str, AttributeValue)>)> = match query.status {
            RunStatusFilter::All => None,
            RunStatusFilter::Live => Some(("attribute_not_exists(ended)", Vec::new())),
            RunStatusFilter::Ended(status) => Some(("#s = :s", vec![(":s", text(status.to_string()))])),
        };
        let query = TableQuery {
            index: Some(index),
            partition,
            // `run` is the sort key of the indexes
            range: query.before.map(|before| ("#r < :a", vec![before.to_string()])),
            filter,
            backward: true,
            limit: Some(query.limit),
            ..TableQuery::default()
        };
        self.query(query).await?.iter().map(row).collect()
    }
}

fn row(item: &Item) -> StoreResult<RunRow> {
    let status = |text: &str| text.parse().map_err(|bad: String| StoreError::Unreadable(bad.into()));
    let ended = match item.contains_key("ended") {
        true => Some((item.time("ended")?, status(item.text("status")?)?)),
        false => None,
    };
    Ok(RunRow {
        run: item.run("run")?,
        function: item.text("function")?.into(),
        event: item.event("event")?,
        created_at: item.time("created")?,
        ended,
    })
}
