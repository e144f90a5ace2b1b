//! Routes of durable endpoints: an app records the run of a request that it executes itself, and
//! its client asks for the response when the run has gone on without the request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stepladder_api::DataResponse;
use stepladder_core::event::data_problem;
use stepladder_core::hop::{OwnCallEnd, OwnCallReport};
use stepladder_core::limits::RUN_BYTES;
use stepladder_core::retry::{DEFAULT_RETRIES, RetryAdvice};
use stepladder_core::sentence::shortened;
use stepladder_core::state::{RunOutcome, RunState};
use stepladder_core::{Json as StoredJson, RunId, Status, json as values};
use stepladder_engine::{Engine, OwnRun};
use subtle::ConstantTimeEq;

use crate::apps::Apps;
use crate::endpoint::{HTTP_REQUEST, WireRequest};
use crate::executor::step_failure;
use crate::failure::error_of;
use crate::operation::{Requested, WireOperation};
use crate::routes::{Refusal, check_key};
use crate::run_routes::{decoded, run_id};
use crate::step_id::hash_of;
use crate::transport::SDK;

/// How far the time in the id of a run may be from that of the server.
const CLOCKS: Duration = Duration::from_secs(3_600);
/// How long a client waits for the end of a run. A request to Lambda ends after 29 s.
const WAIT: Duration = Duration::from_secs(20);
/// The first and the longest pause between two looks at a run.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];
/// The name under which an SDK reports the end of the whole function.
const WHOLE_FUNCTION: &str = "complete";

#[derive(Clone)]
struct EndpointRoutes {
    apps: Arc<Apps>,
    engine: Arc<Engine>,
}

/// Returns the routes.
pub(crate) fn endpoint_routes(apps: Arc<Apps>, engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/v1/checkpoint", post(create))
        .route("/v1/checkpoint/{run}/steps", post(record))
        .route("/v1/http/runs/{run}/output", get(output))
        .layer(DefaultBodyLimit::max(RUN_BYTES))
        .with_state(EndpointRoutes { apps, engine })
}

/// The body of `POST /v1/checkpoint`. SDKs add fields of their own, which have no meaning here.
#[derive(Deserialize)]
struct WireNewRun {
    run_id: String,
    event: WireEvent,
    #[serde(default)]
    steps: Vec<WireOperation>,
    retries: Option<u32>,
}

#[derive(Deserialize)]
struct WireEvent {
    name: String,
    data: StoredJson,
}

/// The body of `POST /v1/checkpoint/{run}/steps`.
#[derive(Deserialize)]
struct WireSteps {
    run_id: String,
    fn_id: String,
    steps: Vec<WireOperation>,
}

#[derive(Serialize)]
struct Created {
    run_id: RunId,
    fn_id: Arc<str>,
    app_id: String,
    token: String,
    /// The SDK requires it. There is no stream to read with it.
    realtime_token: String,
}

/// `POST /v1/checkpoint`: creates the run of a request that an app executes itself.
async fn create(
    State(EndpointRoutes { apps, engine }): State<EndpointRoutes>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    check_key(&apps, &headers)?;
    let bad = |why: String| Refusal(StatusCode::BAD_REQUEST, why);
    let wire: WireNewRun = decoded(&body?, "{\"run_id\": …, \"event\": …, \"steps\": […]}")?;
    let run: RunId = wire.run_id.parse().map_err(|_| bad("`run_id` is no ULID".into()))?;
    let now = engine.now();
    if run.time().since(now).max(now.since(run.time())) > CLOCKS {
        return Err(bad("the time in `run_id` is more than an hour from that of the server; check the clocks".into()));
    }
    if wire.event.name != HTTP_REQUEST {
        return Err(bad(format!("`event.name` is `{}`, and not `{HTTP_REQUEST}`", shortened(&wire.event.name))));
    }
    if let Some(problem) = data_problem(&wire.event.data) {
        return Err(bad(format!("`event.data` {problem}")));
    }
    let request = WireRequest::decode(wire.event.data.get()).map_err(bad)?;
    let report = report(&wire.steps).map_err(bad)?;
    let sdk = headers.get(SDK).and_then(|value| value.to_str().ok());
    let endpoint = apps.register_endpoint(&request, wire.retries.unwrap_or(DEFAULT_RETRIES), sdk).await?;
    let own = OwnRun { run, function: endpoint.function.clone(), event: HTTP_REQUEST, data: wire.event.data };
    let state = engine.control().start_own_run(own, &report).await?;
    let token = output_token(&state);
    let (fn_id, app_id, realtime_token) = (endpoint.function, endpoint.app, token.clone());
    Ok(Json(DataResponse { data: Created { run_id: run, fn_id, app_id, token, realtime_token } }).into_response())
}

