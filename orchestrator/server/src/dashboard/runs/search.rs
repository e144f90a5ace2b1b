//! The search for runs. The searched text is an id, the start of a run's id, or part of a
//! function's id, because every storage finds these through an index. Another text is searched in
//! the inputs and errors of the newest runs only.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use stepladder_core::{EventId, Label, RunId, Status, Timestamp};
use stepladder_engine::{ActivityKind, Engine, EngineError, ListingDepth, RunFilter, RunPage};

use super::PAGE;
use super::errors::{ErrorGroup, error_key, group_errors};
use crate::dashboard::PageRequest;
use crate::dashboard::text::{brief, query_string};
use crate::error::HttpProblem;

/// The maximum number of functions that the text may match. Each of them needs its own listing.
const MAX_FUNCTIONS: usize = 8;
/// The number of characters of an id.
const ID_LENGTH: usize = 26;
/// The number of newest failed runs that are grouped by their error.
const GROUPED_RUNS: usize = 200;
/// The maximum size of the text in bytes. Ids and names are shorter.
const TEXT_BYTES: usize = 1_024;
const HOUR: u64 = 60 * 60;
const MINUTE: Duration = Duration::from_secs(60);
/// The time spans to filter by, all of which end now.
pub(super) const SPANS: [(&str, &str, Duration); 4] = [
    ("1h", "the last hour", Duration::from_secs(HOUR)),
    ("24h", "the last 24 hours", Duration::from_secs(24 * HOUR)),
    ("7d", "the last 7 days", Duration::from_secs(7 * 24 * HOUR)),
    ("30d", "the last 30 days", Duration::from_secs(30 * 24 * HOUR)),
];

/// A search, as given by the query of the page.
pub(in crate::dashboard) struct RunSearch {
    pub(super) status: Option<Status>,
    pub(super) function: Option<String>,
    pub(super) text: String,
    /// The selected time span: a keyword of [`SPANS`].
    pub(super) within: Option<String>,
    /// The start of the time span in UTC, as in a form field: `2026-11-24T21:00`.
    pub(super) from: String,
    /// The last minute of the time span.
    pub(super) to: String,
    pub(super) cursor: Option<RunId>,
    /// What the runs do.
    pub(super) doing: Option<Doing>,
    /// The key of an error, to find the failed runs of a group.
    pub(super) error: String,
    begins: Option<Timestamp>,
    ends: Option<Timestamp>,
}

/// What the live runs of a search do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Anything.
    Live,
    Activity(ActivityKind),
}

/// The runs that a search found, and how its text was interpreted.
pub(in crate::dashboard) struct SearchResult {
    pub(in crate::dashboard) found: RunPage,
    pub(super) meaning: Option<String>,
    /// The groups of failed runs with the same error.
    pub(super) errors: Vec<ErrorGroup>,
    /// Whether the runs are those of a [`RunFilter`].
    pub(super) is_bulk: bool,
}

impl RunSearch {
    /// Parses a search from a query.
    ///
    /// # Errors
    /// 400 with the name of an invalid parameter.
    pub(in crate::dashboard) fn from_request(request: &PageRequest, now: Timestamp) -> Result<Self, HttpProblem> {
        let status = request.parameter("status").map(|text| text.parse::<Status>()).transpose();
        let within = request.parameter("within");
        let span =
            match within {
                None => None,
                Some(word) => {
                    Some(SPANS.iter().find(|(each, ..)| *each == word).map(|(.., span)| *span).ok_or_else(|| {
                        HttpProblem::bad_request(format!("`within` is `{word}`; use 1h, 24h, 7d or 30d"))
                    })?)
                }
            };
        let cursor = request.parameter("cursor").map(|text| {
            text.parse().map_err(|_| {
                HttpProblem::bad_request(format!("`cursor` is `{text}`; follow a link of the previous page"))
            })
        });
        let text = request.parameter("q").unwrap_or_default();
        if text.len() > TEXT_BYTES {
            return Err(HttpProblem::bad_request(format!(
                "the text has {} bytes; use at most {TEXT_BYTES}",
                text.len()
            )));
        }
        let doing = match request.parameter("doing") {
            None => None,
            Some("live") => Some(Doing::Live),
            Some(word) => {
                let fault = |fault| HttpProblem::bad_request(format!("`doing`: {fault}, or live"));
                Some(Doing::Activity(word.parse().map_err(fault)?))
            }
        };
        Ok(Self {
            doing,
            error: brief(request.parameter("error").unwrap_or_default(), TEXT_BYTES),
            status: status.map_err(|fault| HttpProblem::bad_request(format!("`status`: {fault}")))?,
            // the id is not trimmed, because it may start or end with a space
            function: request.query.get("function").map(str::to_owned),
            text: text.to_owned(),
            within: within.map(str::to_owned),
            from: request.parameter("from").unwrap_or_default().to_owned(),
            to: request.parameter("to").unwrap_or_default().to_owned(),
            cursor: cursor.transpose()?,
            begins: time_parameter(request, "from")?.max(span.map(|span| now - span)),
            // the end is a minute, and the runs of that minute are included
            ends: time_parameter(request, "to")?.map(|minute| minute + MINUTE),
        })
    }

