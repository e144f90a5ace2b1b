//! Runs the conformance suite for adapters on SQLite.

use std::sync::Arc;

use stepladder_sqlite::{Options, Sqlite};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::conformance::{Subject, start};

async fn sqlite() -> Subject {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(VirtualClock::new(start()));
    let sqlite = Sqlite::open(folder.path().join("data.db"), Options { clock: clock.clone() }).expect("a data file");
    Subject::new(sqlite, clock).keeping(folder)
}

stepladder_testkit::conformance!(sqlite);
stepladder_testkit::conformance_local!(sqlite);
