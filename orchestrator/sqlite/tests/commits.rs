//! The number of transactions that a request costs, counted in the write-ahead log. Each
//! transaction ends with a sync to the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::{NewEvent, json};
use stepladder_engine::ports::{Listings, RunQuery};
use stepladder_engine::{Config, Engine};
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, compile};
use stepladder_sqlite::{Sqlite, SqliteOptions};

/// Counts the commits in a write-ahead log: the frames that contain the size of the database after
/// a commit. See <https://sqlite.org/fileformat2.html#the_write_ahead_log>.
fn commits(log: &Path) -> usize {
    let log = std::fs::read(log).expect("a write-ahead log");
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().expect("four bytes"));
    let page = number(8) as usize;
    let frames = (32..log.len()).step_by(24 + page).filter(|at| at + 24 + page <= log.len());
    // frames left over from an earlier log have a different salt
    frames.filter(|at| log[at + 8..at + 16] == log[16..24] && number(at + 4) > 0).count()
}

struct EngineFixture {
    folder: tempfile::TempDir,
    sqlite: Arc<Sqlite>,
    engine: Engine,
}

impl EngineFixture {
    fn new(functions: Vec<Function>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite =
            Arc::new(Sqlite::open(folder.path().join("data.db"), SqliteOptions::default()).expect("a data file"));
        let data = SharedData::default();
        let compiled = functions.into_iter().flat_map(|f| compile(f, &data).expect("a function"));
        let engine = Engine::new(sqlite.clone(), compiled.collect(), Config::default()).expect("functions that work");
        Self { folder, sqlite, engine }
    }

    /// Sends a request with these events. Returns the number of commits that it cost.
    async fn cost(&self, events: &[NewEvent]) -> usize {
        let log = self.folder.path().join("data.db-wal");
        let before = commits(&log);
        self.engine.intake().ingest(events.to_vec(), None).await.expect("accepted");
        commits(&log) - before
    }

    async fn runs(&self) -> usize {
        self.sqlite.runs(RunQuery { limit: 100, ..RunQuery::default() }).await.expect("rows").len()
    }
}

#[derive(Serialize, Deserialize)]
struct JobEvent {}

impl EventData for JobEvent {
    const NAME: &'static str = "job/asked";
}

#[derive(Serialize, Deserialize)]
struct StopEvent {}

impl EventData for StopEvent {
    const NAME: &'static str = "job/stopped";
}

async fn works(ctx: Context, _: Event<JobEvent>) -> Result<()> {
    ctx.step("work", async || Ok(())).await
}

fn job() -> NewEvent {
    NewEvent::new(JobEvent::NAME, json::empty_object())
}

#[tokio::test]
async fn a_request_and_all_its_runs_are_one_commit() {
    let cancelled = Function::new("cancelled", works).cancel_on(CancelOn::event::<StopEvent>());
    let limited = Function::new("limited", works).concurrency(Concurrency::runs(1));
    let world = EngineFixture::new(vec![Function::new("plain", works), cancelled, limited]);
    assert_eq!(world.cost(&[job()]).await, 1);
    assert_eq!(world.runs().await, 3);
    assert_eq!(world.cost(&[job(), job(), job()]).await, 1);
    assert_eq!(world.runs().await, 12);
    let without_function = NewEvent::new("unknown", json::empty_object());
    assert_eq!(world.cost(&[without_function]).await, 1);
}

#[tokio::test]
async fn a_repeated_request_repeats_its_writes() {
    let world = EngineFixture::new(vec![Function::new("plain", works)]);
    let mut named = job();
    named.id = Some("job-1".into());
    assert_eq!(world.cost(std::slice::from_ref(&named)).await, 1);
    // the repetition finds the event and its run, and costs at most two commits
    assert!(world.cost(&[named]).await <= 2);
    assert_eq!(world.runs().await, 1);
}

#[tokio::test]
async fn flow_control_costs_one_commit_more() {
    let rate = Rate::new(5, Duration::from_secs(60));
    let world = EngineFixture::new(vec![Function::new("plain", works), Function::new("rated", works).rate_limit(rate)]);
    assert_eq!(world.cost(&[job()]).await, 2);
    assert_eq!(world.runs().await, 2);
}
