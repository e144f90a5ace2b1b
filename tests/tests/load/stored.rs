//! Reads the data file of a server that has ended.

use std::path::Path;

use stepladder_engine::ports::{Events, Journals, Listings, RunQuery};
use stepladder_proof::RunJournal;
use stepladder_sqlite::{Sqlite, SqliteOptions};

/// The content of a data file.
pub(crate) struct StoredRuns {
    file: Sqlite,
    pub(crate) journals: Vec<RunJournal>,
    /// The id of each run's event.
    pub(crate) started: Vec<String>,
}

/// Reads a data file.
pub(crate) async fn read(path: &Path) -> StoredRuns {
    let file = Sqlite::open(path, SqliteOptions::default()).expect("the file that the server left");
    let rows = file.runs(RunQuery { limit: usize::MAX >> 1, ..RunQuery::default() }).await.expect("the runs");
    let mut journals = Vec::new();
    for row in &rows {
        let records = file.read(row.run, 0).await.expect("the journal");
        let entries = records.into_iter().flat_map(|record| record.entries).collect();
        journals.push(RunJournal { run: row.run, entries });
    }
    StoredRuns { file, journals, started: rows.iter().map(|row| row.event.to_string()).collect() }
}

impl StoredRuns {
    /// Returns whether an event with this sender id is stored.
    pub(crate) async fn has(&self, external_id: &str) -> bool {
        self.file.resolve(external_id).await.expect("the events").is_some()
    }
}
