//! Waits on a data file with the machine's clock. When the event comes, the process in which the
//! wait started has ended.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stepladder::Function;
use stepladder::prelude::*;
use stepladder_core::{Failure, NewEvent, RunId, Status, json};
use stepladder_engine::{Config, Engine, Workers};
use stepladder_sqlite::{Sqlite, SqliteOptions};
use stepladder_tests::wait_for;

#[derive(Serialize, Deserialize)]
struct BriefWrittenEvent {
    id: u32,
}

impl EventData for BriefWrittenEvent {
    const NAME: &'static str = "brief/written";
}

#[derive(Serialize, Deserialize)]
struct BriefApprovedEvent {
    id: u32,
    by: String,
}

impl EventData for BriefApprovedEvent {
    const NAME: &'static str = "brief/approved";
}

async fn publish(ctx: Context, event: Event<BriefWrittenEvent>) -> Result<String> {
    let approved = ctx.wait_for_event::<BriefApprovedEvent>("approval").matching("id", &event.data.id).await?;
    let by = approved.map(|approved| approved.data.by).unwrap_or_default();
    let paid = ctx.wait_for_signal::<u32>("payment").await?;
    Ok(format!("{by} {paid:?}"))
}

/// A server process on the data file.
struct ServerProcess {
    engine: Arc<Engine>,
    workers: Workers,
}

impl ServerProcess {
    /// Starts a process as soon as the previous process has closed the file.
    async fn start(file: &Path) -> Self {
        let sqlite = wait_for("the data file", async || Sqlite::open(file, SqliteOptions::default()).ok()).await;
        let compiled = stepladder_sdk::runtime::compile(Function::new("publish", publish), &Default::default())
            .expect("a function");
        let config = Config::default();
        let engine = Arc::new(Engine::new(Arc::new(sqlite), compiled, config).expect("an engine"));
        let workers = Workers::start(engine.clone(), 4);
        Self { engine, workers }
    }

    async fn send(&self, event: NewEvent) -> String {
        self.engine.intake().ingest(vec![event], None).await.expect("accepted")[0].to_string()
    }

    /// Waits until the run is waiting in this step.
    async fn waits_in(&self, run: RunId, step: &str) {
        wait_for("the run to wait", async || {
            let waiting = self.engine.query().run(run).await.expect("a run").waiting?;
            waiting.starts_with(&format!("waits in `{step}` ")).then_some(())
        })
        .await;
    }

    async fn stop(self) {
        assert!(self.workers.stop(Duration::from_secs(10)).await);
    }
}

fn event<T: EventData + Serialize>(data: &T) -> NewEvent {
    NewEvent::new(T::NAME, json::to_json(data).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_signal_fails_the_run_in_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dev.db");
    let first = ServerProcess::start(&file).await;
    let written = first.send(event(&BriefWrittenEvent { id: 7 })).await;
    let run = first.engine.query().runs_of_event(&written).await.expect("listed")[0].run;
    first.waits_in(run, "approval").await;
    let token = first.engine.subscriptions().callback_token(run, "payment").await.expect("a token");
    let failure = || Failure { name: Some("CardDeclined".into()), ..Failure::with_code("no funds", "declined") };
    let early = first.engine.subscriptions().fail_signal(&token, failure()).await.expect("accepted");
    assert!(!early.before);
    first.stop().await;

    let second = ServerProcess::start(&file).await;
    assert!(second.engine.subscriptions().fail_signal(&token, failure()).await.expect("the same").before);
    assert!(second.engine.subscriptions().signal(&token, json::null()).await.is_err(), "it was completed already");
    second.send(event(&BriefApprovedEvent { id: 7, by: "Ada".into() })).await;
    let ended = wait_for("the end of the run", async || {
        let detail = second.engine.query().run(run).await.expect("a run");
        detail.summary.status.is_end().then_some(detail.summary)
    })
    .await;
    assert_eq!((ended.status, ended.error), (Status::Failed, Some(failure())));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_for_a_dead_process_reaches_the_next_within_a_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dev.db");
    let first = ServerProcess::start(&file).await;
    let written = first.send(event(&BriefWrittenEvent { id: 7 })).await;
    let run = first.engine.query().runs_of_event(&written).await.expect("listed")[0].run;
    first.waits_in(run, "approval").await;
    first.stop().await;

    let second = ServerProcess::start(&file).await;
    second.send(event(&BriefApprovedEvent { id: 8, by: "Bob".into() })).await;
    let sent = Instant::now();
    second.send(event(&BriefApprovedEvent { id: 7, by: "Ada".into() })).await;
    second.waits_in(run, "payment").await;
    let took = sent.elapsed();
    assert!(took < Duration::from_secs(1), "it took {took:?}: not by the next sweep");
    let token = second.engine.subscriptions().callback_token(run, "payment").await.expect("a token");
    second.stop().await;

    let third = ServerProcess::start(&file).await;
    third.engine.subscriptions().signal(&token, json::to_json(&995).expect("JSON")).await.expect("completed");
    let ended = wait_for("the end of the run", async || {
        let detail = third.engine.query().run(run).await.expect("a run");
        detail.summary.status.is_end().then_some(detail.summary)
    })
    .await;
    assert_eq!((ended.status, ended.output.expect("an output").get()), (Status::Completed, r#""Ada Some(995)""#));
    third.stop().await;
}