    pub(super) fn has_filter(&self) -> bool {
        self.status.is_some()
            || self.doing.is_some()
            || !self.error.is_empty()
            || self.function.is_some()
            || !self.text.is_empty()
            || self.begins.is_some()
            || self.ends.is_some()
    }

    /// Returns what the live runs do, as a parameter.
    pub(super) fn doing_word(&self) -> Option<String> {
        self.doing.map(|doing| match doing {
            Doing::Live => "live".to_owned(),
            Doing::Activity(kind) => kind.to_string().to_lowercase(),
        })
    }

    /// Returns the link to this search with some parameters changed. The parameter `seen` is left
    /// out, because only the stream uses it.
    pub(super) fn link(&self, changes: &[(&str, &str)]) -> String {
        let doing = self.doing_word();
        let (status, cursor) = (self.status.map(|status| status.to_string()), self.cursor.map(|run| run.to_string()));
        let parts = [
            ("status", status.as_deref()),
            ("doing", doing.as_deref()),
            ("error", Some(&self.error[..])),
            ("function", self.function.as_deref()),
            ("q", Some(&self.text[..])),
            ("within", self.within.as_deref()),
            ("from", Some(&self.from[..])),
            ("to", Some(&self.to[..])),
            ("cursor", cursor.as_deref()),
            ("seen", None),
        ];
        let changed = parts.map(|(name, value)| {
            let change = changes.iter().find(|(changed, _)| *changed == name).map(|(_, value)| *value);
            (name, change.or(value).unwrap_or_default())
        });
        format!("/{}", query_string(changed.into_iter().filter(|(_, value)| !value.is_empty())))
    }

    /// Returns the filter of the search without its text.
    pub(super) fn filter(&self) -> RunFilter {
        RunFilter {
            status: self.status,
            live: self.doing == Some(Doing::Live),
            activity: self.doing.and_then(|doing| match doing {
                Doing::Live => None,
                Doing::Activity(kind) => Some(kind),
            }),
            functions: self.function.iter().cloned().collect(),
            from: self.begins.map(|at| RunId::new(at, 0)),
            before: self.ends.map(|at| RunId::new(at, 0)),
            cursor: self.cursor,
            limit: Some(PAGE),
            depth: ListingDepth::Quick,
            activities: true,
            ..RunFilter::default()
        }
    }

