//! Maps: one step, several steps, or one called run, for each item. They share limits, names,
//! conditions and results.

mod completion;
mod items;
mod limited;
mod results;
mod settings;

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures::future::BoxFuture;

use crate::context::ItemContexts;
use crate::error::ErrorCode;
use crate::{Error, Invoke, Result, Step};
use items::MapParts;
pub(crate) use items::{ItemPlace, RunItem};
pub use results::{ItemResult, ItemResults, MapItem};
pub use settings::ItemSettings;

/// One step for each item: see [`Context::map`](crate::Context::map).
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn fetch(page: u32) -> Result<String> { Ok(page.to_string()) }
/// # async fn example(ctx: Context) -> Result<()> {
/// let pages: Vec<String> = ctx.map("fetch", 1..=20, fetch).limit(4).retries(2).await?;
/// # Ok(()) }
/// ```
pub type Map<'a, I, T> = ItemMap<'a, I, T, ItemSettings<'a, Step<'a, T>>>;

/// Several steps for each item: see [`Context::map_steps`](crate::Context::map_steps).
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn render(page: u32) -> Result<String> { Ok(page.to_string()) }
/// # async fn upload(image: &str) -> Result<()> { Ok(()) }
/// # async fn example(ctx: Context) -> Result<()> {
/// let pages = ctx.map_steps("page", 1..=200, async |ctx: Context, page: u32| {
///     let image = ctx.step("render", || render(page)).await?;
///     ctx.step("upload", || upload(&image)).await?;
///     Ok(page)
/// });
/// let uploaded: Vec<u32> = pages.limit(10).tolerated_failures(5).await?;
/// # Ok(()) }
/// ```
pub type MapSteps<'a, I, T> = ItemMap<'a, I, T, ()>;

/// One run of another function for each item: see [`Context::map_runs`](crate::Context::map_runs).
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn example(ctx: Context) -> Result<()> {
/// let clients = (0..200).map(|n| json!({ "clientId": n }));
/// let runs = ctx.map_runs("report", "write-report", clients).limit(20).cancelled_with_run();
/// let reports: Vec<String> = runs.await?;
/// # Ok(()) }
/// ```
pub type MapRuns<'a, I, T> = ItemMap<'a, I, T, ItemSettings<'a, Invoke<'a, T>>>;

/// The same for each of many items: a [`Map`], [`MapSteps`] or [`MapRuns`]. Returns the values in
/// the order of the items.
///
/// By default, every item must succeed. [`min_successful`](Self::min_successful),
/// [`tolerated_failures`](Self::tolerated_failures),
/// [`tolerated_failure_percentage`](Self::tolerated_failure_percentage) and
/// [`first_success`](Self::first_success) change this; then the values are those of the items that
/// have succeeded. [`results`](Self::results) returns how each item ended.
///
/// # Completion
/// The map is complete when all items have ended, enough of them have succeeded, or too many have
/// failed. Then no further item starts, and the steps of active items are dropped, as `select!`
/// drops the steps of a branch that lost. Steps that run in other invocations continue to their
/// end. Called runs continue, unless they are
/// [cancelled with this run](crate::Invoke::cancelled_with_run). Compensations of dropped items
/// stay registered: they run if the run fails.
///
/// # Errors
/// - the error of the item with which too many had failed. By default, this is the first failure.
/// - `bad-map`: two items have the same name, a name cannot be used, a percentage is not between 0
///   and 100, or fewer items exist than must succeed. No item starts.
/// - `bad-step-name`: the name of the map cannot be used.
#[must_use = "a map does nothing until it is awaited"]
pub struct ItemMap<'a, I, T, S> {
    /// `None` once the map is running.
    map: Option<Box<MapParts<'a, I, T, S>>>,
    running: Option<BoxFuture<'a, Result<Vec<T>>>>,
}

/// A map that returns how each item ended: see [`ItemMap::results`].
#[must_use = "a map does nothing until it is awaited"]
pub struct MapResults<'a, T> {
    running: BoxFuture<'a, Result<ItemResults<T>>>,
}

/// A map that returns the value of the first item that succeeds: see [`ItemMap::first_success`].
#[must_use = "a map does nothing until it is awaited"]
pub struct FirstSuccess<'a, T> {
    running: BoxFuture<'a, Result<T>>,
}

