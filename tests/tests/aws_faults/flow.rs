//! Flow control on DynamoDB and SQS, while a request or a reply is lost at each call. Each event
//! must have the same result as without the fault.

use std::time::Duration;

use stepladder::prelude::*;
use stepladder_core::journal::Fact;
use stepladder_core::{RunId, Status};
use stepladder_tests::aws_faults::AwsFault;

use crate::functions::{GoEvent, go_event};
use crate::stage::{AwsStage, SdkRetryMode};
use crate::steps::run_with_fault;

const SECOND: Duration = Duration::from_secs(1);

/// A handler that sleeps for half a minute.
async fn sleeping_handler(ctx: Context, event: Event<GoEvent>) -> Result<u32> {
    ctx.sleep("a while", 30 * SECOND).await?;
    ctx.step("work", async || Ok(event.data.n)).await
}

async fn batch_handler(ctx: Context, events: Vec<Event<GoEvent>>) -> Result<Vec<u32>> {
    ctx.step("gather", async || Ok(events.iter().map(|event| event.data.n).collect())).await
}

async fn working_handler(ctx: Context, event: Event<GoEvent>) -> Result<u32> {
    ctx.step("work", async || Ok(event.data.n)).await
}

/// Returns the runs of an event, each with its id, status and output.
async fn runs_of_event(stage: &AwsStage, n: u32) -> Vec<(RunId, Status, String)> {
    let runs = stage.observing_engine().query().runs_of_event(&format!("go-{n}")).await.expect("listed");
    let told = |run: stepladder_engine::view::RunSummary| {
        (run.run, run.status, run.output.map_or_else(String::new, |output| output.get().to_owned()))
    };
    runs.into_iter().map(told).collect()
}

#[tokio::test]
async fn a_batch_has_each_event_once_under_any_loss() {
    let function = || Function::batch("gathers", Batch::new(2, 60 * SECOND), batch_handler);
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function()]).await;
    let calls = run_with_fault(&stage, &[go_event(1), go_event(2)], usize::MAX, &AwsFault::Pass).await;
    assert_eq!(runs_of_event(&stage, 2).await, runs_of_event(&stage, 1).await);
    assert!(calls > 8, "{calls}");
    let mut n = 2;
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        for at in 0..calls {
            run_with_fault(&stage, &[go_event(n + 1), go_event(n + 2)], at, &fault).await;
            let (one, two) = (runs_of_event(&stage, n + 1).await, runs_of_event(&stage, n + 2).await);
            assert_eq!((one.len(), two.len()), (1, 1), "{fault:?} at call {at}: {one:?}, {two:?}");
            // both events are in one batch, or in two batches if the fault came between them
            let all = if one == two { one[0].2.clone() } else { format!("{} {}", one[0].2, two[0].2) };
            let (a, b) = (n + 1, n + 2);
            assert!(all == format!("[{a},{b}]") || all == format!("[{a}] [{b}]"), "{fault:?} at call {at}: {all}");
            n += 2;
        }
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn a_throttle_counts_each_event_once_under_any_loss() {
    // the key puts the two events that are sent together into one group
    let rate = || Rate::new(1, 10 * SECOND).key("string(int((event.data.n - 1) / 2))");
    let function = || Function::new("works", working_handler).throttle(rate());
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function()]).await;
    let calls = run_with_fault(&stage, &[go_event(1), go_event(2)], usize::MAX, &AwsFault::Pass).await;
    let mut n = 2;
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        for at in 0..calls {
            run_with_fault(&stage, &[go_event(n + 1), go_event(n + 2)], at, &fault).await;
            let mut begins = Vec::new();
            for event in [n + 1, n + 2] {
                let led = runs_of_event(&stage, event).await;
                assert_eq!(led.len(), 1, "{fault:?} at call {at}: {led:?}");
                assert_eq!((led[0].1, &led[0].2), (Status::Completed, &event.to_string()));
                let page = stage.observing_engine().query().journal(led[0].0, 0, 100).await.expect("a journal");
                // the planned start is compared, because a lost reply may delay the hop itself
                let (_, first) = &page.entries[0];
                let Fact::RunCreated(created) = &first.fact else { panic!("{first:?}") };
                begins.push(created.begins_at.unwrap_or(first.at));
            }
            assert!(begins[1].since(begins[0]) >= 10 * SECOND, "{fault:?} at call {at}: {begins:?}");
            n += 2;
        }
    }
    stage.assert_journals().await;
}

