//! The apps of a local server: functions of Inngest's SDKs in other processes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_engine::clock::{SystemClock, SystemEntropy};
use stepladder_engine::ports::Backend;
use stepladder_engine::{Config, Engine, EngineError, RegisteredFunction, StoredFunctions};
use stepladder_inngest::{AppConnector, AppStatus, Apps, AppsSettings, SigningKey, SigningKeys};
use stepladder_server::{AppDirectory, AppListing};
use tokio::task::JoinSet;

use crate::terminal::StopReason;

/// The apps, as the dashboard shows them.
pub(super) struct Directory(pub(super) Arc<Apps>);

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

    async fn remove(&self, name: &str) -> Result<(), EngineError> {
        self.0.remove(name).await
    }
}

/// How long the start waits for the first answer of an app.
const FIRST_SYNC: Duration = Duration::from_secs(5);

/// Creates an engine with compiled-in functions and with those of registered apps.
///
/// # Errors
/// A compiled-in function cannot work, or a signing key cannot be read.
pub(super) fn engine(
    backend: Arc<dyn Backend>,
    compiled: Vec<RegisteredFunction>,
    config: Config,
    loopback: bool,
) -> Result<(Arc<Engine>, Arc<Apps>), StopReason> {
    let clock = Arc::new(SystemClock);
    let connector = AppConnector::new(signing_keys()?, clock.clone()).map_err(StopReason::problem)?;
    let settings = AppsSettings { call_timeout: config.longest_step(""), allows_unsigned: loopback };
    let connect = Box::new(connector.clone());
    let functions = StoredFunctions::new(backend.clone(), clock.clone(), compiled, config.clone(), connect);
    let functions = Arc::new(functions.map_err(StopReason::problem)?);
    let engine = Engine::with_functions(backend, clock, Arc::new(SystemEntropy), functions.clone(), config);
    Ok((Arc::new(engine), Arc::new(Apps::new(functions, &connector, settings))))
}

fn signing_keys() -> Result<Option<SigningKeys>, StopReason> {
    let key = |name: &str| match std::env::var(name).ok().filter(|text| !text.trim().is_empty()) {
        Some(text) => {
            SigningKey::parse(&text).map(Some).map_err(|problem| StopReason::problem(format!("{name}: {problem}")))
        }
        None => Ok(None),
    };
    let (current, fallback) = (key("INNGEST_SIGNING_KEY")?, key("INNGEST_SIGNING_KEY_FALLBACK")?);
    Ok(current.map(|current| SigningKeys { current, fallback }))
}

/// Syncs the apps at these addresses once, and then, with `polls`, every few seconds until the
/// returned tasks are dropped. Returns what to print about apps that are not synced.
pub(super) async fn sync(apps: &Arc<Apps>, addresses: &[String], polls: bool) -> (JoinSet<()>, Vec<String>) {
    let (mut tasks, mut notes) = (JoinSet::new(), Vec::new());
    for address in addresses {
        let problem = match tokio::time::timeout(FIRST_SYNC, apps.sync(address)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("the app has not answered within {} s", FIRST_SYNC.as_secs())),
        };
        let again = if polls { "; it is asked again every few seconds" } else { "" };
        notes.extend(problem.iter().map(|problem| format!("an app is not synced: {problem}{again}")));
        if polls {
            let (apps, address) = (apps.clone(), address.clone());
            tasks.spawn(async move { apps.poll(&address, problem).await });
        }
    }
    (tasks, notes)
}
