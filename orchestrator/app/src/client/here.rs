//! `--table`: runs the server in this process, on a DynamoDB table. It handles the same requests as
//! a remote server, but without a connection.

use std::sync::Arc;

use stepladder_engine::Config;
use stepladder_engine::clock::SystemClock;
use stepladder_inngest::{AppConnector, AppsSettings};

use super::Client;
use crate::app::App;
use crate::apps;
use crate::storage::{self, Location, Store};
use crate::terminal::StopReason;

/// Opens a table with its queues.
///
/// # Errors
/// The table cannot be read.
pub(crate) async fn open(table: &str) -> Result<Store, StopReason> {
    storage::open(Location::Table(table.to_owned())).await.map_err(StopReason::problem)
}

impl Client {
    /// Creates a client for a table, with the functions of this program. With `writes`, the table
    /// must contain the addresses of its queues.
    ///
    /// # Errors
    /// The table cannot be read, or does not contain the addresses of its queues.
    pub(crate) async fn without_server(mut app: App, table: &str, writes: bool) -> Result<Self, StopReason> {
        let Store { backend, queues, workers } = open(table).await?;
        if writes && queues.is_none() {
            return Err(queues_unknown(table));
        }
        let defaults = Config::default();
        let config = Config {
            // the maximum of Lambda, so that no function is refused because of its timeout
            worker_timeout: std::time::Duration::from_secs(900),
            code: app.code.clone().map_or(defaults.code, Into::into),
            ..defaults
        };
        let keys = apps::signing_keys().map_err(StopReason::problem)?;
        let connector = AppConnector::new(keys, Arc::new(SystemClock)).map_err(StopReason::problem)?;
        let connector = connector.invoking(storage::function_invoker().await.map_err(StopReason::problem)?);
        let settings = AppsSettings { workers, allows_unsigned: false, shares_store: true };
        let compiled = app.compile().map_err(StopReason::problem)?;
        let (engine, apps) =
            apps::engine(backend, compiled, config, connector, settings).map_err(StopReason::problem)?;
        let options = stepladder_server::ServerOptions {
            loopback: true,
            version: env!("CARGO_PKG_VERSION").into(),
            guarded_routes: stepladder_inngest::guarded_routes(apps),
            ..Default::default()
        };
        Self::in_process(stepladder_server::router(engine, options), None)
    }
}

/// Returns the error for a table that does not contain the addresses of its queues.
pub(crate) fn queues_unknown(table: &str) -> StopReason {
    StopReason::problem(format!(
        "the table `{table}` does not name its queues yet; the sweep adds them within a minute of a deployment"
    ))
}
