//! Runs over REST: list, look, cancel, run again.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stepladder_core::limits::EVENT_BYTES;
use stepladder_core::{RunId, Status, Timestamp, json};
use stepladder_engine::{Rerun, RunFilter};

use crate::error::Problem;
use crate::fit;
use crate::inputs::Parameters;
use crate::path::RunPath;
use crate::router::Shared;
use crate::wire::{Data, Entry, FullRun, Run};

/// Bytes of a wish for a rerun: an event's data, and a step's name.
const RERUN_BYTES: usize = EVENT_BYTES + 64 * 1024;
/// Entries in a page of a journal, unless told otherwise, and at most.
const ENTRIES: usize = 500;
const MOST_ENTRIES: usize = 1_000;
/// Bytes of a page besides its items.
const ENVELOPE_BYTES: usize = 128;

/// Which runs, as the query says it. Empty parts are as good as missing ones.
///
/// # Errors
/// 400 with what is wrong with which part.
pub(crate) fn filter(query: &Parameters) -> Result<RunFilter, Problem> {
    let status = query.get("status").map(str::parse::<Status>).transpose();
    Ok(RunFilter {
        status: status.map_err(|fault| Problem::bad_request(format!("`status`: {fault}")))?,
        function: query.get("function").map(str::to_owned),
        limit: number(query, "limit", "1 to 500")?,
        live: false,
        since: moment(query, "since")?,
        until: moment(query, "until")?,
        cursor: match query.get("cursor") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                Problem::bad_request(format!("`cursor` is `{text}`; use the `cursor` of the page before"))
            })?),
        },
    })
}

/// `GET /v1/runs`.
pub(crate) async fn list(State(shared): State<Shared>, query: Parameters) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Page<'a> {
        data: Vec<Run<'a>>,
        cursor: Option<RunId>,
    }
    let mut page = shared.engine.query().runs(filter(&query)?).await?;
    if let Some(most) = shared.answer_bytes {
        let fitting = fit::how_many(page.runs.iter().map(Run::of), most - ENVELOPE_BYTES);
        if fitting < page.runs.len() {
            page.runs.truncate(fitting);
            page.cursor = page.runs.last().map(|run| run.run);
        }
    }
    Ok(Json(Page { data: page.runs.iter().map(Run::of).collect(), cursor: page.cursor }).into_response())
}

/// `GET /v1/runs/{id}`.
pub(crate) async fn one(State(shared): State<Shared>, RunPath(run): RunPath) -> Result<Response, Problem> {
    let mut run = shared.engine.query().run(run).await?;
    if let Some(most) = shared.answer_bytes {
        fit::run(&mut run, most)?;
    }
    Ok(Json(Data { data: FullRun::of(&run) }).into_response())
}

/// `GET /v1/runs/{id}/journal`.
pub(crate) async fn journal(
    State(shared): State<Shared>,
    RunPath(run): RunPath,
    query: Parameters,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Page<'a> {
        data: Vec<Entry<'a>>,
        next: Option<u64>,
    }
    let from = number(&query, "from", "the number of an entry, from 0")?.unwrap_or(0);
    let limit = number(&query, "limit", "1 to 1000")?.unwrap_or(ENTRIES);
    if !(1..=MOST_ENTRIES).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is {limit}; use 1 to {MOST_ENTRIES}")));
    }
    let page = shared.engine.query().journal(run, from, limit).await?;
    let mut data: Vec<Entry<'_>> = page.entries.iter().map(|(seq, entry)| Entry::of(*seq, entry)).collect();
    let mut next = page.next;
    if let Some(most) = shared.answer_bytes {
        let fitting = fit::how_many(&data, most - ENVELOPE_BYTES);
        next = page.entries.get(fitting).map(|(seq, _)| *seq).or(next);
        data.truncate(fitting);
    }
    Ok(Json(Page { data, next }).into_response())
}

/// `DELETE /v1/runs/{id}`.
pub(crate) async fn cancel(State(shared): State<Shared>, RunPath(run): RunPath) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Cancelled {
        run_id: RunId,
        status: Status,
    }
    let status = shared.engine.control().cancel(run, "somebody asked for it").await?;
    Ok((StatusCode::ACCEPTED, Json(Data { data: Cancelled { run_id: run, status } })).into_response())
}

/// `POST /v1/runs/{id}/rerun`.
pub(crate) async fn rerun(
    State(shared): State<Shared>,
    RunPath(run): RunPath,
    body: Body,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Begun {
        run_id: RunId,
    }
    let body = shared.bodies.read(body, RERUN_BYTES).await?;
    let mut admitted = shared.intake.admit(&shared.engine)?;
    let how = how(&body.bytes)?;
    admitted.reserve(1)?;
    let again = shared.engine.control().rerun(run, how).await?;
    Ok((StatusCode::CREATED, Json(Data { data: Begun { run_id: again } })).into_response())
}

/// What a rerun's body asks for; nothing asks for all of it again.
fn how(body: &[u8]) -> Result<Rerun, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wish {
        from_step: Option<String>,
        input: Option<Box<RawValue>>,
    }
    let text = std::str::from_utf8(body)
        .map_err(|e| Problem::bad_request(format!("the body is not UTF-8 at byte {}", e.valid_up_to())))?;
    if text.trim().is_empty() {
        return Ok(Rerun::default());
    }
    json::check(text).map_err(|unfit| Problem::bad_request(format!("the body {unfit}")))?;
    if !text.trim_start().starts_with('{') {
        return Err(Problem::bad_request("the body is not a JSON object with `from_step` or `input`"));
    }
    let wish: Wish = serde_json::from_str(text)
        .map_err(|e| Problem::bad_request(format!("the body is not a wish for a rerun: {e}")))?;
    if let Some(input) = wish.input.as_ref().filter(|input| input.get().len() > EVENT_BYTES) {
        let sentence = format!("`input` has {} bytes; at most {EVENT_BYTES} are allowed", input.get().len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    Ok(Rerun { from_step: wish.from_step, input: wish.input.map(Into::into) })
}

/// A moment, as the answers have it.
fn moment(query: &Parameters, name: &str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let millis = text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond()).filter(|millis| *millis >= 0);
    let fault = || Problem::bad_request(format!("`{name}` is `{text}`; use a moment, as 2026-11-24T21:00:00Z"));
    millis.map(|millis| Some(Timestamp::from_millis(millis))).ok_or_else(fault)
}

/// A number.
///
/// # Errors
/// 400 with the name and the range.
pub(crate) fn number<T: std::str::FromStr>(query: &Parameters, name: &str, range: &str) -> Result<Option<T>, Problem> {
    let bad = |text: &str| Problem::bad_request(format!("`{name}` is `{text}`; use {range}"));
    query.get(name).map(|text| text.parse().map_err(|_| bad(text))).transpose()
}
