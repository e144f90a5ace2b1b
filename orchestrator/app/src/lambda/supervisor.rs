//! The supervisor: a body that blocks its thread past its time-out is failed in its place (rule 29), and the process
//! ends, so that the body does not thaw in a later invocation.

use std::sync::Arc;
use std::time::Duration;

use stepladder_aws::Connection;

use super::{Process, backend};

/// How often it looks.
const EACH: Duration = Duration::from_secs(1);

/// Starts it, on a thread and with connections of its own: the body may hold the threads of the runtime.
pub(super) fn start(process: &Arc<Process>) {
    let process = process.clone();
    let watch = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(watch(process)),
        Err(error) => tracing::error!(%error, "no supervisor: steps that block their thread are not noticed"),
    };
    if let Err(error) = std::thread::Builder::new().name("supervisor".into()).spawn(watch) {
        tracing::error!(%error, "no supervisor: steps that block their thread are not noticed");
    }
}

async fn watch(process: Arc<Process>) {
    tokio::time::sleep(EACH).await;
    let own = Arc::new(backend(&Connection::from_environment(), &process.settings));
    let engine = process.engine.supervisor(own);
    loop {
        match engine.expel_overdue().await {
            Ok(expelled) if expelled.is_empty() => {}
            Ok(expelled) => {
                for (run, step) in expelled {
                    tracing::error!(%run, %step, "a step blocks its thread past its time-out; its run goes on without it");
                }
                // what else runs in this process is taken over when its lease ends
                std::process::exit(1);
            }
            Err(error) => tracing::warn!(%error, "the supervisor could not write; it tries again"),
        }
        tokio::time::sleep(EACH).await;
    }
}
