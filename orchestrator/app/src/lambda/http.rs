//! The role `http`: the router of the local server, behind API Gateway.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use lambda_http::{Error, Request, RequestExt, service_fn};
use stepladder_server::AppDirectory;
use tower::ServiceExt;

use super::LambdaProcess;
use super::answer::{ANSWER_BYTES, CompleteResponse};
use super::apps::NO_KEY;
use crate::apps::Directory;

pub(super) async fn serve(process: Arc<LambdaProcess>) -> Result<(), Error> {
    let settings = &process.settings;
    let (apps, open_routes, guarded_routes) = match &process.apps {
        Some(apps) => {
            let directory: Arc<dyn AppDirectory> = Arc::new(Directory(apps.clone()));
            let open = stepladder_inngest::open_routes(apps.clone(), process.engine.clone());
            (Some(directory), open, stepladder_inngest::guarded_routes(apps.clone()))
        }
        None => (None, stepladder_inngest::refusing_routes(NO_KEY), Router::new()),
    };
    let router = stepladder_server::router(
        process.engine.clone(),
        stepladder_server::ServerOptions {
            event_keys: settings.event_keys.clone(),
            dashboard_token: settings.dashboard_token.clone(),
            loopback: false,
            version: env!("CARGO_PKG_VERSION").into(),
            // no bounds: a process serves one request at a time, SQS accepts any number of
            // messages, and API Gateway limits the rate
            bounds: stepladder_server::IntakeBounds::default(),
            // no streams, because Lambda only returns complete responses
            streams: false,
            answer_bytes: Some(ANSWER_BYTES),
            queues: Some(process.aws.clone()),
            deadline: Some(|request| request.lambda_context_ref().map(super::invocation_deadline)),
            apps,
            open_routes,
            guarded_routes,
            ..Default::default()
        },
    );
    lambda_http::run(service_fn(move |request: Request| {
        let (process, router, context) = (process.clone(), router.clone(), request.lambda_context_ref().cloned());
        async move {
            let answer = answer_request(router, request).await;
            if let Some(context) = context {
                process.flush(&context).await;
            }
            answer
        }
    }))
    .await
}

async fn answer_request(router: Router, request: Request) -> Result<CompleteResponse, Infallible> {
    let (parts, body) = router.oneshot(request.map(axum::body::Body::new)).await?.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => Ok(CompleteResponse::new(parts, body)),
        // this cannot happen, because the router creates all bodies in memory
        Err(error) => {
            tracing::error!(%error, "an answer cannot be read");
            let (parts, _) = axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response().into_parts();
            Ok(CompleteResponse::new(parts, axum::body::Bytes::new()))
        }
    }
}
