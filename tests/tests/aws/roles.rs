//! Runs the Lambda roles as processes, with a table on DynamoDB Local and queues on ministack. The
//! test makes each invocation itself, so it decides which process dies and which message is
//! repeated.
//!
//! The processes use the machine's clock. The test advances the clock of the queues, so wakes may
//! come early.

#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use stepladder_aws::{Aws, AwsOptions, Connection, QueueAddresses};
use stepladder_core::RunId;
use stepladder_engine::clock::{Clock, SystemClock};
use stepladder_engine::retries::StorageRetries;
use stepladder_engine::view::RunSummary;
use stepladder_engine::{Config, Engine};
use stepladder_tests::aws_json::{ACCOUNT, REGION, fresh_name};
use stepladder_tests::dynamodb_local::DynamoDbLocal;
use stepladder_tests::lambda_api::{InvocationOutcome, LambdaApi};
use stepladder_tests::lambda_pump::LambdaPump;
use stepladder_tests::ministack::Ministack;
use stepladder_tests::{JsonJournal, binary, wait_calmly};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::table;

/// How long a received message is invisible: the worker's timeout of 120 s plus 30 s.
pub(crate) const VISIBILITY: Duration = Duration::from_secs(150);

/// A table, the queues, and the settings for the processes of all Lambda roles.
pub(crate) struct LambdaRoles {
    pub(crate) stack: Ministack,
    program: Vec<PathBuf>,
    variables: Vec<(String, String)>,
    connection: Connection,
    dynamo: String,
    table: String,
    queues: QueueAddresses,
    workers: LambdaApi,
    ingests: LambdaApi,
    fronts: LambdaApi,
    folder: TempDir,
}

/// The host name of the HTTP API.
const FRONT: &str = "x.execute-api.us-east-1.amazonaws.com";

/// A request to the HTTP API, which invokes the HTTP role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoleRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<&'a str>,
    /// Whether the HTTP API encodes the body in base64, as it does for content types other than
    /// text.
    pub(crate) base64: bool,
}

/// The running process of a role.
pub(crate) struct RoleProcess {
    process: Child,
    log: PathBuf,
}

impl LambdaRoles {
    /// Prepares the roles of the binary under test, with these environment variables.
    pub(crate) async fn start(variables: &[(&str, String)]) -> Self {
        Self::with_program(vec![binary::path().to_owned()], variables).await
    }

    /// Prepares the roles of another program, which is started with its arguments.
    pub(crate) async fn with_program(program: Vec<PathBuf>, variables: &[(&str, String)]) -> Self {
        let (stack, dynamo) = (Ministack::start().await, DynamoDbLocal::shared().await);
        let connection = Connection::emulators(&dynamo.url(), &stack.url());
        let name = fresh_name("runs");
        table::create(connection.dynamo(), &name).await;
        let (steps, steps_dead_letters) = create_queue(&stack, &format!("{name}-steps")).await;
        let (events, events_dead_letters) = create_queue(&stack, &format!("{name}-events")).await;
        let queues = QueueAddresses {
            steps,
            events: Some(events),
            steps_dead_letters: Some(steps_dead_letters),
            events_dead_letters: Some(events_dead_letters),
            ..QueueAddresses::default()
        };
        Self {
            stack,
            program,
            variables: variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            connection,
            dynamo: dynamo.url(),
            table: name,
            queues,
            workers: LambdaApi::start().await,
            ingests: LambdaApi::start().await,
            fronts: LambdaApi::start().await,
            folder: tempfile::Builder::new().prefix("stepladder-roles-").tempdir().expect("a temporary folder"),
        }
    }

    /// Starts a process of the worker role.
    pub(crate) fn worker(&self) -> RoleProcess {
        self.role("worker", &self.workers, &[])
    }

    /// Starts a worker with an invalid environment variable.
    pub(crate) fn broken_worker(&self) -> RoleProcess {
        self.role("worker", &self.workers, &[("STEPLADDER_PACE", "breakneck")])
    }

    /// Starts a worker with a table at the address `dynamo`.
    pub(crate) fn worker_behind(&self, dynamo: &str) -> RoleProcess {
        self.role("worker", &self.workers, &[("AWS_ENDPOINT_URL_DYNAMODB", dynamo)])
    }

    /// Returns the endpoint of the table.
    pub(crate) fn dynamo(&self) -> &str {
        &self.dynamo
    }

    /// Starts a process of the ingest role.
    pub(crate) fn ingest(&self) -> RoleProcess {
        self.role("ingest", &self.ingests, &[])
    }

    /// Starts a process of the HTTP role.
    pub(crate) fn http(&self) -> RoleProcess {
        self.role("http", &self.fronts, &[])
    }

