//! HTTP: the router of the local server, behind an HTTP API.

use std::sync::Arc;

use lambda_http::Error;

use super::Process;

pub(super) async fn serve(process: Arc<Process>) -> Result<(), Error> {
    let settings = &process.settings;
    let router = stepladder_server::router(
        process.engine.clone(),
        stepladder_server::Options {
            event_keys: settings.event_keys.clone(),
            dashboard_token: settings.dashboard_token.clone(),
            loopback: false,
            version: env!("CARGO_PKG_VERSION").into(),
            // one request at a time comes here, and SQS does not fill up: API Gateway's rate is the bound
            bounds: stepladder_server::Bounds::default(),
            // an answer is handed over when it is whole
            streams: false,
            queues: Some(process.aws.clone()),
        },
    );
    lambda_http::run(router).await
}
