//! Commands of the real binary. Their server runs in this process, with a function of the test.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use stepladder::Function;
use stepladder::prelude::*;
use stepladder_core::Timestamp;
use stepladder_engine::clock::{SystemClock, SystemEntropy};
use stepladder_engine::{Config, Engine, Workers};
use stepladder_server::{ConnectionLimits, ServerOptions, router, serve};
use stepladder_testkit::memory::Memory;
use stepladder_tests::{ApiClient, server, wait_for};
use tokio::net::TcpListener;

/// A server in this process with one function.
struct CommandServer {
    url: String,
    _workers: Workers,
}

impl CommandServer {
    async fn with_function(function: Function) -> Self {
        let clock = Arc::new(SystemClock);
        let memory = Arc::new(Memory::new(clock.clone()));
        let compiled =
            stepladder_sdk::runtime::compile(function, &Default::default()).expect("a function that can work");
        let engine = Engine::with_ports(memory, clock, Arc::new(SystemEntropy), compiled, Config::default());
        let engine = Arc::new(engine.expect("an engine"));
        let workers = Workers::start(engine.clone(), 4);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let router = router(engine, ServerOptions { loopback: true, ..ServerOptions::default() });
        tokio::spawn(serve(listener, router, ConnectionLimits::default(), std::future::pending()));
        Self { url, _workers: workers }
    }

    fn api(&self) -> ApiClient {
        ApiClient::new(&self.url)
    }

    /// Runs a command that must succeed. Returns what the command printed.
    async fn command(&self, arguments: &[&str]) -> String {
        let mut command = server::command();
        command.args(arguments).env("STEPLADDER_URL", &self.url).stdin(Stdio::null());
        let output = command.output().await.expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("the command line writes UTF-8");
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        out
    }

    /// Runs a command with `--json`. Returns its output as JSON.
    async fn data(&self, arguments: &[&str]) -> Value {
        let out = self.command(&[arguments, &["--json"]].concat()).await;
        let mut answer: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
        answer["data"].take()
    }

    /// Sends an event. Returns the id of the event's run.
    async fn run(&self, event: &Value) -> String {
        let ids = self.api().send(event).await;
        self.api().run_of(&ids[0]).await
    }
}

#[derive(Serialize, Deserialize)]
struct OrderEvent {}

impl EventData for OrderEvent {
    const NAME: &'static str = "test/order";
}

/// Returns a function that sends an invoice, because its first charge is declined. Later charges
/// succeed.
fn order_function(charges: &Arc<AtomicU32>) -> Function {
    let charges = charges.clone();
    let handler = move |ctx: Context, _: Event<OrderEvent>| {
        let charges = charges.clone();
        async move {
            let charge = async || match charges.fetch_add(1, Ordering::Relaxed) {
                0 => Err(Error::terminal("declined").with_code("declined")),
                n => Ok(n),
            };
            let how = match ctx.step("charge", charge).await {
                Err(error) if error.code() == Some("declined") => "invoice",
                charged => charged.map(|_| "charged")?,
            };
            ctx.step("mail", async || Ok(())).await?;
            Ok(how)
        }
    };
    Function::new("order", handler)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rerun_by_command_copies_a_handled_failure() {
    let charges = Arc::default();
    let world = CommandServer::with_function(order_function(&charges)).await;
    let first = world.run(&json!({"name": "test/order"})).await;
    assert_eq!(world.api().wait_for_end(&first).await["output"], "invoice");

    let one = world.data(&["rerun", &first, "--from-step", "mail"]).await["run_id"].take();
    let one = one.as_str().expect("a run").to_owned();
    world.api().wait_for_end(&one).await;
    let many = world.data(&["rerun", "--all", "--function", "order", "--from-step", "mail"]).await;
    let many: Vec<String> = serde_json::from_value(many).expect("ids of runs");
    assert_eq!(many.len(), 2, "the first run, and the one that repeats it");
    for again in [vec![one], many].concat() {
        world.api().wait_for_end(&again).await;
        let run = world.data(&["run", &again]).await;
        assert_eq!((&run["status"], &run["output"]), (&json!("Completed"), &json!("invoice")), "{run}");
        assert!(world.command(&["run", &again]).await.contains("declined"));
    }
    assert_eq!(charges.load(Ordering::Relaxed), 1);
}

#[derive(Serialize, Deserialize)]
struct UntilEvent {
    ms: i64,
}

impl EventData for UntilEvent {
    const NAME: &'static str = "test/until";
}

async fn sleeping_handler(ctx: Context, event: Event<UntilEvent>) -> Result<()> {
    ctx.sleep_until("to the end", Timestamp::from_millis(event.data.ms)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extreme_times_are_shown_by_command_rest_and_dashboard() {
    let world = CommandServer::with_function(Function::new("sleeps", sleeping_handler)).await;
    let until = async |ms: i64| world.run(&json!({"name": "test/until", "data": {"ms": ms}})).await;
    let page = async |run: &str| {
        let answer = world.api().request(reqwest::Method::GET, &format!("/runs/{run}")).send().await.expect("a page");
        assert_eq!(answer.status(), 200);
        answer.text().await.expect("HTML")
    };

    // sleeps until the last timestamp with a four-digit year
    let last = until(Timestamp::MAX.as_millis()).await;
    let step = wait_for("the sleep", async || {
        let run = world.data(&["run", &last]).await;
        run["steps"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!((&step["status"], &step["due"]), (&json!("Sleeping"), &json!("9999-12-30T00:00:00.000Z")), "{step}");
    assert_eq!(world.api().run(&last).await["steps"][0], step, "REST says the same");
    let shown = world.command(&["run", &last]).await;
    assert!(shown.contains("to the end") && shown.contains("in 2"), "in more than two million days: {shown}");
    assert!(page(&last).await.contains("9999-12-30"));

    // times that are even further from 1970 are refused
    for ms in [i64::MAX, i64::MIN] {
        let run = until(ms).await;
        let ended = world.api().wait_for_end(&run).await;
        let why = format!("cannot sleep until {ms} ms after 1970");
        assert_eq!(ended["status"], "Failed", "{ended}");
        assert!(ended["error"]["message"].as_str().is_some_and(|message| message.contains(&why)), "{ended}");
        assert!(world.command(&["run", &run]).await.contains(&why));
        assert!(page(&run).await.contains(&why));
    }

    // sleeps until a time before 1970 end at once
    for ms in [-1, Timestamp::MIN.as_millis()] {
        let run = until(ms).await;
        assert_eq!(world.api().wait_for_end(&run).await["status"], "Completed");
        assert!(world.command(&["run", &run]).await.contains("Completed"));
        assert!(page(&run).await.contains("to the end"));
    }
    let listed = world.command(&["runs", "--function", "sleeps"]).await;
    assert_eq!(listed.matches("sleeps").count(), 5, "{listed}");
}
