//! Runs the conformance suite for adapters on SQLite.

use std::sync::Arc;

use stepladder_sqlite::{Sqlite, SqliteOptions};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::conformance::{TestedAdapter, start};

async fn sqlite() -> TestedAdapter {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(VirtualClock::new(start()));
    let sqlite =
        Sqlite::open(folder.path().join("data.db"), SqliteOptions { clock: clock.clone() }).expect("a data file");
    TestedAdapter::new(sqlite, clock).keeping(folder)
}

stepladder_testkit::conformance!(sqlite);
stepladder_testkit::conformance_local!(sqlite);
