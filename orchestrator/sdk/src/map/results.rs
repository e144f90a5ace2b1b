//! The results of a map's items.

use crate::{Error, Result};

/// The results of all items of a map: see [`ItemMap::results`](crate::ItemMap::results). The
/// items have the order in which the map received them.
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn fetch(host: &str) -> Result<String> { Ok(host.into()) }
/// # async fn example(ctx: Context, hosts: Vec<String>) -> Result<()> {
/// let mirrors = ctx.map_steps("mirror", hosts, async |ctx: Context, host: String| {
///     ctx.step("fetch", || fetch(&host)).await
/// });
/// let results = mirrors.named(|host| host.clone()).min_successful(2).results().await?;
/// for (host, error) in results.failures() {
///     ctx.log(Log::warn(format!("{host}: {error}")));
/// }
/// if !results.is_met() {
///     return Err(Error::terminal("there are not two mirrors"));
/// }
/// let pages: Vec<String> = results.into_values();
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ItemResults<T> {
    items: Vec<MapItem<T>>,
    is_met: bool,
}

/// One item of a map, with its result.
#[derive(Debug)]
#[non_exhaustive]
pub struct MapItem<T> {
    /// The name of the item. By default, its number in the map, from 0.
    pub name: String,
    /// How the item ended.
    pub result: ItemResult<T>,
}

/// How an item of a map ended.
#[derive(Debug)]
pub enum ItemResult<T> {
    /// The item returned this value.
    Succeeded(T),
    /// The item returned this error.
    Failed(Error),
    /// The map was complete before the item had ended. Its steps were dropped, as `select!` drops
    /// the steps of a branch that lost.
    Abandoned,
    /// The map was complete before the item had started.
    NotStarted,
}

impl<T> ItemResult<T> {
    /// Returns the value, if the item has succeeded.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Succeeded(value) => Some(value),
            Self::Failed(_) | Self::Abandoned | Self::NotStarted => None,
        }
    }

    /// Converts to a `Result`; `None` if the item has not ended.
    pub fn into_result(self) -> Option<Result<T>> {
        match self {
            Self::Succeeded(value) => Some(Ok(value)),
            Self::Failed(error) => Some(Err(error)),
            Self::Abandoned | Self::NotStarted => None,
        }
    }
}

impl<T> ItemResults<T> {
    pub(super) fn new(items: Vec<MapItem<T>>, is_met: bool) -> Self {
        Self { items, is_met }
    }

    /// Returns whether enough items have succeeded for the conditions of the map. Without
    /// conditions, this is always true.
    pub fn is_met(&self) -> bool {
        self.is_met
    }

    /// Returns the number of items, whether they have ended or not.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether the map had no items.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the items in order.
    pub fn iter(&self) -> std::slice::Iter<'_, MapItem<T>> {
        self.items.iter()
    }

    /// Returns the values of the items that have succeeded, in the order of the items.
    pub fn into_values(self) -> Vec<T> {
        self.items.into_iter().filter_map(|item| item.result.into_value()).collect()
    }

    /// Returns the names and errors of the items that have failed.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.items.iter().filter_map(|MapItem { name, result }| match result {
            ItemResult::Failed(error) => Some((name.as_str(), error)),
            ItemResult::Succeeded(_) | ItemResult::Abandoned | ItemResult::NotStarted => None,
        })
    }

    /// Returns the names of the items that had not ended when the map was complete.
    pub fn unfinished(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|MapItem { name, result }| match result {
            ItemResult::Abandoned | ItemResult::NotStarted => Some(name.as_str()),
            ItemResult::Succeeded(_) | ItemResult::Failed(_) => None,
        })
    }
}

impl<T> IntoIterator for ItemResults<T> {
    type Item = MapItem<T>;
    type IntoIter = std::vec::IntoIter<MapItem<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a ItemResults<T> {
    type Item = &'a MapItem<T>;
    type IntoIter = std::slice::Iter<'a, MapItem<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
