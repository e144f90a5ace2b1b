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
fn count_commits(log: &Path) -> usize {
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
    async fn commits_of_request(&self, events: &[NewEvent]) -> usize {
        let log = self.folder.path().join("data.db-wal");
        let before = count_commits(&log);
        self.engine.intake().ingest(events.to_vec(), None).await.expect("accepted");
        count_commits(&log) - before
    }

    async fn count_runs(&self) -> usize {
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

async fn working_handler(ctx: Context, _: Event<JobEvent>) -> Result<()> {
    ctx.step("work", async || Ok(())).await
}

fn job_event() -> NewEvent {
    NewEvent::new(JobEvent::NAME, json::empty_object())
}

#[tokio::test]
async fn a_request_and_all_its_runs_are_one_commit() {
    let cancelled = Function::new("cancelled", working_handler).cancel_on(CancelOn::event::<StopEvent>());
    let limited = Function::new("limited", working_handler).concurrency(Concurrency::runs(1));
    let world = EngineFixture::new(vec![Function::new("plain", working_handler), cancelled, limited]);
    assert_eq!(world.commits_of_request(&[job_event()]).await, 1);
    assert_eq!(world.count_runs().await, 3);
    assert_eq!(world.commits_of_request(&[job_event(), job_event(), job_event()]).await, 1);
    assert_eq!(world.count_runs().await, 12);
    let without_function = NewEvent::new("unknown", json::empty_object());
    assert_eq!(world.commits_of_request(&[without_function]).await, 1);
}

#[tokio::test]
async fn a_repeated_request_repeats_its_writes() {
    let world = EngineFixture::new(vec![Function::new("plain", working_handler)]);
    let mut named = job_event();
    named.id = Some("job-1".into());
    assert_eq!(world.commits_of_request(std::slice::from_ref(&named)).await, 1);
    // the repetition finds the event and its run, and costs at most two commits
    assert!(world.commits_of_request(&[named]).await <= 2);
    assert_eq!(world.count_runs().await, 1);
}

#[tokio::test]
async fn flow_control_costs_one_commit_more() {
    let rate = Rate::new(5, Duration::from_secs(60));
    let world = EngineFixture::new(vec![
        Function::new("plain", working_handler),
        Function::new("rated", working_handler).rate_limit(rate),
    ]);
    assert_eq!(world.commits_of_request(&[job_event()]).await, 2);
    assert_eq!(world.count_runs().await, 2);
}
