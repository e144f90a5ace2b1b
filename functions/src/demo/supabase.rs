//! A stand-in for Supabase, with tables and accounts in memory. The first requests fail.
//!
//! Every id is treated as that of an existing row. All data is lost when the process ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, patch, post},
};
use serde_json::{Value, json};

use super::LABEL;

/// The tables in memory.
#[derive(Debug, Default)]
pub(super) struct Tables {
    failures_left: u32,
    failures: u32,
    /// The rows, by table and unique key.
    rows: BTreeMap<(String, String), Value>,
    /// The accounts, by id.
    accounts: BTreeMap<String, Value>,
    /// The number of accounts that were created, including deleted ones.
    created: u32,
}

type SharedTables = Arc<Mutex<Tables>>;

/// Returns the routes of the stand-in. The first `failures` requests get the status 503.
pub(super) fn router(failures: u32) -> Router {
    let tables = Tables { failures_left: failures, failures, ..Tables::default() };
    Router::new()
        .route("/rest/v1/{table}", patch(update_row).post(upsert_rows))
        .route("/auth/v1/admin/users", post(create_account).get(list_accounts))
        .route("/auth/v1/admin/users/{id}", delete(delete_account))
        .with_state(Arc::new(Mutex::new(tables)))
}

async fn update_row(
    State(tables): State<SharedTables>,
    Path(table): Path<String>,
    Query(filter): Query<BTreeMap<String, String>>,
    Json(row): Json<Value>,
) -> Response {
    let mut tables = lock_tables(&tables);
    if let Some(failure) = tables.take_failure(&format!("PATCH {table}")) {
        return failure;
    }
    let id = filter.get("id").and_then(|value| value.strip_prefix("eq.")).unwrap_or_default().to_owned();
    tracing::info!(target: "stepladder::demo", "{LABEL} for Supabase: updated {id} in {table}");
    tables.rows.insert((table, id.clone()), row);
    error_response(StatusCode::OK, json!([{ "id": id }]))
}

async fn upsert_rows(
    State(tables): State<SharedTables>,
    Path(table): Path<String>,
    Query(options): Query<BTreeMap<String, String>>,
    Json(rows): Json<Vec<Value>>,
) -> Response {
    let mut tables = lock_tables(&tables);
    if let Some(failure) = tables.take_failure(&format!("POST {table}")) {
        return failure;
    }
    let unique = options.get("on_conflict").map_or("id", String::as_str).to_owned();
    let n = rows.len();
    for row in rows {
        let key: Vec<&str> = unique.split(',').map(|column| row[column].as_str().unwrap_or_default()).collect();
        let key = key.join("/");
        tables.rows.insert((table.clone(), key), row);
    }
    let all = tables.rows.keys().filter(|(of, _)| *of == table).count();
    tracing::info!(target: "stepladder::demo", "{LABEL} for Supabase: merged {n} rows into {table}, {all} in all");
    error_response(StatusCode::CREATED, json!([]))
}

async fn create_account(State(tables): State<SharedTables>, Json(mut user): Json<Value>) -> Response {
    let mut tables = lock_tables(&tables);
    if let Some(failure) = tables.take_failure("POST users") {
        return failure;
    }
    if tables.accounts.values().any(|known| known["email"] == user["email"]) {
        let said = "A user with this email address has already been registered";
        let body = json!({ "code": 422, "error_code": "email_exists", "msg": said });
        return error_response(StatusCode::UNPROCESSABLE_ENTITY, body);
    }
    tables.created += 1;
    let id = format!("00000000-0000-4000-8000-{:012}", tables.created);
    user["id"] = json!(id);
    tracing::info!(target: "stepladder::demo", "{LABEL} for Supabase: made account {id}");
    tables.accounts.insert(id, user.clone());
    error_response(StatusCode::OK, user)
}

async fn list_accounts(State(tables): State<SharedTables>) -> Response {
    let users: Vec<Value> = lock_tables(&tables).accounts.values().cloned().collect();
    error_response(StatusCode::OK, json!({ "users": users, "aud": "authenticated" }))
}

async fn delete_account(State(tables): State<SharedTables>, Path(id): Path<String>) -> Response {
    tracing::info!(target: "stepladder::demo", "{LABEL} for Supabase: deleted account {id}");
    match lock_tables(&tables).accounts.remove(&id) {
        Some(_) => error_response(StatusCode::OK, json!({})),
        None => error_response(StatusCode::NOT_FOUND, json!({ "msg": "User not found" })),
    }
}

impl Tables {
    fn take_failure(&mut self, what: &str) -> Option<Response> {
        self.failures_left = self.failures_left.checked_sub(1)?;
        let nth = self.failures - self.failures_left;
        let message = format!("{LABEL} for Supabase: down on purpose, failure {nth} of {}", self.failures);
        tracing::info!(target: "stepladder::demo", "{message} ({what} answered 503)");
        let body = json!({ "code": "STAND-IN", "message": message, "details": null, "hint": null });
        Some(error_response(StatusCode::SERVICE_UNAVAILABLE, body))
    }
}

fn error_response(status: StatusCode, body: Value) -> Response {
    let mut response = (status, [("x-stand-in", "supabase")], Json(body)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // short enough that the user sees the retry
        response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("2"));
    }
    response
}

// the tables of the demonstration stay usable even if a request panicked
fn lock_tables(tables: &SharedTables) -> std::sync::MutexGuard<'_, Tables> {
    tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
