//! Waits for events and callbacks on DynamoDB and SQS, while a request or a reply is lost at each
//! call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stepladder::prelude::*;
use stepladder_core::journal::Fact;
use stepladder_core::{Failure, NewEvent, RunId, Status, json};
use stepladder_engine::Engine;
use stepladder_tests::aws_faults::AwsFault;

use crate::functions::{GoEvent, go_event};
use crate::stage::{AwsStage, SdkRetryMode};

const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// Longer than a message can be delayed.
const HOURS: Duration = Duration::from_secs(3 * 3_600);

#[derive(Serialize, Deserialize)]
struct WordEvent {
    n: u32,
}

impl EventData for WordEvent {
    const NAME: &'static str = "shop/word";
}

/// Returns a function that waits for an event and then for a callback, each at most for `time`. Its
/// output is the event's number and the data of the callback.
fn waiting_function(time: Duration) -> Function {
    Function::new("waits", move |ctx: Context, event: Event<GoEvent>| async move {
        let word = ctx.wait_for_event::<WordEvent>("word").matching("n", &event.data.n).timeout(time).await?;
        ctx.step("between", async || Ok(())).await?;
        let payment = ctx.wait_for_signal::<String>("payment").timeout(time).await?;
        Ok((word.map(|word| word.data.n), payment))
    })
}

fn word_event(n: u32) -> NewEvent {
    let data = json::to_json(&WordEvent { n }).expect("JSON");
    NewEvent::new(WordEvent::NAME, data).with_id(format!("word-{n}"))
}

async fn run_of(stage: &AwsStage, n: u32) -> RunId {
    let runs = stage.observing_engine().query().runs_of_event(&format!("go-{n}")).await.expect("listed");
    assert_eq!(runs.len(), 1, "{n}");
    runs[0].run
}

/// Handles messages and advances the clock until `there` returns true for a fact in the run's
/// journal.
async fn run_until(stage: &AwsStage, engine: &Arc<Engine>, run: RunId, there: impl Fn(&Fact) -> bool) {
    for _ in 0..20 {
        loop {
            let deliveries = stage.receive_now().await;
            if deliveries.is_empty() {
                break;
            }
            for delivery in deliveries {
                stage.invoke(engine, delivery).await;
            }
        }
        let page = stage.observing_engine().query().journal(run, 0, 1_000).await.expect("a journal");
        if page.entries.iter().any(|(_, entry)| there(&entry.fact)) {
            return;
        }
        stage.move_on(engine).await;
    }
    panic!("it did not come so far: {:#?}", stage.facts(run).await);
}

/// Executes a run from its event to its end, with a fault at call number `at`. Returns the number
/// of calls.
async fn run_with_fault(stage: &AwsStage, n: u32, at: usize, fault: AwsFault) -> usize {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    stage.wire.plan(move |_| if counted.fetch_add(1, Ordering::SeqCst) == at { fault.clone() } else { AwsFault::Pass });
    let engine = stage.engine();
    stage.send(&engine, &go_event(n)).await;
    let run = run_of(stage, n).await;
    run_until(stage, &engine, run, |fact| matches!(fact, Fact::EventAwaited { .. })).await;
    stage.send(&engine, &word_event(n)).await;
    run_until(stage, &engine, run, |fact| matches!(fact, Fact::SignalAwaited { .. })).await;
    let token = stage.observing_engine().subscriptions().callback_token(run, "payment").await.expect("a token");
    let post = async || engine.subscriptions().signal(&token, json::to_json("paid").expect("JSON")).await;
    let mut posted = post().await;
    for _ in 0..5 {
        if posted.is_err() {
            posted = post().await;
        }
    }
    posted.expect("posted in the end");
    run_until(stage, &engine, run, Fact::is_end).await;
    calls.load(Ordering::SeqCst)
}

async fn assert_well(stage: &AwsStage, n: u32, what: &str) {
    let run = run_of(stage, n).await;
    let detail = stage.observing_engine().query().run(run).await.expect("a run");
    let facts = stage.facts(run).await;
    assert_eq!(detail.summary.status, Status::Completed, "{what}: {facts:#?}");
    assert_eq!(detail.summary.output.expect("an output").get(), format!("[{n},\"paid\"]"), "{what}: {facts:#?}");
}

