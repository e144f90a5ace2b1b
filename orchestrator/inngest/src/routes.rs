//! Routes: those that the packages request, and those of people.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use stepladder_api::{App, AppRemoved, AppSynced, DataResponse, ErrorResponse, SyncAppRequest, Time};
use stepladder_core::limits::APP_BYTES;
use stepladder_core::sentence::shortened;
use stepladder_engine::{Engine, EngineError, RegisteredApp};

use crate::apps::{Apps, SyncError};
use crate::endpoint_routes::endpoint_routes;
use crate::run_routes::run_routes;
use crate::syncs::AppStatus;
use crate::transport::SDK;

/// The maximum size of a registration. It may be larger than the configs that it becomes.
const REGISTRATION_BYTES: usize = 2 * APP_BYTES;

/// Returns the routes that apps request. They check the signing key themselves.
pub fn open_routes(apps: Arc<Apps>, engine: Arc<Engine>) -> Router {
    let of_apps = Router::new()
        .route("/fn/register", post(register))
        .route("/fn/remove", delete(remove_at))
        .route("/v0/connect/start", any(connect))
        .route("/v1/realtime/{*path}", any(realtime))
        .layer(DefaultBodyLimit::max(REGISTRATION_BYTES))
        .with_state(apps.clone());
    let of_runs = run_routes(apps.clone(), engine.clone()).merge(endpoint_routes(apps.clone(), engine));
    of_apps.merge(of_runs).layer(from_fn_with_state(apps, refresh_keys))
}

/// Returns the routes of a server without apps: each request is refused with this sentence.
pub fn refusing_routes(sentence: &'static str) -> Router {
    let refuse = || any(move || async move { Refusal(StatusCode::SERVICE_UNAVAILABLE, sentence.into()) });
    ["/fn/register", "/fn/remove", "/v1/apps", "/v1/apps/{name}", "/v1/checkpoint", "/v1/checkpoint/{run}/steps"]
        .into_iter()
        .fold(Router::new(), |routes, path| routes.route(path, refuse()))
}

/// Returns the routes of people, which the server guards like its own.
pub fn guarded_routes(apps: Arc<Apps>) -> Router {
    Router::new().route("/v1/apps", get(list).post(sync)).route("/v1/apps/{name}", delete(remove)).with_state(apps)
}

/// A refused request: a status and a sentence.
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorResponse { error: shortened(&self.1) })).into_response()
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let status = match &error {
            EngineError::NotFound(_) => StatusCode::NOT_FOUND,
            EngineError::Invalid(_) => StatusCode::BAD_REQUEST,
            EngineError::TooLate(_) => StatusCode::CONFLICT,
            EngineError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl From<SyncError> for Refusal {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::NoApp(why) => Self(StatusCode::BAD_GATEWAY, why),
            SyncError::Refused(refused) => Self(StatusCode::BAD_REQUEST, refused.to_string()),
            SyncError::Engine(error) => error.into(),
        }
    }
}

/// The parameters of `POST /fn/register`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterQuery {
    #[serde(rename = "deployId")]
    _deploy_id: Option<String>,
}

#[derive(Serialize)]
struct Registered {
    ok: bool,
    modified: bool,
}

/// `POST /fn/register`: an app registers its functions.
async fn register(
    State(apps): State<Arc<Apps>>,
    query: Result<Query<RegisterQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    check_key(&apps, &headers)?;
    query.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    let body = body.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    let sdk = headers.get(SDK).and_then(|value| value.to_str().ok());
    let modified = apps.register(&body, sdk).await?;
    Ok(Json(Registered { ok: true, modified }).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveQuery {
    url: String,
}

/// `DELETE /fn/remove?url=`: an app is no longer served at its address.
async fn remove_at(
    State(apps): State<Arc<Apps>>,
    query: Result<Query<RemoveQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    check_key(&apps, &headers)?;
    let Query(RemoveQuery { url }) = query.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    let modified = apps.remove_at(&url).await? > 0;
    Ok(Json(Registered { ok: true, modified }).into_response())
}

/// Reads the signing keys again before a request, if they may have changed.
async fn refresh_keys(State(apps): State<Arc<Apps>>, request: Request, next: Next) -> Response {
    match apps.transport().refresh_keys().await {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            // the sentence may name things that strangers must not know
            tracing::error!(problem, "a request of an app is refused");
            let sentence = "the server cannot read its signing keys; its log says why";
            Refusal(StatusCode::SERVICE_UNAVAILABLE, sentence.into()).into_response()
        }
    }
}

pub(crate) fn check_key(apps: &Apps, headers: &HeaderMap) -> Result<(), Refusal> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match apps.may_register(authorization) {
        true => Ok(()),
        false => {
            let sentence = "the app must send the token of the server's signing key; set INNGEST_SIGNING_KEY in both";
            Err(Refusal(StatusCode::UNAUTHORIZED, sentence.into()))
        }
    }
}

/// `/v0/connect/start`: an app wants to open a WebSocket.
async fn connect() -> Refusal {
    let sentence = "`connect` is not supported; serve the app over HTTP with `serve`, and sync its address";
    Refusal(StatusCode::NOT_IMPLEMENTED, sentence.into())
}

/// `/v1/realtime/…`: an app publishes a stream, or asks for a token with which a client reads it.
async fn realtime() -> Refusal {
    let sentence = "realtime is not supported: nothing is published, and no stream can be read; a client follows a run \
                    with `GET /v1/runs/{id}`";
    Refusal(StatusCode::NOT_IMPLEMENTED, sentence.into())
}

/// `GET /v1/apps`: the registered apps.
async fn list(State(apps): State<Arc<Apps>>) -> Result<Response, Refusal> {
    let statuses = apps.statuses().await?;
    let listed = |status: AppStatus| {
        let AppStatus { app, sdk, framework, synced_at, problem, .. } = status;
        let RegisteredApp { name, address, functions, .. } = app?;
        let functions = functions.iter().map(|function| function.id.clone()).collect();
        Some(App { name, url: address, sdk, framework, synced_at: synced_at.map(Time), functions, problem })
    };
    let data: Vec<App> = statuses.into_iter().filter_map(listed).collect();
    Ok(Json(DataResponse { data }).into_response())
}

/// `POST /v1/apps`: asks an app for its functions, and registers them.
async fn sync(State(apps): State<Arc<Apps>>, body: Result<Bytes, BytesRejection>) -> Result<Response, Refusal> {
    let body = body.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    let SyncAppRequest { url } = serde_json::from_slice(&body)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("the body has the form {{\"url\": …}}: {error}")))?;
    let synced = apps.sync(&url).await?;
    let name = synced.name.unwrap_or_default().into();
    let data = AppSynced { name, functions: synced.functions, modified: synced.modified };
    Ok(Json(DataResponse { data }).into_response())
}

/// `DELETE /v1/apps/{name}`: removes an app.
async fn remove(State(apps): State<Arc<Apps>>, Path(name): Path<String>) -> Result<Response, Refusal> {
    apps.remove(&name).await?;
    Ok(Json(DataResponse { data: AppRemoved { name: name.into() } }).into_response())
}
