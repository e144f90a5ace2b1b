//! What can be done from a page: forms that are posted, and lead back to a page that says what became of it.
//!
//! All of them are guarded by [`same_site`](crate::guard::origin::same_site): the login's cookie alone is no proof that the
//! person who is logged in meant it.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::value::RawValue;
use stepladder_core::RunId;
use stepladder_core::limits::EVENT_BYTES;
use stepladder_engine::{EngineError, Rerun};

use super::form::{FORM_BYTES, Fields};
use super::runs::PAGE;
use super::shell::is_local;
use super::text::query;
use super::{Asked, sorry};
use crate::error::Problem;
use crate::guard::body::json_text;
use crate::path::RunPath;
use crate::router::{CANCEL_REASON, Shared};

/// What was done, told by the address of the page that follows: a word and numbers, never a text of anybody's.
pub(super) struct Did {
    pub(super) sentence: String,
    pub(super) failed: bool,
}

impl Did {
    pub(super) fn of(asked: &Asked) -> Option<Self> {
        let number = |name| asked.part(name).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
        let (n, missed) = (number("n"), number("missed"));
        let runs = if n == 1 { "1 run".to_owned() } else { format!("{n} runs") };
        let done = match asked.part("did")? {
            "cancel" => format!("Cancelled {runs}."),
            "rerun" => format!("Started {runs} again."),
            "hasten" => "It goes on now.".into(),
            "pause" => "Paused: its runs wait to begin, those that have begun go on.".into(),
            "resume" => "Resumed: the runs that waited begin.".into(),
            "send" => "The event was sent.".into(),
            "redrive" => return Some(super::health::redriven(asked)),
            "none" => "Nothing was chosen: tick the runs first.".into(),
            _ => return None,
        };
        let failed = missed > 0 || n == 0;
        let sentence = if missed > 0 { format!("{done} {missed} could not be.") } else { done };
        Some(Self { sentence, failed })
    }
}

/// `POST /runs`: the same with each run that is ticked.
pub(super) async fn on_many(State(shared): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    match many(&shared, body).await {
        Ok(to) => Redirect::to(&to).into_response(),
        Err(problem) => sorry(&shared, &headers, &problem),
    }
}

async fn many(shared: &Shared, body: Body) -> Result<String, Problem> {
    let fields = Fields::read(shared, body, FORM_BYTES, &["back", "do", "run"]).await?;
    let back = Some(fields.get("back")).filter(|back| is_local(back)).unwrap_or("/");
    let ticked: Vec<&str> = fields.all("run").collect();
    if ticked.len() > PAGE {
        return Err(Problem::bad_request(format!("{} runs are ticked; a page has at most {PAGE}", ticked.len())));
    }
    let runs: Vec<RunId> = ticked.iter().filter_map(|run| run.parse().ok()).collect();
    let mut missed = ticked.len() - runs.len();
    let did = match fields.get("do") {
        "cancel" => "cancel",
        "rerun" => "rerun",
        other => return Err(Problem::bad_request(format!("`do` is `{other}`; use cancel or rerun"))),
    };
    // cancelling makes room, it needs none
    let mut admitted = None;
    if did == "rerun" {
        admitted.insert(shared.intake.admit(&shared.engine)?).reserve(runs.len())?;
    }
    let mut done = 0;
    for run in runs {
        let result = match did {
            "cancel" => shared.engine.control().cancel(run, CANCEL_REASON).await.map(drop),
            _ => shared.engine.control().rerun(run, Rerun::default()).await.map(drop),
        };
        match result {
            Ok(()) => done += 1,
            Err(EngineError::Store(error)) => return Err(EngineError::Store(error).into()),
            Err(_) => missed += 1,
        }
    }
    let did = if done == 0 && missed == 0 { "none" } else { did };
    let mark = if back.contains('?') { '&' } else { '?' };
    Ok(format!("{back}{mark}did={did}&n={done}&missed={missed}"))
}

