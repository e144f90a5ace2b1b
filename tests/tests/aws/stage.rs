//! An engine with the AWS adapter, on two emulators and one virtual clock. It handles one delivery
//! at a time, as a Lambda worker does.

#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::config::Credentials;
use stepladder::Function;
use stepladder_aws::{Aws, AwsOptions, Connection, QueueAddresses};
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::{EventId, NewEvent, RunId, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Commit, Commits, Cursor, Delivery, Receipt, Timers};
use stepladder_engine::retries::StorageRetries;
use stepladder_engine::view::RunDetail;
use stepladder_engine::{Config, Engine, RegisteredFunction, RunFilter};
use stepladder_proof::RunJournal;
use stepladder_sdk::runtime::SharedData;
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};
use stepladder_testkit::conformance::start;
use stepladder_tests::aws_faults::AwsFaultProxy;
use stepladder_tests::aws_json::fresh_name;
use stepladder_tests::dynamodb_local::DynamoDbLocal;
use stepladder_tests::ministack::Ministack;

use crate::wire::CountingWire;
use crate::{queues, table};

/// The retention of all items.
pub(crate) const RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// How long before their due time the sweep sends timers.
const AHEAD: Duration = Duration::from_secs(120);

/// Which errors the AWS SDK passes to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SdkRetryMode {
    /// The SDK tries three times without delays, then returns the error.
    Retries,
    /// The SDK returns the first error.
    Tells,
}

pub(crate) struct AwsStage {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) wire: Arc<CountingWire>,
    /// A client that reads and changes the table without the proxy.
    pub(crate) direct: Connection,
    pub(crate) table: String,
    queues: QueueAddresses,
    /// The adapter under test.
    pub(crate) aws: Arc<Aws>,
    /// An adapter without the proxy. It receives and deletes messages, as Lambda does.
    pub(crate) lambda: Arc<Aws>,
    pub(crate) config: Config,
    pub(crate) dynamo: AwsFaultProxy,
    sqs: AwsFaultProxy,
    ministack: Ministack,
    registered: Vec<RegisteredFunction>,
    seed: AtomicU64,
}

impl AwsStage {
    /// Creates a stage with these functions.
    pub(crate) async fn new(sdk: SdkRetryMode, functions: Vec<Function>) -> Self {
        Self::with_data(sdk, functions, SharedData::default()).await
    }

    /// Creates a stage with these functions, which share this data.
    pub(crate) async fn with_data(sdk: SdkRetryMode, functions: Vec<Function>, data: SharedData) -> Self {
        let (ministack, tables) = (Ministack::start().await, DynamoDbLocal::shared().await);
        let dynamo = AwsFaultProxy::start(tables.url()).await;
        let sqs = AwsFaultProxy::start(ministack.url()).await;
        let clock = Arc::new(VirtualClock::new(start()));
        let wire = CountingWire::new(clock.clone(), [&dynamo, &sqs]);
        let direct = connection(SdkRetryMode::Retries, &tables.url(), &ministack.url()).await;
        let table = fresh_name("runs");
        table::create(direct.dynamo(), &table).await;
        let queues = queues::create(&direct, &table).await;
        let options = || options(&table, &queues, &clock);
        let aws = Arc::new(Aws::new(&connection(sdk, &dynamo.url(), &sqs.url()).await, options()));
        let lambda = Arc::new(Aws::new(&direct, options()));
        let registered = functions
            .into_iter()
            .flat_map(|f| stepladder_sdk::runtime::compile(f, &data).expect("a function that can work"));
        let registered = registered.collect();
        // failed calls are repeated at once, because the clock stands still while a hop waits for
        // the table
        let config = Config { storage_retries: StorageRetries::at_once(), ..Config::default() };
        let seed = AtomicU64::new(1);
        Self { clock, wire, direct, table, queues, aws, lambda, config, dynamo, sqs, ministack, registered, seed }
    }

    /// Uses the connection settings of production, with its timeouts and retries.
    pub(crate) async fn with_production_clients(mut self) -> Self {
        let connection = Connection::emulators(&self.dynamo.url(), &self.sqs.url());
        self.aws = Arc::new(Aws::new(&connection, options(&self.table, &self.queues, &self.clock)));
        self
    }