impl<'a, I: Send + 'a, T: Send + 'a, S: Send + 'a> ItemMap<'a, I, T, S> {
    pub(crate) fn new(
        contexts: ItemContexts,
        items: Vec<I>,
        settings: S,
        limit: usize,
        run_item: RunItem<'a, I, T, S>,
    ) -> Self {
        Self { map: Some(Box::new(MapParts::new(contexts, items, settings, limit, run_item))), running: None }
    }

    /// Sets the maximum number of active items, which is at least one. By default, there is no
    /// maximum, and for [`MapRuns`] it is 100. An item that sleeps or waits is active.
    pub fn limit(self, n: usize) -> Self {
        self.set("limit", |map| map.limit = n.max(1))
    }

    /// Names each item. The name is part of the ids of the item's steps, so it must be the same in
    /// every replay: the step of `ctx.map("fetch", …)` for the item `acme` has the id `fetch/acme`.
    /// By default, the name of an item is its number, from 0.
    ///
    /// Each item needs another name. With names, items keep their recorded steps when a new version
    /// of the code adds or removes other items.
    pub fn named<N: ToString>(self, mut name: impl FnMut(&I) -> N) -> Self {
        self.set("named", |map| {
            if map.names.is_none() {
                map.take_back_numbered_ids();
            }
            map.names = Some(map.items.iter().map(|item| name(item).to_string()).collect());
        })
    }

    /// Completes the map as soon as this many items have succeeded. The map fails once too few
    /// items are left for this. With 0, no item starts.
    pub fn min_successful(self, n: usize) -> Self {
        self.set("min_successful", |map| map.completion.min_successful = Some(n))
    }

    /// Lets this many items fail. With one more failure, the map fails. By default, the first
    /// failure fails the map, or with [`min_successful`](Self::min_successful) the first that makes
    /// enough successes impossible.
    pub fn tolerated_failures(self, n: usize) -> Self {
        self.set("tolerated_failures", |map| map.completion.tolerated_failures = Some(n))
    }

    /// Lets this percentage of all items fail, from 0 to 100. The map fails with the failure that
    /// exceeds it. Nothing is rounded: of 3 items, 33 % tolerates no failure, and 34 % one. With
    /// [`tolerated_failures`](Self::tolerated_failures), the lower limit counts.
    pub fn tolerated_failure_percentage(self, percent: f64) -> Self {
        self.set("tolerated_failure_percentage", |map| map.completion.tolerated_percentage = Some(percent))
    }

    /// Returns the value of the first item that succeeds. The map fails once no item can succeed.
    /// Call this last.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn ask(model: &str) -> Result<String> { Ok(model.into()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let answers = ctx.map("ask", ["small", "large"], ask).named(|model| *model).retries(1);
    /// let answer: String = answers.first_success().await?;
    /// # Ok(()) }
    /// ```
    pub fn first_success(self) -> FirstSuccess<'a, T> {
        FirstSuccess { running: Box::pin(async move { self.unpolled("first_success")?.first_success().await }) }
    }

    /// Returns how each item ended. A failed item does not fail the map. Without other conditions,
    /// every item is tried. Call this last.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn send(to: String) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Context, readers: Vec<String>) -> Result<usize> {
    /// let letters = ctx.map("send", readers, send).named(|to| to.clone()).limit(20);
    /// Ok(letters.results().await?.failures().count())
    /// # }
    /// ```
    pub fn results(self) -> MapResults<'a, T> {
        MapResults { running: Box::pin(async move { self.unpolled("results")?.results().await }) }
    }

    /// Changes the map by a method that may be called once.
    fn set(self, method: &'static str, set: impl FnOnce(&mut MapParts<'a, I, T, S>)) -> Self {
        self.change(method, |map| {
            map.calls.record(method);
            set(map);
        })
    }

    fn change(mut self, method: &'static str, change: impl FnOnce(&mut MapParts<'a, I, T, S>)) -> Self {
        match &mut self.map {
            Some(map) => change(map),
            None => self.running = Some(Box::pin(std::future::ready(Err(polled_error(method))))),
        }
        self
    }

    fn unpolled(self, method: &str) -> Result<MapParts<'a, I, T, S>> {
        self.map.map(|map| *map).ok_or_else(|| polled_error(method))
    }
}

fn polled_error(method: &str) -> Error {
    Error::terminal(format!("a map calls `.{method}` after it was polled; call it before"))
        .with_code(ErrorCode::BadStep)
}

impl<'a, I: Send + 'a, T: Send + 'a, S: Send + 'a> Future for ItemMap<'a, I, T, S> {
    type Output = Result<Vec<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Self { map, running } = self.get_mut();
        if let Some(map) = map.take() {
            *running = Some(Box::pin(map.values()));
        }
        match running {
            Some(running) => running.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<T> Future for MapResults<'_, T> {
    type Output = Result<ItemResults<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.get_mut().running.as_mut().poll(cx)
    }
}

impl<T> Future for FirstSuccess<'_, T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.get_mut().running.as_mut().poll(cx)
    }
}
