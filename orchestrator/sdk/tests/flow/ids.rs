//! What an event's `id` identifies, and what an idempotency key identifies, in cases that are not
//! obvious.

use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{TestEngine, TestRunDetail};
use stepladder_sdk::testing::{Status, TestApp};
use stepladder_sdk::{NewEvent, Timestamp};

use crate::{all_runs, job_event};

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Serialize, Deserialize)]
struct ShippedEvent {}

impl EventData for ShippedEvent {
    const NAME: &'static str = "job/shipped";
}

async fn timing_handler<T: EventData>(ctx: Context, event: Event<T>) -> Result<Timestamp> {
    ctx.step("work", async || Ok(())).await?;
    Ok(event.ts)
}

fn event_named(name: &str, id: &str) -> NewEvent {
    let data = stepladder_core::json::to_json(&json!({ "client": "acme", "n": 1 })).unwrap();
    NewEvent::new(name, data).with_id(id)
}

#[tokio::test]
async fn one_id_is_one_event_whatever_its_name_for_a_day() {
    for together in [true, false] {
        let mut app = TestApp::new()
            .function(Function::new("asked", timing_handler::<crate::JobEvent>))
            .function(Function::new("shipped", timing_handler::<ShippedEvent>));
        let events = [event_named("job/asked", "order-7"), event_named("job/shipped", "order-7")];
        let engine = app.engine();
        let ids = match together {
            true => engine.intake().ingest(events.to_vec(), None).await.unwrap(),
            false => {
                let [first, second] = events.clone().map(|event| engine.intake().ingest(vec![event], None));
                vec![first.await.unwrap()[0], second.await.unwrap()[0]]
            }
        };
        app.finish().await;
        assert_eq!(ids[0], ids[1], "the second is a repetition of the first");
        let functions: Vec<String> = all_runs(&mut app).await.iter().map(|run| run.function().to_owned()).collect();
        assert_eq!(functions, ["asked"]);
        // a day later, the same id identifies a new event
        app.advance(DAY).await;
        let again = app.send(&events[1]).await;
        assert_eq!(again.iter().map(|run| run.function()).collect::<Vec<_>>(), ["shipped"]);
    }
}

#[tokio::test]
async fn an_idempotency_key_holds_after_a_run_that_failed_or_was_cancelled_and_not_for_a_rerun() {
    async fn working_handler(ctx: Context, event: Event<crate::JobEvent>) -> Result<u32> {
        ctx.sleep("an hour", Duration::from_secs(3_600)).await?;
        if event.data.n == 1 {
            return Err(Error::terminal("refused"));
        }
        Ok(event.data.n)
    }
    for cancels in [false, true] {
        let mut app = TestApp::new().function(Function::new("f", working_handler).idempotency("event.data.client"));
        let first = app.start(&job_event("acme", 1)).await.remove(0);
        if cancels {
            app.cancel(&first).await;
        }
        app.finish().await;
        let ended = if cancels { Status::Cancelled } else { Status::Failed };
        let again = app.send(&job_event("acme", 2)).await.remove(0);
        assert_eq!((again.id(), again.status()), (first.id(), ended), "it leads to the first one's run");
        // a rerun is explicit, so the idempotency key does not prevent it
        let rerun = app.rerun_with(&first, &job_event("acme", 3)).await;
        assert_eq!((rerun.output::<u32>(), app.runs().await.len()), (3, 2));
        app.advance(DAY).await;
        assert_eq!(app.send(&job_event("acme", 4)).await[0].output::<u32>(), 4);
    }
}

#[tokio::test]
async fn runs_are_in_the_order_of_their_creation_also_within_a_millisecond() {
    let mut app = TestApp::new()
        .function(Function::new("one", timing_handler::<crate::JobEvent>))
        .function(Function::new("two", timing_handler::<crate::JobEvent>))
        .function(Function::new("three", timing_handler::<crate::JobEvent>));
    let begun = app.now();
    for n in 0..20 {
        let of_event = app.start(&job_event("acme", n)).await;
        assert_eq!(of_event.iter().map(|run| run.function()).collect::<Vec<_>>(), ["one", "two", "three"]);
    }
    assert_eq!(app.now(), begun);
    let runs = app.runs().await;
    let of = |function: &str| -> Vec<u32> {
        let runs = runs.iter().filter(|run| run.function() == function);
        runs.map(|run| serde_json::from_str::<crate::JobEvent>(run.detail().event.data.get()).unwrap().n).collect()
    };
    assert_eq!((of("one"), of("three")), ((0..20).collect(), (0..20).collect::<Vec<u32>>()));
    assert_eq!(runs.len(), 60);
}
