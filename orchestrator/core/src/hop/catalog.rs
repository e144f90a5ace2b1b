//! The functions that a process knows: their descriptions and versions, without their code.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::Spec;
use crate::state::{RunEnd, RunOutcome, RunState};
use crate::system::{FUNCTION_FAILED, INNGEST_CANCELLED, INNGEST_FAILED, INNGEST_FINISHED};
use crate::version::compare_versions;

/// A function in one version.
#[derive(Clone, Debug)]
pub struct FunctionVersion {
    /// The description of the function.
    pub spec: Spec,
    /// The version of the function, if it has one.
    pub version: Option<Arc<str>>,
    /// Whether the executor of the function executes steps while it is polled. Then each poll has a
    /// lease.
    pub executes_in_poll: bool,
}

/// The functions of a process.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    functions: HashMap<Arc<str>, Versions>,
    listeners: EndListeners,
}

/// The versions of a function. There is at least one.
#[derive(Clone, Debug)]
pub(super) struct Versions {
    newest: Arc<FunctionVersion>,
    /// The other versions, starting with the oldest.
    older: Vec<Arc<FunctionVersion>>,
}

/// The version of the function that a run uses.
#[derive(Clone, Copy, Debug)]
pub struct ChosenVersion<'c> {
    /// The function in this version.
    pub function: &'c Arc<FunctionVersion>,
    /// Whether the run started with another version, which is no longer registered.
    pub is_other_version: bool,
}

impl Catalog {
    /// Creates the catalog of these functions.
    pub fn new(functions: impl IntoIterator<Item = impl Into<Arc<FunctionVersion>>>) -> Self {
        let mut catalog = Self::default();
        for function in functions {
            let function: Arc<FunctionVersion> = function.into();
            match catalog.functions.entry(function.spec.id.clone()) {
                Entry::Vacant(unknown) => {
                    unknown.insert(Versions { newest: function, older: Vec::new() });
                }
                Entry::Occupied(mut known) => known.get_mut().add(function),
            }
        }
        catalog.listeners = EndListeners::by(catalog.functions.values().map(|versions| &versions.newest.spec));
        catalog
    }

    /// Returns the newest version of a function, which new runs use.
    pub fn newest(&self, function: &str) -> Option<&Arc<FunctionVersion>> {
        Some(&self.functions.get(function)?.newest)
    }

    /// Returns the version that a run uses: the version with which it started if that is
    /// registered, otherwise the newest.
    pub fn for_run(&self, run: &RunState) -> Option<ChosenVersion<'_>> {
        Some(self.versions(&run.created.function)?.for_run(run))
    }

    /// Returns the registered versions of a function; `None` if the function is unknown.
    pub(super) fn versions(&self, function: &str) -> Option<&Versions> {
        self.functions.get(function)
    }

    /// Returns which ends of runs trigger or cancel a function.
    pub fn listeners(&self) -> EndListeners {
        self.listeners
    }
}

impl Versions {
    fn add(&mut self, function: Arc<FunctionVersion>) {
        let is_older = |known: &Arc<FunctionVersion>| {
            compare_versions(known.version.as_deref(), function.version.as_deref()).is_lt()
        };
        if is_older(&self.newest) {
            self.older.push(std::mem::replace(&mut self.newest, function));
        } else {
            self.older.insert(self.older.partition_point(is_older), function);
        }
    }

    /// Returns the version that a run uses.
    pub(super) fn for_run(&self, run: &RunState) -> ChosenVersion<'_> {
        let newest = ChosenVersion { function: &self.newest, is_other_version: false };
        if !run.has_requested() {
            return newest;
        }
        let own = self.older.iter().chain([&self.newest]).find(|known| known.version == run.version);
        own.map_or(ChosenVersion { is_other_version: true, ..newest }, |function| ChosenVersion { function, ..newest })
    }
}

/// Which of the events that report the end of a run trigger or cancel a function.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndListeners {
    own_failed: bool,
    failed: bool,
    finished: bool,
    cancelled: bool,
}

impl EndListeners {
    fn by<'a>(specs: impl Iterator<Item = &'a Spec>) -> Self {
        let mut listened = Self::default();
        for spec in specs {
            let triggers = spec.triggers.iter().map(|trigger| &*trigger.event);
            for name in triggers.chain(spec.flow.cancel_on.iter().map(|cancel| &*cancel.event)) {
                listened.own_failed |= name == FUNCTION_FAILED;
                listened.failed |= name == INNGEST_FAILED;
                listened.finished |= name == INNGEST_FINISHED;
                listened.cancelled |= name == INNGEST_CANCELLED;
            }
        }
        listened
    }

    /// Returns the names of the events that report this end. A skipped run was never started, so it
    /// has none.
    pub fn names(self, how: &RunOutcome) -> impl Iterator<Item = &'static str> {
        let Self { own_failed, failed, finished, cancelled } = self;
        let names = match how {
            RunOutcome::Completed(_) => [finished.then_some(INNGEST_FINISHED), None, None],
            RunOutcome::Failed(_) => [
                own_failed.then_some(FUNCTION_FAILED),
                failed.then_some(INNGEST_FAILED),
                finished.then_some(INNGEST_FINISHED),
            ],
            RunOutcome::Cancelled(_) => {
                [cancelled.then_some(INNGEST_CANCELLED), finished.then_some(INNGEST_FINISHED), None]
            }
            RunOutcome::Skipped(_) => [None; 3],
        };
        names.into_iter().flatten()
    }

    /// Returns whether a function may listen to this end of a run.
    pub fn has_listener(self, end: &RunEnd) -> bool {
        self.names(&end.how).next().is_some()
    }
}
