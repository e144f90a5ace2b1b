//! Lists runs, newest first, by the rows in the index.
//!
//! A partition of the index contains one shard of a function's day. The days with runs, and the
//! functions of each day, are themselves listed. So if a table was quiet for a month, the days of
//! that month need no queries. A listing of all runs merges the partitions of all functions of a
//! day (`listings/day.rs`).

mod day;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{try_join, try_join_all};
use stepladder_core::{Event, EventId, Label, RunId, RunRow};
use stepladder_engine::ports::{Listings, RunQuery, StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, ReadItem};
use crate::layout;
use crate::table::TableQuery;

use day::RunRange;

#[async_trait]
impl Listings for Aws {
    async fn runs(&self, query: RunQuery) -> StoreResult<Vec<RunRow>> {
        let Some(range) = RunRange::of(&query) else { return Ok(Vec::new()) };
        if let Some(label) = &query.label {
            return self.runs_with_label(&query, label).await;
        }
        let mut rows = Vec::new();
        for (day, functions) in self.listed_days(&query, range).await? {
            if rows.len() == query.limit {
                break;
            }
            let left = query.limit - rows.len();
            rows.extend(self.newest_of_day(day, &functions, RunQuery { limit: left, ..query.clone() }, range).await?);
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

    /// Finds the runs that the event triggered by their ids, which derive from the event and the
    /// function. The functions are those with runs on the day of the event. Other runs have a link.
    async fn runs_of(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        let keys_with = |pk: String, prefix: String| TableQuery {
            partition: ("PK", pk),
            range: Some(("begins_with(SK, :a)", vec![prefix])),
            strong: true,
            ..TableQuery::default()
        };
        let links = self.query(keys_with(layout::event(event).pk, "R#".into()));
        let day = layout::day_prefix(layout::day_of(event.time()));
        let (links, listed) = try_join(links, self.query(keys_with(layout::DAYS.into(), day))).await?;
        let mut runs = BTreeSet::new();
        for link in links {
            let run = link.text("SK")?.strip_prefix("R#").and_then(|id| id.parse().ok());
            runs.insert(run.ok_or_else(|| StoreError::Unreadable(format!("a run of event {event} has no id").into()))?);
        }
        for item in &listed {
            let (_, function) = parse_listed_day(item)?;
            runs.insert(RunId::started_by(event, function));
        }
        let found = self.get_many(runs.into_iter().map(layout::row_key).collect()).await?;
        let mut rows = found.iter().map(row).collect::<StoreResult<Vec<_>>>()?;
        rows.sort_by_key(|row| (row.created_at, row.run));
        Ok(rows)
    }

    async fn resumed_by(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        let delivered = TableQuery {
            partition: ("PK", layout::event(event).pk),
            range: Some(("begins_with(SK, :a)", vec!["W#".into()])),
            strong: true,
            ..TableQuery::default()
        };
        let mut runs = BTreeSet::new();
        for item in self.query(delivered).await? {
            let run = item.text("SK")?.strip_prefix("W#").and_then(|id| id.parse::<RunId>().ok());
            runs.insert(
                run.ok_or_else(|| StoreError::Unreadable(format!("a delivery of event {event} has no run").into()))?,
            );
        }
        let found = self.get_many(runs.into_iter().map(layout::row_key).collect()).await?;
        let mut rows = found.iter().map(row).collect::<StoreResult<Vec<_>>>()?;
        rows.sort_by_key(|row| (row.created_at, row.run));
        Ok(rows)
    }

    async fn row(&self, run: RunId) -> StoreResult<Option<RunRow>> {
        self.get(&layout::row_key(run)).await?.map(|item| row(&item)).transpose()
    }
}

impl Aws {
    /// Returns the rows of runs with a label, newest first.
    async fn runs_with_label(&self, query: &RunQuery, label: &Label) -> StoreResult<Vec<RunRow>> {
        let mut before = query.before;
        let first = query.from.unwrap_or(RunId::from_bytes([0; 16]));
        let page = query.limit.max(1) + 1;
        let mut rows = Vec::new();
        loop {
            let last = before.unwrap_or(RunId::from_bytes([u8::MAX; 16]));
            let labelled = TableQuery {
                partition: ("PK", layout::label_partition(label)),
                range: Some(("SK BETWEEN :a AND :b", vec![first.to_string(), last.to_string()])),
                backward: true,
                limit: Some(page),
                ..TableQuery::default()
            };
            let items = self.query(labelled).await?;
            let mut runs = Vec::new();
            for item in &items {
                let run: RunId = item.text("SK")?.parse().map_err(StoreError::unreadable)?;
                runs.extend(before.is_none_or(|before| run < before).then_some(run));
            }
            let found = self.get_many(runs.iter().copied().map(layout::row_key).collect()).await?;
            let mut found = found.iter().map(row).collect::<StoreResult<Vec<_>>>()?;
            found.retain(|row| {
                query.status.includes(row)
                    && query.function.as_deref().is_none_or(|function| *function == *row.function)
            });
            found.sort_by_key(|row| std::cmp::Reverse(row.run));
            rows.extend(found);
            before = runs.last().copied().or(before);
            if rows.len() >= query.limit || items.len() < page {
                rows.truncate(query.limit);
                return Ok(rows);
            }
        }
    }

    /// Returns the days with runs in this range, newest first, each with the functions that had
    /// runs.
    async fn listed_days(&self, query: &RunQuery, range: RunRange) -> StoreResult<Vec<(i64, Vec<String>)>> {
        let (first, last) = range.days();
        let partition = query.function.as_deref().map_or_else(|| layout::DAYS.to_owned(), layout::days_partition);
        let listed = TableQuery {
            partition: ("PK", partition),
            range: Some(("SK BETWEEN :a AND :b", vec![layout::day_prefix(first), layout::day_prefix(last + 1)])),
            backward: true,
            // a strong read, because a run must be found immediately after it was created
            strong: true,
            ..TableQuery::default()
        };
        let mut days: Vec<(i64, Vec<String>)> = Vec::new();
        for item in self.query(listed).await? {
            let (day, function) = parse_listed_day(&item)?;
            match days.last_mut() {
                Some((last, functions)) if *last == day => functions.push(function.to_owned()),
                Some(_) | None => days.push((day, vec![function.to_owned()])),
            }
        }
        Ok(days)
    }
}

/// Returns the day and the function from an item that lists them.
fn parse_listed_day(item: &Item) -> StoreResult<(i64, &str)> {
    let parsed = layout::parse_listed_day(item.text("SK")?);
    parsed.ok_or_else(|| StoreError::Unreadable("a listed day is not a number and a function".into()))
}

/// Reads the row of a run from the item of its first record, or from its entry in the index.
fn row(item: &Item) -> StoreResult<RunRow> {
    let status = |text: &str| text.parse().map_err(|bad: String| StoreError::Unreadable(bad.into()));
    let ended = match item.contains_key("ended") {
        true => Some((item.time("ended")?, status(item.text("status")?)?)),
        false => None,
    };
    let run = layout::run_of_partition(item.text("PK")?);
    Ok(RunRow {
        run: run.ok_or_else(|| StoreError::Unreadable("the row of a run has no run id in its key".into()))?,
        function: item.text("function")?.into(),
        event: item.event("event")?,
        created_at: item.time("created")?,
        ended,
    })
}