#[derive(Serialize)]
struct Recorded {
    ok: bool,
}

/// `POST /v1/checkpoint/{run}/steps`: records what the app has executed since its last report, and
/// what follows. With the status 409, calls have continued the run, or it has ended.
async fn record(
    State(EndpointRoutes { apps, engine }): State<EndpointRoutes>,
    Path(run): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    check_key(&apps, &headers)?;
    let bad = |why: String| Refusal(StatusCode::BAD_REQUEST, why);
    let run = run_id(&run)?;
    let wire: WireSteps = decoded(&body?, "{\"run_id\": …, \"fn_id\": …, \"steps\": […]}")?;
    if wire.run_id != run.to_string() {
        return Err(bad(format!("`run_id` is `{}`, and the address has the run {run}", shortened(&wire.run_id))));
    }
    let report = report(&wire.steps).map_err(bad)?;
    let function = engine.query().state(run).await?.created.function.clone();
    if *function != *wire.fn_id {
        return Err(bad(format!("`fn_id` is `{}`, and run {run} is of `{function}`", shortened(&wire.fn_id))));
    }
    engine.control().report_own_call(run, &report).await?;
    Ok(Json(Recorded { ok: true }).into_response())
}

/// Reads what an app reports.
fn report(operations: &[WireOperation]) -> Result<OwnCallReport, String> {
    let mut report = OwnCallReport { steps: Vec::new(), end: OwnCallEnd::Open };
    for operation in operations {
        let step = operation.step();
        match &*operation.op {
            "StepRun" | "Step" | "StepError" | "StepFailed" => {
                let is_function = operation.is_unnamed() && operation.id == hash_of(WHOLE_FUNCTION);
                match operation.requested()? {
                    Requested::Executed { result: Ok(value), .. } => {
                        values::check(value.get())
                            .map_err(|problem| format!("the value of step `{step}` {problem}"))?;
                        report.steps.push((step, value));
                    }
                    Requested::Executed { result: Err(error), .. } => {
                        let failure = step_failure(&error, RetryAdvice::Default);
                        report.end = match is_function {
                            true => OwnCallEnd::Failed(failure),
                            false => OwnCallEnd::StepFailed(step, failure),
                        };
                    }
                    _ => {}
                }
            }
            "RunComplete" => {
                let value = operation.data_or_null();
                values::check(value.get()).map_err(|problem| format!("the result of the function {problem}"))?;
                report.end = OwnCallEnd::Completed(value);
            }
            // the next call requests it again, and then it is registered
            _ if matches!(report.end, OwnCallEnd::Open) => report.end = OwnCallEnd::Left,
            _ => {}
        }
    }
    Ok(report)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputQuery {
    token: String,
}

#[derive(Serialize)]
struct Unfinished {
    run_id: RunId,
    status: Status,
}

/// `GET /v1/http/runs/{run}/output?token=`: the response of a request whose run has gone on without
/// it. Waits for the end of the run. The token is the only key.
async fn output(
    State(EndpointRoutes { engine, .. }): State<EndpointRoutes>,
    Path(run): Path<String>,
    query: Result<Query<OutputQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(OutputQuery { token }) = query.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    let run = run_id(&run)?;
    let began = tokio::time::Instant::now();
    let [mut pause, longest] = PAUSES;
    loop {
        let state = engine.query().state(run).await?;
        if !bool::from(output_token(&state).as_bytes().ct_eq(token.as_bytes())) {
            return Err(Refusal(StatusCode::FORBIDDEN, "the token is not that of the run".into()));
        }
        let status = state.status();
        match state.end.as_ref().map(|end| &end.how) {
            Some(RunOutcome::Completed(output)) => return Ok(response_of(output)),
            Some(RunOutcome::Failed(failure)) => {
                return Ok((StatusCode::INTERNAL_SERVER_ERROR, Json(error_of(failure))).into_response());
            }
            Some(RunOutcome::Cancelled(reason) | RunOutcome::Skipped(reason)) => {
                return Err(Refusal(StatusCode::GONE, format!("run {run} was cancelled: {reason}")));
            }
            None if began.elapsed() >= WAIT || engine.is_stopping() => {
                // programs ask again, and browsers load the page again
                let again = [(header::RETRY_AFTER, "1"), (HeaderName::from_static("refresh"), "1")];
                let body = Json(DataResponse { data: Unfinished { run_id: run, status } });
                return Ok((StatusCode::ACCEPTED, again, body).into_response());
            }
            None => tokio::time::sleep(pause).await,
        }
        pause = longest.min(pause * 2);
    }
}

/// The response of an endpoint, as an SDK reports it.
#[derive(Deserialize)]
struct WireResponse {
    status: u16,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body: String,
}

/// Returns the response of an endpoint. Of its headers, only the type of the content counts: this
/// server is another site than the app. For the same reason, a browser executes no script of it.
fn response_of(output: &StoredJson) -> Response {
    let (status, kind, body) = match serde_json::from_str::<WireResponse>(output.get()) {
        Ok(WireResponse { status, headers, body }) => {
            let is_kind = |name: &str| name.eq_ignore_ascii_case(header::CONTENT_TYPE.as_str());
            let kind = headers.into_iter().find_map(|(name, value)| is_kind(&name).then_some(value));
            (StatusCode::from_u16(status).unwrap_or_default(), kind, body)
        }
        Err(_) => (StatusCode::OK, Some("application/json".into()), output.get().to_owned()),
    };
    let kind = kind.and_then(|kind| HeaderValue::from_str(&kind).ok());
    let kind = kind.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8"));
    let guards = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, guards, body).into_response()
}

