//! A set of functions that changes while the process runs.

mod support;

use std::sync::{Arc, Mutex};

use stepladder_core::Status;
use stepladder_engine::{Catalog, Config, Engine, Functions, RegisteredFunction};
use stepladder_testkit::clock::SeededEntropy;
use support::EngineFixture;
use support::script::ScriptedFunction;

/// Functions that a test replaces.
struct Changing(Mutex<Arc<Catalog>>);

impl Changing {
    fn of(functions: Vec<RegisteredFunction>) -> Self {
        Self(Mutex::new(catalog(functions)))
    }

    fn replace(&self, functions: Vec<RegisteredFunction>) {
        *self.0.lock().unwrap() = catalog(functions);
    }
}

impl Functions for Changing {
    fn snapshot(&self) -> Arc<Catalog> {
        self.0.lock().unwrap().clone()
    }
}

fn catalog(functions: Vec<RegisteredFunction>) -> Arc<Catalog> {
    Arc::new(Catalog::new(functions, &Config::default()).expect("functions that work"))
}

fn engine(world: &EngineFixture, functions: Arc<Changing>) -> Arc<Engine> {
    let entropy = Arc::new(SeededEntropy::new(7));
    let (memory, clock) = (world.memory.clone(), world.clock.clone());
    Arc::new(Engine::with_functions(memory, clock, entropy, functions, world.config.clone()))
}

#[tokio::test]
async fn a_function_that_is_registered_later_starts_runs_without_a_restart() {
    let world = EngineFixture::new(Vec::new());
    let functions = Arc::new(Changing::of(Vec::new()));
    let engine = engine(&world, functions.clone());
    let before = world.send_event(&engine).await;
    assert!(world.runs(&engine, before).await.is_empty());
    functions.replace(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let after = world.send_event(&engine).await;
    world.settle(&engine).await;
    assert_eq!(world.status(&engine, after).await, Status::Completed);
}

#[tokio::test]
async fn a_run_whose_function_is_removed_waits_and_goes_on_once_it_is_back() {
    let world = EngineFixture::new(Vec::new());
    let script = || vec![ScriptedFunction::new("f").step("a", &[]).function()];
    let functions = Arc::new(Changing::of(script()));
    let engine = engine(&world, functions.clone());
    let event = world.send_event(&engine).await;
    functions.replace(Vec::new());
    world.hop_once(&engine).await;
    let detail = &world.runs(&engine, event).await[0];
    assert_eq!(detail.summary.status, Status::Scheduled);
    assert!(detail.waiting.as_deref().is_some_and(|why| why.contains("to be registered")), "{:?}", detail.waiting);
    functions.replace(script());
    world.settle(&engine).await;
    assert_eq!(world.status(&engine, event).await, Status::Completed);
}
