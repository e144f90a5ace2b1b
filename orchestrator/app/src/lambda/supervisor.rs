//! The supervisor. If a body blocks its thread past its timeout, the supervisor fails the body
//! (rule 29). Then it ends the process, so that the body cannot continue in a later invocation.

use std::sync::Arc;
use std::time::Duration;

use stepladder_engine::permanent;

use super::{LambdaProcess, backend};

/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(1);
/// The maximum wait after permanent errors.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Starts the supervisor on its own thread with its own connections, because bodies may block the
/// threads of the runtime.
pub(super) fn start_supervisor(process: &Arc<LambdaProcess>) {
    let process = process.clone();
    let watch = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(watch_bodies(process)),
        Err(error) => tracing::error!(%error, "no supervisor: steps that block their thread are not detected"),
    };
    if let Err(error) = std::thread::Builder::new().name("supervisor".into()).spawn(watch) {
        tracing::error!(%error, "no supervisor: steps that block their thread are not detected");
    }
}

async fn watch_bodies(process: Arc<LambdaProcess>) {
    tokio::time::sleep(INTERVAL).await;
    let own = Arc::new(backend(&process.settings));
    let engine = process.engine.supervisor(own);
    let mut wait = INTERVAL;
    loop {
        match engine.expel_overdue().await {
            Ok(expelled) if expelled.is_empty() => wait = INTERVAL,
            Ok(expelled) => {
                for (run, step) in expelled {
                    tracing::error!(%run, %step, "a step blocks its thread past its timeout; its run continues without it");
                }
                // other workers continue the runs of this process once its leases have expired
                std::process::exit(1);
            }
            Err(error) if permanent::report_failure("fail a step that blocks its thread", None, &error) => {
                wait = (wait * 2).min(MAX_WAIT);
            }
            Err(error) => tracing::warn!(%error, "the supervisor could not write; it retries"),
        }
        tokio::time::sleep(wait).await;
    }
}
