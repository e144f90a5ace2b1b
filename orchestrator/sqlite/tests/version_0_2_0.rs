//! The data file and the journals of version 0.2.0. Runs are listed as before, and live runs
//! continue to their end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use serde_json::value::RawValue;
use stepladder_core::{EventId, RunId, Status, Timestamp};
use stepladder_engine::ports::Queue;
use stepladder_engine::{Config, Engine, RunFilter};
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, compile};
use stepladder_sqlite::{Sqlite, SqliteOptions};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};

/// Ten minutes after the process of version 0.2.0 was killed.
const NOW: Timestamp = Timestamp::from_millis(1_795_996_320_000);
const FINISHED: &str = "01M8MTZJ433SX2PVP8CDYWXAYP";
const RENAMED: &str = "01M8MTZK000000000000000001";
const COLLECTING: &str = "01M8MTZK000000000000000002";

#[derive(Serialize, Deserialize)]
struct UserRequestedEvent {
    email: String,
}

impl EventData for UserRequestedEvent {
    const NAME: &'static str = "client/user.requested";
}

#[derive(Serialize, Deserialize)]
struct BriefRequestedEvent {
    topic: String,
}

impl EventData for BriefRequestedEvent {
    const NAME: &'static str = "content/brief.requested";
}

#[derive(Serialize, Deserialize)]
struct AskedEvent {}

impl EventData for AskedEvent {
    const NAME: &'static str = "test/asked";
}

#[derive(Serialize, Deserialize)]
struct DecidedEvent {
    approved: bool,
}

impl EventData for DecidedEvent {
    const NAME: &'static str = "test/decided";
}

async fn create_user(ctx: Context, event: Event<UserRequestedEvent>) -> Result<String> {
    ctx.step("create-auth-user", async || Ok(event.data.email.clone())).await
}

async fn write_brief(ctx: Context, event: Event<BriefRequestedEvent>) -> Result<String> {
    ctx.step("open-brief", async || Ok(())).await?;
    ctx.step("draft", async || Ok(event.data.topic.clone())).await
}

async fn handler_of_renamed_facts(ctx: Context, _: Event<AskedEvent>) -> Result<(String, bool, u32)> {
    let first = ctx.step("first", async || Ok("executed again".to_owned())).await?;
    ctx.log("waits for a decision");
    let decided = ctx.wait_for_event::<DecidedEvent>("decision").timeout(Duration::from_secs(3_600)).await?;
    ctx.sleep("a day", Duration::from_secs(86_400)).await?;
    let last = ctx.step("last", async || Ok(3)).await?;
    Ok((first, decided.is_some_and(|event| event.data.approved), last))
}

async fn collecting_handler(ctx: Context, _: Event<AskedEvent>) -> Result<String> {
    ctx.step("only", async || Ok("collected".to_owned())).await
}

fn functions() -> Vec<Function> {
    vec![
        Function::new("create-client-user", create_user),
        Function::new("content-brief-generator", write_brief),
        Function::new("renamed", handler_of_renamed_facts).version("1"),
        Function::new("collecting", collecting_handler).debounce(Debounce::new(Duration::from_secs(1))),
    ]
}

fn fixture_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/0.2.0").join(name)
}

/// An engine on a copy of a data file that version 0.2.0 wrote.
struct OldFileFixture {
    _folder: tempfile::TempDir,
    engine: Engine,
    sqlite: Arc<Sqlite>,
    clock: Arc<VirtualClock>,
}

impl OldFileFixture {
    /// Opens a copy of the data file after `change` has modified the copy.
    fn open(change: impl FnOnce(&Connection)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dev.db");
        std::fs::copy(fixture_path("dev.db"), &path).expect("the fixture");
        change(&Connection::open(&path).expect("a data file"));
        let clock = Arc::new(VirtualClock::new(NOW));
        let sqlite = Arc::new(Sqlite::open(&path, SqliteOptions { clock: clock.clone() }).expect("a data file"));
        let data = SharedData::default();
        let compiled = functions().into_iter().flat_map(|f| compile(f, &data).expect("a function")).collect();
        let config = Config::default();
        let entropy = Arc::new(SeededEntropy::new(1));
        let engine = Engine::with_ports(sqlite.clone(), clock.clone(), entropy, compiled, config).expect("an engine");
        Self { _folder: folder, engine, sqlite, clock }
    }

