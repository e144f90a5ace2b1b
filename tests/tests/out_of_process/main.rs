//! Functions of another process, registered while runs are in progress: on memory, SQLite and
//! DynamoDB.
//!
//! This executable is also the other process, with the command `serve`. The test kills it, starts
//! it again, and makes it answer late. The clock of the engines is virtual, and the test waits for
//! conditions only.

mod front_end;
mod program;
mod scenario;
mod stage;

#[cfg(feature = "full")]
#[path = "../aws/queues.rs"]
mod queues;
#[cfg(feature = "full")]
#[path = "../aws/table.rs"]
mod table;
#[cfg(feature = "full")]
#[path = "../aws/world.rs"]
#[allow(dead_code, reason = "the test of the adapter uses more of it")]
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Arguments;
use stepladder_sqlite::{Sqlite, SqliteOptions};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::conformance::{TestedAdapter, start};
use stepladder_testkit::memory::Memory;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|command| command == "serve") {
        return program::serve(arguments.next().as_deref());
    }
    let mut trials = scenario::trials("memory", memory);
    trials.extend(scenario::trials("sqlite", sqlite));
    #[cfg(feature = "full")]
    trials.extend(scenario::trials("dynamodb", || world::subject(world::TableEmulator::DynamoDbLocal)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

async fn memory() -> TestedAdapter {
    let clock = Arc::new(VirtualClock::new(start()));
    TestedAdapter::new(Memory::new(clock.clone()), clock)
}

async fn sqlite() -> TestedAdapter {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(VirtualClock::new(start()));
    let options = SqliteOptions { clock: clock.clone() };
    let sqlite = Sqlite::open(folder.path().join("data.db"), options).expect("a data file");
    TestedAdapter::new(sqlite, clock).keeping(folder)
}
