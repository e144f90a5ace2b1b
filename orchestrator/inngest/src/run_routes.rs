//! Routes with which apps ask for the data of a run, record outcomes of it, send signals and cancel
//! runs. They check the signing key.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use stepladder_api::DataResponse;
use stepladder_core::limits::RUN_BYTES;
use stepladder_core::sentence::shortened;
use stepladder_core::{RunId, Timestamp, json as values};
use stepladder_engine::{Engine, RunFilter};

use crate::apps::Apps;
use crate::call::CalledRun;
use crate::checkpoints;
use crate::routes::{Refusal, check_key};

/// The number of runs that are cancelled in one step.
const CANCELLED_AT_ONCE: usize = 500;

/// What the routes need.
#[derive(Clone)]
struct RunRoutes {
    apps: Arc<Apps>,
    engine: Arc<Engine>,
}

/// Returns the routes.
pub(crate) fn run_routes(apps: Arc<Apps>, engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/v1/checkpoint/{run}/async", post(checkpoint))
        .route("/v1/signals", post(signal))
        .route("/v1/cancellations", post(cancel))
        .route("/v0/runs/{run}/batch", get(batch))
        .route("/v0/runs/{run}/actions", get(actions))
        .layer(DefaultBodyLimit::max(RUN_BYTES))
        .with_state(RunRoutes { apps, engine })
}

#[derive(Serialize)]
struct Recorded {
    ok: bool,
}

/// `POST /v1/checkpoint/{run}/async`: records outcomes of a call that goes on. The answer comes
/// after they are in the journal. With the status 409, the SDK must end the call.
async fn checkpoint(
    State(RunRoutes { apps, engine }): State<RunRoutes>,
    Path(run): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    check_key(&apps, &headers)?;
    let run = run_id(&run)?;
    let checkpoint = checkpoints::decode(run, &body?).map_err(|problem| Refusal(StatusCode::BAD_REQUEST, problem))?;
    let receipt = engine.checkpoint(run, &checkpoint).await?;
    match receipt.ends_call {
        false => Ok(Json(Recorded { ok: true }).into_response()),
        true => Err(Refusal(StatusCode::CONFLICT, "the steps are recorded; end the call, another one follows".into())),
    }
}

/// `GET /v0/runs/{run}/batch`: the events of a run, for a call with `use_api`.
async fn batch(
    State(RunRoutes { apps, engine }): State<RunRoutes>,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    check_key(&apps, &headers)?;
    let state = engine.query().state(run_id(&run)?).await?;
    json_response(CalledRun::of_state(&state).events_json())
}

/// `GET /v0/runs/{run}/actions`: the outcomes of a run, for a call with `use_api`.
async fn actions(
    State(RunRoutes { apps, engine }): State<RunRoutes>,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    check_key(&apps, &headers)?;
    let state = engine.query().state(run_id(&run)?).await?;
    json_response(CalledRun::of_state(&state).steps_json())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignal {
    signal: String,
    #[serde(default = "values::null")]
    data: stepladder_core::Json,
}

#[derive(Serialize)]
struct Resumed {
    run_id: RunId,
}

/// `POST /v1/signals`: resumes the runs that wait for a signal. With the status 404, no run waits.
async fn signal(
    State(RunRoutes { apps, engine }): State<RunRoutes>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    check_key(&apps, &headers)?;
    let WireSignal { signal, data } = decoded(&body?, "{\"signal\": …, \"data\": …}")?;
    // the SDK wants both
    let both = serde_json::json!({ "signal": signal, "data": data });
    let both = values::to_json(&both).map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
    match engine.subscriptions().named_signal(&signal, both).await? {
        Some(receipt) => Ok(Json(DataResponse { data: Resumed { run_id: receipt.run } }).into_response()),
        None => {
            let sentence = format!("no run waits for the signal `{}`", shortened(&signal));
            Err(Refusal(StatusCode::NOT_FOUND, sentence))
        }
    }
}

/// The runs to cancel.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCancellation {
    app_id: String,
    function_id: String,
    started_after: Option<jiff::Timestamp>,
    started_before: jiff::Timestamp,
}

#[derive(Serialize)]
struct Cancelled {
    cancelled: usize,
}

/// `POST /v1/cancellations`: cancels the live runs of a function that were created in a period.
async fn cancel(
    State(RunRoutes { apps, engine }): State<RunRoutes>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    check_key(&apps, &headers)?;
    let form = "{\"app_id\": …, \"function_id\": …, \"started_after\": …, \"started_before\": …}";
    let wire: WireCancellation = decoded(&body?, form)?;
    let first = |time: jiff::Timestamp| RunId::new(Timestamp::from_millis(time.as_millisecond()), 0);
    let mut filter = RunFilter {
        functions: vec![format!("{}-{}", wire.app_id, wire.function_id)],
        from: wire.started_after.map(first),
        before: Some(first(wire.started_before)),
        limit: Some(CANCELLED_AT_ONCE),
        ..RunFilter::default()
    };
    let mut cancelled = 0;
    loop {
        let page = engine.control().cancel_all(filter.clone(), "on request").await?;
        cancelled += page.done.len();
        filter.cursor = page.cursor;
        if filter.cursor.is_none() {
            let body = Json(DataResponse { data: Cancelled { cancelled } });
            return Ok(body.into_response());
        }
    }
}

pub(crate) fn decoded<'a, T: Deserialize<'a>>(body: &'a [u8], form: &str) -> Result<T, Refusal> {
    let refusal = |error| Refusal(StatusCode::BAD_REQUEST, format!("the body has the form {form}: {error}"));
    serde_json::from_slice(body).map_err(refusal)
}

pub(crate) fn run_id(text: &str) -> Result<RunId, Refusal> {
    let unknown = || Refusal(StatusCode::NOT_FOUND, format!("there is no run {}", shortened(text)));
    text.parse().map_err(|_| unknown())
}

fn json_response(body: serde_json::Result<Vec<u8>>) -> Result<Response, Refusal> {
    let body = body.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
