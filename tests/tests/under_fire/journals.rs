//! Reads the data file of a dead server, with the adapter but without the engine.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::{Entry, Fact, NewRun, RunOrigin};
use stepladder_core::slot::{Limit, Ticket};
use stepladder_core::state::{RunEnd, RunOutcome};
use stepladder_core::{EventId, RunId, RunRow};
use stepladder_engine::ports::{Events, Journals, Listings, Queue, RunQuery, Slots, SnapshotParts};
use stepladder_proof::RunJournal;
use stepladder_sqlite::{Sqlite, SqliteOptions};

/// The number of rows on a page of the listing.
const PAGE: usize = 500;

/// The content of a data file, with all runs.
pub(crate) struct StoredRuns {
    file: Sqlite,
    pub(crate) journals: Vec<RunJournal>,
    pub(crate) rows: HashMap<RunId, RunRow>,
    /// The runs with wakes that were due but not acknowledged when the server died.
    pub(crate) due: HashSet<RunId>,
}

impl StoredRuns {
    /// Reads a data file after its server has ended.
    pub(crate) async fn read(path: &Path) -> Self {
        let file = Sqlite::open(path, SqliteOptions::default()).expect("the data file opens");
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

    /// Returns the id of the stored event that has this sender id; `None` if there is none.
    pub(crate) async fn event(&self, external_id: &str) -> Option<EventId> {
        let id = self.file.resolve(external_id).await.expect("a look-up")?;
        self.file.event(id).await.expect("a look-up").map(|event| event.id)
    }

    /// Returns the tickets at the only limit of a function.
    pub(crate) async fn wait_queue_of(&self, function: &str) -> Vec<Ticket> {
        let limit = Limit { key: format!("{function}/0").into(), slots: 1 };
        self.file.snapshot(&limit.key, SnapshotParts::first(usize::MAX)).await.expect("a line").first
    }
}

/// Returns the creation of a run, which is its entry 0.
pub(crate) fn creation_entry(journal: &RunJournal) -> &NewRun {
    match journal.entries.first().map(|entry| &entry.fact) {
        Some(Fact::RunCreated(created)) => created,
        other => panic!("{} begins with {other:?}", journal.run),
    }
}

/// Returns the run from which this run was started: its caller, the failed run that it handles, or
/// the run that it reruns.
pub(crate) fn started_by(journal: &RunJournal) -> Option<RunId> {
    match creation_entry(journal).origin {
        RunOrigin::Event | RunOrigin::Cron => None,
        RunOrigin::Invoke { parent, .. } => Some(parent),
        RunOrigin::Failure { of } | RunOrigin::Rerun { of } => Some(of),
    }
}

/// Returns how the run ended; `None` if it has not ended.
pub(crate) fn ending(journal: &RunJournal) -> Option<RunOutcome> {
    journal.entries.iter().find_map(RunEnd::from).map(|end| end.how)
}

/// Returns the events that the run sent.
pub(crate) fn sent_events(journal: &RunJournal) -> Vec<EventId> {
    let ids = journal.entries.iter().filter_map(|entry| match &entry.fact {
        Fact::EventsSent { ids, .. } => Some(ids.clone()),
        _ => None,
    });
    ids.flatten().collect()
}

async fn journal(file: &Sqlite, run: RunId) -> RunJournal {
    let mut entries: Vec<Entry> = Vec::new();
    for record in file.read(run, 0).await.expect("a journal") {
        assert_eq!(record.seq, entries.len() as u64, "the journal of {run} has a gap");
        entries.extend(record.entries);
    }
    RunJournal { run, entries }
}

/// Returns whether a run belongs to this function. The name is given without the prefix of the app.
pub(crate) fn is_of(journal: &RunJournal, function: &str) -> bool {
    creation_entry(journal).function == Arc::from(function)
}
