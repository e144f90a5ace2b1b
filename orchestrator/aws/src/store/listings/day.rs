//! The newest runs of one day, from the index partitions of several functions.
//!
//! Each partition returns its rows newest first. A first round reads a few rows of each partition.
//! Later rounds read only the partitions that may still have rows among the newest ones.

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, TryStreamExt, stream};
use stepladder_core::{RunId, RunRow};
use stepladder_engine::ports::{RunQuery, RunStatusFilter, StoreResult};

use super::row;
use crate::Aws;
use crate::item::text;
use crate::layout::{self, LISTING_SHARDS, RUNS_INDEX};
use crate::table::TableQuery;

/// The maximum number of partitions that are read concurrently.
const CONCURRENCY: usize = 64;
/// The minimum number of rows that are read from a partition at once.
const MIN_ROWS: usize = 10;

/// The ids of the runs that a listing may contain; both are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunRange {
    first: RunId,
    last: RunId,
}

impl RunRange {
    /// Returns the range of a query; `None` if it is empty.
    pub(super) fn of(query: &RunQuery) -> Option<Self> {
        let first = query.from.unwrap_or(RunId::from_bytes([0; 16]));
        let last = match query.before {
            Some(before) => previous(before)?,
            None => RunId::from_bytes([u8::MAX; 16]),
        };
        (first <= last).then_some(Self { first, last })
    }

    /// Returns the days of the first and the last id.
    pub(super) fn days(self) -> (i64, i64) {
        (layout::day_of(self.first.time()), layout::day_of(self.last.time()))
    }
}

/// Returns the greatest id that is less than this one.
fn previous(run: RunId) -> Option<RunId> {
    u128::from_be_bytes(run.to_bytes()).checked_sub(1).map(|id| RunId::from_bytes(id.to_be_bytes()))
}

/// A partition of the index while its rows are read.
struct DayPartition {
    /// The value of the attribute `day`.
    day: String,
    /// The range of the rows that were not read yet; `None` if there are no more.
    left: Option<RunRange>,
}

impl DayPartition {
    /// Returns whether the partition may have a row that is newer than this one.
    fn may_have_newer(&self, than: Option<RunId>) -> bool {
        self.left.is_some_and(|left| than.is_none_or(|than| left.last > than))
    }
}

impl Aws {
    /// Returns the newest rows of these functions on a day, at most as many as the query's limit.
    pub(super) async fn newest_of_day(
        &self,
        day: i64,
        functions: &[String],
        query: RunQuery,
        range: RunRange,
    ) -> StoreResult<Vec<RunRow>> {
        let shards = functions.iter().flat_map(|function| (0..LISTING_SHARDS).map(move |shard| (function, shard)));
        let partition = |(function, shard): (&String, u64)| DayPartition {
            day: layout::day_shard(function, day, shard),
            left: Some(range),
        };
        let mut partitions: Vec<_> = shards.map(partition).collect();
        let mut rows: Vec<RunRow> = Vec::new();
        let mut page = (2 * query.limit).div_ceil(partitions.len()).max(MIN_ROWS).min(query.limit);
        loop {
            let last_wanted = rows.get(query.limit.saturating_sub(1)).map(|row| row.run);
            let reads: Vec<_> = partitions
                .iter_mut()
                .filter(|partition| partition.may_have_newer(last_wanted))
                .map(|partition| self.read_rows(partition, query.status, page))
                .collect();
            if reads.is_empty() {
                rows.truncate(query.limit);
                return Ok(rows);
            }
            let read: Vec<Vec<RunRow>> = stream::iter(reads).buffered(CONCURRENCY).try_collect().await?;
            rows.extend(read.into_iter().flatten());
            rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.run));
            page = query.limit;
        }
    }

    /// Reads the next rows of a partition, at most `limit`.
    async fn read_rows(
        &self,
        partition: &mut DayPartition,
        status: RunStatusFilter,
        limit: usize,
    ) -> StoreResult<Vec<RunRow>> {
        let Some(range) = partition.left else { return Ok(Vec::new()) };
        let filter: Option<(&'static str, Vec<(&'static str, AttributeValue)>)> = match status {
            RunStatusFilter::All => None,
            RunStatusFilter::Live => Some(("attribute_not_exists(ended)", Vec::new())),
            RunStatusFilter::Ended(status) => Some(("#s = :s", vec![(":s", text(status.to_string()))])),
        };
        let query = TableQuery {
            index: Some(RUNS_INDEX),
            partition: ("day", partition.day.clone()),
            // the partition key of the table is the sort key of the index
            range: Some((
                "PK BETWEEN :a AND :b",
                vec![layout::run_partition(range.first), layout::run_partition(range.last)],
            )),
            filter,
            backward: true,
            limit: Some(limit),
            ..TableQuery::default()
        };
        let rows = self.query(query).await?.iter().map(row).collect::<StoreResult<Vec<_>>>()?;
        let next = rows.last().filter(|_| rows.len() >= limit).and_then(|row| previous(row.run));
        partition.left = next.filter(|next| *next >= range.first).map(|last| RunRange { last, ..range });
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u128) -> RunId {
        RunId::from_bytes(n.to_be_bytes())
    }

    #[test]
    fn a_range_ends_before_its_cursor() {
        let query = |from, before| RunQuery { from, before, limit: 1, ..RunQuery::default() };
        assert_eq!(RunRange::of(&query(Some(run(3)), Some(run(5)))), Some(RunRange { first: run(3), last: run(4) }));
        assert_eq!(RunRange::of(&query(Some(run(5)), Some(run(5)))), None);
        assert_eq!(RunRange::of(&query(None, Some(run(0)))), None);
        assert_eq!(RunRange::of(&query(None, None)), Some(RunRange { first: run(0), last: run(u128::MAX) }));
    }
}
