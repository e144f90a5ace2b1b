//! Registers, removes and lists apps.

use std::sync::Arc;

use stepladder_core::limits::{ADDRESS_BYTES, APP_BYTES, APP_FUNCTIONS, APPS, CONFIG_BYTES, name_problem};
use stepladder_core::sentence::shortened;
use stepladder_core::{FunctionConfig, json};

use super::about::{AppDescription, RegistrationChange, compare};
use super::{Loaded, StoredFunctions};
use crate::EngineError;
use crate::ports::{Registration, StoreError, StoredRegistrations};

/// The maximum number of attempts to make a change while other processes change the apps too.
const MAX_TRIES: usize = 50;

/// A registered app.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredApp {
    /// The name of the app.
    pub name: Arc<str>,
    /// Where the functions of the app are executed.
    pub address: Arc<str>,
    /// What describes the app.
    pub about: AppDescription,
    /// The functions of the app.
    pub functions: Vec<FunctionConfig>,
    /// Why this process leaves the app out, as a sentence; `None` if it uses the app.
    pub problem: Option<String>,
}

impl StoredFunctions {
    /// Registers an app, and replaces an earlier registration of the same app. Returns whether this
    /// changed anything. This process knows the functions immediately, and all others within
    /// [`REFRESH_AFTER`](super::REFRESH_AFTER).
    ///
    /// The app lists each version of its functions that it still serves. A started run keeps its
    /// version while that is registered, and then uses the newest version.
    ///
    /// # Errors
    /// - [`EngineError::Invalid`] if a function cannot work, has the id of a compiled-in function
    ///   or of another app's function, or disagrees with them about a shared limit. The message
    ///   names the function. Then nothing is registered.
    /// - [`EngineError::Store`].
    pub async fn register(&self, app: &str, address: &str, configs: &[FunctionConfig]) -> Result<bool, EngineError> {
        self.register_described(app, address, configs, &AppDescription::default()).await
    }

    /// Registers an app like [`register`](Self::register), with what describes it. What is not
    /// described stays as it was.
    ///
    /// # Errors
    /// The same as those of [`register`](Self::register).
    pub async fn register_described(
        &self,
        app: &str,
        address: &str,
        configs: &[FunctionConfig],
        about: &AppDescription,
    ) -> Result<bool, EngineError> {
        self.put(app, address, about, |_| Ok(configs.to_vec())).await
    }

    /// Registers one more function of an app, or a new config of it. The app is created if it does
    /// not exist. Returns whether this changed anything; if not, nothing is read.
    ///
    /// # Errors
    /// The same as those of [`register`](Self::register); [`EngineError::Invalid`] if the app is
    /// registered at another address.
    pub async fn register_function(
        &self,
        app: &str,
        address: &str,
        config: &FunctionConfig,
        about: &AppDescription,
    ) -> Result<bool, EngineError> {
        let is_known = |known: &RegisteredApp| {
            (&*known.name, &*known.address) == (app, address)
                && known.problem.is_none()
                && known.functions.contains(config)
        };
        if self.loaded().apps.iter().any(is_known) {
            return Ok(false);
        }
        let add = |known: Option<&Registration>| {
            let mut configs = Vec::new();
            if let Some(known) = known {
                if &*known.address != address {
                    let why = format!("app `{app}` is registered at {}; remove it, or rename it", known.address);
                    return Err(EngineError::Invalid(why));
                }
                for text in &known.functions {
                    let stored = FunctionConfig::decode_stored(text)
                        .map_err(|error| EngineError::Invalid(format!("app `{app}` cannot be read: {error}")))?;
                    configs.push(stored.config);
                }
            }
            configs.retain(|known| known.id != config.id);
            configs.push(config.clone());
            Ok(configs)
        };
        self.put(app, address, about, add).await
    }

    /// Stores an app. `configs` returns its functions, given what is registered.
    async fn put(
        &self,
        app: &str,
        address: &str,
        about: &AppDescription,
        configs: impl Fn(Option<&Registration>) -> Result<Vec<FunctionConfig>, EngineError> + Send,
    ) -> Result<bool, EngineError> {
        for _ in 0..MAX_TRIES {
            let mut stored = self.backend.registrations().await?;
            let known = stored.apps.iter().find(|known| &*known.app == app);
            let configs = configs(known)?;
            let mut registration = Registration { about: about.encode(), ..encode(app, address, &configs)? };
            let change = compare(known, &mut registration);
            if change == RegistrationChange::Nothing {
                self.adopt(&stored).await;
                return Ok(false);
            }
            stored.apps.retain(|known| known.app != registration.app);
            if stored.apps.len() >= APPS {
                let why = format!("{APPS} apps are registered, which is the maximum; remove one");
                return Err(EngineError::Invalid(why));
            }
            self.check(&stored, &registration, &configs)?;
            let at = stored.apps.partition_point(|known| known.app < registration.app);
            stored.apps.insert(at, registration.clone());
            if self.backend.put_registration(stored.version, registration).await? {
                stored.version += 1;
                self.adopt(&stored).await;
                return Ok(change == RegistrationChange::Functions);
            }
        }
        Err(busy())
    }

