//! Time, randomness, shared data, and steps that have no body.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use stepladder_core::decide::Operation;
use stepladder_core::{EventId, NewEvent, Outcome, StepKind, Timestamp, json};
use stepladder_sdk::runtime::SharedData;
use stepladder_sdk::{Backoff, Context, Event, EventData, Function, Result};

use crate::driver::{CREATED, ReplayedRun, StartEvent, end, step_ids, wanted_steps};

#[tokio::test]
async fn now_is_the_time_of_the_last_revealed_outcome() {
    async fn clock_handler(ctx: Context, event: Event<StartEvent>) -> Result<Vec<u128>> {
        let since = |t: Timestamp| t.since(event.ts).as_millis();
        let before = since(ctx.now());
        ctx.step("a", async || Ok(())).await?;
        let between = since(ctx.now());
        ctx.step("b", async || Ok(())).await?;
        Ok(vec![before, between, since(ctx.now())])
    }
    let run = ReplayedRun::for_function(Function::new("f", clock_handler))
        .with_recorded_step("a", ())
        .with_recorded_step("b", ());
    assert_eq!(end(run.open().as_mut()).await, Ok("[0,1000,2000]".into()));
}

#[tokio::test]
async fn randomness_repeats_in_every_replay_and_differs_between_draws() {
    async fn drawing_handler(ctx: Context, _: Event<StartEvent>) -> Result<(String, String, u64, u64)> {
        Ok((ctx.uuid().to_string(), ctx.uuid().to_string(), ctx.random(), ctx.random()))
    }
    let run = ReplayedRun::for_function(Function::new("f", drawing_handler));
    let first = end(run.open().as_mut()).await.unwrap();
    assert_eq!(end(run.open().as_mut()).await.unwrap(), first);
    let (a, b, c, d): (String, String, u64, u64) = serde_json::from_str(&first).unwrap();
    assert!(a != b && c != d);
    assert_eq!(a.parse::<stepladder_sdk::Uuid>().unwrap().get_version_num(), 4);
}

#[tokio::test]
async fn randomness_within_a_body_does_not_change_that_of_the_handler() {
    async fn drawing_handler(ctx: Context, _: Event<StartEvent>) -> Result<(String, u64)> {
        let key = ctx.step("key", async || Ok(ctx.uuid().to_string())).await?;
        Ok((key, ctx.random()))
    }
    let mut live = ReplayedRun::for_function(Function::new("f", drawing_handler));
    let first = live.run(false).await.unwrap();
    assert_eq!(end(live.open().as_mut()).await.unwrap(), first, "the replay does not run the body");
    assert_eq!(
        ReplayedRun::for_function(Function::new("f", drawing_handler)).run(true).await.unwrap(),
        first,
        "the key is the same again"
    );
}

#[tokio::test]
async fn shared_data_is_found_by_its_type() {
    async fn handler_with_shared_data(ctx: Context, _: Event<StartEvent>) -> Result<usize> {
        let missing = ctx.data::<u8>().unwrap_err();
        assert!(missing.is_terminal() && missing.to_string().contains("u8"), "{missing:?}");
        Ok(ctx.data::<String>()?.len())
    }
    let mut data = SharedData::default();
    data.insert("four".to_owned());
    assert_eq!(
        end(ReplayedRun::with_data(Function::new("f", handler_with_shared_data), &data).open().as_mut()).await,
        Ok("4".into())
    );
}

#[derive(Serialize, Deserialize)]
struct NoticeEvent {
    name: String,
}

impl EventData for NoticeEvent {
    const NAME: &'static str = "client/told";
}

#[tokio::test]
async fn steps_without_a_body_ask_the_engine() {
    async fn asking_handler(ctx: Context, _: Event<StartEvent>) -> Result<()> {
        let until = Timestamp::from_millis(1_800_000_000_000);
        let system = UNIX_EPOCH + Duration::from_millis(1_800_000_000_000);
        let (a, b, c, d, e, f) = tokio::join!(
            ctx.sleep("nap", Duration::from_secs(5)),
            ctx.sleep_until("until", until),
            ctx.sleep_until("system", system),
            ctx.send_event("tell", NoticeEvent { name: "ada".into() }),
            ctx.send_events("tell all", [NewEvent::new("x/y", json::empty_object())]),
            ctx.invoke::<u8>("call", "other", &NoticeEvent { name: "ada".into() }),
        );
        let _ = (a?, b?, c?, d?, e?, f?);
        Ok(())
    }
    let run = ReplayedRun::for_function(Function::new("f", asking_handler));
    let wants = wanted_steps(run.open().as_mut()).await;
    assert_eq!(step_ids(&wants), ["nap", "until", "system", "tell", "tell all", "call"]);
    let asks: Vec<&Operation> = wants.iter().map(|want| &want.operation).collect();
    assert!(matches!(asks[0], Operation::SleepFor(wait) if wait.as_secs() == 5));
    let moment = |ask: &Operation| matches!(ask, Operation::SleepUntil(t) if t.as_millis() == 1_800_000_000_000);
    assert!(moment(asks[1]) && moment(asks[2]));
    let one = |name: &str, ask: &Operation| matches!(ask, Operation::Send(events) if events.len() == 1 && &*events[0].name == name);
    assert!(one("client/told", asks[3]) && one("x/y", asks[4]));
    let Operation::Invoke { function, input, bound: false, timeout: None, user: None } = asks[5] else {
        panic!("a call")
    };
    assert_eq!((&**function, input.get()), ("other", r#"{"name":"ada"}"#));
    assert!(wants[0].at.as_ref().is_some_and(|at| at.file.ends_with("values.rs")));
}

#[tokio::test]
async fn sends_return_their_ids_and_calls_their_value() {
    async fn asking_handler(ctx: Context, _: Event<StartEvent>) -> Result<(EventId, usize, u8)> {
        let id = ctx.send_event("one", NoticeEvent { name: "ada".into() }).await?;
        let all = ctx.send_events("all", [NoticeEvent { name: "a".into() }, NoticeEvent { name: "b".into() }]).await?;
        Ok((id, all.len(), ctx.invoke("call", "other", &NoticeEvent { name: "ada".into() }).await?))
    }
    let mut run = ReplayedRun::for_function(Function::new("f", asking_handler));
    let id = EventId::new(CREATED, 5);
    let ids = |ids: &[EventId]| Outcome::Value(json::to_json(ids).unwrap());
    run.record("one".into(), StepKind::Send, ids(&[id]));
    run.record("all".into(), StepKind::Send, ids(&[id, id.next()]));
    run.record("call".into(), StepKind::Invoke, Outcome::Value(json::to_json(&7).unwrap()));
    assert_eq!(end(run.open().as_mut()).await, Ok(format!(r#"["{id}",2,7]"#)));
}

#[tokio::test]
async fn a_steps_own_options_reach_the_engine() {
    async fn handler_with_step_options(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        let fixed = Backoff::Fixed(Duration::from_secs(3));
        ctx.step("a", async || Ok(1)).retries(7).timeout(Duration::from_secs(9)).backoff(fixed).await
    }
    let wants =
        wanted_steps(ReplayedRun::for_function(Function::new("f", handler_with_step_options)).open().as_mut()).await;
    let Operation::Run(options) = &wants[0].operation else { panic!("a body") };
    assert_eq!((options.retries, options.timeout), (Some(7), Some(Duration::from_secs(9))));
    assert_eq!(options.backoff, Some(Backoff::Fixed(Duration::from_secs(3))));
}
