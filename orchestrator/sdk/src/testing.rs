//! Tests of functions, in memory and on a virtual clock: months of sleep take milliseconds.
//!
//! ```
//! use stepladder::prelude::*;
//! use stepladder::testing::{Status, TestApp};
//!
//! #[derive(Serialize, Deserialize, Event)]
//! #[event(name = "user/signed.up")]
//! struct SignedUp { name: String }
//!
//! async fn remind(ctx: Context, event: Event<SignedUp>) -> Result<String> {
//!     ctx.sleep("a month", Duration::from_secs(30 * 86_400)).await?;
//!     ctx.step("mail", async || Ok(format!("Still there, {}?", event.data.name))).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let refused = Error::new("refused");
//! let mut app = TestApp::new().function(Function::new("remind", remind)).fail("mail", 1, refused);
//! let run = app.send(&SignedUp { name: "Ada".into() }).await.remove(0);
//! assert_eq!(run.status(), Status::Completed);
//! assert_eq!(run.output::<String>(), "Still there, Ada?");
//! assert_eq!(run.attempts("mail"), 2);
//! # }
//! ```
//!
//! The engine is the real one. Storage and queue are in memory.

mod build;
mod clock;
mod executor;
mod internals;
mod run;
mod script;
mod world;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use stepladder_core::{EventId, Timestamp, json};
use stepladder_engine::ports::Listings;
use stepladder_engine::{Config, RerunOptions};

use crate::event::encode_event;
use crate::single_calls::SingleCalls;
use crate::{Error, Function, SharedData, ToEvent};
use script::StepScripts;
use world::TestEnvironment;

pub use run::TestRun;
pub use stepladder_core::Status;
/// What an entry of a run's journal records. A test may search a journal for a fact:
///
/// ```
/// use stepladder::testing::{Fact, TestRun};
///
/// fn slept(run: &TestRun) -> bool {
///     run.journal().iter().any(|entry| matches!(entry.fact, Fact::SleepEnded { .. }))
/// }
/// ```
pub use stepladder_core::journal::Fact;
pub use stepladder_core::journal::{Entry, Outcome};
pub use stepladder_engine::Pace;

/// An app for tests.
///
/// The clock of the app stands still while any code is running. When nothing is running, the clock
/// jumps to the next time at which something is due. Therefore a body that never ends is not timed
/// out; use [`hang`](Self::hang) to simulate such a body.
///
/// Everything that cannot work ends the test with a panic that says why: a function that does not
/// compile, an event that is refused, a run that waits for something that never happens.
///
/// ```
/// # use stepladder::prelude::*;
/// use stepladder::testing::{Pace, Status, TestApp};
///
/// # #[derive(Serialize, Deserialize, Event)] #[event(name = "shop/order.placed")] struct Order {}
/// # async fn charge(ctx: Context, _: Event<Order>) -> Result<u32> {
/// #     ctx.step("charge", async || Err(Error::new("no network in tests"))).await
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let app = TestApp::new().function(Function::new("charge", charge)).pace(Pace::WithinBudget);
/// let mut app = app.mock("charge", 500).fail("charge", 2, Error::new("the bank is down"));
/// let run = app.send(&Order {}).await.remove(0);
/// assert_eq!((run.status(), run.attempts("charge")), (Status::Completed, 3));
/// # }
/// ```
pub struct TestApp {
    functions: Vec<Function>,
    data: SharedData,
    script: StepScripts,
    config: Config,
    calls: SingleCalls,
    world: Option<TestEnvironment>,
}

impl TestApp {
    /// Sends an event, and executes everything until no run is live. Returns the runs that the
    /// event started.
    pub async fn send<E: ToEvent>(&mut self, event: &E) -> Vec<TestRun> {
        let id = self.ingest(event).await;
        self.world().run_to_end().await;
        self.runs_of(id).await
    }

    /// Sends an event, and executes everything that is due without moving the clock. Returns the
    /// runs that the event started.
    pub async fn start<E: ToEvent>(&mut self, event: &E) -> Vec<TestRun> {
        let id = self.ingest(event).await;
        let now = self.now();
        self.world().run_until(now).await;
        self.runs_of(id).await
    }

    /// Posts data to the callback token of a signal, and executes everything until no run is live.
    /// Panics if the post is refused.
    pub async fn signal(&mut self, token: &str, data: &(impl Serialize + ?Sized)) {
        let data = json::to_json(data).unwrap_or_else(|error| panic!("the signal is not JSON: {error}"));
        let world = self.world();
        world.engine.subscriptions().signal(token, data).await.unwrap_or_else(|error| panic!("{error}"));
        world.run_to_end().await;
    }

    /// Posts a failure to the callback token of a signal, and executes everything until no run is
    /// live. The error may have a code, [`Error::with_code`], and a name, [`Error::with_name`].
    /// Panics if the post is refused.
    ///
    /// ```
    /// use stepladder::prelude::*;
    /// use stepladder::testing::TestApp;
    ///
    /// # #[derive(Serialize, Deserialize, Event)] #[event(name = "shop/order.placed")] struct Order {}
    /// async fn pay(ctx: Context, _: Event<Order>) -> Result<String> {
    ///     match ctx.wait_for_signal::<u32>("payment").await {
    ///         Err(error) if error.code() == Some("declined") => Ok(format!("declined: {error}")),
    ///         other => Ok(format!("{other:?}")),
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut app = TestApp::new().function(Function::new("pay", pay));
    /// let run = app.start(&Order {}).await.remove(0);
    /// let token = app.token(&run, "payment").await;
    /// app.fail_signal(&token, Error::new("no funds").with_code("declined")).await;
    /// assert_eq!(app.runs().await[0].output::<String>(), "declined: no funds");
    /// # }
    /// ```
    pub async fn fail_signal(&mut self, token: &str, error: impl Into<Error>) {
        let failure = error.into().into_fault().failure;
        let world = self.world();
        world.engine.subscriptions().fail_signal(token, failure).await.unwrap_or_else(|error| panic!("{error}"));
        world.run_to_end().await;
    }

