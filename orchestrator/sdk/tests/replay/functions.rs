//! How the SDK describes functions to the engine.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use stepladder_sdk::runtime::{SharedData, compile};
use stepladder_sdk::{Backoff, Concurrency, Context, Event, EventData, Function, FunctionFailed, Result};

use crate::driver::{ReplayedRun, StartEvent, end};

async fn handler(_: Context, _: Event<StartEvent>) -> Result<()> {
    Ok(())
}

fn refusal_sentence(function: Function) -> String {
    compile(function, &SharedData::default()).err().expect("refused")
}

#[test]
fn the_settings_of_the_builder_are_in_the_spec() {
    let function = Function::new("f", handler)
        .retries(2)
        .backoff(Backoff::Fixed(Duration::from_secs(1)))
        .timeout(Duration::from_secs(9))
        .concurrency(Concurrency::limit(3))
        .concurrency(Concurrency::limit(1).key("event.data.id"))
        .filter("event.data.id != ''");
    assert_eq!(function.id(), "f");
    let compiled = compile(function, &SharedData::default()).unwrap();
    let spec = compiled[0].spec();
    assert_eq!((compiled.len(), &*spec.id, spec.retry.retries), (1, "f", 2));
    assert_eq!((spec.timeout, &spec.retry.backoff), (Duration::from_secs(9), &Backoff::Fixed(Duration::from_secs(1))));
    assert_eq!(&*spec.triggers[0].event, "test/start");
    assert_eq!(spec.triggers[0].condition.as_ref().unwrap().source(), "event.data.id != ''");
    let limits: Vec<_> = spec.concurrency.iter().map(|c| (c.limit, c.key.as_ref().map(|k| k.source()))).collect();
    assert_eq!(limits, [(3, None), (1, Some("event.data.id"))]);
}

#[test]
fn an_invalid_expression_is_reported_with_its_function() {
    let said = refusal_sentence(Function::new("f", handler).filter("event.data."));
    assert!(said.contains("filter of function `f`") && said.contains("`event.data.`"), "{said}");
    let said = refusal_sentence(Function::new("g", handler).concurrency(Concurrency::limit(1).key("(")));
    assert!(said.contains("concurrency key of function `g`"), "{said}");
}

#[test]
fn an_event_may_have_a_filter_of_its_own() {
    struct Either;
    impl<'de> Deserialize<'de> for Either {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
            serde::de::IgnoredAny::deserialize(d).map(|_| Self)
        }
    }
    impl EventData for Either {
        const NAME: &'static str = "a";
        const NAMES: &'static [&'static str] = &["a", "b", "c"];
    }
    macro_rules! named {
        ($($type:ident: $name:literal),*) => {$(
            #[derive(Deserialize)]
            struct $type {}
            impl EventData for $type {
                const NAME: &'static str = $name;
            }
        )*};
    }
    named!(B: "b", C: "c", D: "d");
    async fn handler_of_either_event(_: Context, _: Event<Either>) -> Result<()> {
        Ok(())
    }
    let function =
        || Function::new("f", handler_of_either_event).filter("event.data.any").on::<B>().filter("event.data.b");
    let compiled = compile(function(), &SharedData::default()).unwrap();
    let of = compiled[0].spec().triggers.iter().map(|t| t.condition.as_ref().map_or("", |c| c.source()));
    assert_eq!(of.collect::<Vec<_>>(), ["event.data.any", "event.data.b", "event.data.any"]);
    let alone =
        compile(Function::new("f", handler_of_either_event).on::<C>().filter("true"), &SharedData::default()).unwrap();
    let of = alone[0].spec().triggers.iter().map(|t| t.condition.is_some());
    assert_eq!(of.collect::<Vec<_>>(), [false, false, true]);
    let said = refusal_sentence(function().on::<D>().filter("true"));
    assert!(said.contains("`f`") && said.contains("`d`, which its handler does not take"), "{said}");
}

#[test]
fn an_on_failure_handler_is_a_function_of_its_own() {
    async fn failure_handler(_: Context, event: Event<FunctionFailed>) -> Result<String> {
        Ok(event.data.function_id)
    }
    let function = Function::new("f", handler).retries(1).on_failure(failure_handler);
    let compiled = compile(function, &SharedData::default()).unwrap();
    assert_eq!(compiled[0].spec().on_failure.as_deref(), Some("f/on-failure"));
    let after = compiled[1].spec();
    assert_eq!((&*after.id, after.triggers.len(), after.retry.retries), ("f/on-failure", 0, 1));
}

#[tokio::test]
async fn a_type_may_stand_for_several_events() {
    enum Change {
        Started(String),
        Gone,
    }
    impl<'de> Deserialize<'de> for Change {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
            StartEvent::deserialize(d).map(|start| Self::Started(start.id))
        }
    }
    impl EventData for Change {
        const NAME: &'static str = "test/start";
        const NAMES: &'static [&'static str] = &["test/start", "test/gone"];
        fn decode(name: &str, data: &RawValue) -> serde_json::Result<Self> {
            if name == "test/gone" { Ok(Self::Gone) } else { serde_json::from_str(data.get()) }
        }
    }
    async fn handler_of_changes(_: Context, event: Event<Change>) -> Result<String> {
        Ok(match event.data {
            Change::Started(id) => id,
            Change::Gone => "gone".into(),
        })
    }
    let run = ReplayedRun::for_function(Function::new("f", handler_of_changes));
    let names: Vec<_> = run.function.spec().triggers.iter().map(|t| &*t.event).collect();
    assert_eq!(names, ["test/start", "test/gone"]);
    assert_eq!(end(run.open().as_mut()).await, Ok(r#""abc""#.into()));
}

#[tokio::test]
async fn a_closure_may_be_a_handler_and_capture_clients() {
    let client = std::sync::Arc::new(5_u32);
    let function = Function::new("f", move |ctx: Context, event: Event<StartEvent>| {
        let client = client.clone();
        async move { ctx.step("a", async || Ok(event.data.id.len() + *client as usize)).await }
    });
    assert_eq!(ReplayedRun::for_function(function).run(true).await, Ok("8".into()));
}
