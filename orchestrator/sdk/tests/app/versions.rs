//! Versions of a function: the version that a new run chooses.

use std::sync::Arc;
use std::time::Duration;

use stepladder_engine::{Config, Engine};
use stepladder_sdk::Timestamp;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, TestRunDetail, compile};
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::memory::Memory;

use crate::running::{OrderEvent, order_event};

const DAY: Duration = Duration::from_secs(86_400);

async fn old_handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
    ctx.step("old", async || Ok("old".to_owned())).await
}

async fn new_handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
    ctx.sleep("night", DAY).await?;
    ctx.step("new", async || Ok("new".to_owned())).await
}

#[tokio::test]
async fn a_new_run_takes_the_newest_version_however_they_are_registered() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let newest = Function::new("f", new_handler).version("10");
        let app = TestApp::new().function(newest).function(Function::new("f", old_handler).version("9"));
        let run = app.function(Function::new("f", old_handler)).pace(pace).send(&order_event()).await.remove(0);
        assert_eq!((run.status(), run.output::<String>()), (Status::Completed, "new".into()));
        assert_eq!(run.detail().version.as_deref(), Some("10"));
        let taken = run.journal().iter().filter(|entry| matches!(entry.fact, Fact::VersionChosen { .. })).count();
        assert_eq!(taken, 1);
    }
}

#[tokio::test]
async fn a_function_without_a_version_records_none() {
    let run = TestApp::new().function(Function::new("f", old_handler)).send(&order_event()).await.remove(0);
    assert_eq!((run.output::<String>(), run.detail().version.as_deref()), ("old".into(), None));
    assert!(!run.journal().iter().any(|entry| matches!(entry.fact, Fact::VersionChosen { .. })));
}

#[tokio::test]
async fn one_version_twice_is_refused() {
    let twice = [Function::new("f", old_handler).version("2"), Function::new("f", new_handler).version("2")];
    let compiled =
        twice.into_iter().flat_map(|f| compile(f, &SharedData::default()).expect("a good function")).collect();
    let memory = Arc::new(Memory::new(Arc::new(VirtualClock::new(Timestamp::from_millis(1)))));
    let refused = Engine::new(memory, compiled, Config::default()).err().expect("two of one version").to_string();
    assert!(refused.contains("two functions have the id `f`"), "{refused}");
}
