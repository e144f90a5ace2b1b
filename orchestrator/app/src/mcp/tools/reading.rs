//! Tools that read: functions, runs, and the journal of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use stepladder_api::{Function, JournalEntry, Run, Time};
use stepladder_core::{EventId, Json, RunId, Seq, Status};

use super::{Output, Tool, ToolAction, ToolEffect, ToolOutput, bounded, problem};
use crate::cli::functions::{NO_FUNCTIONS, functions_table};
use crate::cli::runs::runs_table;
use crate::client::Client;
use crate::mcp::arguments::{Argument, ArgumentKind, Arguments};
use crate::terminal::text::{now, one_line};

pub(super) const LIST_FUNCTIONS: Tool = Tool {
    name: "list_functions",
    title: "List functions",
    description: "Lists the registered functions: id, triggers, cron schedules, retries, limits, and whether one is paused.",
    action: ToolAction::ListFunctions,
    effect: ToolEffect::Reads,
    arguments: &[],
    outputs: &[Output::always("functions", &["array"])],
};

pub(super) const SEARCH_RUNS: Tool = Tool {
    name: "search_runs",
    title: "Search runs",
    description: "Lists runs, newest first. All filters that are given must match. A search for a text reads the newest \
        300 matching runs (50 of a table); `cursor` continues with older ones.",
    action: ToolAction::SearchRuns,
    effect: ToolEffect::Reads,
    arguments: &SEARCH_ARGUMENTS,
    outputs: &[
        Output::always("runs", &["array"]),
        Output::sometimes("cursor", &["string"]),
        Output::sometimes("searched", &["integer"]),
    ],
};

const SEARCH_ARGUMENTS: [Argument; 8] = [
    Argument::optional("status", ArgumentKind::Status, "only runs of this status"),
    Argument::optional("function", ArgumentKind::Text, "only runs of this function, by its id"),
    Argument::optional("label", ArgumentKind::Label, "only runs with this label, such as clientId=cust-42"),
    Argument::optional("text", ArgumentKind::Text, "only runs with this text in their input or error"),
    Argument::optional("since", ArgumentKind::Time, "only runs created since then: 2026-11-24T21:00:00Z, or 24h"),
    Argument::optional("until", ArgumentKind::Time, "only runs created before then: 2026-11-24T21:00:00Z, or 24h"),
    Argument::optional("limit", ArgumentKind::Number { min: 1, max: 100, default: 20 }, "maximum number of runs"),
    Argument::optional("cursor", ArgumentKind::Text, "the `cursor` of the previous page"),
];

pub(super) const GET_JOURNAL: Tool = Tool {
    name: "get_journal",
    title: "Read the journal of a run",
    description: "Returns the entries of a run's journal in order: everything that was recorded of it. `next` is the \
        entry with which to continue; without it, the journal is complete. Large values are replaced with their size.",
    action: ToolAction::GetJournal,
    effect: ToolEffect::Reads,
    arguments: &JOURNAL_ARGUMENTS,
    outputs: &[
        Output::always("run_id", &["string"]),
        Output::always("entries", &["array"]),
        Output::sometimes("next", &["integer"]),
    ],
};

const JOURNAL_ARGUMENTS: [Argument; 3] = [
    Argument::required("run_id", ArgumentKind::Run, "the id of the run"),
    Argument::optional(
        "from",
        ArgumentKind::Number { min: 0, max: u32::MAX as u64, default: 0 },
        "the number of the first entry to return",
    ),
    Argument::optional("limit", ArgumentKind::Number { min: 1, max: 200, default: 50 }, "maximum number of entries"),
];

/// The maximum size of the entries of a page together, in bytes: the text of a result has room for
/// them.
const PAGE_BYTES: usize = 24 * 1024;
/// The maximum size of one entry, in bytes.
const ENTRY_BYTES: usize = 4 * 1024;
/// The maximum number of characters of an error in a list.
const ERROR_CHARS: usize = 300;

