//! Costs that must not grow with the number of waiting runs.

use std::sync::{Arc, Mutex};

use stepladder_core::waiting::{EventField, Subscription};
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::ports::{Commit, Commits, EarlyWrite};
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Status, TestApp};

use crate::{JobEvent, SECOND, job_event, send_all};

#[derive(Serialize, Deserialize)]
struct ApprovedEvent {
    client: String,
}

impl EventData for ApprovedEvent {
    const NAME: &'static str = "job/approved";
}

async fn waiting_handler(ctx: Context, event: Event<JobEvent>) -> Result<bool> {
    let wait =
        ctx.wait_for_event::<ApprovedEvent>("approval").timeout(3_600 * SECOND).matching("client", &event.data.client);
    Ok(wait.await?.is_some())
}

/// Returns the number of journal reads and of index lookups to resume one run, while `many` runs
/// wait for other clients.
async fn cost_of_resuming_one_among(many: u64) -> (u64, u64) {
    let mut app = TestApp::new().function(Function::new("f", waiting_handler));
    let run = app.start(&job_event("acme", 1)).await.remove(0);
    let memory = app.memory();
    let waiter = |n: u64| Subscription {
        event: ApprovedEvent::NAME.into(),
        key: Some(EventField::new("client", &json!(format!("client {n}"))).unwrap()),
        run: RunId::new(Timestamp::from_millis(1), u128::from(n)),
        step: "approval".into(),
        until: Timestamp::MAX,
    };
    let before = (0..many).map(|n| EarlyWrite::Subscribe(waiter(n))).collect();
    memory.commit(Commit { before, ..Commit::default() }).await.unwrap();
    let before = memory.counts();
    app.start(&ApprovedEvent { client: "acme".into() }).await;
    let after = memory.counts();
    let resumed = app.runs().await.into_iter().find(|other| other.id() == run.id()).unwrap();
    assert_eq!((resumed.status(), resumed.output::<bool>()), (Status::Completed, true));
    (after.reads - before.reads, after.subscription_reads - before.subscription_reads)
}

#[tokio::test]
async fn one_wait_of_100_000_is_found_with_as_many_reads_as_one_of_ten() {
    assert_eq!(cost_of_resuming_one_among(100_000).await, cost_of_resuming_one_among(10).await);
}

/// The numbers of the jobs, in the order in which they were worked on.
#[derive(Clone, Default)]
struct JobOrder(Arc<Mutex<Vec<u32>>>);

/// Runs `many` runs in order under a limit of one slot. Returns the number of slot calls and
/// journal reads per run.
async fn cost_of_waiting_for_a_slot(many: u32) -> f64 {
    async fn telling_handler(ctx: Context, event: Event<JobEvent>) -> Result<()> {
        let order = ctx.data::<JobOrder>()?;
        ctx.step("work", async || {
            order.0.lock().unwrap().push(event.data.n);
            Ok(())
        })
        .await
    }
    let order = JobOrder::default();
    let function = Function::new("f", telling_handler).concurrency(Concurrency::limit(1));
    let mut app = TestApp::new().function(function).data(order.clone());
    for chunk in (0..many).collect::<Vec<_>>().chunks(1_000) {
        send_all(&mut app, chunk.iter().map(|n| job_event("acme", *n))).await;
    }
    app.finish().await;
    let counts = app.memory().counts();
    assert_eq!(*order.0.lock().unwrap(), (0..many).collect::<Vec<_>>());
    (counts.slots + counts.reads) as f64 / f64::from(many)
}

#[tokio::test]
async fn runs_that_wait_for_one_slot_are_served_without_polling_however_many_they_are() {
    let few = cost_of_waiting_for_a_slot(100).await;
    let many = cost_of_waiting_for_a_slot(10_000).await;
    assert!(many < few * 1.1, "{many} calls a run among 10,000, {few} among 100");
}
