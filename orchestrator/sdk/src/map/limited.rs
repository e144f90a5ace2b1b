//! Runs the items of a map, at most a number of them at the same time.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::{FuturesUnordered, StreamExt};

use super::completion::{Completion, Tally, Verdict};
use super::results::ItemResult;
use crate::Result;

/// The results of a map that is complete, in the order of its items.
pub(super) struct LimitedRun<T> {
    pub(super) results: Vec<ItemResult<T>>,
    pub(super) verdict: Verdict,
    /// The item with which the map was complete.
    last: Option<usize>,
}

/// Runs the futures with at most `limit` of them active, until the map is complete. A slow item
/// does not delay the start of later items. `items` has `total` futures.
pub(super) async fn run_limited<T, F: Future<Output = Result<T>>>(
    items: impl Iterator<Item = F>,
    total: usize,
    limit: usize,
    completion: Completion,
) -> LimitedRun<T> {
    let has_started: Vec<AtomicBool> = (0..total).map(|_| AtomicBool::new(false)).collect();
    let mut ended: Vec<Option<Result<T>>> = (0..total).map(|_| None).collect();
    let mut tally = Tally { total, ..Tally::default() };
    let mut last = None;
    let mut waiting = items.enumerate();
    // only futures that were woken are polled, so the work for an item does not grow with the
    // others
    let mut active = FuturesUnordered::new();
    let verdict = loop {
        if let Some(verdict) = completion.verdict(tally) {
            break verdict;
        }
        active.extend(waiting.by_ref().take(limit - active.len()).map(|(i, item)| {
            let has_started = &has_started[i];
            async move {
                has_started.store(true, Ordering::Relaxed);
                (i, item.await)
            }
        }));
        let Some((i, result)) = active.next().await else { break Verdict::Met };
        match result {
            Ok(_) => tally.succeeded += 1,
            Err(_) => tally.failed += 1,
        }
        ended[i] = Some(result);
        last = Some(i);
    };
    drop(active);
    let results = ended.into_iter().zip(has_started).map(|(ended, has_started)| match ended {
        Some(Ok(value)) => ItemResult::Succeeded(value),
        Some(Err(error)) => ItemResult::Failed(error),
        None if has_started.into_inner() => ItemResult::Abandoned,
        None => ItemResult::NotStarted,
    });
    LimitedRun { results: results.collect(), verdict, last }
}

impl<T> LimitedRun<T> {
    /// Returns the values of the items that have succeeded, in the order of the items.
    ///
    /// # Errors
    /// The failure with which the conditions of the map could not be met any more.
    pub(super) fn into_values(mut self) -> Result<Vec<T>> {
        if self.verdict == Verdict::Unmet
            && let Some(last) = self.last
            && let ItemResult::Failed(error) = self.results.swap_remove(last)
        {
            return Err(error);
        }
        Ok(self.results.into_iter().filter_map(ItemResult::into_value).collect())
    }
}