    /// Posts a heartbeat to the callback token of a signal, and executes everything that is due
    /// without moving the clock. Panics if the heartbeat is refused, for example because the wait
    /// has ended.
    pub async fn heartbeat(&mut self, token: &str) {
        let now = self.now();
        let world = self.world();
        world.engine.subscriptions().heartbeat(token).await.unwrap_or_else(|error| panic!("{error}"));
        world.run_until(now).await;
    }

    /// Returns the callback token of a step that waits for a signal, or will wait for one. This is
    /// the token that the function passes to a third party.
    pub async fn token(&mut self, run: &TestRun, step: &str) -> String {
        self.world()
            .engine
            .subscriptions()
            .callback_token(run.id(), step)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Cancels a run, and executes everything that is due without moving the clock. Returns the
    /// cancelled run. A run that has already ended is not changed.
    pub async fn cancel(&mut self, run: &TestRun) -> TestRun {
        let now = self.now();
        let world = self.world();
        world
            .engine
            .control()
            .cancel(run.id(), "the test asked for it")
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        world.run_until(now).await;
        world.inspect_run(run.id()).await
    }

    /// Pauses a function. Runs of the function that have not started wait until
    /// [`resume`](Self::resume).
    pub async fn pause(&mut self, function: &str) {
        self.world().engine.functions().pause(function).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Resumes a paused function, and executes everything that is due without moving the clock.
    pub async fn resume(&mut self, function: &str) {
        let now = self.now();
        let world = self.world();
        world.engine.functions().resume(function).await.unwrap_or_else(|error| panic!("{error}"));
        world.run_until(now).await;
    }

    /// Reruns a run from its beginning, and executes everything until no run is live. Returns the
    /// new run.
    pub async fn rerun(&mut self, run: &TestRun) -> TestRun {
        self.rerun_as(run, RerunOptions::default()).await
    }

    /// Reruns a run from a step, with the outcomes of the steps before it, and executes everything
    /// until no run is live. Returns the new run.
    pub async fn rerun_from(&mut self, run: &TestRun, step: &str) -> TestRun {
        self.rerun_as(run, RerunOptions { from_step: Some(step.into()), input: None }).await
    }

    /// Reruns a run from its beginning with other event data, and executes everything until no run
    /// is live. Returns the new run.
    pub async fn rerun_with(&mut self, run: &TestRun, data: &(impl Serialize + ?Sized)) -> TestRun {
        let input = json::to_json(data).unwrap_or_else(|error| panic!("the input is not JSON: {error}"));
        self.rerun_as(run, RerunOptions { from_step: None, input: Some(input) }).await
    }

    async fn rerun_as(&mut self, run: &TestRun, rerun: RerunOptions) -> TestRun {
        let world = self.world();
        let new = world.engine.control().rerun(run.id(), rerun).await.unwrap_or_else(|error| panic!("{error}"));
        world.run_to_end().await;
        world.inspect_run(new).await
    }

    /// Moves the clock forward, and executes everything that becomes due in the meantime.
    pub async fn advance(&mut self, duration: Duration) {
        let end = self.now() + duration;
        self.world().run_until(end).await;
    }

    /// Executes everything until no run is live.
    pub async fn finish(&mut self) {
        self.world().run_to_end().await;
    }

    /// Returns the time of the virtual clock.
    pub fn now(&mut self) -> Timestamp {
        self.world().now()
    }

    /// Returns all runs in the order in which they were created. This includes runs that another
    /// run called, and runs of failure handlers. The runs of one event are created in the order in
    /// which their functions were added.
    pub async fn runs(&mut self) -> Vec<TestRun> {
        let world = self.world();
        let mut runs = Vec::new();
        for run in world.memory.created_runs() {
            runs.push(world.inspect_run(run).await);
        }
        runs
    }

    /// Returns the runs of one function, in the order in which they were created.
    pub async fn runs_of_function(&mut self, id: &str) -> Vec<TestRun> {
        let mut runs = self.runs().await;
        runs.retain(|run| run.function() == id);
        runs
    }

    async fn ingest<E: ToEvent>(&mut self, event: &E) -> EventId {
        let event = encode_event(event).unwrap_or_else(|error| panic!("{error}"));
        if let Some(fault) = event.problem() {
            panic!("the event `{}` cannot be sent: {fault}", event.name);
        }
        let ids = self.world().engine.intake().ingest(vec![event], None).await;
        ids.unwrap_or_else(|error| panic!("{error}"))[0]
    }

    async fn runs_of(&mut self, event: EventId) -> Vec<TestRun> {
        let world = self.world();
        let mut rows = world.memory.runs_of(event).await.unwrap_or_else(|error| panic!("{error}"));
        let created = world.memory.created_runs();
        rows.sort_by_key(|row| created.iter().position(|run| *run == row.run));
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            runs.push(world.inspect_run(row.run).await);
        }
        runs
    }

    /// Returns the engine and everything around it. The first call creates them.
    fn world(&mut self) -> &mut TestEnvironment {
        let Self { functions, data, script, config, calls, world } = self;
        world.get_or_insert_with(|| {
            calls.check("the app").and_then(|()| data.check()).unwrap_or_else(|error| panic!("{error}"));
            let script = Arc::new(std::mem::take(script));
            TestEnvironment::new(std::mem::take(functions), data, script, config.clone())
        })
    }
}
