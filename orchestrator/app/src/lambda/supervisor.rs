//! The supervisor: a body that blocks its thread past its time-out is failed in its place (rule 29), and the process
//! ends, so that the body does not thaw in a later invocation.

use std::sync::Arc;
use std::time::Duration;

use stepladder_aws::Connection;
use stepladder_engine::permanent;

use super::{Process, backend};

/// How often it looks.
const EACH: Duration = Duration::from_secs(1);
/// How long it waits at most after permanent errors.
const LATER: Duration = Duration::from_secs(60);

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
    let mut wait = EACH;
    loop {
        match engine.expel_overdue().await {
            Ok(expelled) if expelled.is_empty() => wait = EACH,
            Ok(expelled) => {
                for (run, step) in expelled {
                    tracing::error!(%run, %step, "a step blocks its thread past its time-out; its run goes on without it");
                }
                // what else runs in this process is taken over when its lease ends
                std::process::exit(1);
            }
            Err(error) if permanent::report("fail a step that blocks its thread", None, &error) => {
                wait = (wait * 2).min(LATER);
            }
            Err(error) => tracing::warn!(%error, "the supervisor could not write; it tries again"),
        }
        tokio::time::sleep(wait).await;
    }
}
