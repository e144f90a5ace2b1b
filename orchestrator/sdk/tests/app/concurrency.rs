//! Concurrency limits over many runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use stepladder_sdk::ToEvent;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Status, TestApp};

use crate::running::OrderEvent;

/// The number of bodies that are executing now, and the highest number so far.
#[derive(Default)]
struct RunningBodies {
    now: AtomicU32,
    most: AtomicU32,
}

async fn working_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
    let busy = ctx.data::<Arc<RunningBodies>>()?;
    ctx.step("work", async || {
        let now = busy.now.fetch_add(1, Ordering::Relaxed) + 1;
        busy.most.fetch_max(now, Ordering::Relaxed);
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        busy.now.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    })
    .await
}

async fn most_at_once(limit: Option<Concurrency>, client_of: fn(u32) -> u32) -> u32 {
    let busy = Arc::new(RunningBodies::default());
    let function = Function::new("works", working_handler);
    let function = match limit {
        Some(limit) => function.concurrency(limit),
        None => function,
    };
    let mut app = TestApp::new().function(function).data(busy.clone());
    let engine = app.engine();
    let event = |i| OrderEvent { client_id: client_of(i).to_string() }.to_event().unwrap();
    engine.intake().ingest((0..50).map(event).collect(), None).await.unwrap();
    app.finish().await;
    let runs = app.runs().await;
    assert_eq!(runs.len(), 50);
    assert!(runs.iter().all(|run| run.status() == Status::Completed && run.executions("work") == 1));
    busy.most.load(Ordering::Relaxed)
}

#[tokio::test]
async fn fifty_runs_never_execute_more_than_their_limit() {
    assert_eq!(most_at_once(Some(Concurrency::limit(3)), |i| i).await, 3);
    assert!(most_at_once(None, |i| i).await > 3, "the test would not notice");
}

#[tokio::test]
async fn a_limit_with_a_key_holds_for_each_of_its_values() {
    let each = Concurrency::limit(1).key("event.data.clientId");
    assert_eq!(most_at_once(Some(each), |i| i % 4).await, 4);
}