/// Returns the token with which the response of a run can be read.
fn output_token(state: &RunState) -> String {
    let mut hash = Sha256::new();
    for part in [b"output".as_slice(), &state.secret.to_be_bytes(), &state.run.to_bytes()] {
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const A: &str = "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8";

    fn read(steps: &Value) -> Result<OwnCallReport, String> {
        report(&serde_json::from_value::<Vec<WireOperation>>(steps.clone()).unwrap())
    }

    #[test]
    fn a_report_says_what_was_executed_and_what_follows() {
        let step = json!({"id": A, "op": "StepRun", "displayName": "a", "data": 1});
        let sleep = json!({"id": A, "op": "Sleep", "displayName": "b", "name": "1s", "middleware": {}});
        let failed = json!({"id": A, "op": "StepError", "displayName": "a", "error": {"message": "no"}});
        let whole = json!({"id": hash_of(WHOLE_FUNCTION), "op": "StepError", "error": {}});
        let named = json!({"id": hash_of(WHOLE_FUNCTION), "op": "StepError", "displayName": "complete", "error": {}});
        let end = |steps: &Value| read(steps).unwrap().end;
        assert!(matches!(end(&json!([step])), OwnCallEnd::Open));
        assert!(matches!(end(&json!([step, sleep])), OwnCallEnd::Left));
        assert!(matches!(end(&json!([failed])), OwnCallEnd::StepFailed(step, _) if &*step == "a"));
        assert!(matches!(end(&json!([whole])), OwnCallEnd::Failed(_)));
        assert!(matches!(end(&json!([named])), OwnCallEnd::StepFailed(step, _) if &*step == "complete"));
        assert!(matches!(end(&json!([{"id": A, "op": "RunComplete", "data": 2}])), OwnCallEnd::Completed(_)));
        assert_eq!(read(&json!([step])).unwrap().steps.len(), 1);
    }

    #[test]
    fn a_response_keeps_its_status_and_cannot_act_for_this_site() {
        let output =
            json!({"status": 202, "headers": {"Content-Type": "text/html", "Set-Cookie": "a=1"}, "body": "<p>"});
        let response = response_of(&values::to_json(&output).unwrap());
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert_eq!(response.headers()["content-type"], "text/html");
        assert!(response.headers()["content-security-policy"].to_str().unwrap().starts_with("sandbox"));
        assert!(!response.headers().contains_key("set-cookie"));
    }
}
