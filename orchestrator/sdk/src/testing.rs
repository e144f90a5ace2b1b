//! Functions run in memory on a virtual clock: months of sleep in milliseconds, steps mocked by name, failures
//! injected, the journal to assert on.
//!
//! ```
//! use stepladder_sdk::prelude::*;
//! use stepladder_sdk::testing::{Status, TestApp};
//!
//! #[derive(Serialize, Deserialize)]
//! struct SignedUp { name: String }
//! impl EventData for SignedUp { const NAME: &'static str = "user/signed.up"; }
//!
//! async fn remind(ctx: Context, event: Event<SignedUp>) -> Result<String> {
//!     ctx.sleep("a month", Duration::from_secs(30 * 86_400)).await?;
//!     ctx.step("mail", async || Ok(format!("Still there, {}?", event.data.name))).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mut app = TestApp::new().function(Function::new("remind", remind)).fail("mail", 1, Error::new("refused"));
//! let run = app.send(&SignedUp { name: "Ada".into() }).await.remove(0);
//! assert_eq!(run.status(), Status::Completed);
//! assert_eq!(run.output::<String>(), "Still there, Ada?");
//! assert_eq!(run.attempts("mail"), 2);
//! # }
//! ```
//!
//! The engine is the real one; what is not here is anything of storage and network.

mod clock;
mod drive;
mod program;
mod run;
mod script;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use stepladder_core::{EventId, Timestamp, json};
use stepladder_engine::ports::Listings;
use stepladder_engine::{Config, Engine, Rerun};
use stepladder_testkit::clock::SeededEntropy;
use stepladder_testkit::memory::Memory;

use crate::error::Error;
use crate::event::sendable;
use crate::once::Once;
use crate::{Function, States, ToEvent};
use clock::TestClock;
use drive::World;
use program::TestProgram;
use script::Script;

pub use run::TestRun;
pub use stepladder_core::Status;
pub use stepladder_core::journal::{Entry, Fact, Outcome};
pub use stepladder_engine::Pace;

/// When the virtual clock starts: 2024-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_704_067_200_000);

/// An app for tests.
///
/// Its clock stands still while any code runs, and jumps to what is due next when nothing does. So a body that never
/// ends is not timed out here; [`hang`](Self::hang) says which are to be.
///
/// Everything that cannot work ends the test with a panic that says why: a function with a fault, an event that is
/// none, a run that waits for what never comes.
pub struct TestApp {
    functions: Vec<Function>,
    states: States,
    script: Script,
    config: Config,
    once: Once,
    world: Option<World>,
}

impl Default for TestApp {
    fn default() -> Self {
        Self::new()
    }
}

