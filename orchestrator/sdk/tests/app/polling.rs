//! Polling: when and how often the check is repeated, and what happens if a check fails or never
//! returns a value.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stepladder_core::limits::POLL_STATE_BYTES;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestRunDetail;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp};

use crate::running::{OrderEvent, order_event};

const MINUTE: Duration = Duration::from_secs(60);

/// A service that is polled. It returns a value from the `ready`th check on; the checks in
/// `failing` fail.
struct RemoteJob {
    ready: u32,
    failing: std::ops::Range<u32>,
    checks: AtomicU32,
}

impl RemoteJob {
    fn check(&self) -> Result<Option<u32>> {
        let check = self.checks.fetch_add(1, Ordering::Relaxed) + 1;
        match check {
            n if self.failing.contains(&n) => Err(Error::new("away")),
            n if n >= self.ready => Ok(Some(n)),
            _ => Ok(None),
        }
    }
}

async fn polling_handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
    let elsewhere = ctx.data::<Arc<RemoteJob>>()?;
    ctx.poll_until("ready", async || elsewhere.check()).every(MINUTE).timeout(10 * MINUTE).retries(2).await
}

fn app(ready: u32, failing: std::ops::Range<u32>) -> TestApp {
    let elsewhere = Arc::new(RemoteJob { ready, failing, checks: AtomicU32::new(0) });
    let backoff = Backoff::Fixed(Duration::from_secs(1));
    TestApp::new().data(elsewhere).function(Function::new("waits", polling_handler).backoff(backoff))
}

#[tokio::test]
async fn a_check_is_repeated_until_it_has_a_value_and_uses_no_retry() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let mut app = app(8, 0..0).pace(pace);
        let begun = app.now();
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.output::<u32>(), run.executions("ready")), (8, 8));
        assert_eq!(app.now().since(begun), 7 * MINUTE);
        assert!(
            run.detail().steps[0].attempts.iter().all(|attempt| attempt.error.is_none()),
            "\"not yet\" is no failure"
        );
    }
}

#[tokio::test]
async fn between_checks_nothing_runs() {
    let mut app = app(3, 0..0);
    let run = app.start(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.executions("ready")), (Status::Running, 1));
    app.advance(MINUTE - Duration::from_millis(1)).await;
    assert_eq!(app.runs().await[0].executions("ready"), 1);
    app.advance(Duration::from_millis(1)).await;
    assert_eq!(app.runs().await[0].executions("ready"), 2);
}

#[tokio::test]
async fn the_last_check_is_made_at_the_timeout_and_its_failure_has_a_code() {
    let mut last = app(11, 0..0);
    assert_eq!(last.send(&order_event()).await.remove(0).output::<u32>(), 11);

    let mut late = app(12, 0..0);
    let begun = late.now();
    let run = late.send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.executions("ready")), (Status::Failed, 11));
    assert_eq!(late.now().since(begun), 10 * MINUTE);
    let error = run.error().unwrap();
    assert_eq!(error.code(), Some("poll-timeout"));
    assert_eq!(error.message, "step `ready` waited in vain: 11 checks within 600s found that it is not time yet");
}

#[tokio::test]
async fn failed_checks_are_retried_and_a_check_without_a_value_resets_the_count() {
    // Two failed checks in a row use up the two retries; a third one in a row fails the step.
    let elsewhere = |failing| app(7, failing);
    let run = elsewhere(2..4).send(&order_event()).await.remove(0);
    assert_eq!((run.output::<u32>(), run.executions("ready")), (7, 7));
    let run = elsewhere(2..5).send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.executions("ready")), (Status::Failed, 4));
    assert_eq!(run.error().unwrap().message, "away");
}

#[tokio::test]
async fn waits_between_checks_grow_and_the_journal_has_two_entries_a_check() {
    async fn polling_handler_with_backoff(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        let elsewhere = ctx.data::<Arc<RemoteJob>>()?;
        ctx.poll_until("ready", async || elsewhere.check()).timeout(86_400 * Duration::from_secs(1)).await
    }
    let elsewhere = Arc::new(RemoteJob { ready: u32::MAX, failing: 0..0, checks: AtomicU32::new(0) });
    let mut app = TestApp::new().data(elsewhere).function(Function::new("grows", polling_handler_with_backoff));
    let run = app.send(&order_event()).await.remove(0);
    let checks = run.executions("ready");
    assert!((250..310).contains(&checks), "{checks} checks in a day");
    let of_step = run.journal().iter().filter(|entry| entry.fact.step().is_some()).count();
    assert_eq!(of_step, 2 * checks as usize);
}

