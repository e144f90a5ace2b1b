//! Runs that start at a given time, which their event or a cron schedule sets, while a request or a
//! reply is lost at each call.

use std::sync::atomic::Ordering;
use std::time::Duration;

use stepladder::Tick;
use stepladder::prelude::*;
use stepladder_core::Status;
use stepladder_engine::RunFilter;
use stepladder_tests::aws_faults::AwsFault;

use crate::functions::{GoEvent, go_event};
use crate::stage::{AwsStage, SdkRetryMode};
use crate::steps::{plan_of, run_with_fault};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than a message can be delayed, so that the sweep sends the wake.
const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

#[tokio::test]
async fn a_run_starts_at_the_time_of_its_event_under_any_loss() {
    let function = Function::new("f", async |ctx: Context, event: Event<GoEvent>| {
        ctx.step("work", async || Ok(event.data.n)).await
    });
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    let begins = async |n: u32, at: usize, fault: &AwsFault| {
        let says = stage.clock_now() + HALF_AN_HOUR;
        let event = go_event(n).with_ts(says);
        let calls = run_with_fault(&stage, &[event], at, fault).await;
        let runs = stage.observing_engine().query().runs_of_event(&format!("go-{n}")).await.expect("listed");
        let began = runs[0].started_at.expect("it began");
        assert_eq!((runs.len(), runs[0].status), (1, Status::Completed), "{fault:?} at call {at}");
        let late = began.since(says);
        assert!(began >= says && late < 6 * MINUTE, "{fault:?} at call {at}: {began}, {late:?} late");
        calls
    };
    let calls = begins(0, usize::MAX, &AwsFault::Pass).await;
    assert!(calls > 8, "{calls}");
    for at in 0..calls {
        begins(at as u32 + 1, at, &AwsFault::LoseReply).await;
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn each_tick_starts_one_run_under_any_loss() {
    let function = Function::new("f", async |ctx: Context, _: Event<Tick>| ctx.step("work", async || Ok(())).await)
        .cron("*/5 * * * *");
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    let engine = stage.engine();
    // sweeps every minute, and handles the visible messages four times a minute
    let live = async |minutes: u32| {
        for _ in 0..minutes {
            while engine.sweep().await.is_err() {}
            for _ in 0..4 {
                for delivery in stage.receive_now().await {
                    stage.invoke(&engine, delivery).await;
                }
                stage.advance(MINUTE / 4);
            }
        }
    };
    live(10).await;
    // only these calls get a fault: a read that fails in one sweep is simply repeated by the next
    // one
    let calls = plan_of(&stage, |call| call.is_of_a_run(), usize::MAX, &AwsFault::Pass);
    live(5).await;
    let calls = calls.load(Ordering::SeqCst);
    assert!(calls > 8, "{calls}");
    for at in 0..calls {
        plan_of(&stage, |call| call.is_of_a_run(), at, &AwsFault::LoseReply);
        live(5).await;
    }
    stage.wire.clear();
    live(5).await;
    let runs = stage
        .observing_engine()
        .query()
        .runs(RunFilter { limit: Some(500), ..RunFilter::default() })
        .await
        .expect("listed")
        .runs;
    assert!(runs.iter().all(|run| run.status == Status::Completed));
    // two ticks may be created more than five minutes apart, because the wake of a failed hop is
    // delivered again later
    let mut ticks: Vec<i64> = runs.iter().map(|run| run.created_at.minute() / 5).collect();
    ticks.sort_unstable();
    assert!(ticks.len() > calls, "{ticks:?}");
    assert!(ticks.windows(2).all(|two| two[1] == two[0] + 1), "one every five minutes: {ticks:?}");
    stage.assert_journals().await;
    stage.assert_within_limits();
}
