//! The options of the step or call that a map creates for each item.

use std::time::Duration;

use stepladder_core::retry::Backoff;

use super::{Map, MapRuns};
use crate::{Invoke, Result, Step};

/// The options of the step or call of each item.
pub struct ItemSettings<'a, S> {
    changes: Vec<Box<dyn Fn(S) -> S + Send + 'a>>,
}

impl<'a, S> ItemSettings<'a, S> {
    pub(crate) fn new() -> Self {
        Self { changes: Vec::new() }
    }

    /// Returns the step of an item with these options.
    pub(crate) fn apply(&self, step: S) -> S {
        self.changes.iter().fold(step, |step, change| change(step))
    }
}

impl<'a, I: Send + 'a, T: Send + 'a> Map<'a, I, T> {
    /// Sets [`Step::retries`] for each step.
    pub fn retries(self, n: u32) -> Self {
        self.each("retries", move |step| step.retries(n))
    }

    /// Sets [`Step::at_most_once`] for each step.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// use stepladder::ErrorCode;
    ///
    /// # async fn charge(order: u32) -> Result<String> { Ok(order.to_string()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let charges = ctx.map("charge", 1..=20, charge).at_most_once().results().await?;
    /// for (order, error) in charges.failures() {
    ///     if error.has_code(ErrorCode::OutcomeUnknown) {
    ///         ctx.log(Log::error(format!("the charge of order {order} must be checked")));
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn at_most_once(self) -> Self {
        self.each("at_most_once", Step::at_most_once)
    }

    /// Sets [`Step::timeout`] for each step.
    pub fn timeout(self, limit: Duration) -> Self {
        self.each("timeout", move |step| step.timeout(limit))
    }

    /// Sets [`Step::backoff`] for each step.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.each("backoff", move |step| step.backoff(backoff.clone()))
    }

    /// Sets [`Step::undo`] for each step.
    pub fn undo<F, Fut>(self, undo: F) -> Self
    where
        T: Send + 'static,
        F: FnOnce(T) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.each("undo", move |step| step.undo(undo.clone()))
    }

    fn each(self, method: &'static str, change: impl Fn(Step<'a, T>) -> Step<'a, T> + Send + 'a) -> Self {
        self.set(method, |map| map.settings.changes.push(Box::new(change)))
    }
}

impl<'a, I: Send + 'a, T: Send + 'a> MapRuns<'a, I, T> {
    /// Sets [`Invoke::cancelled_with_run`] for each call.
    pub fn cancelled_with_run(self) -> Self {
        self.change("cancelled_with_run", |map| map.settings.changes.push(Box::new(Invoke::cancelled_with_run)))
    }

    /// Sets [`Invoke::undo`] for each call.
    pub fn undo<F, Fut>(self, undo: F) -> Self
    where
        T: Send + 'static,
        F: FnOnce(T) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.set("undo", |map| map.settings.changes.push(Box::new(move |call: Invoke<'a, T>| call.undo(undo.clone()))))
    }
}