    /// Returns the filter of the search, if an index of the store finds the text; with a
    /// description of how the text was interpreted.
    /// With `ids`, the text may also be the beginning of an id.
    pub(super) fn indexed(&self, engine: &Engine, ids: bool) -> Option<(RunFilter, Option<String>)> {
        let filter = self.filter();
        let text = &self.text[..];
        if text.is_empty() {
            return self.error.is_empty().then_some((filter, None));
        }
        if let Some(label) = label_of(text).filter(|label| ids || is_declared(engine, label)) {
            let meaning = format!("runs with the label {} = {}", label.key, brief(&label.value, 80));
            return Some((RunFilter { label: Some(label), ..filter }, Some(meaning)));
        }
        if ids && let Some((first, last)) = id_range(text) {
            let from = filter.from.max(Some(first));
            let before = filter.before.into_iter().chain([last]).min();
            return Some((RunFilter { from, before, ..filter }, Some("runs with an id that begins with this".into())));
        }
        let lower = text.to_lowercase();
        let mut functions: Vec<String> = engine
            .functions()
            .snapshot()
            .specs()
            .filter(|spec| self.function.as_deref().is_none_or(|chosen| *chosen == *spec.id))
            .map(|spec| spec.id.to_string())
            .filter(|id| id.to_lowercase().contains(&lower))
            .collect();
        if functions.is_empty() {
            return None;
        }
        let all = functions.len();
        functions.truncate(MAX_FUNCTIONS);
        let first = if all > MAX_FUNCTIONS { format!("the first {MAX_FUNCTIONS} of ") } else { String::new() };
        let meaning = format!("runs of {first}{all} function{} with this in the id", if all == 1 { "" } else { "s" });
        Some((RunFilter { functions, ..filter }, Some(meaning)))
    }

