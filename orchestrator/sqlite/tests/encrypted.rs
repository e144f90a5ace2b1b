//! Encrypted values in a data file: no file contains their clear text, and each process decrypts
//! what another one has recorded.

mod processes;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use processes::{NOW, RequestedEvent};
use stepladder_core::{NewEvent, Status, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::view::RunDetail;
use stepladder_engine::{Config, Engine, RunFilter};
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, compile, override_env};
use stepladder_sdk::{Encryption, ToEvent};
use stepladder_sqlite::{Sqlite, SqliteOptions};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};

const SECRET: &str = "4000-0012-3456-7899";
const KEY: &str = "SQLITE_PAYLOAD_KEY";

#[derive(Serialize, Deserialize)]
struct CardEvent {
    card: String,
}

impl EventData for CardEvent {
    const NAME: &'static str = "shop/card.read";
}

fn card() -> CardEvent {
    CardEvent { card: SECRET.into() }
}

async fn pay(ctx: Context, event: Event<CardEvent>) -> Result<Vec<String>> {
    let read = ctx.step("read", async || Ok(event.data.card)).await?;
    let wait = ctx.wait_for_event::<EchoEvent>("echo").timeout(Duration::from_secs(600)).start();
    ctx.send_event("ask", RequestedEvent {}).await?;
    ctx.sleep("a minute", Duration::from_secs(60)).await?;
    let waited = wait.await?.map(|event| event.data.card).unwrap_or_default();
    let called: String = ctx.invoke("call", "echo", &card()).await?;
    Ok(vec![read, waited, called])
}

#[derive(Serialize, Deserialize)]
struct EchoEvent {
    card: String,
}

impl EventData for EchoEvent {
    const NAME: &'static str = "shop/echoed";
}

async fn ask(ctx: Context, _: Event<RequestedEvent>) -> Result<()> {
    ctx.send_event("echo", EchoEvent { card: SECRET.into() }).await.map(drop)
}

async fn echo(ctx: Context, event: Event<CardEvent>) -> Result<String> {
    let failed = ctx.step("fail", async || Err::<(), _>(Error::terminal("no").with_data(json!(SECRET)))).await;
    assert_eq!(failed.expect_err("it fails").data::<String>().as_deref(), Some(SECRET));
    ctx.step("echo", async || Ok(event.data.card)).await
}

fn engine(path: &Path, clock: &Arc<VirtualClock>, encrypts: bool) -> (Engine, Arc<Sqlite>) {
    let sqlite = Arc::new(Sqlite::open(path, SqliteOptions { clock: clock.clone() }).expect("a data file"));
    let mut data = SharedData::default();
    if encrypts {
        data.set_codec(Encryption::with_keys([KEY]));
    }
    let functions = [Function::new("pay", pay), Function::new("ask", ask), Function::new("echo", echo).filter("false")];
    let compiled = functions.into_iter().flat_map(|f| compile(f, &data).expect("a function")).collect();
    let entropy = Arc::new(SeededEntropy::new(clock.now().as_millis() as u64));
    let engine = Engine::with_ports(sqlite.clone(), clock.clone(), entropy, compiled, Config::default());
    (engine.expect("an engine"), sqlite)
}

/// Runs the functions to their end, with a new process for each hop. Returns the run, and whether
/// any file has contained the secret at any time.
async fn run(encrypts: bool) -> (RunDetail, bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, clock) = (folder.path().join("dev.db"), Arc::new(VirtualClock::new(NOW)));
    let event: NewEvent = match encrypts {
        true => Encryption::with_keys([KEY]).encrypt_event(&card()).await.expect("encrypted"),
        false => card().to_event().expect("JSON"),
    };
    let id = {
        let (engine, _) = engine(&path, &clock, encrypts);
        let ids = engine.intake().ingest(vec![event], None).await.expect("accepted");
        engine.query().runs_of_event(&ids[0].to_string()).await.expect("listed")[0].run
    };
    let mut is_found = false;
    for _ in 0..500 {
        let (engine, sqlite) = engine(&path, &clock, encrypts);
        is_found |= contains_secret(folder.path());
        let all = engine.query().runs(RunFilter::default()).await.expect("a listing").runs;
        if all.iter().all(|run| run.status.is_end()) {
            let detail = engine.query().run(id).await.expect("the run");
            drop((engine, sqlite));
            return (detail, is_found | contains_secret(folder.path()));
        }
        engine.sweep().await.expect("a sweep");
        match processes::receive_due(&sqlite).await.pop() {
            Some(delivery) => engine.hop(delivery).await.expect("a hop"),
            None => clock.advance(Duration::from_secs(15)),
        }
    }
    panic!("the runs do not end");
}

/// Searches the bytes of all files.
fn contains_secret(folder: &Path) -> bool {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let contents = files.map(|file| std::fs::read(file).expect("a file"));
    contents.into_iter().any(|bytes| bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()))
}

#[tokio::test]
async fn no_byte_of_the_files_contains_clear_text() {
    override_env(KEY, "QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEA=");
    let expected = json::to_json(&[SECRET; 3]).expect("JSON");
    let (clear, is_found) = run(false).await;
    assert!(is_found, "the search finds clear text");
    assert_eq!(clear.summary.output.expect("an output").get(), expected.get());

    let (run, is_found) = run(true).await;
    assert_eq!((run.summary.status, is_found), (Status::Completed, false), "{:?}", run.summary.error);
    let output = run.summary.output.expect("an output");
    let decrypted = Encryption::with_keys([KEY]).decrypt(&output).await.expect("decrypted");
    assert_eq!(decrypted.get(), expected.get());
}
