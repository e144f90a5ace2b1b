//! Tests of the rules about the journal and replay (1 to 9). Each test fails if the code of its
//! rule is removed. Rule 7 is tested in the SDK.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::journal::Fact;
use stepladder_core::{NewEvent, Status, json};
use stepladder_engine::ports::{Backend, Queue, StoreResult};
use stepladder_engine::{Pace, RunFilter};
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use stepladder_testkit::memory::Memory;
use support::execution_log::ExecutionLog;
use support::faults::{FaultyBackend, InjectedFault};
use support::script::ScriptedFunction;
use support::{EngineFixture, count_facts, only_run, spawn_hop, with_gated_step, write_conflicting_entry};
use tokio::sync::Notify;

#[tokio::test]
async fn rule_1_a_write_with_a_lost_reply_is_not_done_twice() {
    for at in 1..40 {
        let script = ScriptedFunction::new("f").step("a", &[]).step("b", &["a"]);
        let executed = script.executed();
        let mut world = EngineFixture::new(vec![script.function()]);
        let faulty = FaultyBackend::new(world.memory.clone(), InjectedFault::LoseReply, at);
        let engine = world.engine_on(faulty);
        let event = NewEvent::new("go", json::empty_object()).with_id("once");
        while engine.intake().ingest(vec![event.clone()], None).await.is_err() {}
        world.settle_within(&engine, Duration::from_secs(60)).await;
        let onlooker = world.engine();
        let runs = onlooker.query().runs(RunFilter::default()).await.unwrap().runs;
        assert_eq!((runs.len(), runs[0].status), (1, Status::Completed), "reply {at} lost");
        assert_eq!((executed.count_of("a"), executed.count_of("b")), (1, 1), "reply {at} lost");
        assert_eq!(world.memory.counts().conflicts, 0, "reply {at} lost: its own entry counted as another writer's");
    }
}

/// Executes step `a`, and then the steps that `after` adds. Another writer appends an entry while
/// the body of `a` executes. Then no time passes, so only wakes that are due at once can continue
/// the run.
async fn run_with_conflict(
    pace: Pace,
    side_by_side: usize,
    after: impl FnOnce(ScriptedFunction) -> ScriptedFunction,
) -> (Status, ExecutionLog) {
    let (script, begun, open) = with_gated_step(ScriptedFunction::new("f"), "a", &[]);
    let script = after(script);
    let executed = script.executed();
    let mut world =
        EngineFixture::new(vec![script.function()]).pace(pace).config(|config| config.side_by_side = side_by_side);
    let engine = world.engine();
    world.send_event(&engine).await;
    let hop = spawn_hop(&world, &engine);
    begun.notified().await;
    write_conflicting_entry(&world, &engine).await;
    open.notify_one();
    hop.await.unwrap();
    world.settle_within(&engine, Duration::ZERO).await;
    (engine.query().run(only_run(&engine).await).await.unwrap().summary.status, executed)
}

fn then_b(script: ScriptedFunction) -> ScriptedFunction {
    script.step("b", &["a"])
}

#[tokio::test]
async fn rule_2_a_hop_decides_again_after_a_conflict_instead_of_stopping() {
    assert_eq!(run_with_conflict(Pace::StepPerInvocation, 16, then_b).await.0, Status::Completed);
    assert_eq!(run_with_conflict(Pace::WithinBudget, 16, then_b).await.0, Status::Completed);
}

#[tokio::test]
async fn rule_2_a_fan_out_is_sent_after_a_conflict() {
    let two = |script: ScriptedFunction| script.step("b", &["a"]).step("c", &["a"]);
    let (status, executed) = run_with_conflict(Pace::WithinBudget, 1, two).await;
    assert_eq!((status, executed.count_of("b"), executed.count_of("c")), (Status::Completed, 1, 1));
}

#[tokio::test]
async fn rule_3_a_body_does_not_start_after_its_lease_has_ended() {
    let script = ScriptedFunction::new("f").step("a", &[]);
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]);
    let slow = support::slow::SlowBackend::new(world.memory.clone(), world.clock.clone(), |fact| {
        matches!(fact, Fact::StepStarted { attempt: 1, .. }).then_some(Duration::from_secs(3_600))
    });
    let engine = world.engine_on(slow);
    world.send_event(&engine).await;
    world.settle(&engine).await;
    let run = only_run(&engine).await;
    let journal = world.journal(&engine, run).await;
    assert_eq!(count_facts(&journal, |f| matches!(f, Fact::AttemptInterrupted { attempt: 1, .. })), 1, "{journal:#?}");
    assert_eq!(executed.count_of("a"), 1);
    assert_eq!(engine.query().run(run).await.unwrap().summary.status, Status::Completed);
}

