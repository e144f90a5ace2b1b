//! Which values count as equal. Keys compare values as strings; waits and cancelling events compare
//! a value and its type.

use std::time::Duration;

use serde_json::value::RawValue;
use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Status, TestApp, TestRun};
use stepladder_sdk::{Json, NewEvent};

use crate::{MINUTE, SECOND};

#[derive(Serialize, Deserialize)]
struct AskedEvent {}

impl EventData for AskedEvent {
    const NAME: &'static str = "same/asked";
}

#[derive(Serialize, Deserialize)]
struct OtherEvent {}

impl EventData for OtherEvent {
    const NAME: &'static str = "same/other";
}

/// The numbers of two SIM cards. They have 20 digits, which are more than 64 bits.
const SIMS: [&str; 2] = [r#"{"k":89014103211118510720}"#, r#"{"k":89014103211118510721}"#];

fn raw_event(name: &str, data: &str) -> NewEvent {
    NewEvent::new(name, Json::from(RawValue::from_string(data.to_owned()).unwrap()))
}

async fn quick_handler(ctx: Context, _: Event<AskedEvent>) -> Result<()> {
    ctx.step("work", async || Ok(())).await
}

async fn long_handler(ctx: Context, _: Event<AskedEvent>) -> Result<()> {
    ctx.sleep("an hour", Duration::from_secs(3_600)).await
}

async fn batch_handler(ctx: Context, events: Vec<Event<AskedEvent>>) -> Result<usize> {
    ctx.step("work", async || Ok(events.len())).await
}

fn count_live(runs: &[TestRun]) -> usize {
    runs.iter().filter(|run| !matches!(run.status(), Status::Skipped | Status::Cancelled)).count()
}

/// Sends two events, one after the other. Returns how many runs have started after a minute.
async fn runs_of_two(function: Function, data: [&str; 2]) -> usize {
    let mut app = TestApp::new().function(function);
    for data in data {
        app.start(&raw_event("same/asked", data)).await;
    }
    app.advance(MINUTE).await;
    count_live(&app.runs().await)
}

/// Returns the name of each kind of flow control with a key, and a function that uses it. Of two
/// events with the same key, at most one starts a run at once.
fn keyed_functions() -> [(&'static str, Function); 5] {
    [
        ("idempotency", Function::new("f", quick_handler).idempotency("event.data.k")),
        ("singleton", Function::new("f", long_handler).singleton(Singleton::skip().key("event.data.k"))),
        ("rate limit", Function::new("f", quick_handler).rate_limit(Rate::new(1, MINUTE).key("event.data.k"))),
        ("debounce", Function::new("f", quick_handler).debounce(Debounce::new(SECOND).key("event.data.k"))),
        ("batch", Function::batch("f", Batch::new(2, 10 * SECOND).key("event.data.k"), batch_handler)),
    ]
}

/// Regression test for <https://github.com/kurrent-io/KurrentDB/issues/1541>: integers of more than
/// 64 bits became the same float.
#[tokio::test]
async fn two_long_numbers_are_two_keys() {
    for (what, function) in keyed_functions() {
        assert_eq!(runs_of_two(function, SIMS).await, 2, "{what}");
    }
}

#[tokio::test]
async fn one_value_is_one_key_however_it_is_written() {
    for data in [
        [SIMS[0], SIMS[0]],
        [SIMS[0], r#"{"k":89014103211118510720.0}"#],
        [r#"{"k":100}"#, r#"{"k":100.0}"#],
        [r#"{"k":0}"#, r#"{"k":-0.0}"#],
        // a key is a string
        [r#"{"k":1}"#, r#"{"k":"1"}"#],
        [r#"{"k":null}"#, r#"{"k":"null"}"#],
        [r#"{"k":true}"#, r#"{"k":"true"}"#],
    ] {
        for (what, function) in keyed_functions() {
            assert_eq!(runs_of_two(function, data).await, 1, "{what} of {data:?}");
        }
    }
}

#[tokio::test]
async fn a_missing_key_skips_the_run_and_differs_from_null() {
    for (what, function) in keyed_functions() {
        let mut app = TestApp::new().function(function);
        app.send(&raw_event("same/asked", r#"{"k":null}"#)).await;
        app.send(&raw_event("same/asked", "{}")).await;
        let runs = app.runs().await;
        let statuses: Vec<Status> = runs.iter().map(TestRun::status).collect();
        assert!(statuses.contains(&Status::Completed) && statuses.contains(&Status::Skipped), "{what}: {statuses:?}");
    }
}

#[tokio::test]
async fn limits_and_throttles_tell_long_numbers_apart() {
    // sends two events, and returns how many runs have started after one second
    let begun = async |function: Function, data: [&str; 2]| {
        let mut app = TestApp::new().function(function);
        for data in data {
            app.start(&raw_event("same/asked", data)).await;
        }
        app.advance(SECOND).await;
        app.runs().await.iter().filter(|run| run.status() != Status::Scheduled).count()
    };
    let limit = || Function::new("f", long_handler).concurrency(Concurrency::runs(1).key("event.data.k"));
    let throttle = || Function::new("f", quick_handler).throttle(Rate::new(1, MINUTE).key("event.data.k"));
    for function in [limit as fn() -> Function, throttle] {
        assert_eq!(begun(function(), SIMS).await, 2);
        assert_eq!(begun(function(), [SIMS[0], SIMS[0]]).await, 1);
        assert_eq!(begun(function(), [r#"{"k":2}"#, r#"{"k":2.0}"#]).await, 1);
    }
}

/// Pairs of event data. The flag says whether an event with the second data affects a run that an
/// event with the first data started.
const PAIRS: [([&str; 2], bool); 14] = [
    (SIMS, false),
    ([SIMS[0], SIMS[0]], true),
    ([SIMS[0], r#"{"k":8901410321111851072e1}"#], true),
    ([r#"{"k":100}"#, r#"{"k":100.0}"#], true),
    ([r#"{"k":0}"#, r#"{"k":-0.0}"#], true),
    ([r#"{"k":0.1}"#, r#"{"k":0.10}"#], true),
    ([r#"{"k":0.1}"#, r#"{"k":0.10000000000000000001}"#], false),
    ([r#"{"k":1}"#, r#"{"k":"1"}"#], false),
    ([r#"{"k":"1"}"#, r#"{"k":1}"#], false),
    ([r#"{"k":null}"#, r#"{"k":null}"#], true),
    ([r#"{"k":null}"#, r#"{"k":"null"}"#], false),
    ([r#"{"k":null}"#, "{}"], false),
    (["{}", r#"{"k":null}"#], false),
    (["{}", "{}"], false),
];

#[tokio::test]
async fn an_event_cancels_the_runs_of_the_same_value_alone() {
    let by: [fn() -> CancelOn; 4] = [
        || CancelOn::event::<OtherEvent>().matching("k"),
        || CancelOn::event::<OtherEvent>().matching("data.k"),
        || CancelOn::event::<OtherEvent>().matching("event.data.k"),
        || CancelOn::event::<OtherEvent>().filter("async.data.k == event.data.k"),
    ];
    for cancel in by {
        for (data, is_same) in PAIRS {
            let mut app = TestApp::new().function(Function::new("f", long_handler).cancel_on(cancel()));
            app.start(&raw_event("same/asked", data[0])).await;
            app.start(&raw_event("same/other", data[1])).await;
            let cancelled = app.runs().await[0].status() == Status::Cancelled;
            assert_eq!(cancelled, is_same, "{:?} with {data:?}", cancel());
        }
    }
}

#[tokio::test]
async fn a_wait_ends_by_an_event_of_the_same_value_alone() {
    #[derive(Deserialize)]
    struct AnyEvent {
        #[serde(default)]
        k: Option<Box<RawValue>>,
    }
    impl EventData for AnyEvent {
        const NAME: &'static str = "same/asked";
    }
    async fn by_field(ctx: Context, event: Event<AnyEvent>) -> Result<bool> {
        let Some(k) = &event.data.k else { return Ok(false) };
        Ok(ctx.wait_for_event::<OtherEvent>("w").matching("data.k", k).await?.is_some())
    }
    async fn by_condition(ctx: Context, _: Event<AskedEvent>) -> Result<bool> {
        Ok(ctx.wait_for_event::<OtherEvent>("w").filter("async.data.k == event.data.k").await?.is_some())
    }
    for function in [|| Function::new("f", by_field), (|| Function::new("f", by_condition)) as fn() -> Function] {
        for (data, is_same) in PAIRS {
            // skipped, because an `Option` decodes null like a missing field
            if data[0].contains("null") {
                continue;
            }
            let mut app = TestApp::new().function(function());
            app.start(&raw_event("same/asked", data[0])).await;
            app.send(&raw_event("same/other", data[1])).await;
            app.finish().await;
            assert_eq!(app.runs().await[0].output::<bool>(), is_same, "{data:?}");
        }
    }
}

#[tokio::test]
async fn a_field_named_data_needs_its_full_path() {
    let cancel = CancelOn::event::<OtherEvent>().matching("data.data.id");
    let mut app = TestApp::new().function(Function::new("f", long_handler).cancel_on(cancel));
    app.start(&raw_event("same/asked", r#"{"data":{"id":1},"id":2}"#)).await;
    app.start(&raw_event("same/other", r#"{"data":{"id":2},"id":2}"#)).await;
    assert_ne!(app.runs().await[0].status(), Status::Cancelled);
    app.start(&raw_event("same/other", r#"{"data":{"id":1},"id":3}"#)).await;
    assert_eq!(app.runs().await[0].status(), Status::Cancelled);
}
