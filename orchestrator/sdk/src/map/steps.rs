//! Maps with several steps for each item, and the conditions under which they are complete.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures::future::BoxFuture;
use stepladder_core::limits::name_problem;
use stepladder_core::sentence::shortened;

use super::completion::{Completion, Verdict};
use super::limited::{LimitedRun, run_limited};
use super::{ItemResults, MapItem};
use crate::context::ItemContexts;
use crate::error::ErrorCode;
use crate::single_calls::SingleCalls;
use crate::{Context, Error, Result};

/// The code that a map executes for each item.
type ItemFn<'a, I, T> = Box<dyn Fn(Context, I) -> BoxFuture<'a, Result<T>> + Send + Sync + 'a>;

/// Several steps for each item: see [`Context::map_steps`]. Returns the values in the order of the
/// items.
///
/// By default, every item must succeed. [`min_successful`](Self::min_successful),
/// [`tolerated_failures`](Self::tolerated_failures) and [`first_success`](Self::first_success)
/// change this; then the values are those of the items that have succeeded.
/// [`results`](Self::results) returns how each item ended.
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
///
/// # Completion
/// The map is complete when all items have ended, enough of them have succeeded, or too many have
/// failed. Then no further item starts, and the steps of active items are dropped, as `select!`
/// drops the steps of a branch that lost. Called runs continue, unless they are
/// [cancelled with this run](crate::Invoke::cancelled_with_run). Compensations of dropped items
/// stay registered: they run if the run fails.
///
/// # Errors
/// - the error of the item with which too many had failed. By default, this is the first failure.
/// - `bad-map`: two items have the same name, a name cannot be used, or fewer items exist than must
///   succeed. No item starts.
/// - `bad-step-name`: the name of the map cannot be used.
#[must_use = "a map does nothing until it is awaited"]
pub struct MapSteps<'a, I, T> {
    /// `None` once the map is running.
    map: Option<Box<MapParts<'a, I, T>>>,
    running: Option<BoxFuture<'a, Result<Vec<T>>>>,
}

struct MapParts<'a, I, T> {
    contexts: ItemContexts,
    items: Vec<I>,
    names: Option<Vec<String>>,
    run_item: ItemFn<'a, I, T>,
    limit: usize,
    completion: Completion,
    calls: SingleCalls,
}

/// A map that returns how each item ended: see [`MapSteps::results`].
#[must_use = "a map does nothing until it is awaited"]
pub struct MapStepsResults<'a, T> {
    running: BoxFuture<'a, Result<ItemResults<T>>>,
}

/// A map that returns the value of the first item that succeeds: see [`MapSteps::first_success`].
#[must_use = "a map does nothing until it is awaited"]
pub struct FirstSuccess<'a, T> {
    running: BoxFuture<'a, Result<T>>,
}

impl<'a, I: Send + 'a, T: Send + 'a> MapSteps<'a, I, T> {
    pub(crate) fn new(contexts: ItemContexts, items: Vec<I>, run_item: ItemFn<'a, I, T>) -> Self {
        let map = MapParts {
            contexts,
            items,
            names: None,
            run_item,
            limit: usize::MAX,
            completion: Completion::default(),
            calls: SingleCalls::default(),
        };
        Self { map: Some(Box::new(map)), running: None }
    }

    /// Sets the maximum number of active items, which is at least one. By default, there is no
    /// maximum. An item that sleeps or waits is active.
    pub fn limit(self, n: usize) -> Self {
        self.set("limit", |map| map.limit = n.max(1))
    }

    /// Names each item. The name is part of the ids of the item's steps, so it must be the same in
    /// every replay. By default, the name of an item is its number, from 0.
    ///
    /// Each item needs another name. With names, items keep their recorded steps when a new version
    /// of the code adds or removes other items.
    pub fn named<N: ToString>(self, mut name: impl FnMut(&I) -> N) -> Self {
        self.set("named", |map| map.names = Some(map.items.iter().map(|item| name(item).to_string()).collect()))
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

    /// Returns the value of the first item that succeeds. The map fails once no item can succeed.
    /// Call this last.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn ask(model: &str) -> Result<String> { Ok(model.into()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let answers = ctx.map_steps("ask", ["small", "large"], async |ctx: Context, model| {
    ///     ctx.step("ask", || ask(model)).retries(1).await
    /// });
    /// let answer: String = answers.named(|model| *model).first_success().await?;
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
    /// # async fn send(to: &str) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Context, readers: Vec<String>) -> Result<usize> {
    /// let letters = ctx.map_steps("letter", readers, async |ctx: Context, to: String| {
    ///     ctx.sleep("a day", Duration::from_secs(86_400)).await?;
    ///     ctx.step("send", || send(&to)).await
    /// });
    /// let results = letters.named(|to| to.clone()).limit(20).results().await?;
    /// Ok(results.failures().count())
    /// # }
    /// ```
    pub fn results(self) -> MapStepsResults<'a, T> {
        MapStepsResults { running: Box::pin(async move { self.unpolled("results")?.results().await }) }
    }

