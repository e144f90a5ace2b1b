//! The command line with `--table`: what the commands read and change, and their error messages.

#[path = "aws/queues.rs"]
mod queues;
#[path = "aws/table.rs"]
mod table;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepladder_aws::{Aws, AwsOptions, Connection, QueueAddresses};
use stepladder_engine::clock::SystemClock;
use stepladder_engine::retries::StorageRetries;
use stepladder_tests::aws_json::{AwsJson, REGION, fresh_name};
use stepladder_tests::ministack::Ministack;
use stepladder_tests::server::command;

struct TableAndQueues {
    ministack: Ministack,
    sqs: AwsJson,
    table: String,
    queues: QueueAddresses,
}

impl TableAndQueues {
    /// Creates a table and queues. The table does not contain the addresses of the queues yet.
    async fn start() -> Self {
        let ministack = Ministack::start().await;
        let connection = Connection::emulators(&ministack.url(), &ministack.url());
        let table = fresh_name("runs");
        table::create(connection.dynamo(), &table).await;
        let queues = queues::create(&connection, &table).await;
        let sqs = ministack.client();
        Self { sqs, ministack, table, queues }
    }

    /// Writes the queues' addresses into the table, as the first sweep after a deployment does.
    async fn publish(&self) {
        let connection = Connection::emulators(&self.ministack.url(), &self.ministack.url());
        let options = AwsOptions {
            table: self.table.clone(),
            queues: self.queues.clone(),
            clock: Arc::new(SystemClock),
            retention: Duration::from_secs(86_400),
            trace: || None,
            retries: StorageRetries::at_once(),
        };
        Aws::new(&connection, options).publish_addresses(&self.queues).await.expect("the addresses are written");
    }

    /// Runs a command with `--table`. Returns whether it succeeded, and its standard output and
    /// standard error.
    async fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        self.run_on(&self.table, arguments).await
    }

    async fn run_on(&self, table: &str, arguments: &[&str]) -> (bool, String, String) {
        let mut command = command();
        command.args(arguments).args(["--table", table]);
        command.env("AWS_ENDPOINT_URL", self.ministack.url()).env("AWS_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        let output = command.output().await.expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let (good, out, err) = self.run(&[arguments, &["--json"]].concat()).await;
        assert!(good, "{arguments:?}: {err}");
        serde_json::from_str(&out).expect("JSON")
    }

    async fn dead_letter(&self, queue: &Option<String>, body: &str) {
        let message = json!({"QueueUrl": queue.as_deref().expect("a queue"), "MessageBody": body});
        self.sqs.sqs("SendMessage", &message).await.expect("an answer").expect("the message is taken");
    }

    async fn messages(&self, queue: &str) -> Vec<Value> {
        let ask = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]});
        let answer = self.sqs.sqs("ReceiveMessage", &ask).await.expect("an answer").expect("messages");
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }
}

#[tokio::test]
async fn runs_are_created_shown_cancelled_and_rerun_without_a_server() {
    let world = TableAndQueues::start().await;
    world.publish().await;
    let (good, out, err) = world.run(&["send", "test/hello.world", r#"{"name":"Ada"}"#]).await;
    assert!(good && out.contains("test/hello.world"), "{out}{err}");
    let listed = world.json(&["runs"]).await;
    let id = listed["data"][0]["run_id"].as_str().expect("a run").to_owned();
    assert_eq!(listed["data"][0]["status"], "Scheduled");
    // the run's wake is in the queue
    let wakes = world.messages(&world.queues.steps).await;
    assert!(wakes[0]["Body"].as_str().is_some_and(|body| body.contains(&id)), "{wakes:?}");

    let (good, out, err) = world.run(&["run", &id]).await;
    assert!(good && out.contains("hello-world"), "{out}{err}");
    let (good, out, err) = world.run(&["cancel", &id]).await;
    assert!(good && out.contains("Cancelled"), "{out}{err}");
    let again = world.json(&["rerun", &id]).await;
    let again = again["data"]["run_id"].as_str().expect("a run").to_owned();
    let listed = world.json(&["runs", "--status", "scheduled"]).await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed["data"][0]["run_id"], *again);
}

#[tokio::test]
async fn dead_letters_are_listed_and_redriven_and_unreadable_ones_stay() {
    let world = TableAndQueues::start().await;
    world.publish().await;
    let wake = json!({"run": "01HF7YAT000000000000000001", "cause": "Next", "group": "hello-world"});
    world.dead_letter(&world.queues.steps_dead_letters, &wake.to_string()).await;
    world.dead_letter(&world.queues.steps_dead_letters, "<what is this>").await;
    world.dead_letter(&world.queues.events_dead_letters, r#"{"name":"test/hello.world"}"#).await;

    let looked = world.json(&["redrive", "--look"]).await;
    assert!(looked["data"].as_array().expect("a list").iter().all(|letter| letter["moved"] == false), "{looked}");

    let (good, out, err) = world.run(&["redrive"]).await;
    assert!(good, "{err}");
    for expected in
        ["wake of run 01HF7YAT000000000000000001 (Next)", "event test/hello.world", "unreadable: <what is this>"]
    {
        assert!(out.contains(expected), "{expected} in {out}");
    }
    assert!(err.contains("2 moved back, 1 left"), "{err}");
    let back = world.messages(&world.queues.steps).await;
    let back: Value = serde_json::from_str(back[0]["Body"].as_str().expect("a body")).expect("JSON");
    assert_eq!(back, wake);
    let events = world.messages(world.queues.events.as_deref().expect("a queue")).await;
    assert_eq!(events[0]["Body"], r#"{"name":"test/hello.world"}"#);
    let attribute = &events[0]["MessageAttributes"]["stepladder-message-id"]["StringValue"];
    let event = looked["data"].as_array().and_then(|all| all.iter().find(|letter| letter["queue"] == "events"));
    assert_eq!(Some(attribute), event.map(|letter| &letter["message"]));
    let left = world.json(&["redrive", "--look"]).await;
    assert_eq!(left["data"].as_array().map(Vec::len), Some(1), "{left}");
}

#[tokio::test]
async fn a_missing_table_or_missing_queues_are_reported_in_one_line() {
    let world = TableAndQueues::start().await;
    let (good, out, err) = world.run_on("no-such-table", &["runs"]).await;
    assert!(!good && out.is_empty());
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("`no-such-table` cannot be read") && err.contains("AWS_REGION"), "{err}");

    // commands that only read need no queues; commands that change something do
    let (good, _, err) = world.run(&["runs"]).await;
    assert!(good && err.contains("no runs match"), "{err}");
    for command in [&["send", "test/hello.world"][..], &["redrive"]] {
        let (good, _, err) = world.run(command).await;
        assert!(!good && err.lines().count() == 1 && err.contains("does not name its queues"), "{err}");
    }
}