    /// Creates an engine with its own cache and worker id, as a separate process has.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.engine_with(&self.config)
    }

    pub(crate) fn engine_with(&self, config: &Config) -> Arc<Engine> {
        let entropy = Arc::new(SeededEntropy::new(self.seed.fetch_add(1, Ordering::Relaxed) << 32));
        let engine =
            Engine::with_ports(self.aws.clone(), self.clock.clone(), entropy, self.registered.clone(), config.clone());
        Arc::new(engine.expect("functions that can work"))
    }

    /// Sends an event until it is accepted. A failed request is repeated with the same event id, as
    /// a sender does.
    pub(crate) async fn send(&self, engine: &Engine, event: &NewEvent) -> EventId {
        for _ in 0..5 {
            if let Ok(ids) = engine.intake().ingest(vec![event.clone()], None).await {
                return ids[0];
            }
        }
        panic!("the event cannot be sent");
    }

    /// Returns the time of the virtual clock.
    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Advances the virtual clock and the clocks of the emulators.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.ministack.advance(by);
    }

    fn advance_to(&self, moment: Timestamp) {
        self.advance(moment.since(self.clock.now()));
    }

    /// Receives the visible messages, at most ten, in the order in which they were sent.
    pub(crate) async fn receive_now(&self) -> Vec<Delivery> {
        self.lambda.receive_now(10, self.config.visibility()).await.expect("the queue answers")
    }

    /// Invokes the engine with one message. If the invocation succeeds, deletes the message, as
    /// Lambda does.
    pub(crate) async fn invoke(&self, engine: &Engine, delivery: Delivery) -> bool {
        let Delivery { wake, receipt, receives } = delivery;
        let inner = Delivery { wake, receipt: stepladder_aws::invocation_receipt(), receives };
        match engine.hop(inner).await {
            Ok(()) => {
                self.delete(receipt).await;
                true
            }
            Err(_) => {
                self.wire.expect_timer(self.clock.now() + self.config.visibility());
                false
            }
        }
    }

    pub(crate) async fn delete(&self, receipt: Receipt) {
        self.lambda.commit(Commit { acks: vec![receipt], ..Commit::default() }).await.expect("the queue answers");
    }

    /// Handles all messages, one at a time. Advances the clock to the next due time until nothing
    /// is due. Returns the number of invocations.
    pub(crate) async fn settle(&self, mut engine: impl FnMut() -> Arc<Engine>) -> usize {
        let mut hops = 0;
        loop {
            let deliveries = self.receive_now().await;
            if deliveries.is_empty() && !self.move_on(&engine()).await {
                return hops;
            }
            for delivery in deliveries {
                hops += 1;
                assert!(hops < 2_000, "the wakes do not end");
                self.invoke(&engine(), delivery).await;
            }
        }
    }

    /// If a timer is due, executes a sweep. Otherwise advances the clock to the next due time.
    /// Returns `false` if nothing is due.
    pub(crate) async fn move_on(&self, engine: &Engine) -> bool {
        if self.wire.take_timers(AHEAD) {
            self.sweep(engine).await;
            return true;
        }
        match self.wire.next_due() {
            Some(due) => {
                // the due time may have passed already, because the sweep sends timers early
                let now = self.clock.now();
                self.advance_to(due);
                self.clock.now() > now
            }
            None => false,
        }
    }

    /// Executes a sweep. Before it, advances the cursor over the past minutes, which have no
    /// timers, as sweeps in each minute would have done.
    pub(crate) async fn sweep(&self, engine: &Engine) {
        let minute = (self.clock.now() - AHEAD).minute() - 1;
        let there = self.lambda.cursor().await.expect("the table answers");
        if there.as_ref().is_none_or(|cursor| cursor.minute < minute) {
            let next = Cursor { minute, sent: Vec::new() };
            assert!(self.lambda.advance(there, next).await.expect("the table answers"));
        }
        for _ in 0..3 {
            if engine.sweep().await.is_ok() {
                return;
            }
        }
        panic!("no sweep comes to its end");
    }

    /// Returns all details of an event's runs.
    pub(crate) async fn runs(&self, event: EventId) -> Vec<RunDetail> {
        let onlooker = self.observing_engine();
        let mut runs = Vec::new();
        for run in onlooker.query().runs_of_event(&event.to_string()).await.expect("listed") {
            runs.push(onlooker.query().run(run.run).await.expect("a run"));
        }
        runs
    }

    /// Creates an engine without the proxy and with an empty cache.
    pub(crate) fn observing_engine(&self) -> Engine {
        let entropy = Arc::new(SeededEntropy::new(u64::MAX));
        let engine = Engine::with_ports(
            self.lambda.clone(),
            self.clock.clone(),
            entropy,
            self.registered.clone(),
            self.config.clone(),
        );
        engine.expect("functions that can work")
    }

    /// Returns descriptions of the facts in a journal, without times, leases and worker ids.
    pub(crate) async fn facts(&self, run: RunId) -> Vec<String> {
        let page = self.observing_engine().query().journal(run, 0, usize::MAX - 1).await.expect("a journal");
        assert_nothing_is_early(page.entries.iter().map(|(_, entry)| entry));
        page.entries.iter().map(|(_, entry)| describe(&entry.fact)).collect()
    }

    /// Panics if a journal in the table is not legal. The checker shares no code with the engine.
    pub(crate) async fn assert_journals(&self) {
        let onlooker = self.observing_engine();
        let all = RunFilter { limit: Some(500), ..RunFilter::default() };
        let mut journals = Vec::new();
        for run in onlooker.query().runs(all).await.expect("a listing").runs.into_iter().map(|run| run.run) {
            let page = onlooker.query().journal(run, 0, usize::MAX - 1).await.expect("a journal");
            let entries = page.entries.into_iter().map(|(_, entry)| entry).collect();
            journals.push(RunJournal { run, entries });
        }
        assert_ne!(journals.len(), 0, "there is something to check");
        assert_eq!(stepladder_proof::check(&journals), [] as [String; 0]);
    }

    /// Panics if a request exceeded a limit of AWS.
    pub(crate) fn assert_within_limits(&self) {
        assert_eq!(self.wire.exceeded_limits(), [] as [String; 0]);
    }
}