#[tokio::test]
async fn a_debounce_gives_the_last_event_to_one_run_under_any_loss() {
    // the key puts the two events that are sent together into one group
    let debounce = || Debounce::new(10 * SECOND).key("string(int((event.data.n - 1) / 2))");
    let stage =
        AwsStage::new(SdkRetryMode::Tells, vec![Function::new("calms", working_handler).debounce(debounce())]).await;
    let calls = run_with_fault(&stage, &[go_event(1), go_event(2)], usize::MAX, &AwsFault::Pass).await;
    assert!(calls > 8, "{calls}");
    let mut n = 2;
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        for at in 0..calls {
            let sent = stage.clock_now();
            run_with_fault(&stage, &[go_event(n + 1), go_event(n + 2)], at, &fault).await;
            let (one, two) = (runs_of_event(&stage, n + 1).await, runs_of_event(&stage, n + 2).await);
            assert_eq!((one.len(), &one), (1, &two), "{fault:?} at call {at}");
            assert_eq!((one[0].1, &one[0].2), (Status::Completed, &(n + 2).to_string()), "{fault:?} at call {at}");
            let began = stage
                .observing_engine()
                .query()
                .run(one[0].0)
                .await
                .expect("a run")
                .summary
                .started_at
                .expect("it began");
            assert!(began.since(sent) >= 10 * SECOND, "{fault:?} at call {at}: {began} after {sent}");
            n += 2;
        }
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn runs_with_priority_start_before_earlier_runs() {
    // each event arrives a second after the previous one and has 60 s more priority; all runs are
    // enqueued before the first hop
    let function = Function::new("f", sleeping_handler).concurrency(Concurrency::runs(1)).priority("event.data.n * 60");
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![function]).await;
    let engine = stage.engine();
    for n in 0..5 {
        stage.advance(SECOND);
        stage.send(&engine, &go_event(n)).await;
    }
    stage.settle(|| engine.clone()).await;
    let mut began = Vec::new();
    for n in 0..5 {
        let run = runs_of_event(&stage, n).await[0].0;
        began.push((
            stage.observing_engine().query().run(run).await.expect("a run").summary.started_at.expect("it began"),
            n,
        ));
    }
    began.sort_unstable();
    assert_eq!(began.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
    stage.assert_journals().await;
}

#[tokio::test]
async fn a_singleton_an_idempotency_key_and_a_limit_on_runs_hold_on_dynamodb() {
    let functions = vec![
        Function::new("single", sleeping_handler).singleton(Singleton::skip()),
        Function::new("replaced", sleeping_handler).singleton(Singleton::replace()),
        Function::new("once", sleeping_handler).idempotency("string(int(event.data.n / 10))"),
        Function::new("alive", sleeping_handler).concurrency(Concurrency::runs(1)),
        Function::new("limited", sleeping_handler).rate_limit(Rate::new(1, 60 * SECOND)),
    ];
    let stage = AwsStage::new(SdkRetryMode::Retries, functions).await;
    let events = [go_event(1), go_event(2), go_event(3)];
    run_with_fault(&stage, &events, usize::MAX, &AwsFault::Pass).await;
    let mut outcomes = Vec::new();
    for function in ["single", "replaced", "once", "alive", "limited"] {
        let filter = stepladder_engine::RunFilter { functions: vec![function.into()], ..Default::default() };
        let page = stage.observing_engine().query().runs(filter).await.expect("a listing");
        let mut statuses: Vec<Status> = page.runs.iter().map(|run| run.status).collect();
        statuses.sort_by_key(|status| status.to_string());
        outcomes.push((function, statuses));
    }
    use Status::{Cancelled, Completed, Skipped};
    assert_eq!(
        outcomes,
        [
            ("single", vec![Completed, Skipped, Skipped]),
            ("replaced", vec![Cancelled, Cancelled, Completed]),
            ("once", vec![Completed]),
            ("alive", vec![Completed, Completed, Completed]),
            ("limited", vec![Completed, Skipped, Skipped]),
        ]
    );
    let of_once = runs_of_event(&stage, 3).await;
    assert_eq!(of_once.len(), 5, "the event lists the run that an earlier one created: {of_once:?}");
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn rule_32_a_throttle_holds_on_dynamodb_after_an_hour_without_workers() {
    let function = Function::new("works", working_handler).throttle(Rate::new(1, 60 * SECOND));
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![function]).await;
    let engine = stage.engine();
    for n in 0..5 {
        stage.send(&engine, &go_event(n)).await;
    }
    stage.advance(3_600 * SECOND);
    stage.settle(|| engine.clone()).await;
    let mut started = Vec::new();
    for n in 0..5 {
        let run = runs_of_event(&stage, n).await[0].0;
        started.push(
            stage.observing_engine().query().run(run).await.expect("a run").summary.started_at.expect("it began"),
        );
    }
    started.sort_unstable();
    // the interval may be shorter than a minute by some seconds, because SQS counts delays in whole
    // seconds
    assert!(started.windows(2).all(|pair| pair[1].since(pair[0]) >= 55 * SECOND), "{started:?}");
    stage.assert_journals().await;
    stage.assert_within_limits();
}