    /// Sends a request to the HTTP role as the HTTP API does. Returns the status and the body, or
    /// Lambda's error.
    pub(crate) async fn send_request(&self, asked: RoleRequest<'_>) -> Result<(u64, String), Value> {
        let RoleRequest { method, path, headers, body, base64 } = asked;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut all = json!({"host": FRONT, "x-forwarded-proto": "https", "content-type": "application/json"});
        for (name, value) in headers {
            all[*name] = json!(value);
        }
        let http =
            json!({"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "t"});
        let context = json!({
            "accountId": ACCOUNT, "apiId": "x", "domainName": FRONT, "domainPrefix": "x", "http": http, "requestId": "r",
            "routeKey": "$default", "stage": "$default", "time": "12/Mar/2026:19:03:58 +0000", "timeEpoch": 1_583_348_638_390_i64,
        });
        let mut event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": all,
            "requestContext": context, "isBase64Encoded": base64,
        });
        if let Some(body) = body {
            event["body"] = if base64 { json!(BASE64_STANDARD.encode(body)) } else { json!(body) };
        }
        match self.fronts.invoke(&event, Duration::from_secs(60)).await {
            InvocationOutcome::Response(answer) => {
                let body = answer["body"].as_str().unwrap_or_default();
                let body = match answer["isBase64Encoded"].as_bool() {
                    Some(true) => String::from_utf8(BASE64_STANDARD.decode(body).expect("base64")).expect("text"),
                    Some(false) | None => body.to_owned(),
                };
                Ok((answer["statusCode"].as_u64().expect("a status"), body))
            }
            InvocationOutcome::Error(error) => Err(error),
            InvocationOutcome::TimedOut => Err(json!("timed out")),
        }
    }

    fn role(&self, role: &str, api: &LambdaApi, more: &[(&str, &str)]) -> RoleProcess {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).env_clear().envs(api.environment());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo).env("AWS_ENDPOINT_URL_SQS", self.stack.url());
        command.env("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.stack.url()).env("AWS_ENDPOINT_URL_SSM", self.stack.url());
        command.env("STEPLADDER_ROLE", role).env("STEPLADDER_TABLE", &self.table);
        command.env("STEPLADDER_STEPS_QUEUE_URL", &self.queues.steps);
        command.env("STEPLADDER_EVENTS_QUEUE_URL", self.events_queue());
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).envs(more.iter().copied());
        let log = self.folder.path().join(fresh_name(role));
        let file = File::create(&log).expect("a file in a folder of our own");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file).kill_on_drop(true);
        RoleProcess { process: command.spawn().expect("the program starts"), log }
    }

    /// Returns the event source mapping between the steps queue and the workers.
    pub(crate) fn pump_steps(&self) -> LambdaPump {
        let mut pump = LambdaPump::new(self.stack.url(), &self.queues.steps, self.workers.clone());
        pump.timeout = Duration::from_secs(120);
        pump
    }

    /// Returns the event source mapping between the events queue and the ingest role.
    pub(crate) fn pump_events(&self) -> LambdaPump {
        LambdaPump::new(self.stack.url(), self.events_queue(), self.ingests.clone())
    }

    /// Sends messages to the events queue, in this order.
    pub(crate) async fn send(&self, bodies: &[String]) {
        for body in bodies {
            post_message(&self.stack, self.events_queue(), body).await;
        }
    }

    /// Sends each event in its own message, and applies them. Returns the run of each event.
    pub(crate) async fn runs<const N: usize>(&self, events: [Value; N]) -> [RunId; N] {
        self.send(&events.each_ref().map(ToString::to_string)).await;
        let ingest = self.ingest();
        for pumped in self.pump_events().drain().await {
            assert_eq!(pumped.failed, [] as [String; 0], "{pumped:?}\n{}", ingest.log());
        }
        let mut runs = Vec::new();
        for event in events {
            runs.push(self.run_of(event["id"].as_str().expect("text")).await);
        }
        runs.try_into().expect("as many as events")
    }

    /// Returns the id of an event's only run.
    pub(crate) async fn run_of(&self, event: &str) -> RunId {
        let runs = self.engine(Arc::new(SystemClock)).query().runs_of_event(event).await.expect("the event is known");
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].run
    }

    /// Creates an engine in this process, on the same table and queues, with the test's clock.
    pub(crate) fn engine(&self, clock: Arc<dyn Clock>) -> Engine {
        let aws = Arc::new(self.aws(clock.clone()));
        let entropy = Arc::new(stepladder_engine::clock::SystemEntropy);
        Engine::with_ports(aws, clock, entropy, Vec::new(), Config::default()).expect("no function, no fault")
    }

    /// Creates the AWS adapter in this process, on the same table and queues.
    pub(crate) fn aws(&self, clock: Arc<dyn Clock>) -> Aws {
        let retention = Duration::from_secs(30 * 86_400);
        let options = AwsOptions {
            table: self.table.clone(),
            queues: self.queues.clone(),
            clock,
            retention,
            trace: || None,
            retries: StorageRetries::at_once(),
        };
        Aws::new(&self.connection, options)
    }

    /// Returns the current summary of a run.
    pub(crate) async fn run(&self, run: RunId) -> RunSummary {
        self.engine(Arc::new(SystemClock)).query().run(run).await.expect("the run is known").summary
    }

    /// Returns a run's journal. Panics if the journal is not legal.
    pub(crate) async fn journal(&self, run: RunId) -> JsonJournal {
        let page = self.engine(Arc::new(SystemClock)).query().journal(run, 0, 1_000).await.expect("the run is known");
        let entry = |(seq, entry): &(u64, stepladder_core::Entry)| json!({"seq": seq, "at": entry.at.to_string(), "fact": entry.fact});
        let journal = JsonJournal(page.entries.iter().map(entry).collect());
        journal.assert_legal();
        journal
    }

    /// Delivers wakes to the workers until all of these runs have ended. When no wake is visible,
    /// advances the clock of the queues.
    pub(crate) async fn until_ended(&self, runs: &[RunId]) {
        let pump = self.pump_steps();
        wait_calmly("the end of the runs", async || {
            for pumped in pump.drain().await {
                assert_eq!(pumped.failed, [] as [String; 0], "{pumped:?}");
            }
            for run in runs {
                if self.run(*run).await.ended_at.is_none() {
                    self.stack.advance(Duration::from_secs(1));
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Returns the number of messages in the steps queue, in any state.
    pub(crate) async fn wake_count(&self) -> u64 {
        message_count(&self.stack, &self.queues.steps).await
    }

    /// Returns the number of wakes that have become dead letters.
    pub(crate) async fn dead_wakes(&self) -> u64 {
        message_count(&self.stack, self.queues.steps_dead_letters.as_deref().expect("made above")).await
    }

    /// Sends a message to the steps queue.
    pub(crate) async fn post_wake(&self, body: &str) -> String {
        post_message(&self.stack, &self.queues.steps, body).await
    }

    /// Duplicates each visible message of a queue and reverses their order. Messages with ids in
    /// `doubled` are not duplicated again.
    pub(crate) async fn deliver_twice(&self, queue: &str, doubled: &mut HashSet<String>) {
        let client = self.stack.client();
        let asked = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10});
        let answer = client.sqs("ReceiveMessage", &asked).await.expect("an answer").expect("the queue is there");
        for message in answer["Messages"].as_array().into_iter().flatten().rev() {
            let (id, handle) = (message["MessageId"].as_str().expect("text"), &message["ReceiptHandle"]);
            if doubled.contains(id) {
                let asked = json!({"QueueUrl": queue, "ReceiptHandle": handle, "VisibilityTimeout": 0});
                client.sqs("ChangeMessageVisibility", &asked).await.expect("an answer").expect("it is ours");
                continue;
            }
            for _ in 0..2 {
                doubled.insert(post_message(&self.stack, queue, message["Body"].as_str().expect("text")).await);
            }
            let asked = json!({"QueueUrl": queue, "ReceiptHandle": handle});
            client.sqs("DeleteMessage", &asked).await.expect("an answer").expect("it is ours");
        }
    }

    /// Returns the environment of a command that uses the table.
    pub(crate) fn command_environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamo.clone()),
            ("AWS_ENDPOINT_URL_SQS", self.stack.url()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// Writes the addresses of the queues into the table, as the first sweep after a deployment
    /// does.
    pub(crate) async fn publish_addresses(&self) {
        let queues = QueueAddresses { worker_timeout: Some(120), ..self.queues.clone() };
        self.aws(Arc::new(SystemClock)).publish_addresses(&queues).await.expect("the addresses are written");
    }

    pub(crate) fn steps_queue(&self) -> &str {
        &self.queues.steps
    }

    pub(crate) fn events_queue(&self) -> &str {
        self.queues.events.as_deref().expect("made above")
    }
}

impl RoleProcess {
    /// Kills the process (`kill -9`), and waits until it has ended.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.expect("the process is ours");
    }

    /// Waits until the process exits by itself. Returns the exit status.
    pub(crate) async fn wait_for_exit(&mut self) -> ExitStatus {
        self.process.wait().await.expect("the process is ours")
    }

    /// Returns what the process has printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a file in a folder of our own")
    }
}

