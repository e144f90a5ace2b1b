//! The REST interface: handlers that translate a request into a call of the engine, and the result
//! into JSON.
//!
//! The JSON types are those of the crate `stepladder-api`. Only responses that just clients of
//! Inngest read have their types here.

mod answer;
mod bulk;
mod compat;
pub(crate) mod events;
mod fit;
mod functions;
mod runs;
mod signals;
pub(crate) mod unanswered;

use axum::Router;
use axum::routing::{delete, get, post};

use crate::router::SharedServerState;

/// Returns the routes of the event API, which require an event key.
pub(crate) fn event_routes() -> Router<SharedServerState> {
    Router::new().route("/e/{key}", post(events::receive).options(events::preflight))
}

/// Returns the routes that require no secret, or that carry it in their path.
pub(crate) fn open_routes() -> Router<SharedServerState> {
    Router::new()
        .route("/health", get(compat::health))
        .route("/v1/signals/{token}", post(signals::complete))
        .route("/v1/signals/{token}/fail", post(signals::fail))
        .route("/v1/signals/{token}/heartbeat", post(signals::heartbeat))
}

/// Returns the routes that require the dashboard token.
pub(crate) fn routes() -> Router<SharedServerState> {
    let routes = Router::new();
    #[cfg(feature = "prometheus")]
    let routes = routes.route("/metrics", get(crate::metrics::get_metrics));
    routes
        .route("/v1/events/{id}", get(events::get_event))
        .route("/v1/events/{id}/runs", get(events::get_runs_of_event))
        .route("/v1/runs", get(runs::list_runs))
        .route("/v1/runs/cancel", post(bulk::cancel_runs))
        .route("/v1/runs/rerun", post(bulk::rerun_runs))
        .route("/v1/functions/{id}/pause", post(functions::pause))
        .route("/v1/functions/{id}/resume", post(functions::resume))
        .route("/v1/runs/{id}", delete(runs::cancel).get(runs::get_run))
        .route("/v1/runs/{id}/journal", get(runs::get_journal))
        .route("/v1/runs/{id}/rerun", post(runs::rerun))
        .route("/v1/functions", get(functions::list_functions))
        .route("/api/inngest", get(compat::introspection))
        .route("/dev", get(compat::dev))
}