/// `POST /runs/{id}/cancel`.
pub(super) async fn cancel(
    State(shared): State<Shared>,
    headers: HeaderMap,
    path: Result<RunPath, Problem>,
) -> Response {
    let cancelled = match path {
        Ok(RunPath(run)) => {
            shared.engine.control().cancel(run, CANCEL_REASON).await.map(|_| run).map_err(Problem::from)
        }
        Err(problem) => Err(problem),
    };
    match cancelled {
        Ok(run) => Redirect::to(&format!("/runs/{run}?did=cancel&n=1")).into_response(),
        Err(problem) => sorry(&shared, &headers, &problem),
    }
}

/// `POST /runs/{id}/hasten`: a sleep is cut short, a retry is not waited for; without a step, that of the function itself.
pub(super) async fn hasten(
    State(shared): State<Shared>,
    headers: HeaderMap,
    path: Result<RunPath, Problem>,
    body: Body,
) -> Response {
    match hastened(&shared, path, body).await {
        Ok(run) => Redirect::to(&format!("/runs/{run}?did=hasten&n=1")).into_response(),
        Err(problem) => sorry(&shared, &headers, &problem),
    }
}

async fn hastened(shared: &Shared, path: Result<RunPath, Problem>, body: Body) -> Result<RunId, Problem> {
    let RunPath(run) = path?;
    let fields = Fields::read(shared, body, FORM_BYTES, &["step"]).await?;
    // no step has an empty name
    match fields.get("step") {
        "" => shared.engine.control().skip_handler_wait(run).await?,
        step => shared.engine.control().skip_wait(run, step).await?,
    };
    Ok(run)
}

/// `POST /function/pause`: runs of a function begin no more, or again.
pub(super) async fn pause(State(shared): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    match paused(&shared, body).await {
        Ok(to) => Redirect::to(&to).into_response(),
        Err(problem) => sorry(&shared, &headers, &problem),
    }
}

async fn paused(shared: &Shared, body: Body) -> Result<String, Problem> {
    let fields = Fields::read(shared, body, FORM_BYTES, &["id", "do"]).await?;
    let id = fields.get("id");
    let did = match fields.get("do") {
        "pause" => shared.engine.functions().pause(id).await.map(|_| "pause")?,
        "resume" => shared.engine.functions().resume(id).await.map(|_| "resume")?,
        other => return Err(Problem::bad_request(format!("`do` is `{other}`; use pause or resume"))),
    };
    Ok(format!("/function{}", query([("id", id), ("did", did), ("n", "1")])))
}

/// `POST /runs/{id}/rerun`: from the beginning or from a step, with the same input or another; leads to the new run.
pub(super) async fn rerun(
    State(shared): State<Shared>,
    headers: HeaderMap,
    path: Result<RunPath, Problem>,
    body: Body,
) -> Response {
    match again(&shared, path, body).await {
        Ok(run) => Redirect::to(&format!("/runs/{run}")).into_response(),
        Err(problem) => sorry(&shared, &headers, &problem),
    }
}

async fn again(shared: &Shared, path: Result<RunPath, Problem>, body: Body) -> Result<RunId, Problem> {
    let RunPath(run) = path?;
    let fields = Fields::read(shared, body, FORM_BYTES, &["from_step", "input"]).await?;
    let mut admitted = shared.intake.admit(&shared.engine)?;
    admitted.reserve(1)?;
    let from_step = Some(fields.get("from_step")).filter(|step| !step.is_empty()).map(str::to_owned);
    let how = Rerun { from_step, input: input(fields.get("input"))? };
    Ok(shared.engine.control().rerun(run, how).await?)
}

/// The JSON of an editor; nothing when it was left empty. What it must be besides JSON is the engine's to say.
pub(super) fn input(text: &str) -> Result<Option<stepladder_core::Json>, Problem> {
    if text.len() > EVENT_BYTES {
        let sentence = format!("the input has {} bytes; at most {EVENT_BYTES} are allowed", text.len());
        return Err(Problem::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    let Some(text) = json_text(text.as_bytes(), "the input")? else { return Ok(None) };
    let input: Box<RawValue> =
        serde_json::from_str(text).map_err(|e| Problem::bad_request(format!("the input is not valid JSON: {e}")))?;
    Ok(Some(input.into()))
}
