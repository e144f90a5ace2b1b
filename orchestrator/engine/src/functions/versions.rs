//! Several versions of a function, registered at the same time. New runs start under the newest
//! version. A started run continues under its own.

use std::collections::HashMap;
use std::sync::Arc;

use stepladder_core::hop::{Catalog, FunctionVersion};
use stepladder_core::version::compare_versions;

use crate::program::Program;

/// The registered functions by id. Each has its versions, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Versions(HashMap<Arc<str>, Vec<Arc<dyn Program>>>);

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

    /// A function in this version.
    pub(crate) fn exact(&self, function: &str, version: Option<&str>) -> Option<&Arc<dyn Program>> {
        self.0.get(function)?.iter().find(|program| program.version() == version)
    }

    /// The descriptions of all functions in all versions.
    pub(crate) fn catalog(&self) -> Catalog {
        let of = |program: &Arc<dyn Program>| FunctionVersion {
            spec: program.spec().clone(),
            version: program.version().map(Into::into),
        };
        Catalog::new(self.0.values().flatten().map(of))
    }
}