    /// Executes hops until every run has ended.
    async fn settle(&self) {
        for _ in 0..200 {
            let runs = self.engine.query().runs(RunFilter::default()).await.expect("a listing").runs;
            if runs.iter().all(|run| run.status.is_end()) {
                return;
            }
            let receive = self.sqlite.receive(1, Duration::from_secs(150));
            futures::pin_mut!(receive);
            match futures::poll!(receive) {
                Poll::Ready(received) => {
                    for delivery in received.expect("a queue") {
                        self.engine.hop(delivery).await.expect("a hop");
                    }
                }
                Poll::Pending => self.clock.advance(Duration::from_secs(15)),
            }
        }
        panic!("the runs do not end");
    }

    async fn output(&self, run: RunId) -> String {
        let detail = self.engine.query().run(run).await.expect("the run");
        assert_eq!(detail.summary.status, Status::Completed, "{:?}", detail.summary.error);
        detail.summary.output.expect("an output").get().to_owned()
    }
}

#[tokio::test]
async fn the_runs_of_a_data_file_are_listed_as_they_were_and_the_live_ones_end() {
    let world = OldFileFixture::open(|_| ());
    let before: Value =
        serde_json::from_slice(&std::fs::read(fixture_path("runs.json")).expect("a file")).expect("JSON");
    let expected: Vec<(String, String)> = before["data"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| (run["run_id"].as_str().expect("an id").into(), run["status"].as_str().expect("a status").into()))
        .collect();
    let listed = world.engine.query().runs(RunFilter::default()).await.expect("a listing").runs;
    let listed: Vec<_> = listed.iter().map(|run| (run.run.to_string(), run.status.to_string())).collect();
    assert_eq!(listed, expected);
    let greeting = r#"{"greeting":"Hello, newcomer!","farewell":"Goodbye, newcomer!"}"#;
    assert_eq!(world.output(FINISHED.parse().expect("an id")).await, greeting);

    world.settle().await;
    let live: Vec<_> = expected.iter().filter(|(_, status)| status == "Running").collect();
    let mut outputs = Vec::new();
    for (run, _) in live {
        outputs.push(world.output(run.parse().expect("an id")).await);
    }
    assert_eq!(outputs, ["\"ada@example.com\"", "\"ladders\""]);
}

#[derive(Deserialize)]
struct OldRun {
    run: RunId,
    function: String,
    event: EventId,
    records: Vec<Vec<Box<RawValue>>>,
}

/// Inserts journals with the fact names of version 0.2.0.
fn insert(db: &Connection) {
    let runs: Vec<OldRun> =
        serde_json::from_slice(&std::fs::read(fixture_path("old-names.json")).expect("a file")).expect("JSON");
    for (n, OldRun { run, function, event, records }) in runs.into_iter().enumerate() {
        let id = run.to_bytes();
        let mut seq = 0;
        for entries in records {
            let next = seq + i64::try_from(entries.len()).expect("few");
            let text = serde_json::to_string(&entries).expect("JSON");
            db.execute(
                "INSERT INTO journal (run, seq, next, token, code, entries) VALUES (?1, ?2, ?3, ?4, '0.2.0', ?5)",
                (id, seq, next, [7_u8; 16], text),
            )
            .expect("a record");
            seq = next;
        }
        db.execute(
            "INSERT INTO runs (run, function, event, created_at) VALUES (?1, ?2, ?3, 1795995716000)",
            (id, &function, event.to_bytes()),
        )
        .expect("a row");
        let wake = format!(r#"{{"run":"{run}","cause":"Due","group":"{function}"}}"#);
        let n = 1_000 + i64::try_from(n).expect("few");
        db.execute("INSERT INTO wakes (n, due, wake) VALUES (?1, 1795995717000, ?2)", (n, wake)).expect("a wake");
    }
}

#[tokio::test]
async fn facts_with_another_name_today_are_read_and_their_runs_end() {
    let world = OldFileFixture::open(insert);
    world.settle().await;
    let (renamed, collecting) = (RENAMED.parse().expect("an id"), COLLECTING.parse().expect("an id"));
    assert_eq!(world.output(renamed).await, r#"["kept",true,3]"#);
    assert_eq!(world.output(collecting).await, "\"collected\"");

    let mut names = Vec::new();
    for run in [renamed, collecting] {
        let page = world.engine.query().journal(run, 0, 100).await.expect("a journal");
        names.extend(page.entries.iter().map(|(_, entry)| entry.fact.name()));
    }
    for name in ["StepCarriedOver", "VersionChosen", "LogWritten", "EventDelivered", "WaitSkipped", "CollectingEnded"] {
        assert_eq!(names.iter().filter(|each| **each == name).count(), 1, "{name} in {names:?}");
    }
    let ended_at = world.engine.query().run(renamed).await.expect("the run").summary.ended_at;
    assert!(ended_at.is_some_and(|at| at.since(NOW) < Duration::from_secs(3_600)), "the skipped day is not waited for");
}
