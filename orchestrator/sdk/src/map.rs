//! A bounded fan-out: one step an item, so many at a time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use stepladder_core::retry::Backoff;

use crate::{Result, Step};

/// One step for each item of [`Context::map`](crate::Context::map), or one run for each of
/// [`Context::map_runs`](crate::Context::map_runs). Gives the values in the order of the items.
///
/// # Errors
/// The first failure that is recorded: no further item begins, and steps that run in the same invocation are abandoned.
/// Steps that run in invocations of their own, and runs that were begun, go on to their end; nobody asks for their outcomes. [`results`](Self::results) goes on to the end instead.
#[must_use = "a map does nothing until it is awaited"]
pub struct Map<'a, T> {
    steps: Vec<Step<'a, T>>,
    limit: usize,
    running: Option<BoxFuture<'a, Result<Vec<T>>>>,
}

impl<'a, T> Map<'a, T> {
    /// At most `limit` steps are under way, unless the function says otherwise.
    pub(crate) fn new(steps: Vec<Step<'a, T>>, limit: usize) -> Self {
        Self { steps, limit, running: None }
    }

    /// At most `n` steps are under way at a time; at least one is. All of them unless told otherwise.
    pub fn limit(mut self, n: usize) -> Self {
        self.limit = n.max(1);
        self.steps.iter_mut().for_each(|step| step.once("limit"));
        self
    }

    /// Every item is tried, whatever becomes of the others: gives the value or the failure of each, in the order of the
    /// items.
    pub fn results(self) -> MapResults<'a, T> {
        MapResults { map: self, running: None }
    }

    /// [`Step::retries`] of each.
    pub fn retries(self, n: u32) -> Self {
        self.each(|step| step.retries(n))
    }

    /// [`Step::timeout`] of each.
    pub fn timeout(self, limit: Duration) -> Self {
        self.each(|step| step.timeout(limit))
    }

    /// [`Step::backoff`] of each.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.each(|step| step.backoff(backoff.clone()))
    }

    /// [`Step::undo`] of each.
    pub fn undo<F, Fut>(self, undo: F) -> Self
    where
        T: Send + 'static,
        F: FnOnce(T) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.each(|step| step.undo(undo.clone()))
    }

    fn each(mut self, change: impl FnMut(Step<'a, T>) -> Step<'a, T>) -> Self {
        self.steps = self.steps.into_iter().map(change).collect();
        self
    }
}

impl<'a, T: Send + 'a> Future for Map<'a, T> {
    type Output = Result<Vec<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { steps, limit, running } = self.get_mut();
        let running = running.get_or_insert_with(|| Box::pin(values(std::mem::take(steps), *limit)));
        running.as_mut().poll(cx)
    }
}

/// A [`Map`] that goes on to the end: see [`Map::results`].
#[must_use = "a map does nothing until it is awaited"]
pub struct MapResults<'a, T> {
    map: Map<'a, T>,
    running: Option<BoxFuture<'a, Vec<Result<T>>>>,
}

impl<'a, T: Send + 'a> Future for MapResults<'a, T> {
    type Output = Vec<Result<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { map, running } = self.get_mut();
        let running = running.get_or_insert_with(|| {
            let (steps, limit) = (std::mem::take(&mut map.steps), map.limit);
            Box::pin(async move { kept_up(steps, limit, Ok).await.unwrap_or_default() })
        });
        running.as_mut().poll(cx)
    }
}

async fn values<T>(steps: Vec<Step<'_, T>>, limit: usize) -> Result<Vec<T>> {
    kept_up(steps, limit, |ended| ended).await
}

/// Keeps `limit` steps under way. A slow item keeps one place, not those of the items after it. What `keep` gives for what a
/// step came to is kept, its error ends it all.
async fn kept_up<T, K>(steps: Vec<Step<'_, T>>, limit: usize, keep: impl Fn(Result<T>) -> Result<K>) -> Result<Vec<K>> {
    let mut values = Vec::with_capacity(steps.len());
    let mut waiting = steps.into_iter().enumerate();
    let mut under_way = FuturesUnordered::new();
    loop {
        under_way.extend(waiting.by_ref().take(limit - under_way.len()).map(|(i, step)| numbered(i, step)));
        match under_way.next().await {
            Some((i, ended)) => values.push((i, keep(ended)?)),
            None => break,
        }
    }
    values.sort_unstable_by_key(|(i, _)| *i);
    Ok(values.into_iter().map(|(_, value)| value).collect())
}

async fn numbered<T>(i: usize, step: Step<'_, T>) -> (usize, Result<T>) {
    (i, step.await)
}
