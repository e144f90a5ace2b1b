//! Functions that wait for a callback with heartbeats.

use std::time::Duration;

use stepladder_sdk::ErrorCode;
use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp, TestRun};

use super::running::{OrderEvent, order_event};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

async fn rendering_handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
    let rendered = ctx.wait_for_signal::<String>("video").heartbeat(MINUTE).timeout(DAY).await;
    ctx.step("after", async || Ok(())).await?; // replays the end of the wait
    match rendered {
        Ok(url) => Ok(url.unwrap_or_else(|| "timed out".into())),
        Err(error) if error.has_code(ErrorCode::HeartbeatTimeout) => Ok(format!("lost: {}", error.is_terminal())),
        Err(error) => Err(error),
    }
}

async fn rendering_app(pace: Pace) -> (TestApp, TestRun, String) {
    let mut app = TestApp::new().function(Function::new("f", rendering_handler)).pace(pace);
    let run = app.start(&order_event()).await.remove(0);
    let token = app.token(&run, "video").await;
    (app, run, token)
}

fn recorded(run: &TestRun) -> usize {
    run.journal().iter().filter(|entry| matches!(entry.fact, Fact::HeartbeatReceived { .. })).count()
}

#[tokio::test]
async fn a_wait_without_a_heartbeat_ends_after_one_interval_with_its_own_code() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let (mut app, _, _) = rendering_app(pace).await;
        let begun = app.now();
        app.finish().await;
        assert_eq!(app.now().since(begun), MINUTE);
        assert_eq!(app.runs().await[0].output::<String>(), "lost: true");
    }
}

#[tokio::test]
async fn heartbeats_keep_a_wait_open_until_data_comes() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let (mut app, _, token) = rendering_app(pace).await;
        for _ in 0..100 {
            app.advance(Duration::from_secs(50)).await;
            app.heartbeat(&token).await;
        }
        assert_eq!(app.runs().await[0].status(), Status::Running);
        app.signal(&token, "https://example.com/v").await;
        let run = app.runs().await.remove(0);
        assert_eq!((run.output::<String>().as_str(), recorded(&run)), ("https://example.com/v", 100));
    }
}

#[tokio::test]
async fn a_wait_ends_soon_after_the_last_heartbeat() {
    let (mut app, _, token) = rendering_app(Pace::StepPerInvocation).await;
    app.advance(Duration::from_secs(10)).await;
    app.heartbeat(&token).await;
    app.heartbeat(&token).await;
    let last = app.now();
    app.finish().await;
    let run = app.runs().await.remove(0);
    assert_eq!((app.now().since(last), recorded(&run)), (Duration::from_secs(90), 1), "one and a half intervals");
    assert_eq!(run.output::<String>(), "lost: true");
}

#[tokio::test]
async fn the_timeout_ends_a_wait_whose_heartbeats_come() {
    let (mut app, _, token) = rendering_app(Pace::StepPerInvocation).await;
    let begun = app.now();
    for _ in 0..24 * 60 - 1 {
        app.advance(MINUTE - Duration::from_millis(1)).await;
        app.heartbeat(&token).await;
    }
    app.finish().await;
    assert_eq!(app.now().since(begun), DAY);
    assert_eq!(app.runs().await[0].output::<String>(), "timed out");
}

#[tokio::test]
async fn too_short_an_interval_fails_the_wait_and_says_why() {
    async fn hasty_handler(ctx: Context, _: Event<OrderEvent>) -> Result<Option<u32>> {
        ctx.wait_for_signal::<u32>("video").heartbeat(Duration::from_millis(9_999)).await
    }
    let mut app = TestApp::new().function(Function::new("f", hasty_handler));
    let run = app.send(&order_event()).await.remove(0);
    let error = run.error().expect("it failed");
    assert_eq!(error.code(), Some("bad-wait"));
    assert!(error.message.contains("a heartbeat every 9.999s; at least 10s are needed between two"), "{error:?}");
}

#[tokio::test]
async fn a_heartbeat_of_a_wait_that_lost_a_race_wakes_nothing_for_ever() {
    async fn racing_handler(ctx: Context, _: Event<OrderEvent>) -> Result<&'static str> {
        let winner = tokio::select! {
            video = ctx.wait_for_signal::<String>("video").heartbeat(MINUTE) => video.map(|_| "video"),
            slept = ctx.sleep("nap", Duration::from_secs(30)) => slept.map(|()| "nap"),
        }?;
        ctx.sleep("a year", 365 * DAY).await?;
        Ok(winner)
    }
    let mut app = TestApp::new().function(Function::new("f", racing_handler));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.output::<String>(), "nap");
    assert!(!run.journal().iter().any(|entry| matches!(entry.fact, Fact::HeartbeatMissed { .. })));
}
