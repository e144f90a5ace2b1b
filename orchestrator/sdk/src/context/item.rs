//! The contexts of the items of a map. The ids of an item's steps, and its random values, do not
//! depend on what other items do.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Context, ContextParts};
use crate::error::ErrorCode;
use crate::ledger::ReplayLedger;
use crate::{Error, Result};

/// The item of a map to which a context belongs.
pub(super) struct ItemScope {
    /// The prefix of the ids of the item's steps: `<map>/<item>/`.
    prefix: String,
    /// The number of random values that the code of the item has drawn.
    draws: AtomicU64,
}

impl ItemScope {
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn count_draw(&self) -> u64 {
        self.draws.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Creates the contexts of one map's items.
#[derive(Clone)]
pub(crate) struct ItemContexts {
    ledger: Arc<ReplayLedger>,
    run: Arc<ContextParts>,
    /// The name of the map in the run, followed by a number if the name repeats.
    map: Arc<str>,
    at: &'static Location<'static>,
    /// Why no map can have this name.
    name_fault: Option<Arc<str>>,
}

impl Context {
    /// Returns the contexts for a map with this name.
    #[track_caller]
    pub(super) fn item_contexts(&self, name: String) -> ItemContexts {
        let at = Location::caller();
        let (name, fault) = self.check_name(name);
        let map = self.ledger.assign_id(name);
        ItemContexts { ledger: self.ledger.clone(), run: self.run.clone(), map, at, name_fault: fault.map(Into::into) }
    }
}

impl ItemContexts {
    /// Creates the context of an item.
    pub(crate) fn create(&self, item: &str) -> Context {
        let scope = ItemScope { prefix: format!("{}/{item}/", self.map), draws: AtomicU64::new(0) };
        Context { ledger: self.ledger.clone(), run: self.run.clone(), item: Some(scope) }
    }

    /// Returns an error that names the map and its place in the code.
    pub(crate) fn error(&self, code: ErrorCode, fault: impl std::fmt::Display) -> Error {
        Error::terminal(format!("map `{}` ({}) {fault}", self.map, self.at)).with_code(code)
    }

    /// Checks the name of the map.
    pub(crate) fn check_name(&self) -> Result<()> {
        match &self.name_fault {
            None => Ok(()),
            Some(fault) => Err(self.error(ErrorCode::BadStepName, format_args!("has a name that {fault}"))),
        }
    }
}
