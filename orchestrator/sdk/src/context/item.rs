//! The contexts and steps of the items of a map. The ids of an item's steps, and its random values,
//! do not depend on what other items do.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stepladder_core::StepId;
use stepladder_core::decide::Operation;
use stepladder_core::limits::step_name_problem;

use super::{Context, ContextParts, StepPlace, bad_step_name};
use crate::error::ErrorCode;
use crate::ledger::ReplayLedger;
use crate::map::ItemPlace;
use crate::step::{DecodeFn, RecordedStep, StepBodyFn};
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
    /// For a map with one step for each item: the name of the steps, and their ids unless the items
    /// get names.
    numbered: (Arc<str>, Arc<[StepId]>),
}

impl Context {
    /// Returns the contexts for a map with this name.
    #[track_caller]
    pub(super) fn item_contexts(&self, name: String) -> ItemContexts {
        let at = Location::caller();
        let (name, fault) = self.check_name(name);
        let map = self.ledger.assign_id(name);
        let (ledger, run, name_fault) = (self.ledger.clone(), self.run.clone(), fault.map(Into::into));
        ItemContexts { ledger, run, map, at, name_fault, numbered: ("".into(), Arc::default()) }
    }
}

/// The steps of a map that creates one step for each item.
pub(super) struct ItemSteps {
    /// The map, for the ids of items that have names.
    contexts: ItemContexts,
    /// The name of each step without names, and why no step can have it.
    fault: Option<(String, String)>,
}

impl Context {
    /// Returns the steps for a map with this name and this many items.
    #[track_caller]
    pub(super) fn item_steps(&self, name: String, items: usize) -> ItemSteps {
        let at = Location::caller();
        let (name, fault) = self.check_name(name);
        // steps of the same name are not counted as maps, nor maps as steps
        let numbered = self.ledger.assign_id(format!("{name}/"));
        let map = format!("{name}{}", &numbered[name.len() + 1..]).into();
        let ids = (0..items).map(|_| self.ledger.assign_id(name.clone())).collect();
        let (ledger, run, numbered) = (self.ledger.clone(), self.run.clone(), (name.as_str().into(), ids));
        let contexts = ItemContexts { ledger, run, map, at, name_fault: None, numbered };
        ItemSteps { contexts, fault: fault.map(|fault| (name, fault)) }
    }

    /// Creates the step of an item. Each item has one.
    pub(super) fn create_item_step<'a, T>(
        &'a self,
        steps: &ItemSteps,
        item: &ItemPlace<'_>,
        ask: Operation,
        body: Option<StepBodyFn<'a>>,
        decode: DecodeFn<T>,
    ) -> RecordedStep<'a, T> {
        let at = steps.contexts.at;
        let mut fault = steps.fault.as_ref().map(|(name, fault)| bad_step_name(name, at, fault));
        let id = match item.is_named {
            false => steps.contexts.numbered.1[item.number].clone(),
            true => {
                let name = format!("{}/{}", steps.contexts.map, item.name);
                fault = fault.or_else(|| step_name_problem(&name).map(|fault| bad_step_name(&name, at, &fault)));
                self.ledger.assign_id(name)
            }
        };
        self.create_step_at(StepPlace { id, at, fault }, ask, body, decode)
    }
}

impl ItemSteps {
    pub(super) fn contexts(&self) -> &ItemContexts {
        &self.contexts
    }
}

impl ItemContexts {
    /// Creates the context of an item.
    pub(crate) fn create(&self, item: &str) -> Context {
        let scope = ItemScope { prefix: format!("{}/{item}/", self.map), draws: AtomicU64::new(0) };
        Context { ledger: self.ledger.clone(), run: self.run.clone(), item: Some(scope) }
    }

    /// Takes back the ids of items without names, because the items get names. Otherwise the ids of
    /// later steps with the name of the map would depend on the number of items.
    pub(crate) fn take_back_numbered_ids(&self) {
        let (name, ids) = &self.numbered;
        self.ledger.take_back_ids(name, ids);
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