    fn set(mut self, method: &'static str, set: impl FnOnce(&mut MapParts<'a, I, T>)) -> Self {
        match &mut self.map {
            Some(map) => {
                map.calls.record(method);
                set(map);
            }
            None => self.running = Some(Box::pin(std::future::ready(Err(polled_error(method))))),
        }
        self
    }

    fn unpolled(self, method: &str) -> Result<MapParts<'a, I, T>> {
        self.map.map(|map| *map).ok_or_else(|| polled_error(method))
    }
}

fn polled_error(method: &str) -> Error {
    Error::terminal(format!("a map calls `.{method}` after it was polled; call it before"))
        .with_code(ErrorCode::BadStep)
}

impl<'a, I: Send + 'a, T: Send + 'a> MapParts<'a, I, T> {
    async fn values(self) -> Result<Vec<T>> {
        let (least, total) = (self.completion.min_successful.unwrap_or_default(), self.items.len());
        if least > total {
            let fault = format_args!("has {total} items, so {least} cannot succeed");
            return Err(self.contexts.error(ErrorCode::BadMap, fault));
        }
        self.run().await?.1.into_values()
    }

    async fn first_success(mut self) -> Result<T> {
        if self.completion.min_successful.replace(1).is_some() {
            let fault = "calls `.min_successful` and `.first_success`; call one of them";
            return Err(self.contexts.error(ErrorCode::BadStep, fault));
        }
        let contexts = self.contexts.clone();
        let first = self.values().await?.into_iter().next();
        first.ok_or_else(|| contexts.error(ErrorCode::BadMap, "has no item that has succeeded"))
    }

    async fn results(mut self) -> Result<ItemResults<T>> {
        if self.completion == Completion::default() {
            self.completion = Completion::TRY_ALL;
        }
        let (names, LimitedRun { results, verdict, .. }) = self.run().await?;
        let items = names.into_iter().zip(results).map(|(name, result)| MapItem { name, result }).collect();
        Ok(ItemResults::new(items, verdict == Verdict::Met))
    }

    /// Runs the items until the map is complete. Returns their names too.
    async fn run(self) -> Result<(Vec<String>, LimitedRun<T>)> {
        self.contexts.check_name()?;
        if let Some(fault) = self.calls.error() {
            return Err(self.contexts.error(ErrorCode::BadStep, fault));
        }
        let Self { contexts, items, names, run_item, limit, completion, .. } = self;
        let total = items.len();
        let names = names.unwrap_or_else(|| (0..total).map(|number| number.to_string()).collect());
        check_item_names(&contexts, &names)?;
        let (contexts, run_item) = (&contexts, &run_item);
        let items = items.into_iter().zip(&names);
        let items = items.map(|(item, name)| async move { run_item(contexts.create(name), item).await });
        let run = run_limited(items, total, limit, completion).await;
        Ok((names, run))
    }
}

fn check_item_names(contexts: &ItemContexts, names: &[String]) -> Result<()> {
    let mut numbers = HashMap::with_capacity(names.len());
    for (number, name) in names.iter().enumerate() {
        let fault = match (name_problem(name), numbers.insert(name, number)) {
            (Some(fault), _) => format!("names item {number} `{name}`, which {fault}"),
            (None, Some(before)) => {
                format!("has the name `{name}` for the items {before} and {number}; give each item its own name")
            }
            (None, None) => continue,
        };
        return Err(contexts.error(ErrorCode::BadMap, shortened(fault)));
    }
    Ok(())
}

impl<'a, I: Send + 'a, T: Send + 'a> Future for MapSteps<'a, I, T> {
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

impl<T> Future for MapStepsResults<'_, T> {
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
