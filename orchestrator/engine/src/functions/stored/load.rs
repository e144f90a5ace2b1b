//! Builds a catalog from a reading of the registered apps.
//!
//! Every function was checked when it was registered. Nevertheless it may no longer be valid: a
//! newer version of the program wrote it, or a function with the same id was compiled in since. An
//! app with such a function is left out and logged. Its runs wait like those of a function that is
//! not registered.

use std::collections::HashMap;
use std::sync::Arc;

use stepladder_core::FunctionConfig;
use stepladder_core::function::StoredConfig;

use super::{AppDescription, Loaded, RegisteredApp, StoredFunctions};
use crate::functions::{Catalog, RegisteredFunction};
use crate::ports::{Registration, StoredRegistrations};

/// The compiled functions of a reading, by the address of the app and by the config.
pub(super) type KnownFunctions = HashMap<(Arc<str>, Arc<str>), RegisteredFunction>;

/// A catalog that is being built by adding apps.
pub(super) struct Building<'s> {
    stored: &'s StoredFunctions,
    /// The functions that an earlier reading has compiled.
    known: &'s KnownFunctions,
    functions: Vec<RegisteredFunction>,
    catalog: Catalog,
}

/// The compiled functions of one app.
#[derive(Default)]
pub(super) struct CompiledApp {
    pub(super) configs: Vec<FunctionConfig>,
    pub(super) functions: Vec<RegisteredFunction>,
    /// The fields that this version of the program does not know.
    pub(super) unknown_fields: Vec<String>,
}

impl StoredFunctions {
    /// Builds what this process knows about the apps after a reading.
    pub(super) fn load(&self, registrations: &StoredRegistrations, known: &KnownFunctions) -> Loaded {
        let mut building = self.building(known);
        let mut apps = Vec::new();
        let mut compiled = KnownFunctions::new();
        for registration in &registrations.apps {
            let (app, functions) = building.add_stored(registration);
            let keys = registration.functions.iter().map(|text| (registration.address.clone(), text.clone()));
            compiled.extend(keys.zip(functions));
            apps.push(app);
        }
        Loaded {
            version: Some(registrations.version),
            read_at: None,
            catalog: Arc::new(building.catalog),
            apps: apps.into(),
            known: Arc::new(compiled),
        }
    }

    /// Starts a catalog with the compiled-in functions.
    pub(super) fn building<'s>(&'s self, known: &'s KnownFunctions) -> Building<'s> {
        let functions = self.compiled_in.clone();
        let catalog = Catalog::new(functions.clone(), &self.config).unwrap_or_default();
        Building { stored: self, known, functions, catalog }
    }
}

impl Building<'_> {
    /// Adds a stored app to the catalog if it is valid. Returns the app and its functions.
    pub(super) fn add_stored(&mut self, registration: &Registration) -> (RegisteredApp, Vec<RegisteredFunction>) {
        let Registration { app, address, about, .. } = registration;
        let mut registered = RegisteredApp {
            name: app.clone(),
            address: address.clone(),
            about: AppDescription::decode(about.as_deref()),
            functions: Vec::new(),
            problem: None,
        };
        let compiled = match self.compile(registration) {
            Ok(compiled) => compiled,
            Err(problem) => {
                tracing::error!(%app, problem, "a registered app is left out, and its runs wait");
                return (RegisteredApp { problem: Some(problem), ..registered }, Vec::new());
            }
        };
        if !compiled.unknown_fields.is_empty() {
            let fields = compiled.unknown_fields.join(", ");
            tracing::warn!(%app, fields, "a newer program has registered an app with settings that this one ignores");
        }
        registered.functions = compiled.configs;
        if let Err(problem) = self.add(compiled.functions.clone()) {
            tracing::error!(%app, problem, "a registered app is left out, and its runs wait");
            registered.problem = Some(problem);
        }
        (registered, compiled.functions)
    }

    /// Adds the functions of an app to the catalog if they are valid together with the others.
    pub(super) fn add(&mut self, functions: Vec<RegisteredFunction>) -> Result<(), String> {
        let ours: Vec<RegisteredFunction> = self.functions.iter().cloned().chain(functions).collect();
        self.catalog = Catalog::new(ours.clone(), &self.stored.config).map_err(|error| error.to_string())?;
        self.functions = ours;
        Ok(())
    }

    pub(super) fn compile(&self, registration: &Registration) -> Result<CompiledApp, String> {
        let Registration { app, address, functions, .. } = registration;
        let mut compiled = CompiledApp::default();
        for text in functions {
            let StoredConfig { config, unknown_fields } =
                FunctionConfig::decode_stored(text).map_err(|error| error.to_string())?;
            if let Some(other) = self.catalog.newest(&config.id) {
                let id = &config.id;
                let owner = match self.stored.compiled_in.iter().any(|known| known.spec().id == other.spec().id) {
                    true => "is compiled into this program",
                    false => "is registered by another app",
                };
                return Err(format!("function `{id}` of app `{app}` {owner}; give it another id"));
            }
            let function = match self.known.get(&(address.clone(), text.clone())) {
                Some(known) => known.clone(),
                None => {
                    let spec = config.compile().map_err(|error| error.to_string())?;
                    let executor = self.stored.connect.connect(address, &config)?;
                    RegisteredFunction::new(spec, config.version.clone(), executor)
                }
            };
            compiled.functions.push(function);
            compiled.configs.push(config);
            compiled.unknown_fields.extend(unknown_fields);
        }
        Ok(compiled)
    }
}
