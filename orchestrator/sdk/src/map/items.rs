//! The parts of a map that has not been polled, and how its items are run.

use std::collections::HashMap;

use futures::future::BoxFuture;
use stepladder_core::limits::name_problem;
use stepladder_core::sentence::shortened;

use super::completion::{Completion, Verdict};
use super::limited::{LimitedRun, run_limited};
use super::{ItemResults, MapItem};
use crate::Result;
use crate::context::ItemContexts;
use crate::error::ErrorCode;
use crate::single_calls::SingleCalls;

/// The position of an item in its map.
pub(crate) struct ItemPlace<'n> {
    pub(crate) number: usize,
    /// The name of the item, which is its number unless the map sets names.
    pub(crate) name: &'n str,
    /// Whether the map sets names.
    pub(crate) is_named: bool,
}

/// What a map with the settings `S` does for an item.
pub(crate) type RunItem<'a, I, T, S> = Box<dyn Fn(&S, ItemPlace<'_>, I) -> BoxFuture<'a, Result<T>> + Send + 'a>;

pub(super) struct MapParts<'a, I, T, S> {
    contexts: ItemContexts,
    pub(super) items: Vec<I>,
    pub(super) settings: S,
    run_item: RunItem<'a, I, T, S>,
    pub(super) names: Option<Vec<String>>,
    pub(super) limit: usize,
    pub(super) completion: Completion,
    pub(super) calls: SingleCalls,
}

impl<'a, I: Send + 'a, T: Send + 'a, S: Send + 'a> MapParts<'a, I, T, S> {
    pub(super) fn new(
        contexts: ItemContexts,
        items: Vec<I>,
        settings: S,
        limit: usize,
        run_item: RunItem<'a, I, T, S>,
    ) -> Self {
        let (completion, calls) = Default::default();
        Self { contexts, items, settings, run_item, names: None, limit, completion, calls }
    }

    pub(super) fn take_back_numbered_ids(&self) {
        self.contexts.take_back_numbered_ids();
    }

    pub(super) async fn values(self) -> Result<Vec<T>> {
        let (least, total) = (self.completion.min_successful.unwrap_or_default(), self.items.len());
        if least > total {
            let fault = format_args!("has {total} items, so {least} cannot succeed");
            return Err(self.contexts.error(ErrorCode::BadMap, fault));
        }
        self.run().await?.1.into_values()
    }

    pub(super) async fn first_success(mut self) -> Result<T> {
        if self.completion.min_successful.replace(1).is_some() {
            let fault = "calls `.min_successful` and `.first_success`; call one of them";
            return Err(self.contexts.error(ErrorCode::BadStep, fault));
        }
        let contexts = self.contexts.clone();
        let first = self.values().await?.into_iter().next();
        first.ok_or_else(|| contexts.error(ErrorCode::BadMap, "has no item that has succeeded"))
    }

    pub(super) async fn results(mut self) -> Result<ItemResults<T>> {
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
        if let Some(percent) = self.completion.tolerated_percentage.filter(|percent| !(0.0..=100.0).contains(percent)) {
            let fault = format_args!("tolerates failures of {percent} % of its items; set a percentage from 0 to 100");
            return Err(self.contexts.error(ErrorCode::BadMap, fault));
        }
        let Self { contexts, items, settings, run_item, names, limit, completion, .. } = self;
        let (total, is_named) = (items.len(), names.is_some());
        let names = names.unwrap_or_else(|| (0..total).map(|number| number.to_string()).collect());
        check_item_names(&contexts, &names)?;
        let items =
            items.into_iter().zip(names.clone()).enumerate().map(move |(number, (item, name))| {
                run_item(&settings, ItemPlace { number, name: &name, is_named }, item)
            });
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
