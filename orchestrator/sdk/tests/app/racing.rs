//! `select!` over steps, sleeps, waits and calls. The first outcome wins, in the first execution
//! and in every replay, and the losing branches do not delay the run.

use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{TestEngine, TestRunDetail};
use stepladder_sdk::testing::{Entry, Fact, Pace, Status, TestApp, TestRun};

use crate::running::{OrderEvent, order_event};

const MINUTE: Duration = Duration::from_secs(60);
const PACES: [Pace; 2] = [Pace::StepPerInvocation, Pace::WithinBudget];

#[derive(Serialize, Deserialize)]
struct PaidEvent {}

impl EventData for PaidEvent {
    const NAME: &'static str = "shop/paid";
}

fn app<H, Fut>(handler: H) -> TestApp
where
    H: Fn(Context, Event<OrderEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String>> + Send + 'static,
{
    TestApp::new().function(Function::new("f", handler))
}

/// Runs two more steps after a race, so that the race is replayed.
async fn record_winner(ctx: &Context, winner: &str) -> Result<String> {
    for after in ["after", "and after"] {
        ctx.step(after, async || Ok(())).await?;
    }
    Ok(winner.to_owned())
}

#[track_caller]
fn assert_winner(run: &TestRun, winner: &str) {
    assert_eq!((run.status(), run.output::<String>()), (Status::Completed, winner.into()), "{:?}", run.error());
    assert_eq!((run.executions("after"), run.executions("and after")), (1, 1));
}

#[tokio::test]
async fn a_slow_step_loses_to_a_sleep_and_is_abandoned() {
    for pace in PACES {
        let app = app(async |ctx: Context, _: Event<OrderEvent>| {
            let winner = tokio::select! {
                answer = ctx.step("ask", async || Ok(())).timeout(2 * MINUTE) => answer.map(|()| "step")?,
                patience = ctx.sleep("patience", MINUTE) => patience.map(|()| "sleep")?,
            };
            record_winner(&ctx, winner).await
        });
        let mut app = app.config(|config| config.worker_timeout = 5 * MINUTE).hang("ask").pace(pace);
        let run = app.send(&order_event()).await.remove(0);
        assert_winner(&run, "sleep");
        let abandoned = |fact: &Fact| matches!(fact, Fact::StepAbandoned { step, .. } if &**step == "ask");
        assert!(run.journal().iter().any(|entry| abandoned(&entry.fact)), "{pace:?}");
    }
}

#[tokio::test]
async fn a_quick_step_wins_against_a_sleep() {
    for pace in PACES {
        let app = app(async |ctx: Context, _: Event<OrderEvent>| {
            let winner = tokio::select! {
                answer = ctx.step("ask", async || Ok("step".to_owned())) => answer?,
                patience = ctx.sleep("patience", MINUTE) => patience.map(|()| "sleep".to_owned())?,
            };
            record_winner(&ctx, &winner).await
        });
        let mut app = app.pace(pace);
        let begun = app.now();
        let run = app.send(&order_event()).await.remove(0);
        assert_winner(&run, "step");
        assert_eq!(run.detail().summary.ended_at.map(|end| end.since(begun)), Some(Duration::ZERO), "{pace:?}");
    }
}

#[tokio::test]
async fn a_wait_for_an_event_wins_or_loses_as_the_event_comes() {
    for pace in PACES {
        for (comes, winner) in [(Some(MINUTE), "event"), (None, "sleep")] {
            let app = app(async |ctx: Context, _: Event<OrderEvent>| {
                let winner = tokio::select! {
                    paid = ctx.wait_for_event::<PaidEvent>("paid") => paid.map(|_| "event")?,
                    patience = ctx.sleep("patience", 10 * MINUTE) => patience.map(|()| "sleep")?,
                };
                record_winner(&ctx, winner).await
            });
            let mut app = app.pace(pace);
            app.start(&order_event()).await;
            if let Some(after) = comes {
                app.advance(after).await;
                app.send(&PaidEvent {}).await;
            }
            app.advance(20 * MINUTE).await;
            assert_winner(&app.runs_of_function("f").await[0], winner);
        }
    }
}

#[tokio::test]
async fn a_call_that_loses_a_race_continues_its_run() {
    #[derive(Serialize, Deserialize)]
    struct AskedEvent {
        minutes: u32,
    }
    impl EventData for AskedEvent {
        const NAME: &'static str = "test/asked";
    }
    async fn slow_handler(ctx: Context, event: Event<AskedEvent>) -> Result<String> {
        ctx.sleep("a while", MINUTE * event.data.minutes).await?;
        Ok("call".into())
    }
    for pace in PACES {
        for (minutes, winner) in [(5_u32, "call"), (50, "sleep")] {
            let app = app(move |ctx: Context, _: Event<OrderEvent>| async move {
                let winner: String = tokio::select! {
                    said = ctx.invoke("ask", "slow", &AskedEvent { minutes }) => said?,
                    patience = ctx.sleep("patience", 10 * MINUTE) => patience.map(|()| "sleep".to_owned())?,
                };
                record_winner(&ctx, &winner).await
            });
            let mut app = app.function(Function::new("slow", slow_handler)).pace(pace);
            app.start(&order_event()).await;
            app.advance(60 * MINUTE).await;
            assert_winner(&app.runs_of_function("f").await[0], winner);
            assert_eq!(app.runs_of_function("slow").await[0].status(), Status::Completed, "it was not cancelled");
            // a result that the handler no longer waits for must not be recorded
            let ended = |entry: &&Entry| matches!(entry.fact, Fact::InvokeEnded { .. });
            let recorded = app.runs_of_function("f").await[0].journal().iter().filter(ended).count();
            assert_eq!(recorded, usize::from(winner == "call"));
        }
    }
}

#[tokio::test]
async fn the_first_step_with_an_outcome_wins_a_race() {
    for pace in PACES {
        let app = app(async |ctx: Context, _: Event<OrderEvent>| {
            let winner = tokio::select! {
                answer = ctx.step("first choice", async || Ok(())).timeout(2 * MINUTE) => answer.map(|()| "first")?,
                answer = ctx.step("second choice", async || Ok(())) => answer.map(|()| "second")?,
            };
            record_winner(&ctx, winner).await
        });
        let mut app = app.config(|config| config.worker_timeout = 5 * MINUTE).hang("first choice").pace(pace);
        assert_winner(&app.send(&order_event()).await.remove(0), "second");
    }
}