#[tokio::test]
async fn rule_4_an_outcome_survives_a_conflict_that_drops_the_next_start() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let (_, executed) = run_with_conflict(pace, 16, then_b).await;
        assert_eq!((executed.count_of("a"), executed.count_of("b")), (1, 1), "{pace:?}");
    }
}

#[tokio::test]
async fn rule_6_records_carry_the_version_of_the_code_that_wrote_them() {
    use stepladder_engine::ports::Journals;
    let mut world =
        EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]).config(|c| c.code = "v7".into());
    let engine = world.engine();
    world.send_event(&engine).await;
    world.settle(&engine).await;
    let records = world.memory.read(only_run(&engine).await, 0).await.unwrap();
    assert!(records.len() > 2 && records.iter().all(|record| &*record.code == "v7"));
}

#[tokio::test]
async fn rule_8_steps_after_an_outcome_start_before_its_siblings_end() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        // the function is `join!(async { a; c }, b)`, and the body of `b` waits for the body of `c`
        let c_ran = Arc::new(Notify::new());
        let (tell, wait) = (c_ran.clone(), c_ran);
        let script = ScriptedFunction::new("f")
            .step("a", &[])
            .body("b", &[], move |_| {
                let wait = wait.clone();
                async move {
                    wait.notified().await;
                    Ok(())
                }
            })
            .body("c", &["a"], move |_| {
                tell.notify_one();
                async { Ok(()) }
            });
        let mut world = EngineFixture::new(vec![script.function()]).pace(pace);
        let engine = world.engine();
        world.send_event(&engine).await;
        let first = spawn_hop(&world, &engine);
        let second = spawn_hop(&world, &engine);
        tokio::time::timeout(Duration::from_secs(10), first)
            .await
            .expect("b waits for c, which was not started")
            .unwrap();
        second.abort();
        world.memory.redeliver();
        tokio::time::timeout(Duration::from_secs(10), world.settle(&engine))
            .await
            .expect("c starts when the wakes come again");
        assert_eq!(
            engine.query().run(only_run(&engine).await).await.unwrap().summary.status,
            Status::Completed,
            "{pace:?}"
        );
    }
}

#[tokio::test]
async fn rule_9_a_fan_out_is_sent_once_although_its_wake_is_repeated() {
    let script = (0..40).fold(ScriptedFunction::new("f"), |script, n| script.step(&format!("s{n}"), &[]));
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    let first = world.memory.receive(1, Duration::ZERO).await.unwrap().remove(0);
    engine.hop(first.clone()).await.unwrap();
    let sent = world.memory.counts().sends;
    assert_eq!(sent, 1 + 3, "the run's own wake, and one for each sixteen steps");
    for _ in 0..3 {
        engine.hop(first.clone()).await.unwrap();
    }
    assert_eq!(world.memory.counts().sends, sent);
    world.settle(&engine).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
}

/// A commit: whether it writes outcomes, and whether it acknowledges the wake.
type LoggedCommit = (bool, bool);

/// A store that logs the commits of hops.
#[derive(Clone)]
struct CommitLog {
    memory: Arc<Memory>,
    commits: Arc<Mutex<Vec<LoggedCommit>>>,
}

#[async_trait]
impl Intercept for CommitLog {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        if let Some(commit) = call.commit {
            let is_outcome = |fact: &Fact| matches!(fact, Fact::StepSucceeded { .. } | Fact::StepFailed { .. });
            let entries = commit.append.iter().flat_map(|append| &append.record.entries);
            let writes = entries.filter(|entry| is_outcome(&entry.fact)).count() > 0;
            self.commits.lock().unwrap().push((writes, !commit.acks.is_empty()));
        }
        reply.await
    }
}

#[tokio::test]
async fn outcomes_are_written_before_their_wake_is_acknowledged() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let script = ScriptedFunction::new("f").step("a", &[]).step("b", &[]).step("c", &["a", "b"]).step("d", &["c"]);
        let mut world = EngineFixture::new(vec![script.function()]).pace(pace);
        let log = CommitLog { memory: world.memory.clone(), commits: Arc::default() };
        let engine = world.engine_on(Arc::new(InterceptedBackend(log.clone())));
        let event = world.send_event(&engine).await;
        let mut outcomes = 0;
        while !world.status(&engine, event).await.is_end() {
            log.commits.lock().unwrap().clear();
            world.hop_once(&engine).await;
            let commits = log.commits.lock().unwrap().clone();
            let acknowledged = commits.iter().position(|(_, acknowledges)| *acknowledges).expect("acknowledged");
            let last = commits.iter().rposition(|(writes, _)| *writes);
            assert!(last.is_none_or(|last| last <= acknowledged), "{pace:?}: {commits:?}");
            outcomes += usize::from(last.is_some());
        }
        assert!(outcomes > 0, "{pace:?}");
    }
}