impl TestApp {
    /// An app without functions, at 2024-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self {
            functions: Vec::new(),
            states: States::default(),
            script: Script::default(),
            config: Config::default(),
            once: Once::default(),
            world: None,
        }
    }

    /// Adds a function.
    #[must_use]
    pub fn function(mut self, function: Function) -> Self {
        self.functions.push(function);
        self
    }

    /// Adds a value that functions share: [`Context::state`](crate::Context::state).
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.insert(value);
        self
    }

    /// Serves this value instead of running the step's body. `step` is a step's name (then it holds for all its
    /// repetitions) or its id with the number.
    #[must_use]
    pub fn mock(mut self, step: &str, value: impl Serialize) -> Self {
        let value = json::of(&value).unwrap_or_else(|error| panic!("the mock of step `{step}` is not JSON: {error}"));
        let before = self.script.of(step).value.replace(value);
        assert!(before.is_none(), "step `{step}` has two values by `.mock`; give it one");
        self
    }

    /// Lets the step's first `times` attempts in each run fail with this error; the body is not run then.
    #[must_use]
    pub fn fail(mut self, step: &str, times: u32, error: impl Into<Error>) -> Self {
        let before = self.script.of(step).fails.replace((times, error.into().into_fault()));
        assert!(before.is_none(), "step `{step}` has two errors by `.fail`; give it one");
        self
    }

    /// Lets the step's body hang: it never ends, and the clock moves on to its time-out.
    #[must_use]
    pub fn hang(mut self, step: &str) -> Self {
        self.script.of(step).hangs = true;
        self
    }

    /// How far one invocation goes; [`Pace::StepPerInvocation`] unless told otherwise.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.once.note("pace");
        self.config(|config| config.pace = pace)
    }

    /// Changes the engine's settings.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sends an event and runs everything until no run is left. Gives the runs that the event started.
    pub async fn send<E: ToEvent>(&mut self, event: &E) -> Vec<TestRun> {
        let id = self.accept(event).await;
        self.world().run_to_end().await;
        self.runs_of(id).await
    }

    /// Sends an event and runs everything that can be run now, without moving the clock. Gives the runs that the event
    /// started.
    pub async fn start<E: ToEvent>(&mut self, event: &E) -> Vec<TestRun> {
        let id = self.accept(event).await;
        let now = self.now();
        self.world().run_until(now).await;
        self.runs_of(id).await
    }

    /// Posts to a signal's token, and runs everything until no run is left. Panics when it is refused; to see how, ask the
    /// [engine](Self::engine).
    pub async fn signal(&mut self, token: &str, data: &(impl Serialize + ?Sized)) {
        let data = json::of(data).unwrap_or_else(|error| panic!("the signal is not JSON: {error}"));
        let world = self.world();
        world.engine.subscriptions().signal(token, data).await.unwrap_or_else(|error| panic!("{error}"));
        world.run_to_end().await;
    }

    /// The token of a step that waits for a signal, or will: what the function hands out.
    pub async fn token(&mut self, run: &TestRun, step: &str) -> String {
        self.world().engine.subscriptions().token(run.id(), step).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Cancels a run, and runs everything that can be run now, without moving the clock. Gives the run as it is then.
    /// One that has ended stays as it is.
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
        world.look_at(run.id()).await
    }

    /// Runs a run again from its beginning, and runs everything until no run is left. Gives the new run.
    pub async fn rerun(&mut self, run: &TestRun) -> TestRun {
        self.again(run, Rerun::default()).await
    }

    /// Runs a run again from a step, with the outcomes of the steps before it, and runs everything until no run is left.
    /// Gives the new run.
    pub async fn rerun_from(&mut self, run: &TestRun, step: &str) -> TestRun {
        self.again(run, Rerun { from_step: Some(step.into()), input: None }).await
    }

    /// Runs a run again from its beginning with other data of its event, and runs everything until no run is left. Gives
    /// the new run.
    pub async fn rerun_with(&mut self, run: &TestRun, data: &(impl Serialize + ?Sized)) -> TestRun {
        let input = json::of(data).unwrap_or_else(|error| panic!("the input is not JSON: {error}"));
        self.again(run, Rerun { from_step: None, input: Some(input) }).await
    }

    async fn again(&mut self, run: &TestRun, how: Rerun) -> TestRun {
        let world = self.world();
        let again = world.engine.control().rerun(run.id(), how).await.unwrap_or_else(|error| panic!("{error}"));
        world.run_to_end().await;
        world.look_at(again).await
    }

    /// Moves the clock on, and runs on the way what falls due.
    pub async fn advance(&mut self, by: Duration) {
        let end = self.now() + by;
        self.world().run_until(end).await;
    }

    /// Runs everything until no run is left.
    pub async fn finish(&mut self) {
        self.world().run_to_end().await;
    }

    /// The time on the virtual clock.
    pub fn now(&mut self) -> Timestamp {
        self.world().now()
    }

    /// All runs there ever were, in the order in which they were created, also within a millisecond: also those that were
    /// invoked, or started by a failure. The runs of one event are created in the order in which their functions were
    /// added.
    pub async fn runs(&mut self) -> Vec<TestRun> {
        let world = self.world();
        let mut runs = Vec::new();
        for run in world.memory.created() {
            runs.push(world.look_at(run).await);
        }
        runs
    }

    /// The runs of one function, in the order in which they were created.
    pub async fn runs_of_function(&mut self, id: &str) -> Vec<TestRun> {
        let mut runs = self.runs().await;
        runs.retain(|run| run.function() == id);
        runs
    }

    /// The engine behind it, for what this has no method for.
    pub fn engine(&mut self) -> Arc<Engine> {
        self.world().engine.clone()
    }

    /// The storage behind it, to count how it is used.
    pub fn memory(&mut self) -> Arc<Memory> {
        self.world().memory.clone()
    }

    async fn accept<E: ToEvent>(&mut self, event: &E) -> EventId {
        let event = sendable(event).unwrap_or_else(|error| panic!("{error}"));
        let ids = self.world().engine.intake().ingest(vec![event], None).await;
        ids.unwrap_or_else(|error| panic!("{error}"))[0]
    }

    async fn runs_of(&mut self, event: EventId) -> Vec<TestRun> {
        let world = self.world();
        let mut rows = world.memory.runs_of(event).await.unwrap_or_else(|error| panic!("{error}"));
        let created = world.memory.created();
        rows.sort_by_key(|row| created.iter().position(|run| *run == row.run));
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            runs.push(world.look_at(row.run).await);
        }
        runs
    }

    /// The engine and its surroundings, made when they are first needed.
    fn world(&mut self) -> &mut World {
        let Self { functions, states, script, config, once, world } = self;
        world.get_or_insert_with(|| {
            let fault = once.check("the app").err().or_else(|| states.fault());
            assert!(fault.is_none(), "{}", fault.unwrap_or_default());
            let clock = Arc::new(TestClock::new(START));
            let memory = Arc::new(Memory::new(clock.clone()));
            let script = Arc::new(std::mem::take(script));
            let mut programs = Vec::new();
            for function in functions.drain(..) {
                let made = function.programs(states).unwrap_or_else(|fault| panic!("{fault}"));
                programs.extend(made.into_iter().map(|program| TestProgram::around(program, script.clone())));
            }
            let entropy = Arc::new(SeededEntropy::new(1));
            let engine = Engine::with_ports(memory.clone(), clock.clone(), entropy, programs, config.clone());
            let engine = Arc::new(engine.unwrap_or_else(|fault| panic!("{fault}")));
            World::new(engine, memory, clock, script)
        })
    }
}
