//! Times at the limits of the calendar.

use stepladder_sdk::Timestamp;
use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Status, TestApp};

use crate::running::order_event;

/// Runs a function that sleeps until this time.
async fn sleep_until_moment(moment: impl Into<Timestamp> + Copy + Send + Sync + 'static) -> (Status, String, Duration) {
    async fn sleeping_handler(ctx: Context, moment: impl Into<Timestamp>) -> Result<()> {
        ctx.sleep_until("to the end", moment).await
    }
    let handler = move |ctx: Context, _: Event<crate::running::OrderEvent>| sleeping_handler(ctx, moment);
    let mut app = TestApp::new().function(Function::new("f", handler));
    let begun = app.now();
    let run = app.start(&order_event()).await.remove(0);
    let error = run.error().map_or_else(String::new, |error| error.message.clone());
    (run.status(), error, app.now().since(begun))
}

#[tokio::test]
async fn a_sleep_until_an_invalid_time_fails_and_names_the_step() {
    for ms in [i64::MAX, Timestamp::MAX.as_millis() + 1, Timestamp::MIN.as_millis() - 1, i64::MIN] {
        let (status, error, _) = sleep_until_moment(Timestamp::from_millis(ms)).await;
        assert_eq!(status, Status::Failed, "{ms}");
        assert!(error.contains("step `to the end` cannot sleep until") && error.contains(&ms.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_sleep_until_a_time_before_1970_ends_at_once() {
    for ms in [-1, 0, Timestamp::MIN.as_millis()] {
        assert_eq!(
            sleep_until_moment(Timestamp::from_millis(ms)).await,
            (Status::Completed, String::new(), Duration::ZERO),
            "{ms}"
        );
    }
    assert_eq!(sleep_until_moment(Timestamp::MAX).await.0, Status::Running);
}
