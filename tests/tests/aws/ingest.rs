//! Messages that contain more events than an invocation has time for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use stepladder_engine::clock::SystemClock;
use stepladder_engine::{PIECE, RunFilter};

use crate::roles::LambdaRoles;

/// The number of events in each timed message.
const SOME: usize = 32;

/// Returns a message with this many events. The events have no ids.
fn message(events: usize) -> String {
    json!(vec![json!({"name": "test/hello.world", "data": {"name": "Ada"}}); events]).to_string()
}

/// Returns the number of runs of all accepted events.
async fn runs(world: &LambdaRoles) -> usize {
    let engine = world.engine(Arc::new(SystemClock));
    let mut runs = HashSet::new();
    let mut filter = RunFilter { limit: Some(500), ..RunFilter::default() };
    loop {
        let page = engine.query().runs(filter.clone()).await.expect("listed");
        runs.extend(page.runs.iter().map(|run| run.run));
        filter.cursor = page.cursor;
        if page.cursor.is_none() {
            return runs.len();
        }
    }
}

#[tokio::test]
async fn several_invocations_apply_a_message_with_more_events_than_one_has_time_for() {
    let world = LambdaRoles::start(&[]).await;
    let ingest = world.ingest();
    let mut pump = world.pump_events();
    let mut took = Duration::ZERO;
    // the first invocation also opens connections, so the second one is timed
    for _ in 0..2 {
        world.send(&[message(SOME)]).await;
        let before = Instant::now();
        let pumped = pump.pump().await.expect("a message");
        took = before.elapsed();
        assert_eq!(pumped.failed, [] as [String; 0], "{pumped:?}\n{}", ingest.log());
    }
    // the time for some events is known; the next message contains more than four times as many
    pump.timeout = (4 * took).max(Duration::from_secs(1));
    let many = (SOME as f64 * 4.0 * pump.timeout.as_secs_f64() / took.as_secs_f64()).min(5_000.0) as usize;
    world.send(&[message(many)]).await;
    let all = pump.drain().await;
    for pumped in &all {
        assert_eq!(pumped.failed, [] as [String; 0], "{pumped:?}\n{}", ingest.log());
    }
    assert!(all.len() > 1, "{many} events, {:?}", pump.timeout);
    let all_events = 2 * SOME + many;
    assert_eq!(runs(&world).await, all_events);
    // an invocation that ran out of time may have sent the wakes of its last piece, and the next
    // invocation sends them again
    let wakes = usize::try_from(world.wake_count().await).expect("small");
    assert!((all_events..all_events + PIECE * all.len()).contains(&wakes), "{wakes} wakes of {all_events} runs");
}
