//! Reads the data file of a dead server through the adapter, without the engine.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::{Entry, Fact, NewRun, Origin};
use stepladder_core::slot::{Limit, Ticket};
use stepladder_core::state::{RunEnd, RunOutcome};
use stepladder_core::{EventId, RunId, RunRow};
use stepladder_engine::ports::{Events, Journals, Listings, Queue, RunQuery, Slots};
use stepladder_proof::Journal;
use stepladder_sqlite::{Options, Sqlite};

/// The number of rows in a page of the listing.
const PAGE: usize = 500;

/// A data file with all its runs.
pub(crate) struct Stored {
    file: Sqlite,
    pub(crate) journals: Vec<Journal>,
    pub(crate) rows: HashMap<RunId, RunRow>,
    /// The runs of wakes that the server had not acknowledged and that are due.
    pub(crate) due: HashSet<RunId>,
}

impl Stored {
    /// Reads a data file. Its server must have ended.
    pub(crate) async fn read(path: &Path) -> Self {
        let file = Sqlite::open(path, Options::default()).expect("the data file opens");
        let (mut journals, mut rows) = (Vec::new(), HashMap::new());
        let mut query = RunQuery { limit: PAGE, ..RunQuery::default() };
        loop {
            let page = file.runs(query.clone()).await.expect("a listing");
            let Some(last) = page.last() else { break };
            query.before = Some(last.run);
            for row in page {
                journals.push(journal(&file, row.run).await);
                rows.insert(row.run, row);
            }
        }
        let mut due = HashSet::new();
        if file.backlog().is_some_and(|backlog| backlog.due > 0) {
            let deliveries = file.receive(usize::MAX, Duration::from_secs(60)).await.expect("deliveries");
            due.extend(deliveries.into_iter().map(|delivery| delivery.wake.run));
        }
        Self { file, journals, rows, due }
    }

    /// Returns the id of the event with this sender's id, if it was stored.
    pub(crate) async fn event(&self, external_id: &str) -> Option<EventId> {
        let id = self.file.resolve(external_id).await.expect("a look-up")?;
        self.file.event(id).await.expect("a look-up").map(|event| event.id)
    }

    /// Returns the tickets of a function with one limit.
    pub(crate) async fn line(&self, function: &str) -> Vec<Ticket> {
        let limit = Limit { key: format!("{function}/0").into(), slots: 1 };
        self.file.tickets(&limit, usize::MAX).await.expect("a line")
    }
}

/// Returns entry 0 of a run.
pub(crate) fn created(journal: &Journal) -> &NewRun {
    match journal.entries.first().map(|entry| &entry.fact) {
        Some(Fact::RunCreated(created)) => created,
        other => panic!("{} begins with {other:?}", journal.run),
    }
}

/// Returns the run that called this run, or whose failure it handles.
pub(crate) fn started_by(journal: &Journal) -> Option<RunId> {
    match created(journal).origin {
        Origin::Event | Origin::Cron => None,
        Origin::Invoke { parent, .. } => Some(parent),
        Origin::Failure { of } | Origin::Rerun { of } => Some(of),
    }
}

/// Returns how the run ended.
pub(crate) fn ending(journal: &Journal) -> Option<RunOutcome> {
    journal.entries.iter().find_map(RunEnd::from).map(|end| end.how)
}

/// Returns the events that the run sent.
pub(crate) fn sent(journal: &Journal) -> Vec<EventId> {
    let ids = journal.entries.iter().filter_map(|entry| match &entry.fact {
        Fact::EventsSent { ids, .. } => Some(ids.clone()),
        _ => None,
    });
    ids.flatten().collect()
}

async fn journal(file: &Sqlite, run: RunId) -> Journal {
    let mut entries: Vec<Entry> = Vec::new();
    for record in file.read(run, 0).await.expect("a journal") {
        assert_eq!(record.seq, entries.len() as u64, "the journal of {run} has a gap");
        entries.extend(record.entries);
    }
    Journal { run, entries }
}

/// Returns whether a run is of this function, given without the app's prefix.
pub(crate) fn is_of(journal: &Journal, function: &str) -> bool {
    created(journal).function == Arc::from(function)
}
