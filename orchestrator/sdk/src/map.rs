//! Maps: one step, several steps, or one called run, for each item, with a limit on how many are
//! active.

mod completion;
mod limited;
mod results;
mod steps;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use stepladder_core::retry::Backoff;

use crate::{Invoke, Result, Step};
use completion::Completion;
use limited::run_limited;
pub use results::{ItemResult, ItemResults, MapItem};
pub use steps::{FirstSuccess, MapSteps, MapStepsResults};

/// One step for each item: see [`Context::map`](crate::Context::map). Returns the values in the
/// order of the items.
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn fetch(page: u32) -> Result<String> { Ok(page.to_string()) }
/// # async fn example(ctx: Context) -> Result<()> {
/// let pages: Vec<String> = ctx.map("fetch", 1..=20, fetch).limit(4).retries(2).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// The first recorded failure. Then no further item starts, and steps in the same invocation are
/// abandoned. Steps that run in other invocations continue to their end. To try every item, use
/// [`results`](Self::results).
#[must_use = "a map does nothing until it is awaited"]
pub struct Map<'a, T> {
    steps: Vec<Step<'a, T>>,
    limit: usize,
    running: Option<BoxFuture<'a, Result<Vec<T>>>>,
}

/// One run of another function for each item: see [`Context::map_runs`](crate::Context::map_runs).
/// Returns the values in the order of the items.
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn example(ctx: Context) -> Result<()> {
/// let clients = (0..200).map(|n| json!({ "clientId": n }));
/// let runs = ctx.map_runs("report", "write-report", clients).limit(20).cancelled_with_run();
/// let reports: Vec<String> = runs.await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// The first recorded failure. Then no further run is created. Existing runs continue to their end,
/// unless they are [cancelled with this run](Self::cancelled_with_run). To try every item, use
/// [`results`](Self::results).
#[must_use = "a map does nothing until it is awaited"]
pub struct MapRuns<'a, T> {
    calls: Vec<Invoke<'a, T>>,
    limit: usize,
    running: Option<BoxFuture<'a, Result<Vec<T>>>>,
}

/// A map that tries every item: see [`Map::results`] and [`MapRuns::results`].
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn fetch(page: u32) -> Result<String> { Ok(page.to_string()) }
/// # async fn example(ctx: Context) {
/// for (page, result) in (1..).zip(ctx.map("fetch", 1..=20, fetch).results().await) {
///     if let Err(error) = result {
///         ctx.log(Log::warn(format!("page {page} is missing: {error}")));
///     }
/// }
/// # }
/// ```
#[must_use = "a map does nothing until it is awaited"]
pub struct MapResults<'a, T> {
    running: BoxFuture<'a, Vec<Result<T>>>,
}

impl<'a, T> Map<'a, T> {
    pub(crate) fn new(steps: Vec<Step<'a, T>>) -> Self {
        Self { steps, limit: usize::MAX, running: None }
    }

    /// Sets the maximum number of active steps, which is at least one. By default, there is no
    /// maximum.
    pub fn limit(mut self, n: usize) -> Self {
        self.limit = n.max(1);
        self.steps.iter_mut().for_each(|step| step.record_call("limit"));
        self
    }

    /// Tries every item. Returns the value or the error of each item, in the order of the items.
    pub fn results(self) -> MapResults<'a, T>
    where
        T: Send + 'a,
    {
        MapResults { running: Box::pin(all_results(self.steps, self.limit)) }
    }

    /// Sets [`Step::retries`] for each step.
    pub fn retries(self, n: u32) -> Self {
        self.each(|step| step.retries(n))
    }

    /// Sets [`Step::at_most_once`] for each step.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// use stepladder::ErrorCode;
    ///
    /// # async fn charge(order: u32) -> Result<String> { Ok(order.to_string()) }
    /// # async fn example(ctx: Context) {
    /// for result in ctx.map("charge", 1..=20, charge).at_most_once().results().await {
    ///     if result.is_err_and(|error| error.has_code(ErrorCode::OutcomeUnknown)) {
    ///         ctx.log(Log::error("a charge must be checked"));
    ///     }
    /// }
    /// # }
    /// ```
    pub fn at_most_once(self) -> Self {
        self.each(Step::at_most_once)
    }

    /// Sets [`Step::timeout`] for each step.
    pub fn timeout(self, limit: Duration) -> Self {
        self.each(|step| step.timeout(limit))
    }

    /// Sets [`Step::backoff`] for each step.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.each(|step| step.backoff(backoff.clone()))
    }

    /// Sets [`Step::undo`] for each step.
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

impl<'a, T> MapRuns<'a, T> {
    pub(crate) fn new(calls: Vec<Invoke<'a, T>>, limit: usize) -> Self {
        Self { calls, limit, running: None }
    }

    /// Sets the maximum number of live runs, which is at least one. The default is 100.
    pub fn limit(mut self, n: usize) -> Self {
        self.limit = n.max(1);
        self.calls.iter_mut().for_each(|call| call.record_call("limit"));
        self
    }

    /// Tries every item. Returns the value or the error of each item, in the order of the items.
    pub fn results(self) -> MapResults<'a, T>
    where
        T: Send + 'a,
    {
        MapResults { running: Box::pin(all_results(self.calls, self.limit)) }
    }

    /// Sets [`Invoke::cancelled_with_run`] for each call.
    pub fn cancelled_with_run(self) -> Self {
        self.each(Invoke::cancelled_with_run)
    }

    /// Sets [`Invoke::undo`] for each call.
    pub fn undo<F, Fut>(self, undo: F) -> Self
    where
        T: Send + 'static,
        F: FnOnce(T) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.each(|call| call.undo(undo.clone()))
    }

    fn each(mut self, change: impl FnMut(Invoke<'a, T>) -> Invoke<'a, T>) -> Self {
        self.calls = self.calls.into_iter().map(change).collect();
        self
    }
}

impl<'a, T: Send + 'a> Future for Map<'a, T> {
    type Output = Result<Vec<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { steps, limit, running } = self.get_mut();
        running.get_or_insert_with(|| Box::pin(all_values(std::mem::take(steps), *limit))).as_mut().poll(cx)
    }
}

impl<'a, T: Send + 'a> Future for MapRuns<'a, T> {
    type Output = Result<Vec<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { calls, limit, running } = self.get_mut();
        running.get_or_insert_with(|| Box::pin(all_values(std::mem::take(calls), *limit))).as_mut().poll(cx)
    }
}

impl<T> Future for MapResults<'_, T> {
    type Output = Vec<Result<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().running.as_mut().poll(cx)
    }
}

async fn all_values<T, F: Future<Output = Result<T>>>(items: Vec<F>, limit: usize) -> Result<Vec<T>> {
    let total = items.len();
    run_limited(items.into_iter(), total, limit, Completion::default()).await.into_values()
}

async fn all_results<T, F: Future<Output = Result<T>>>(items: Vec<F>, limit: usize) -> Vec<Result<T>> {
    let total = items.len();
    run_limited(items.into_iter(), total, limit, Completion::TRY_ALL).await.into_results()
}
