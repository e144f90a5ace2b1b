//! The apps of a local server: functions of Inngest's SDKs in other processes.

use std::sync::Arc;
use std::time::Duration;

use stepladder_engine::clock::SystemClock;
use stepladder_engine::ports::Backend;
use stepladder_engine::{Config, Engine, RegisteredFunction};
use stepladder_inngest::{AppConnector, Apps, AppsSettings};
use tokio::task::JoinSet;

use crate::apps;
use crate::terminal::StopReason;

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
    let keys = apps::signing_keys().map_err(StopReason::problem)?;
    let connector = AppConnector::new(keys, Arc::new(SystemClock)).map_err(StopReason::problem)?;
    let settings = AppsSettings { workers: config.clone(), allows_unsigned: loopback, shares_store: false };
    apps::engine(backend, compiled, config, connector, settings).map_err(StopReason::problem)
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
