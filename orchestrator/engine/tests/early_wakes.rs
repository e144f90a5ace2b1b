//! Wakes that arrive before their due time, because the clocks of hosts differ. They must not be
//! lost and must not multiply.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::decide::{Operation, StepOptions};
use stepladder_core::journal::Fact;
use stepladder_core::retry::Backoff;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{Status, StepId, Timestamp, Wake, WakeCause};
use stepladder_engine::Engine;
use stepladder_engine::RegisteredFunction;
use stepladder_engine::clock::Clock;
use stepladder_engine::executor::{
    Attempt, Execution, Executor, Finished, OpenError, PollResult, Polled, RunView, Unreachable,
};
use stepladder_engine::ports::{Commit, Commits, Queue};
use support::script::{ScriptedFunction, retryable_failure};
use support::{EngineFixture, only_run};

const NAP: Duration = Duration::from_secs(30);

async fn send(world: &EngineFixture, engine: &Engine, cause: WakeCause) {
    let wake = Wake { run: only_run(engine).await, cause, group: "f".into() };
    world.memory.commit(Commit { wakes: vec![wake], ..Commit::default() }).await.unwrap();
}

async fn status(engine: &Engine) -> Status {
    engine.query().run(only_run(engine).await).await.unwrap().summary.status
}

/// Executes hops until the queue has no visible wake.
async fn hop(world: &EngineFixture, engine: &Arc<Engine>) {
    while world.memory.next_due().is_some_and(|due| due <= world.clock.now()) {
        world.hop_once(engine).await;
    }
}

/// Delivers the only wake of a run some milliseconds early. The run waits until `due`.
async fn wake_comes_early(world: &EngineFixture, engine: &Arc<Engine>, cause: WakeCause, due: Timestamp) {
    world.clock.set(due - Duration::from_millis(7));
    world.memory.lose_wakes();
    send(world, engine, cause).await;
    world.hop_once(engine).await;
    assert_eq!((world.memory.wakes(), world.memory.next_due()), (1, Some(due)), "one copy, for the moment");
    world.clock.set(due);
    hop(world, engine).await;
}

fn sleeper(nap: Duration) -> ScriptedFunction {
    ScriptedFunction::new("f").request("nap", &[], Operation::SleepFor(nap))
}

/// A function with one step, which fails once.
fn script_with_retry() -> ScriptedFunction {
    let options = StepOptions { backoff: Some(Backoff::Fixed(NAP)), ..StepOptions::default() };
    let body = |n| async move { if n == 1 { Err(retryable_failure("once")) } else { Ok(()) } };
    ScriptedFunction::new("f").body_with("a", &[], options, body)
}

#[tokio::test]
async fn a_wake_that_comes_before_its_sleep_ends_is_repeated() {
    for cause in [WakeCause::Due, WakeCause::Again, WakeCause::Fresh(None), WakeCause::Lease] {
        let mut world = EngineFixture::new(vec![sleeper(NAP).function()]);
        let engine = world.engine();
        world.send_event(&engine).await;
        world.hop_once(&engine).await;
        wake_comes_early(&world, &engine, cause, world.clock.now() + NAP).await;
        assert_eq!((status(&engine).await, world.memory.wakes()), (Status::Completed, 0));
    }
}

#[tokio::test]
async fn a_wake_that_comes_before_its_retry_is_repeated() {
    for side_by_side in [16, 1] {
        let script = script_with_retry().step("b", &[]);
        let executed = script.executed();
        let mut world = EngineFixture::new(vec![script.function()]).config(|config| config.side_by_side = side_by_side);
        let engine = world.engine();
        world.send_event(&engine).await;
        hop(&world, &engine).await;
        assert_eq!(executed.count_of("a"), 1);
        let cause = if side_by_side == 1 { WakeCause::Step("a".into()) } else { WakeCause::Due };
        wake_comes_early(&world, &engine, cause, world.clock.now() + NAP).await;
        assert_eq!(executed.count_of("a"), 2);
        assert_eq!(status(&engine).await, Status::Completed);
    }
}

