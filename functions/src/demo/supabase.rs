//! A stand-in for Supabase: the two requests of the enhance function, on tables in memory, failing at first.
//!
//! Every id is taken for an existing client. Nothing is stored beyond the life of the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{patch, post},
};
use serde_json::{Value, json};

use super::LABEL;

/// What is in memory.
#[derive(Debug, Default)]
pub(super) struct Tables {
    failures_left: u32,
    failures: u32,
    /// by id
    clients: BTreeMap<String, Value>,
    /// by client and domain
    competitors: BTreeMap<(String, String), Value>,
}

type Shared = Arc<Mutex<Tables>>;

/// The routes; the first `failures` requests are answered 503.
pub(super) fn router(failures: u32) -> Router {
    let tables = Tables { failures_left: failures, failures, ..Tables::default() };
    Router::new()
        .route("/rest/v1/clients", patch(update_client))
        .route("/rest/v1/competitors", post(upsert_competitors))
        .with_state(Arc::new(Mutex::new(tables)))
}

async fn update_client(
    State(tables): State<Shared>,
    Query(filter): Query<BTreeMap<String, String>>,
    Json(row): Json<Value>,
) -> Response {
    let mut tables = lock(&tables);
    if let Some(failure) = tables.fail("PATCH clients") {
        return failure;
    }
    let id = filter.get("id").and_then(|value| value.strip_prefix("eq.")).unwrap_or_default().to_owned();
    tracing::info!(target: "stepladder::demo", "{LABEL} for Supabase: updated client {id}");
    tables.clients.insert(id.clone(), row);
    labelled(StatusCode::OK, json!([{ "id": id }]))
}

async fn upsert_competitors(State(tables): State<Shared>, Json(rows): Json<Vec<Value>>) -> Response {
    let mut tables = lock(&tables);
    if let Some(failure) = tables.fail("POST competitors") {
        return failure;
    }
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let n = rows.len();
    for row in rows {
        tables.competitors.insert((text(&row, "client_id"), text(&row, "domain")), row);
    }
    let all = tables.competitors.len();
    tracing::info!(target: "stepladder::demo", "{LABEL} for Supabase: merged {n} competitors, {all} in all");
    labelled(StatusCode::CREATED, json!([]))
}

impl Tables {
    fn fail(&mut self, what: &str) -> Option<Response> {
        self.failures_left = self.failures_left.checked_sub(1)?;
        let nth = self.failures - self.failures_left;
        let message = format!("{LABEL} for Supabase: down on purpose, failure {nth} of {}", self.failures);
        tracing::info!(target: "stepladder::demo", "{message} ({what} answered 503)");
        let body = json!({ "code": "STAND-IN", "message": message, "details": null, "hint": null });
        Some(labelled(StatusCode::SERVICE_UNAVAILABLE, body))
    }
}

fn labelled(status: StatusCode, body: Value) -> Response {
    let mut response = (status, [("x-stand-in", "supabase")], Json(body)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // soon enough to be watched, and seen to be honoured
        response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("2"));
    }
    response
}

// a poisoned lock holds a demo's tables, still good enough to show
fn lock(tables: &Shared) -> std::sync::MutexGuard<'_, Tables> {
    tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
