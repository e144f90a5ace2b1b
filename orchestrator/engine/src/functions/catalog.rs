//! The functions at one moment, each with its versions and with the executor of each version.

use std::collections::HashMap;
use std::sync::Arc;

use stepladder_core::hop::{self, FunctionVersion};
use stepladder_core::limits::name_problem;
use stepladder_core::version::compare_versions;
use stepladder_core::{Spec, spec};

use crate::EngineError;
use crate::config::Config;
use crate::executor::Executor;

/// A function in one version, with its executor.
#[derive(Clone)]
pub struct RegisteredFunction {
    /// The description and the version of the function.
    pub description: Arc<FunctionVersion>,
    /// The executor of the function's runs.
    pub executor: Arc<dyn Executor>,
}

impl RegisteredFunction {
    /// Creates a function in one version.
    pub fn new(spec: Spec, version: Option<Arc<str>>, executor: Arc<dyn Executor>) -> Self {
        let executes_in_poll = executor.executes_in_poll();
        Self { description: Arc::new(FunctionVersion { spec, version, executes_in_poll }), executor }
    }

    /// Returns its description.
    pub fn spec(&self) -> &Spec {
        &self.description.spec
    }

    /// Returns the version of the function, if it has one.
    pub fn version(&self) -> Option<&str> {
        self.description.version.as_deref()
    }
}

/// The functions at one moment. Several versions of a function may be registered: new runs use the
/// newest version, and a run that has started keeps the version with which it started.
#[derive(Clone, Default)]
pub struct Catalog {
    /// Each function in its versions, from the oldest to the newest.
    versions: HashMap<Arc<str>, Vec<RegisteredFunction>>,
    /// The ids of the functions, in the order of registration.
    order: Vec<Arc<str>>,
    /// The descriptions in the form that hops use.
    descriptions: Arc<hop::Catalog>,
}

impl Catalog {
    /// Creates a catalog, and checks that the functions can work together.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if a function cannot work. Examples are a duplicate id, a limit of
    /// 0, and a step timeout that is longer than that of its worker. The message names the
    /// function.
    pub fn new(functions: impl IntoIterator<Item = RegisteredFunction>, config: &Config) -> Result<Self, EngineError> {
        let mut catalog = Self::default();
        for function in functions {
            check(&function, config)?;
            catalog.add(function)?;
        }
        for spec in catalog.specs() {
            if let Some(handler) = &spec.on_failure
                && catalog.newest(handler).is_none()
            {
                return Err(EngineError::Invalid(format!(
                    "function `{}` names `{handler}` as its on_failure, which is not registered",
                    spec.id
                )));
            }
        }
        if let Some(problem) = spec::shared_limit_conflict(catalog.specs()) {
            return Err(EngineError::Invalid(problem));
        }
        let all = catalog.versions.values().flatten();
        catalog.descriptions = Arc::new(hop::Catalog::new(all.map(|function| function.description.clone())));
        Ok(catalog)
    }

    /// Adds a version of a function to the catalog.
    fn add(&mut self, function: RegisteredFunction) -> Result<(), EngineError> {
        let id = function.spec().id.clone();
        if !self.order.contains(&id) {
            self.order.push(id.clone());
        }
        let all = self.versions.entry(id.clone()).or_default();
        let at = all.partition_point(|known| compare_versions(known.version(), function.version()).is_lt());
        if all.get(at).is_some_and(|next| next.version() == function.version()) {
            return Err(EngineError::Invalid(format!(
                "two functions have the id `{id}`; give one another id, or another version"
            )));
        }
        all.insert(at, function);
        Ok(())
    }

    /// Returns the newest version of a function. New runs use it, and its triggers apply.
    pub fn newest(&self, function: &str) -> Option<&RegisteredFunction> {
        self.versions.get(function)?.last()
    }

    /// Returns a function in exactly this version.
    pub fn exact(&self, function: &str, version: Option<&str>) -> Option<&RegisteredFunction> {
        self.versions.get(function)?.iter().find(|known| known.version() == version)
    }

    /// Returns the description of the newest version of a function.
    pub fn spec(&self, function: &str) -> Option<&Spec> {
        self.newest(function).map(RegisteredFunction::spec)
    }

    /// Returns the descriptions of the newest versions of all functions, in the order of
    /// registration.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.order.iter().filter_map(|id| self.spec(id))
    }

    /// Returns all functions in all versions, in the order of registration.
    pub fn functions(&self) -> impl Iterator<Item = &RegisteredFunction> {
        self.order.iter().filter_map(|id| self.versions.get(id)).flatten()
    }

    /// Returns the descriptions of all functions in all versions, in the form that hops use.
    pub fn descriptions(&self) -> &Arc<hop::Catalog> {
        &self.descriptions
    }
}

/// Checks whether a function can work, apart from other functions.
fn check(function: &RegisteredFunction, config: &Config) -> Result<(), EngineError> {
    let spec = function.spec();
    if let Some(problem) = spec.problem() {
        return Err(EngineError::Invalid(problem));
    }
    if let Some(problem) = function.version().and_then(name_problem) {
        return Err(EngineError::Invalid(format!("the version of function `{}` {problem}", spec.id)));
    }
    let longest = config.longest_step(&spec.id);
    if spec.timeout > longest {
        return Err(EngineError::Invalid(format!(
            "function `{}` has a step time-out of {:?}, but a worker of it has at most {longest:?} for a step; \
             shorten it or give its workers more time",
            spec.id, spec.timeout
        )));
    }
    Ok(())
}
