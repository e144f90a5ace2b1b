//! What lies in a data file once its server is dead, read through the adapter and none of the engine.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use stepladder_core::journal::{Entry, Fact, NewRun, Origin};
use stepladder_core::slot::{Limit, Ticket};
use stepladder_core::state::{RunEnd, RunOutcome};
use stepladder_core::{EventId, RunId, RunRow};
use stepladder_engine::ports::{Events, Journals, Listings, RunQuery, Slots};
use stepladder_proof::Journal;
use stepladder_sqlite::{Options, Sqlite};

/// Rows in a page of the listing.
const PAGE: usize = 500;

/// All runs of a data file.
pub(crate) struct Stored {
    file: Sqlite,
    pub(crate) journals: Vec<Journal>,
    pub(crate) rows: HashMap<RunId, RunRow>,
}

impl Stored {
    /// Reads it. Its server must be gone.
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
        Self { file, journals, rows }
    }

    /// The event that a sender's id stands for, if it was stored.
    pub(crate) async fn event(&self, external_id: &str) -> Option<EventId> {
        let id = self.file.resolve(external_id).await.expect("a look-up")?;
        self.file.event(id).await.expect("a look-up").map(|event| event.id)
    }

    /// Those who wait for a slot of a function with one limit.
    pub(crate) async fn line(&self, function: &str) -> Vec<Ticket> {
        let limit = Limit { key: format!("{function}/0").into(), slots: 1 };
        self.file.tickets(&limit, usize::MAX).await.expect("a line")
    }
}

/// What a run starts from.
pub(crate) fn created(journal: &Journal) -> &NewRun {
    match journal.entries.first().map(|entry| &entry.fact) {
        Some(Fact::RunCreated(created)) => created,
        other => panic!("{} begins with {other:?}", journal.run),
    }
}

/// Which run called it, or failed, if it was started by one.
pub(crate) fn started_by(journal: &Journal) -> Option<RunId> {
    match created(journal).origin {
        Origin::Event | Origin::Cron => None,
        Origin::Invoke { parent, .. } => Some(parent),
        Origin::Failure { of } | Origin::Rerun { of } => Some(of),
    }
}

/// How it ended.
pub(crate) fn ending(journal: &Journal) -> Option<RunOutcome> {
    journal.entries.iter().find_map(RunEnd::from).map(|end| end.how)
}

/// The events that it sent.
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

/// The id of a function whose name is short here.
pub(crate) fn is_of(journal: &Journal, function: &str) -> bool {
    created(journal).function == Arc::from(function)
}