    /// Finds the runs. For a page, they have their `inputs`.
    pub(in crate::dashboard) async fn run(&self, engine: &Engine, inputs: bool) -> Result<SearchResult, EngineError> {
        let filter = RunFilter { inputs, ..self.filter() };
        let text = &self.text[..];
        if !self.error.is_empty() {
            let failed = RunFilter { limit: Some(GROUPED_RUNS), status: Some(Status::Failed), ..filter };
            let mut runs = engine.query().runs(failed).await?.runs;
            runs.retain(|run| error_key(run).as_deref() == Some(&self.error[..]));
            runs.truncate(PAGE);
            return Ok(found_runs(runs, format!("runs with this error, of the newest {GROUPED_RUNS} failed runs")));
        }
        if text.is_empty() && self.status == Some(Status::Failed) && self.cursor.is_none() {
            let mut found = engine.query().runs(RunFilter { limit: Some(GROUPED_RUNS), ..filter }).await?;
            let errors = group_errors(&found.runs);
            if found.runs.len() > PAGE {
                found.runs.truncate(PAGE);
                found.cursor = found.runs.last().map(|run| run.run);
            }
            return Ok(SearchResult { found, meaning: None, errors, is_bulk: true });
        }
        if let Ok(run) = text.parse::<RunId>()
            && let Some(found) = engine.query().listed_run(run).await?
        {
            return Ok(found_runs(vec![found], "the run of this id".into()));
        }
        for ids in [true, false] {
            let Some((filter, meaning)) = self.indexed(engine, ids) else { continue };
            let found = engine.query().runs(RunFilter { inputs, ..filter }).await?;
            let is_guess = id_range(text).is_some() || label_of(text).is_some_and(|label| !is_declared(engine, &label));
            if !ids || !found.runs.is_empty() || found.cursor.is_some() || !is_guess {
                return Ok(SearchResult { found, meaning, errors: Vec::new(), is_bulk: true });
            }
        }
        if let Ok(run) = text.parse::<RunId>()
            && let Some(found) = engine.query().listed_run(run).await?
        {
            return Ok(found_runs(vec![found], "the run of this id".into()));
        }
        match engine.query().runs_of_event(text).await {
            Ok(mut runs) => {
                runs.reverse();
                runs.truncate(PAGE);
                Ok(found_runs(runs, "runs of the event of this id".into()))
            }
            Err(EngineError::NotFound(_)) => {
                let (RunPage { mut runs, .. }, searched) = engine.query().runs_with_text(filter, text).await?;
                let found = runs.len();
                runs.truncate(PAGE);
                let shown =
                    if found > PAGE { format!(" The newest {PAGE} of {found} are shown.") } else { String::new() };
                let runs_searched = if searched == 1 { "1 run".into() } else { format!("{searched} runs") };
                let meaning = format!("runs with this in their input or error, of the newest {runs_searched}.{shown}");
                Ok(found_runs(runs, meaning.trim_end_matches('.').to_owned()))
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns the label that a text such as `clientId:cust-42` may mean.
fn label_of(text: &str) -> Option<Label> {
    let (key, value) = text.split_once(':')?;
    Label::new(key.trim(), value.trim()).ok()
}

/// Returns whether a function declares the key of a label. Other keys are added by `ctx.label`.
fn is_declared(engine: &Engine, label: &Label) -> bool {
    let snapshot = engine.functions().snapshot();
    snapshot.specs().flat_map(|spec| &spec.labels).any(|declared| declared.key == label.key)
}

fn found_runs(runs: Vec<stepladder_engine::view::RunSummary>, meaning: String) -> SearchResult {
    SearchResult { found: RunPage { runs, cursor: None }, meaning: Some(meaning), errors: Vec::new(), is_bulk: false }
}

/// Reads a form field with a date and a time in UTC.
fn time_parameter(request: &PageRequest, name: &str) -> Result<Option<Timestamp>, HttpProblem> {
    let Some(text) = request.parameter(name) else { return Ok(None) };
    let fault =
        || HttpProblem::bad_request(format!("`{name}` is `{text}`; use a date and a time such as 2026-11-24T21:00"));
    let date: DateTime = text.parse().map_err(|_| fault())?;
    let millis = TimeZone::UTC.to_timestamp(date).map_err(|_| fault())?.as_millisecond();
    (millis >= 0).then(|| Some(Timestamp::from_millis(millis))).ok_or_else(fault)
}

/// Returns the range of run ids that start with a string: the first such id, and the first id after
/// them. Returns `None` if no id of this millennium starts with the string.
fn id_range(text: &str) -> Option<(RunId, RunId)> {
    const LENGTH: usize = ID_LENGTH;
    if !text.starts_with('0') || text.len() < 2 || text.len() > LENGTH {
        return None;
    }
    let first: RunId = format!("{text:0<LENGTH$}").parse().ok()?;
    let last: EventId = format!("{text:Z<LENGTH$}").parse().ok()?;
    Some((first, RunId::from_bytes(last.next().to_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::inputs::QueryParameters;

    fn page_request(parts: &[(&str, &str)]) -> PageRequest {
        PageRequest { headers: Default::default(), query: QueryParameters::from_pairs(parts) }
    }

    fn search_of(parts: &[(&str, &str)]) -> Result<RunSearch, HttpProblem> {
        RunSearch::from_request(&page_request(parts), Timestamp::from_millis(1_700_000_000_000))
    }

    #[test]
    fn the_beginning_of_an_id_is_a_range_of_ids() {
        let (first, last) = id_range("01HF7").unwrap();
        assert_eq!(first.to_string(), "01HF7000000000000000000000");
        assert_eq!(last.to_string(), "01HF8000000000000000000000");
        let whole = "01HF7YAT00X6E3H2QJ7N9W5K4M";
        let (first, last) = id_range(whole).unwrap();
        assert!(first.to_string() == whole && last > first);
        for none in ["", "0", "hello", "7ZZ", "01HF7U", "01HF7YAT00X6E3H2QJ7N9W5K4MX", "01é"] {
            assert!(id_range(none).is_none(), "{none}");
        }
    }

    #[test]
    fn a_link_keeps_the_other_parameters() {
        let search = search_of(&[("status", "failed"), ("function", "a&b"), ("q", "x y"), ("cursor", "")]).unwrap();
        assert_eq!(search.link(&[]), "/?status=Failed&function=a%26b&q=x%20y");
        assert_eq!(search.link(&[("status", ""), ("q", "z")]), "/?function=a%26b&q=z");
    }

    #[test]
    fn a_time_span_has_two_ends() {
        let of = search_of(&[("from", "2023-11-14T00:00"), ("to", "2023-11-14T12:30")]).unwrap();
        assert_eq!(of.begins.unwrap().to_string(), "2023-11-14T00:00:00.000Z");
        assert_eq!(of.ends.unwrap().to_string(), "2023-11-14T12:31:00.000Z");
        assert_eq!(search_of(&[("within", "1h")]).unwrap().begins.unwrap().as_millis(), 1_700_000_000_000 - 3_600_000);
        for (name, bad) in
            [("from", "yesterday"), ("to", "0001-01-01T00:00"), ("within", "2h"), ("status", "x"), ("cursor", "x")]
        {
            assert_eq!(
                search_of(&[(name, bad)]).err().map(|problem| problem.status.as_u16()),
                Some(400),
                "{name}={bad}"
            );
        }
    }
}