    /// Removes an app. The runs of its functions wait until it is registered again, or until they
    /// are cancelled.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] if there is no such app; [`EngineError::Store`].
    pub async fn remove(&self, app: &str) -> Result<(), EngineError> {
        for _ in 0..MAX_TRIES {
            let mut stored = self.backend.registrations().await?;
            if !stored.apps.iter().any(|known| &*known.app == app) {
                self.adopt(&stored).await;
                return Err(EngineError::NotFound(format!("there is no app `{}`", shortened(app))));
            }
            if self.backend.remove_registration(stored.version, app).await? {
                stored.apps.retain(|known| &*known.app != app);
                stored.version += 1;
                self.adopt(&stored).await;
                return Ok(());
            }
        }
        Err(busy())
    }

    /// Returns the registered apps, in the order of their names, after a new reading.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn list(&self) -> Result<Arc<[RegisteredApp]>, EngineError> {
        let _reading = self.reading.lock().await;
        self.read().await?;
        Ok(self.loaded().apps.clone())
    }

    /// Checks that an app is valid together with the compiled-in functions and the other apps.
    fn check(
        &self,
        others: &StoredRegistrations,
        registration: &Registration,
        configs: &[FunctionConfig],
    ) -> Result<(), EngineError> {
        let loaded = self.loaded();
        let mut building = self.building(&loaded.known);
        for other in &others.apps {
            building.add_stored(other);
        }
        let is_compiled_in = |id: &str| self.compiled_in.iter().any(|known| &*known.spec().id == id);
        for FunctionConfig { id, on_failure, .. } in configs {
            if let Some(handler) = on_failure.as_deref()
                && !is_compiled_in(handler)
                && !configs.iter().any(|config| &*config.id == handler)
            {
                return Err(EngineError::Invalid(format!(
                    "function `{id}` names `{handler}` as its on_failure, which is not in its app `{}`",
                    registration.app
                )));
            }
        }
        let compiled = building.compile(registration).map_err(EngineError::Invalid)?;
        building.add(compiled.functions).map_err(EngineError::Invalid)
    }

    /// Updates what this process knows to what it has just read or written, unless it already knows
    /// newer apps.
    async fn adopt(&self, stored: &StoredRegistrations) {
        let _reading = self.reading.lock().await;
        let loaded = self.loaded();
        if loaded.version.is_none_or(|known| known < stored.version) {
            self.store(Loaded { read_at: loaded.read_at, ..self.load(stored, &loaded.known) });
        }
    }
}

/// Converts an app to its stored form.
fn encode(app: &str, address: &str, configs: &[FunctionConfig]) -> Result<Registration, EngineError> {
    let refuse = |why: String| Err(EngineError::Invalid(why));
    if let Some(problem) = name_problem(app) {
        return refuse(format!("the name of app `{}` {problem}", shortened(app)));
    }
    if address.is_empty() || address.len() > ADDRESS_BYTES {
        let bytes = address.len();
        return refuse(format!("the address of app `{app}` has {bytes} bytes; 1 to {ADDRESS_BYTES} are allowed"));
    }
    let n = configs.len();
    if n > APP_FUNCTIONS {
        return refuse(format!("app `{app}` has {n} functions; at most {APP_FUNCTIONS} are allowed"));
    }
    let mut functions: Vec<Arc<str>> = Vec::with_capacity(n);
    for config in configs {
        let id = shortened(&config.id);
        let text = json::to_json(config)
            .map_err(|error| EngineError::Invalid(format!("function `{id}` cannot be written as JSON: {error}")))?;
        let bytes = text.get().len();
        if bytes > CONFIG_BYTES {
            return refuse(format!(
                "the config of function `{id}` has {bytes} bytes; at most {CONFIG_BYTES} are allowed"
            ));
        }
        functions.push(text.get().into());
    }
    let bytes: usize = functions.iter().map(|text| text.len()).sum();
    if bytes > APP_BYTES {
        return refuse(format!("the configs of app `{app}` have {bytes} bytes; at most {APP_BYTES} are allowed"));
    }
    Ok(Registration { app: app.into(), address: address.into(), about: None, functions })
}

fn busy() -> EngineError {
    EngineError::Store(StoreError::Unavailable("other processes change the registered apps all the time".into()))
}
