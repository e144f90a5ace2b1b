//! The role `sweep`, which is invoked once a minute. It fires due timers, and writes the addresses
//! of the queues into the table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::de::IgnoredAny;
use stepladder_engine::activity::Activity;
use stepladder_engine::permanent;
use stepladder_engine::ports::StoreError;

use super::LambdaProcess;

pub(super) async fn serve(process: Arc<LambdaProcess>) -> Result<(), Error> {
    let published = Arc::new(AtomicBool::new(false));
    lambda_runtime::run(service_fn(move |event: LambdaEvent<IgnoredAny>| {
        let (process, published) = (process.clone(), published.clone());
        async move {
            let swept = sweep(&process, &published).await;
            process.flush(&event.context).await;
            swept
        }
    }))
    .await
}

async fn sweep(process: &LambdaProcess, published: &AtomicBool) -> Result<(), Error> {
    let reported = |error: &StoreError| {
        permanent::report_failure("sweep", None, error);
    };
    let swept = process.engine.sweep().await.inspect_err(reported)?;
    Activity::SweepCompleted { timers: swept.timers, watched: swept.watched }.emit();
    // once per process is enough: the addresses change only with a deployment, which starts new
    // processes
    if !published.load(Ordering::Relaxed) {
        process.aws.publish_addresses(&process.settings.queues).await.inspect_err(reported)?;
        published.store(true, Ordering::Relaxed);
    }
    Ok(())
}
