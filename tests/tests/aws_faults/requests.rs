//! Requests of several events on DynamoDB: the order of their events, and repetitions.

use std::time::Duration;

use stepladder::prelude::*;
use stepladder_core::{NewEvent, Status, json};
use stepladder_engine::RunFilter;

use crate::functions::{GoEvent, go_event};
use crate::stage::{AwsStage, SdkRetryMode};

const SECOND: Duration = Duration::from_secs(1);
/// The number of events in a request. It exceeds the number of rounds without progress after which
/// the adapter gives up.
const MANY: u32 = 110;

#[derive(Serialize, Deserialize)]
struct WordEvent {
    n: u32,
}

impl EventData for WordEvent {
    const NAME: &'static str = "shop/word";
}

/// Returns an event `word` for run number 1, with this id.
fn word_event(id: &str) -> NewEvent {
    NewEvent::new(WordEvent::NAME, json::to_json(&WordEvent { n: 1 }).expect("JSON")).with_id(id)
}

async fn working_handler(ctx: Context, event: Event<GoEvent>) -> Result<u32> {
    ctx.step("work", async || Ok(event.data.n)).await
}

async fn waiting_handler(ctx: Context, _: Event<GoEvent>) -> Result<bool> {
    Ok(ctx.wait_for_event::<WordEvent>("word").timeout(600 * SECOND).await?.is_some())
}

async fn sleeping_handler(ctx: Context, _: Event<GoEvent>) -> Result<bool> {
    ctx.sleep("a while", 20 * SECOND).await?;
    Ok(true)
}

#[tokio::test]
async fn a_request_of_many_events_of_one_key_creates_each_run_once() {
    let function = Function::new("many", working_handler).throttle(Rate::new(1_000, SECOND).burst(1_000));
    let stage = AwsStage::new(SdkRetryMode::Retries, vec![function]).await;
    let engine = stage.engine();
    let events: Vec<_> = (0..MANY).map(go_event).collect();
    let ids = engine.intake().ingest(events.clone(), None).await.expect("accepted");
    assert_eq!(
        engine.intake().ingest(events, None).await.expect("accepted"),
        ids,
        "a repeated request has the same ids"
    );
    let filter = RunFilter { limit: Some(500), ..RunFilter::default() };
    assert_eq!(stage.observing_engine().query().runs(filter).await.expect("listed").runs.len(), MANY as usize);
}

#[tokio::test]
async fn an_event_cancels_and_reaches_only_runs_of_earlier_events() {
    let functions = vec![
        Function::new("stopped", sleeping_handler).cancel_on(CancelOn::event::<WordEvent>().matching("n")),
        Function::new("waits", waiting_handler),
    ];
    let stage = AwsStage::new(SdkRetryMode::Retries, functions).await;
    let engine = stage.engine();
    let ids = engine.intake().ingest(vec![word_event("one"), go_event(1)], None).await.expect("accepted");
    let statuses = async || {
        let runs = stage.runs(ids[1]).await;
        let of =
            |function: &str| runs.iter().find(|run| *run.summary.function == *function).expect("begun").summary.status;
        [of("stopped"), of("waits")]
    };
    // both runs have started: one sleeps, the other waits for an event
    for delivery in stage.receive_now().await {
        assert!(stage.invoke(&engine, delivery).await);
    }
    assert_eq!(statuses().await, [Status::Running; 2]);
    engine.intake().ingest(vec![word_event("one")], None).await.expect("accepted");
    assert_eq!(statuses().await, [Status::Running; 2], "the word came before them, however often it is repeated");
    engine.intake().ingest(vec![word_event("two")], None).await.expect("accepted");
    stage.settle(|| engine.clone()).await;
    assert_eq!(statuses().await, [Status::Cancelled, Status::Completed]);
    stage.assert_journals().await;
}
