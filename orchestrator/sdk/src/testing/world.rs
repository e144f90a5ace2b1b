//! Drives the engine of a test app. While there is work, hops are executed concurrently; otherwise
//! the clock is moved.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, poll_fn};
use futures::stream::{FuturesUnordered, StreamExt};
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Listings, Queue, RunQuery, RunStatusFilter};
use stepladder_engine::{Config, Engine, RunFilter};
use stepladder_testkit::clock::SeededEntropy;
use stepladder_testkit::memory::Memory;

use super::clock::TestClock;
use super::executor::TestExecutor;
use super::run::TestRun;
use super::script::StepScripts;
use crate::{Function, PayloadCodec, SharedData};

/// The time at which the virtual clock starts: 2024-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_704_067_200_000);

/// The real time after which a test with a running body fails.
const REAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The virtual time within which every run must end: 10 years.
const VIRTUAL_TIMEOUT: Duration = Duration::from_secs(10 * 366 * 86_400);
/// The maximum number of wakes that are received at the same time.
const MAX_RECEIVED: usize = 64;

/// The engine of a test app, with its storage, queue and clock.
pub(super) struct TestEnvironment {
    pub(super) engine: Arc<Engine>,
    pub(super) memory: Arc<Memory>,
    clock: Arc<TestClock>,
    codec: Option<Arc<dyn PayloadCodec>>,
    script: Arc<StepScripts>,
    hops: FuturesUnordered<BoxFuture<'static, ()>>,
    /// How many hops each run had.
    hops_of_runs: HashMap<RunId, u32>,
}

impl TestEnvironment {
    pub(super) fn new(functions: Vec<Function>, data: &SharedData, script: Arc<StepScripts>, config: Config) -> Self {
        let clock = Arc::new(TestClock::new(START));
        let memory = Arc::new(Memory::new(clock.clone()));
        let mut registered = Vec::new();
        for function in functions {
            let compiled = function.compile(data).unwrap_or_else(|error| panic!("{error}"));
            registered.extend(compiled.into_iter().map(|function| TestExecutor::wrap(function, script.clone())));
        }
        let entropy = Arc::new(SeededEntropy::new(1));
        let engine = Engine::with_ports(memory.clone(), clock.clone(), entropy, registered, config);
        let engine = Arc::new(engine.unwrap_or_else(|error| panic!("{error}")));
        let codec = data.codec().cloned();
        Self { engine, memory, clock, codec, script, hops: FuturesUnordered::new(), hops_of_runs: HashMap::new() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Executes everything until no run is live.
    pub(super) async fn run_to_end(&mut self) {
        let end = self.now() + VIRTUAL_TIMEOUT;
        loop {
            self.settle().await;
            if self.hops.is_empty() && self.has_no_live_run().await {
                return;
            }
            match self.next_due() {
                Some(due) if due <= end => self.clock.set(due),
                Some(_) | None => panic!("{}", self.describe_live_runs().await),
            }
        }
    }

    /// Executes everything that is due until `end`.
    pub(super) async fn run_until(&mut self, end: Timestamp) {
        loop {
            self.settle().await;
            match self.next_due() {
                Some(due) if due <= end => self.clock.set(due),
                Some(_) | None => break,
            }
        }
        self.clock.set(end);
    }

    /// Executes everything that is due while the clock stands still.
    async fn settle(&mut self) {
        self.engine.sweep().await.unwrap_or_else(|error| panic!("{error}"));
        loop {
            self.receive();
            match futures::poll!(self.hops.next()) {
                Poll::Ready(Some(())) => continue,
                Poll::Ready(None) => return,
                Poll::Pending => {}
            }
            if self.receive() {
                continue;
            }
            if !self.script.is_active() {
                return; // the hops wait for the clock
            }
            // once no handler and no body runs, the other hops may wait for the clock
            let (hops, script) = (&mut self.hops, &self.script);
            let progress = poll_fn(|cx| match hops.poll_next_unpin(cx) {
                Poll::Pending if script.is_active() => Poll::Pending,
                Poll::Pending | Poll::Ready(_) => Poll::Ready(()),
            });
            if tokio::time::timeout(REAL_TIMEOUT, progress).await.is_err() {
                panic!(
                    "the bodies of {:?} have run for {REAL_TIMEOUT:?} of real time; the virtual clock stands still \
                     meanwhile, so use TestApp::hang to test a timeout",
                    self.script.active_bodies()
                );
            }
        }
    }

    /// Starts a hop for every visible wake. Returns whether there was one.
    fn receive(&mut self) -> bool {
        let mut has_received = false;
        let visibility = self.engine.config().visibility();
        while let Some(received) = self.memory.receive(MAX_RECEIVED, visibility).now_or_never() {
            for delivery in received.unwrap_or_else(|error| panic!("{error}")) {
                has_received = true;
                let engine = self.engine.clone();
                *self.hops_of_runs.entry(delivery.wake.run).or_default() += 1;
                let hop = async move { engine.hop(delivery).await.unwrap_or_else(|error| panic!("{error}")) };
                self.hops.push(until_death(hop.boxed(), self.script.clone()).boxed());
            }
        }
        has_received
    }

    fn next_due(&self) -> Option<Timestamp> {
        let now = self.now();
        let message = self.memory.next_due().filter(|due| *due > now);
        message.into_iter().chain(self.clock.next_alarm()).min()
    }

    async fn has_no_live_run(&self) -> bool {
        let query = RunQuery { status: RunStatusFilter::Live, limit: 1, ..RunQuery::default() };
        self.memory.runs(query).await.is_ok_and(|live| live.is_empty())
    }

    pub(super) async fn inspect_run(&self, run: RunId) -> TestRun {
        let detail = self.engine.query().run(run).await.unwrap_or_else(|error| panic!("{error}"));
        let page = self.engine.query().journal(run, 0, usize::MAX - 1).await.unwrap_or_else(|error| panic!("{error}"));
        let journal = page.entries.into_iter().map(|(_, entry)| entry).collect();
        let hops = self.hops_of_runs.get(&run).copied().unwrap_or_default();
        TestRun::new(detail, journal, (self.script.executions(run), hops), self.codec.as_deref())
    }

    /// Describes the runs that do not end, and why.
    async fn describe_live_runs(&self) -> String {
        let page = self.engine.query().runs(RunFilter::default()).await.map(|page| page.runs).unwrap_or_default();
        let mut text = String::from("runs that do not end:");
        for run in page.iter().filter(|run| !run.status.is_end()) {
            let waiting = self.engine.query().run(run.run).await.ok().and_then(|detail| detail.waiting);
            text += &format!(" {} of `{}` ({});", run.run, run.function, waiting.as_deref().unwrap_or("moving"));
        }
        text
    }
}

/// Executes a hop to its end, or until its worker dies. A hop whose worker has died is dropped
/// where it waits, without an acknowledgement of its wake.
async fn until_death(mut hop: BoxFuture<'static, ()>, script: Arc<StepScripts>) {
    futures::future::poll_fn(move |cx| {
        let polled = hop.as_mut().poll(cx);
        if script.take_death() { Poll::Ready(()) } else { polled }
    })
    .await;
}