/// A run in a list, without its output.
#[derive(Serialize)]
struct FoundRun {
    run_id: RunId,
    function_id: Arc<str>,
    status: Status,
    event_id: EventId,
    created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<Arc<str>, Arc<str>>,
}

impl From<Run> for FoundRun {
    fn from(run: Run) -> Self {
        Self {
            run_id: run.run_id,
            function_id: run.function_id,
            status: run.status,
            event_id: run.event_id,
            created_at: run.created_at,
            ended_at: run.ended_at,
            error: run.error.map(|error| one_line(&error.headline(), ERROR_CHARS)),
            labels: run.labels,
        }
    }
}

pub(super) async fn list_functions(client: &Client) -> Result<ToolOutput, String> {
    #[derive(Serialize)]
    struct Found {
        functions: Vec<Function>,
    }
    let (functions, _) = client.functions().await.map_err(problem)?;
    let text = match functions.is_empty() {
        true => NO_FUNCTIONS.to_owned(),
        false => functions_table(&functions).to_string(),
    };
    ToolOutput::new(text, &Found { functions })
}

pub(super) async fn search_runs(client: &Client, arguments: &Arguments) -> Result<ToolOutput, String> {
    #[derive(Serialize)]
    struct Found {
        runs: Vec<FoundRun>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<RunId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        searched: Option<usize>,
    }
    let mut query = vec![("limit", arguments.number(&SEARCH_ARGUMENTS, "limit").to_string())];
    query.extend(arguments.status("status").map(|status| ("status", status.to_string())));
    query.extend(arguments.label("label").map(|label| ("label", label.to_string())));
    for name in ["function", "text", "cursor"] {
        query.extend(arguments.text(name).map(|text| (name, text)));
    }
    for name in ["since", "until"] {
        query.extend(arguments.time(name).map(|time| (name, time)));
    }
    let (page, _) = client.runs(&query).await.map_err(problem)?;
    let mut text = match page.data.is_empty() {
        true => "no runs match".to_owned(),
        false => runs_table(&page.data, now()).to_string(),
    };
    if let Some(searched) = page.searched {
        text.push_str(&format!("\nsearched the newest {searched} runs that match the other filters"));
    }
    if let Some(cursor) = page.cursor {
        text.push_str(&format!("\nolder runs: cursor {cursor}"));
    }
    let runs = page.data.into_iter().map(FoundRun::from).collect();
    ToolOutput::new(text, &Found { runs, cursor: page.cursor, searched: page.searched })
}

pub(super) async fn get_journal(client: &Client, arguments: &Arguments) -> Result<ToolOutput, String> {
    #[derive(Serialize)]
    struct Journal {
        run_id: RunId,
        entries: Vec<JournalEntry<Json>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<Seq>,
    }
    let run_id = arguments.run()?;
    let from = arguments.number(&JOURNAL_ARGUMENTS, "from");
    let limit = u16::try_from(arguments.number(&JOURNAL_ARGUMENTS, "limit")).unwrap_or(u16::MAX);
    let page = client.journal(run_id, from, limit).await.map_err(problem)?;
    let (mut entries, mut next, mut lines, mut bytes) = (Vec::new(), page.next, Vec::new(), 0);
    for entry in page.data {
        let fact = bounded(&entry.fact, ENTRY_BYTES);
        bytes += fact.get().len();
        if bytes > PAGE_BYTES && !entries.is_empty() {
            next = Some(entry.seq);
            break;
        }
        lines.push(format!("{} {} {}", entry.seq, entry.at, fact.get()));
        entries.push(JournalEntry { fact, ..entry });
    }
    lines.push(match next {
        Some(next) => format!("more entries: from {next}"),
        None => format!("the journal has {} entries", entries.last().map_or(from, |entry| entry.seq + 1)),
    });
    ToolOutput::new(lines.join("\n"), &Journal { run_id, entries, next })
}