#[tokio::test]
async fn a_wake_that_comes_before_the_handlers_retry_is_repeated() {
    let mut world = EngineFixture::new(vec![FailingOnceProgram::function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    hop(&world, &engine).await;
    wake_comes_early(&world, &engine, WakeCause::Due, world.clock.now() + NAP).await;
    assert_eq!(status(&engine).await, Status::Completed);
}

#[tokio::test]
async fn an_early_wake_that_makes_other_progress_is_repeated_too() {
    let script = script_with_retry().request("nap", &[], Operation::SleepFor(NAP * 2));
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    hop(&world, &engine).await;
    // the first of the two wakes executes the retry, and the second ends the sleep
    world.clock.advance(NAP);
    world.memory.lose_wakes();
    send(&world, &engine, WakeCause::Due).await;
    send(&world, &engine, WakeCause::Due).await;
    hop(&world, &engine).await;
    assert_eq!(world.memory.wakes(), 1);
    world.clock.advance(NAP);
    hop(&world, &engine).await;
    assert_eq!(status(&engine).await, Status::Completed);
}

#[tokio::test]
async fn a_repeated_wake_without_a_timer_sends_nothing_more() {
    let mut world = EngineFixture::new(vec![sleeper(NAP).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    let causes = [
        WakeCause::Created,
        WakeCause::Next,
        WakeCause::Slot,
        WakeCause::ChildEnded,
        WakeCause::Watchdog,
        WakeCause::Step("b".into()),
    ];
    for cause in causes.into_iter().cycle().take(30) {
        send(&world, &engine, cause).await;
        world.hop_once(&engine).await;
    }
    assert_eq!(world.memory.wakes(), 1, "the sleep's own");
}

#[tokio::test]
async fn an_early_wake_is_not_repeated_for_a_timer_that_is_due_much_later() {
    let mut world = EngineFixture::new(vec![sleeper(NAP * 3).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    send(&world, &engine, WakeCause::Due).await;
    world.hop_once(&engine).await;
    assert_eq!(world.memory.wakes(), 1, "the sleep's own");
}

#[tokio::test]
async fn repeated_timer_wakes_do_not_multiply() {
    let names: Vec<String> = (0..20).map(|n| format!("nap{n}")).collect();
    let script = (0..20).fold(ScriptedFunction::new("f"), |script, n| {
        let after: Vec<&str> = names[..n].last().map(String::as_str).into_iter().collect();
        script.request(&names[n], &after, Operation::SleepFor(NAP))
    });
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    for _ in 0..3 {
        send(&world, &engine, WakeCause::Due).await;
    }
    for _ in 0..20 {
        hop(&world, &engine).await;
        assert!(world.memory.wakes() <= 4, "{} wakes for one sleep", world.memory.wakes());
        world.clock.advance(NAP);
    }
    hop(&world, &engine).await;
    assert_eq!((status(&engine).await, world.memory.wakes()), (Status::Completed, 0));
}

/// A function with a handler that fails once, outside any step.
struct FailingOnceProgram;

impl FailingOnceProgram {
    fn function() -> RegisteredFunction {
        let mut spec = sleeper(NAP).function().spec().clone();
        spec.retry.backoff = Backoff::Fixed(NAP);
        RegisteredFunction::new(spec, None, Arc::new(Self))
    }
}

#[async_trait]
impl Executor for FailingOnceProgram {
    async fn open(&self, run: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        Ok(Box::new(FailingOnceSession(run.attempt)))
    }
}

/// An execution of the handler, with the number of the handler's attempt.
struct FailingOnceSession(u32);

#[async_trait]
impl Execution for FailingOnceSession {
    async fn poll(&mut self, _: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        let result = if self.0 == 1 { Err(retryable_failure("once")) } else { Ok(stepladder_core::json::null()) };
        Ok(PollResult::Ended(result).into())
    }

    fn run(&mut self, _: Vec<Attempt>) {}

    async fn wait(&mut self) -> Finished {
        std::future::pending().await
    }

    fn stop(&mut self, _: &StepId, _: Duration) {}
}

/// Two retries are due one second apart. Both wakes come early, and both hops put their wake off
/// until the earlier retry.
#[tokio::test]
async fn when_two_early_wakes_meet_the_second_is_repeated_for_the_later_timer() {
    let failing =
        |seconds| StepOptions { backoff: Some(Backoff::Fixed(Duration::from_secs(seconds))), ..StepOptions::default() };
    let once = |n| async move { if n == 1 { Err(retryable_failure("once")) } else { Ok(()) } };
    let script = ScriptedFunction::new("f").body_with("a", &[], failing(3), once).body_with("b", &[], failing(4), once);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    world.memory.lose_wakes();
    world.clock.advance(Duration::from_secs(3));
    for _ in 0..2 {
        send(&world, &engine, WakeCause::Due).await;
    }
    let started = |fact: &Fact| matches!(fact, Fact::StepStarted { attempt: 2, .. });
    let together = support::slow::together(world.memory.clone(), started);
    let deliveries = world.memory.receive(2, Duration::from_secs(150)).await.unwrap();
    let both = [world.engine_on(together.clone()), world.engine_on(together)];
    let hops = both.iter().zip(deliveries).map(|(engine, delivery)| engine.hop(delivery));
    futures::future::try_join_all(hops).await.unwrap();
    world.settle_within(&engine, Duration::from_secs(2)).await;
    assert_eq!(status(&engine).await, Status::Completed);
}
