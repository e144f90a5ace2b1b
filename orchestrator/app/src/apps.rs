//! Apps with functions of Inngest's SDKs: the engine that executes them beside the compiled-in
//! functions, and the apps as the dashboard shows them.

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_engine::clock::{SystemClock, SystemEntropy};
use stepladder_engine::ports::Backend;
use stepladder_engine::{Config, Engine, EngineError, RegisteredFunction, StoredFunctions};
use stepladder_inngest::{AppConnector, AppStatus, Apps, AppsSettings};
use stepladder_server::{AppDirectory, AppListing};

/// The apps, as the dashboard shows them.
pub(crate) struct Directory(pub(crate) Arc<Apps>);

#[async_trait]
impl AppDirectory for Directory {
    async fn apps(&self) -> Result<Vec<AppListing>, EngineError> {
        let listing = |status: AppStatus| {
            let (name, functions) = match status.app {
                Some(app) => (Some(app.name.to_string()), app.functions),
                None => (None, Vec::new()),
            };
            AppListing {
                name,
                url: status.url,
                sdk: status.sdk,
                framework: status.framework,
                functions: functions.iter().map(|function| function.id.to_string()).collect(),
                synced_at: status.synced_at,
                problem: status.problem,
            }
        };
        Ok(self.0.statuses().await?.into_iter().map(listing).collect())
    }

    async fn sync(&self, url: &str) -> Result<(), String> {
        self.0.sync(url).await.map(drop).map_err(|error| error.to_string())
    }

    async fn is_app(&self, authorization: &str) -> bool {
        self.0.has_key(authorization).await
    }

    async fn remove(&self, name: &str) -> Result<(), EngineError> {
        self.0.remove(name).await
    }
}

/// Creates an engine with compiled-in functions and with those of registered apps.
///
/// # Errors
/// A compiled-in function cannot work.
pub(crate) fn engine(
    backend: Arc<dyn Backend>,
    compiled: Vec<RegisteredFunction>,
    config: Config,
    connector: AppConnector,
    settings: AppsSettings,
) -> Result<(Arc<Engine>, Arc<Apps>), String> {
    let clock = Arc::new(SystemClock);
    let connect = Box::new(connector.clone());
    let functions = StoredFunctions::new(backend.clone(), clock.clone(), compiled, config.clone(), connect);
    let functions = Arc::new(functions.map_err(|error| error.to_string())?);
    let engine = Engine::with_functions(backend, clock, Arc::new(SystemEntropy), functions.clone(), config);
    Ok((Arc::new(engine), Arc::new(Apps::new(functions, &connector, settings))))
}

/// Reads the signing keys from the environment, if they are set.
///
/// # Errors
/// A sentence that names the variable.
#[cfg(feature = "cli")]
pub(crate) fn signing_keys() -> Result<Option<stepladder_inngest::SigningKeys>, String> {
    use stepladder_inngest::{SigningKey, SigningKeys};
    let key = |name: &str| match std::env::var(name).ok().filter(|text| !text.trim().is_empty()) {
        Some(text) => SigningKey::parse(&text).map(Some).map_err(|problem| format!("{name}: {problem}")),
        None => Ok(None),
    };
    let (current, fallback) = (key("INNGEST_SIGNING_KEY")?, key("INNGEST_SIGNING_KEY_FALLBACK")?);
    Ok(current.map(|current| SigningKeys { current, fallback }))
}
