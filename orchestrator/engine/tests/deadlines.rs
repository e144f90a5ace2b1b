//! How long workers have: time-outs by function, and deadlines that an invocation brings along.

mod support;

use std::time::Duration;

use stepladder_core::decide::StepOptions;
use stepladder_core::journal::Fact;
use stepladder_core::{Status, Timestamp};
use stepladder_engine::clock::{Clock, SeededEntropy};
use stepladder_engine::{Config, Engine, EngineError};
use support::script::Script;
use support::{World, only_run};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn lasting(secs: u64) -> StepOptions {
    StepOptions { timeout: Some(seconds(secs)), ..StepOptions::default() }
}

/// Two functions, of which `long` has workers of its own, with 900 s.
fn own_workers(config: &mut Config) {
    config.worker_timeouts = [("long".into(), seconds(900))].into();
}

/// The ends of all leases in a journal.
async fn leases(world: &World, engine: &Engine) -> Vec<Timestamp> {
    let journal = world.journal(engine, only_run(engine).await).await;
    let lease = |fact: &Fact| match fact {
        Fact::StepStarted { lease_until, .. } => Some(*lease_until),
        _ => None,
    };
    journal.iter().filter_map(|entry| lease(&entry.fact)).collect()
}

#[tokio::test]
async fn a_function_with_workers_of_its_own_has_their_time() {
    for (function, fits) in [("long", true), ("short", false)] {
        let script = Script::new(function).body_with("a", &[], lasting(600), |_| async { Ok(()) });
        let mut world = World::new(vec![script.program()]).config(own_workers);
        let engine = world.engine();
        world.go(&engine).await;
        let now = world.clock.now();
        world.settle(&engine).await;
        let summary = engine.run(only_run(&engine).await).await.unwrap().summary;
        if fits {
            assert_eq!(summary.status, Status::Completed);
            assert_eq!(leases(&world, &engine).await, [now + seconds(900) + engine.config().lease_margin]);
        } else {
            assert_eq!(summary.error.unwrap().code.as_deref(), Some("timeout-too-long"));
        }
        assert_eq!(engine.config().visibility(), seconds(930), "a received wake may be of either");
    }
}

#[tokio::test]
async fn a_default_that_does_not_fit_the_functions_own_workers_is_refused() {
    let made = |function: &str| {
        let script = Script::new(function).spec(|spec| spec.timeout = seconds(600));
        let world = World::new(vec![script.program()]).config(own_workers);
        let entropy = std::sync::Arc::new(SeededEntropy::new(1));
        Engine::with_ports(world.memory, world.clock, entropy, world.programs, world.config)
    };
    assert!(made("long").is_ok());
    let Err(EngineError::Invalid(why)) = made("short") else { panic!("600 s in a worker of 120 s") };
    assert!(why.contains("`short`") && why.contains("at most 115s"), "{why}");
}