#[tokio::test]
async fn an_event_and_a_callback_reach_only_the_run_that_waits_for_them() {
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![waiting_function(YEAR)]).await;
    let engine = stage.engine();
    for n in [1, 2] {
        stage.send(&engine, &go_event(n)).await;
    }
    let (one, two) = (run_of(&stage, 1).await, run_of(&stage, 2).await);
    for run in [one, two] {
        run_until(&stage, &engine, run, |fact| matches!(fact, Fact::EventAwaited { .. })).await;
    }
    // the events are sent by a process with an empty cache
    let ingest = stage.engine();
    stage.send(&ingest, &word_event(3)).await;
    stage.send(&ingest, &word_event(1)).await;
    run_until(&stage, &engine, one, |fact| matches!(fact, Fact::SignalAwaited { .. })).await;
    let entered = |facts: &[String]| facts.iter().filter(|fact| fact.starts_with("EventDelivered")).count();
    assert_eq!((entered(&stage.facts(one).await), entered(&stage.facts(two).await)), (1, 0));
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn a_wait_without_an_event_ends_at_its_timeout() {
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![waiting_function(HOURS)]).await;
    let engine = stage.engine();
    stage.send(&engine, &go_event(1)).await;
    let begun = stage.clock_now();
    stage.settle(|| engine.clone()).await;
    let detail = stage.observing_engine().query().run(run_of(&stage, 1).await).await.expect("a run");
    assert_eq!(detail.summary.output.as_ref().expect("an output").get(), "[null,null]");
    let ended = detail.summary.ended_at.expect("its end");
    assert_eq!(ended.since(begun).as_secs() / 60, 2 * HOURS.as_secs() / 60);
}

/// Returns a function that waits for a callback. Its output is the code of the failure that was
/// posted.
fn failing_function() -> Function {
    Function::new("fails", async |ctx: Context, _: Event<GoEvent>| {
        let posted = ctx.wait_for_signal::<u32>("payment").timeout(HOURS).await;
        Ok(posted.err().and_then(|error| error.code().map(str::to_owned)))
    })
}

/// Starts a run and fails its signal, with a fault at call number `at`. Returns the number of
/// calls.
async fn fail_with_fault(stage: &AwsStage, n: u32, at: usize, fault: AwsFault) -> usize {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    stage.wire.plan(move |_| if counted.fetch_add(1, Ordering::SeqCst) == at { fault.clone() } else { AwsFault::Pass });
    let engine = stage.engine();
    stage.send(&engine, &go_event(n)).await;
    let run = run_of(stage, n).await;
    run_until(stage, &engine, run, |fact| matches!(fact, Fact::SignalAwaited { .. })).await;
    let token = stage.observing_engine().subscriptions().callback_token(run, "payment").await.expect("a token");
    let post = async || engine.subscriptions().fail_signal(&token, Failure::with_code("no funds", "declined")).await;
    let mut posted = post().await;
    for _ in 0..5 {
        if posted.is_err() {
            posted = post().await;
        }
    }
    posted.expect("posted in the end");
    run_until(stage, &engine, run, Fact::is_end).await;
    calls.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_signal_fails_once_under_any_loss() {
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        let stage = AwsStage::new(SdkRetryMode::Tells, vec![failing_function()]).await;
        let calls = fail_with_fault(&stage, 0, usize::MAX, AwsFault::Pass).await;
        assert!(calls > 5, "{calls}");
        for at in 0..calls {
            let n = at as u32 + 1;
            fail_with_fault(&stage, n, at, fault.clone()).await;
            let detail = stage.observing_engine().query().run(run_of(&stage, n).await).await.expect("a run");
            let output = detail.summary.output.map(|output| output.get().to_owned());
            assert_eq!(output.as_deref(), Some("\"declined\""), "{fault:?} at call {at} of {calls}");
        }
        stage.assert_journals().await;
        stage.assert_within_limits();
    }
}

