//! The form on a run's page that ends the wait of a step, with an event or a signal.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use stepladder_core::{Failure, RunId, json};

use crate::dashboard::act::json_input;
use crate::dashboard::events::ingest_named;
use crate::dashboard::form::{FORM_BYTES, FormFields};
use crate::dashboard::notice::FormResult;
use crate::dashboard::problem_page;
use crate::error::HttpProblem;
use crate::guard::body::json_text;
use crate::path::RunPath;
use crate::router::SharedServerState;

/// `POST /runs/{id}/answer`: sends an event, or completes or fails a signal. Redirects to the run.
pub(crate) async fn answer(
    State(shared): State<SharedServerState>,
    headers: HeaderMap,
    path: Result<RunPath, HttpProblem>,
    body: Body,
) -> Response {
    match answer_of_form(&shared, path, body).await {
        Ok((run, result)) => result.redirect(&format!("/runs/{run}")),
        Err(problem) => problem_page(&shared, &headers, &problem),
    }
}

async fn answer_of_form(
    shared: &SharedServerState,
    path: Result<RunPath, HttpProblem>,
    body: Body,
) -> Result<(RunId, FormResult), HttpProblem> {
    let RunPath(run) = path?;
    let fields = FormFields::read(shared, body, FORM_BYTES, &["do", "name", "data", "token", "message"]).await?;
    let signals = shared.engine.subscriptions();
    match fields.get("do") {
        "send" => {
            ingest_named(shared, fields.get("name").trim(), json_input(fields.get("data"))?, "").await?;
            Ok((run, FormResult::EventSent))
        }
        "complete" => {
            // the data of a signal may be any JSON, not only an object
            let data = match json_text(fields.get("data").as_bytes(), "the data")? {
                Some(text) => serde_json::from_str(text)
                    .map_err(|error| HttpProblem::bad_request(format!("`data` is not valid JSON: {error}")))?,
                None => json::null(),
            };
            signals.signal(fields.get("token"), data).await?;
            Ok((run, FormResult::SignalCompleted))
        }
        "fail" => {
            let message = fields.get("message").trim();
            if message.is_empty() {
                return Err(HttpProblem::bad_request("`message` is empty; say why the signal fails"));
            }
            signals.fail_signal(fields.get("token"), Failure::new(message)).await?;
            Ok((run, FormResult::SignalFailed))
        }
        other => Err(HttpProblem::bad_request(format!("`do` is `{other}`; use send, complete or fail"))),
    }
}