/// Creates a queue and its dead letter queue, to which a message moves after five receives. Returns
/// the addresses of both.
async fn create_queue(stack: &Ministack, name: &str) -> (String, String) {
    let client = stack.client();
    let dead = client.create_queue(&format!("{name}-dead"), &json!({})).await;
    let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}-dead");
    let redrive = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 5}).to_string();
    let attributes = json!({"VisibilityTimeout": VISIBILITY.as_secs().to_string(), "RedrivePolicy": redrive});
    (client.create_queue(name, &attributes).await, dead)
}

async fn post_message(stack: &Ministack, queue: &str, body: &str) -> String {
    let asked = json!({"QueueUrl": queue, "MessageBody": body});
    let answer = stack.client().sqs("SendMessage", &asked).await.expect("an answer").expect("the queue is there");
    answer["MessageId"].as_str().expect("text").to_owned()
}

async fn message_count(stack: &Ministack, queue: &str) -> u64 {
    let asked = json!({"QueueUrl": queue, "AttributeNames": ["All"]});
    let answer =
        stack.client().sqs("GetQueueAttributes", &asked).await.expect("an answer").expect("the queue is there");
    let number = |which: &str| -> u64 {
        let count = answer["Attributes"][format!("ApproximateNumberOfMessages{which}")].as_str();
        count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count: {answer}"))
    };
    number("") + number("NotVisible") + number("Delayed")
}
