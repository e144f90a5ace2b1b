//! The routes that Inngest's clients request before they send events, and the health check of load
//! balancers.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::router::SharedServerState;

/// `GET /health`: a response means that the server is running.
pub(super) async fn health() -> Response {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
    }
    Json(Health { status: "ok" }).into_response()
}

/// `GET /api/inngest`: a description of the server for Inngest's clients.
pub(super) async fn introspection(State(shared): State<SharedServerState>) -> Response {
    #[derive(Serialize)]
    struct Introspection {
        function_count: usize,
        mode: &'static str,
        has_event_key: bool,
        has_signing_key: bool,
    }
    Json(Introspection {
        function_count: shared.engine.functions().current().await.specs().count(),
        mode: "dev",
        has_event_key: !shared.keys.is_empty(),
        has_signing_key: false,
    })
    .into_response()
}

/// `GET /dev`: the response tells older clients of Inngest that this is a local server.
pub(super) async fn dev(State(shared): State<SharedServerState>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct DevInfo<'a> {
        version: &'a str,
        authed: bool,
        start_opts: StartOptions,
        functions: Vec<Function<'a>>,
    }
    #[derive(Serialize)]
    struct StartOptions {}
    #[derive(Serialize)]
    struct Function<'a> {
        id: &'a str,
        name: &'a str,
    }
    let catalog = shared.engine.functions().current().await;
    let functions =
        catalog.specs().map(|spec| Function { id: &spec.id, name: spec.name.as_deref().unwrap_or(&spec.id) }).collect();
    Json(DevInfo { version: &shared.version, authed: false, start_opts: StartOptions {}, functions }).into_response()
}
