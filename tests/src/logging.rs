//! A function that writes log lines wherever a function can, to test the ids of trace and span in
//! them.

use std::sync::atomic::{AtomicBool, Ordering};

use stepladder::prelude::*;
use tracing::{Instrument, info, info_span, warn};

/// The event that starts the function.
#[derive(Serialize, Deserialize, Event)]
#[event(name = "test/logging.requested")]
pub struct LoggingRequested {}

/// Whether the first attempt in this process has failed.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// Returns the function. Its first attempt in a process fails.
pub fn function() -> Function {
    Function::new("logging", logging)
}

async fn logging(ctx: Context, _: Event<LoggingRequested>) -> Result<()> {
    info!("in the handler");
    ctx.log("recorded between steps");
    let work = async || {
        if !HAS_FAILED.swap(true, Ordering::SeqCst) {
            info!("in the first attempt");
            return Err(Error::new("the first attempt fails"));
        }
        info!("in the body");
        ctx.log("recorded in the body");
        async {
            tokio::task::yield_now().await;
            warn!("in a user span");
            info_span!("inner").in_scope(|| info!("in an inner span"));
        }
        .instrument(info_span!("outer"))
        .await;
        let spawned = tokio::spawn(async { info!("in a spawned task") }.instrument(info_span!("spawned")));
        spawned.await.map_err(Error::new)?;
        info!("after the spans");
        Ok(())
    };
    ctx.step("work", work).await
}
