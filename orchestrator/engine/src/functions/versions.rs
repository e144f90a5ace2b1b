//! Several versions of a function, registered at the same time. New runs start under the newest
//! version. A started run continues under its own.

use std::collections::HashMap;
use std::sync::Arc;

use stepladder_core::state::RunState;
use stepladder_core::version::compare_versions;

use crate::program::Program;

/// The registered functions by id. Each has its versions, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Versions(HashMap<Arc<str>, Vec<Arc<dyn Program>>>);

/// The version of a function under which a run continues.
pub(crate) struct ChosenVersion<'p> {
    pub(crate) program: &'p Arc<dyn Program>,
    /// Whether the run started under another version, which is not registered any more.
    pub(crate) is_other_version: bool,
}

impl Versions {
    /// Adds a version of a function. Returns `false` if that version exists already.
    pub(crate) fn add(&mut self, program: Arc<dyn Program>) -> bool {
        let all = self.0.entry(program.spec().id.clone()).or_default();
        let at = all.partition_point(|known| compare_versions(known.version(), program.version()).is_lt());
        let is_new = all.get(at).is_none_or(|next| next.version() != program.version());
        if is_new {
            all.insert(at, program);
        }
        is_new
    }

    /// Returns the newest version. New runs start under it, and its triggers count.
    pub(crate) fn newest(&self, function: &str) -> Option<&Arc<dyn Program>> {
        self.0.get(function)?.last()
    }

    /// Returns the newest version of each function.
    pub(crate) fn all_newest(&self) -> impl Iterator<Item = &Arc<dyn Program>> {
        self.0.values().filter_map(|all| all.last())
    }

    /// Returns the version under which a run continues: its own if that is registered, otherwise
    /// the newest.
    pub(crate) fn for_run(&self, state: &RunState) -> Option<ChosenVersion<'_>> {
        let all = self.0.get(&state.created.function)?;
        let newest = ChosenVersion { program: all.last()?, is_other_version: false };
        if !state.has_requested() {
            return Some(newest);
        }
        let own = all.iter().find(|program| program.version() == state.version.as_deref());
        Some(own.map_or(ChosenVersion { is_other_version: true, ..newest }, |program| ChosenVersion {
            program,
            is_other_version: false,
        }))
    }
}
