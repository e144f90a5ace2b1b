//! What moves a test: hops side by side while anything can be done, then the clock.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Listings, Queue, RunQuery, Shown};
use stepladder_engine::{Engine, RunFilter};
use stepladder_testkit::memory::Memory;

use super::clock::TestClock;
use super::run::TestRun;
use super::script::Script;

/// Real time that bodies may take before the test is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Virtual time within which everything has to end.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Wakes received at a time.
const AT_ONCE: usize = 64;

/// An engine and its surroundings.
pub(super) struct World {
    pub(super) engine: Arc<Engine>,
    pub(super) memory: Arc<Memory>,
    clock: Arc<TestClock>,
    script: Arc<Script>,
    /// Hops under way.
    hops: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl World {
    pub(super) fn new(engine: Arc<Engine>, memory: Arc<Memory>, clock: Arc<TestClock>, script: Arc<Script>) -> Self {
        Self { engine, memory, clock, script, hops: FuturesUnordered::new() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs until no run is left.
    pub(super) async fn run_to_end(&mut self) {
        let end = self.now() + LONGEST;
        loop {
            self.settle().await;
            if self.hops.is_empty() && self.is_all_over().await {
                return;
            }
            match self.next_due() {
                Some(due) if due <= end => self.clock.set(due),
                Some(_) | None => panic!("{}", self.stuck().await),
            }
        }
    }

    /// Runs what falls due until `end`.
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

    /// Runs everything that can be run while the clock stands still.
    async fn settle(&mut self) {
        self.engine.sweep().await.unwrap_or_else(|error| panic!("{error}"));
        loop {
            self.receive();
            match futures::poll!(self.hops.next()) {
                std::task::Poll::Ready(Some(())) => continue,
                std::task::Poll::Ready(None) => return,
                std::task::Poll::Pending => {}
            }
            if self.receive() {
                continue;
            }
            if !self.script.is_active() {
                return; // the hops wait for the clock
            }
            if tokio::time::timeout(PATIENCE, self.hops.next()).await.is_err() {
                panic!(
                    "the bodies of {:?} have run for {PATIENCE:?} of real time; the virtual clock stands still while \
                     they do: to test a time-out, say TestApp::hang",
                    self.script.active()
                );
            }
        }
    }

    /// Starts a hop for every wake that is visible; says whether there was one.
    fn receive(&mut self) -> bool {
        let mut any = false;
        let visibility = self.engine.config().visibility();
        while let Some(received) = self.memory.receive(AT_ONCE, visibility).now_or_never() {
            for delivery in received.unwrap_or_else(|error| panic!("{error}")) {
                any = true;
                let engine = self.engine.clone();
                let hop = async move { engine.hop(delivery).await.unwrap_or_else(|error| panic!("{error}")) };
                self.hops.push(hop.boxed());
            }
        }
        any
    }

    fn next_due(&self) -> Option<Timestamp> {
        let now = self.now();
        let message = self.memory.next_due().filter(|due| *due > now);
        message.into_iter().chain(self.clock.next_alarm()).min()
    }

    async fn is_all_over(&self) -> bool {
        let query = RunQuery { shown: Shown::Live, limit: 1, ..RunQuery::default() };
        self.memory.runs(query).await.is_ok_and(|live| live.is_empty())
    }

    pub(super) async fn look_at(&self, run: RunId) -> TestRun {
        let detail = self.engine.query().run(run).await.unwrap_or_else(|error| panic!("{error}"));
        let page = self.engine.query().journal(run, 0, usize::MAX - 1).await.unwrap_or_else(|error| panic!("{error}"));
        let journal = page.entries.into_iter().map(|(_, entry)| entry).collect();
        TestRun::new(detail, journal, self.script.executions(run))
    }

    /// Why runs do not end.
    async fn stuck(&self) -> String {
        let page = self.engine.query().runs(RunFilter::default()).await.map(|page| page.runs).unwrap_or_default();
        let mut said = String::from("runs that do not end:");
        for run in page.iter().filter(|run| !run.status.is_end()) {
            let waiting = self.engine.query().run(run.run).await.ok().and_then(|detail| detail.waiting);
            said += &format!(" {} of `{}` ({});", run.run, run.function, waiting.as_deref().unwrap_or("moving"));
        }
        said
    }
}