#[tokio::test]
async fn too_many_checks_are_refused_before_the_first() {
    async fn polling_handler_without_waits(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        let second = Duration::from_secs(1);
        ctx.poll_until("ready", async || Ok(Some(1))).every(second).timeout(2_001 * second).await
    }
    let run = TestApp::new()
        .function(Function::new("often", polling_handler_without_waits))
        .send(&order_event())
        .await
        .remove(0);
    assert_eq!(run.error().unwrap().code(), Some("bad-poll"));
    assert!(!run.journal().iter().any(|entry| matches!(entry.fact, Fact::StepStarted { .. })));
}

/// A log that is read page by page. The reads in `failing` fail.
struct RemoteLog {
    pages: u64,
    failing: std::ops::Range<u64>,
    reads: Mutex<Vec<u64>>,
}

impl RemoteLog {
    /// Returns a log with this many pages.
    fn new(pages: u64, failing: std::ops::Range<u64>) -> Arc<Self> {
        Arc::new(Self { pages, failing, reads: Mutex::default() })
    }

    fn read(&self, page: u64) -> Result<bool> {
        let mut reads = self.reads.lock().unwrap();
        reads.push(page);
        if self.failing.contains(&(reads.len() as u64)) {
            return Err(Error::new("away"));
        }
        Ok(page == self.pages)
    }
}

async fn reading_handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
    let log = ctx.data::<Arc<RemoteLog>>()?;
    let check = async |(page, seen): (u64, String)| {
        let seen = format!("{seen}{page}");
        Ok(if log.read(page)? { Check::Ready(seen) } else { Check::NotYet((page + 1, seen)) })
    };
    ctx.poll_with_state("log", (1, String::new()), check).every(MINUTE).timeout(10 * MINUTE).retries(2).await
}

#[tokio::test]
async fn each_check_receives_the_state_of_the_check_before() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let log = RemoteLog::new(4, 0..0);
        let mut app = TestApp::new().data(log.clone()).function(Function::new("reads", reading_handler)).pace(pace);
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.output::<String>().as_str(), run.executions("log")), ("1234", 4));
        let of_step = run.journal().iter().filter(|entry| entry.fact.step().is_some()).count();
        assert_eq!(of_step, 8, "the state needs no entry of its own");
    }
}

#[tokio::test]
async fn a_check_that_fails_keeps_the_state_of_the_last_one_that_did_not() {
    for (failing, reads) in [(1..3, vec![1, 1, 1, 2, 3]), (3..5, vec![1, 2, 3, 3, 3])] {
        let log = RemoteLog::new(3, failing);
        let function = Function::new("reads", reading_handler).backoff(Backoff::Fixed(Duration::from_secs(1)));
        let run = TestApp::new().data(log.clone()).function(function).send(&order_event()).await.remove(0);
        assert_eq!(run.output::<String>(), "123");
        assert_eq!(*log.reads.lock().unwrap(), reads);
    }
}

#[tokio::test]
async fn a_state_beyond_its_limit_fails_the_poll_after_one_check() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        let check = async |bytes: String| Ok(Check::<u32, _>::NotYet(bytes.repeat(POLL_STATE_BYTES - 1)));
        ctx.poll_with_state("grows", "x".to_owned(), check).await
    }
    let run = TestApp::new().function(Function::new("f", handler)).send(&order_event()).await.remove(0);
    let error = run.error().unwrap();
    assert_eq!((error.code(), run.attempts("grows")), (Some("too-large"), 1));
    assert!(error.message.contains("the state for the next check has 16385 bytes; at most 16384"), "{}", error.message);
}

#[tokio::test]
async fn a_state_that_does_not_fit_the_code_fails_the_poll() {
    // as if a deploy had changed the type of the state
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        let executed = ctx.data::<AtomicU32>()?;
        match executed.fetch_add(1, Ordering::Relaxed) {
            0 => ctx.poll_with_state("log", 7, async |n: u32| Ok(Check::NotYet(n))).every(MINUTE).await,
            _ => ctx.poll_with_state("log", String::new(), async |s: String| Ok(Check::NotYet(s))).every(MINUTE).await,
        }
    }
    let mut app = TestApp::new()
        .data(AtomicU32::new(0))
        .function(Function::new("f", handler).retries(0))
        .pace(Pace::StepPerInvocation)
        .worker_timeout(Duration::from_secs(90));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.error().unwrap().code(), Some("undecodable-memo"), "{:?}", run.error());
}