/// The timeout of a wait with heartbeats. Its timer stays until then, and a stage settles only
/// after its last timer, with a sweep for each minute.
const TWO_HOURS: Duration = Duration::from_secs(7_200);

/// Returns a function that waits for a callback with heartbeats. Its output is the code of its
/// error.
fn rendering_function() -> Function {
    Function::new("renders", async |ctx: Context, _: Event<GoEvent>| {
        let video = ctx.wait_for_signal::<u32>("video").heartbeat(Duration::from_secs(600)).timeout(TWO_HOURS).await;
        Ok(video.err().and_then(|error| error.code().map(str::to_owned)))
    })
}

/// Starts a run and posts one heartbeat, with a fault at call number `at`. Returns the number of
/// calls.
async fn render_with_fault(stage: &AwsStage, n: u32, at: usize, fault: AwsFault) -> usize {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    stage.wire.plan(move |_| if counted.fetch_add(1, Ordering::SeqCst) == at { fault.clone() } else { AwsFault::Pass });
    let engine = stage.engine();
    stage.send(&engine, &go_event(n)).await;
    let run = run_of(stage, n).await;
    run_until(stage, &engine, run, |fact| matches!(fact, Fact::SignalAwaited { .. })).await;
    let token = stage.observing_engine().subscriptions().callback_token(run, "video").await.expect("a token");
    let mut posted = engine.subscriptions().heartbeat(&token).await;
    for _ in 0..5 {
        if posted.is_err() {
            posted = engine.subscriptions().heartbeat(&token).await;
        }
    }
    posted.expect("posted in the end");
    stage.settle(|| engine.clone()).await;
    calls.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_missed_heartbeat_ends_the_wait_once_and_in_time_under_any_loss() {
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        let stage = AwsStage::new(SdkRetryMode::Tells, vec![rendering_function()]).await;
        let calls = render_with_fault(&stage, 0, usize::MAX, AwsFault::Pass).await;
        assert!(calls > 10, "{calls}");
        // every other call, because each run takes two hours of virtual time
        for at in (0..calls).step_by(2) {
            let n = at as u32 + 1;
            render_with_fault(&stage, n, at, fault.clone()).await;
            let run = run_of(&stage, n).await;
            let detail = stage.observing_engine().query().run(run).await.expect("a run");
            let output = detail.summary.output.map(|output| output.get().to_owned());
            let what = format!("{fault:?} at call {at} of {calls}");
            assert_eq!(output.as_deref(), Some("\"heartbeat-timeout\""), "{what}");
            let page = stage.observing_engine().query().journal(run, 0, 1_000).await.expect("a journal");
            let time_of = |name: &str| {
                let mut found = page.entries.iter().filter(|(_, entry)| entry.fact.name() == name);
                let (_, entry) = found.next().unwrap_or_else(|| panic!("{what}: {:#?}", page.entries));
                assert!(found.next().is_none(), "{what}: {name} again");
                entry.at
            };
            let open = time_of("HeartbeatMissed").since(time_of("HeartbeatReceived"));
            // a lost wake is made up for by the hourly watchdog
            assert!(open >= Duration::from_secs(900) && open < TWO_HOURS, "{what}: {open:?}");
        }
        stage.assert_journals().await;
        stage.assert_within_limits();
    }
}

#[tokio::test]
async fn each_event_is_delivered_once_under_any_loss() {
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        let stage = AwsStage::new(SdkRetryMode::Tells, vec![waiting_function(YEAR)]).await;
        let calls = run_with_fault(&stage, 0, usize::MAX, AwsFault::Pass).await;
        assert_well(&stage, 0, "clean").await;
        assert!(calls > 20, "{calls}");
        for at in 0..calls {
            let n = at as u32 + 1;
            run_with_fault(&stage, n, at, fault.clone()).await;
            assert_well(&stage, n, &format!("{fault:?} at call {at} of {calls}")).await;
        }
        stage.assert_journals().await;
        stage.assert_within_limits();
    }
}