fn options(table: &str, queues: &QueueAddresses, clock: &Arc<VirtualClock>) -> AwsOptions {
    let (table, queues, clock) = (table.to_owned(), queues.clone(), clock.clone());
    AwsOptions { table, queues, clock, retention: RETENTION, trace: || None, retries: StorageRetries::at_once() }
}

/// Panics if a sleep or the wait for a retry ended before its time.
fn assert_nothing_is_early<'a>(entries: impl Iterator<Item = &'a Entry>) {
    let mut due = BTreeMap::new();
    for Entry { at, fact } in entries {
        match fact {
            Fact::SleepStarted { step, until } | Fact::StepFailed { step, retry_at: Some(until), .. } => {
                due.insert(step, *until);
            }
            Fact::SleepEnded { step } | Fact::StepStarted { step, .. } => {
                assert!(due.get(step).is_none_or(|due| due <= at), "`{step}` goes on at {at}, before its time");
            }
            _ => {}
        }
    }
}

fn describe(fact: &Fact) -> String {
    match fact {
        Fact::RunCreated(created) => format!("created {}", created.function),
        Fact::StepStarted { step, attempt, .. } => format!("{step} started, {attempt}"),
        Fact::StepSucceeded { step, attempt, output, .. } => {
            format!("{step} succeeded, {attempt}: {:.60}", output.get())
        }
        Fact::StepFailed { step, attempt, error, retry_at, .. } => {
            format!("{step} failed, {attempt}: {}, again: {}", error.message, retry_at.is_some())
        }
        Fact::SleepStarted { step, .. } => format!("{step} sleeps"),
        Fact::SleepEnded { step } => format!("{step} awake"),
        Fact::EventsSent { step, ids } => format!("{step} sent {}", ids.len()),
        Fact::InvokeStarted { step, function, .. } => format!("{step} calls {function}"),
        Fact::RunCompleted { output } => format!("completed: {:.60}", output.get()),
        other => format!("{other:?}"),
    }
}

async fn connection(sdk: SdkRetryMode, dynamo: &str, sqs: &str) -> Connection {
    let retries = match sdk {
        SdkRetryMode::Retries => {
            let at_once = Duration::from_millis(1);
            RetryConfig::standard().with_initial_backoff(at_once).with_max_backoff(at_once)
        }
        SdkRetryMode::Tells => RetryConfig::disabled(),
    };
    let shared = aws_config::defaults(BehaviorVersion::latest())
        .http_client(stepladder_aws::http_client())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("emulator", "emulator", None, None, "emulator"))
        .retry_config(retries)
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(20)).build())
        .load()
        .await;
    Connection::with_endpoints(&shared, dynamo, sqs)
}
