//! Events sent by functions and inputs of calls have the same limits as any other event.

use serde_json::value::RawValue;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Pace, Status, TestApp};
use stepladder_sdk::{Json, NewEvent};

use super::running::{OrderEvent, order_event};

fn raw_event(data: String) -> NewEvent {
    let data: Json = RawValue::from_string(data).unwrap().into();
    NewEvent::new("order/noted", data)
}

fn nested_json(levels: usize) -> String {
    format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1))
}

/// Returns data that is not valid for an event. The second part of each pair is a part of the
/// expected error.
fn invalid_data() -> Vec<(String, &'static str)> {
    vec![
        (format!(r#"{{"a":"{}"}}"#, "x".repeat(3 << 20)), "bytes; at most 3145728 are allowed"),
        (nested_json(100), "nested more than 100 levels deep"),
        (r#"{"a":"\u0000"}"#.into(), "a NUL character"),
        (r#"{"a":"\ud800"}"#.into(), "half a surrogate pair"),
        (r#"{"$serde_json::private::RawValue":"1"}"#.into(), "decoders misread such a field"),
        ("[1]".into(), "must be a JSON object"),
    ]
}

#[tokio::test]
async fn a_sent_event_has_the_limits_of_any_event() {
    for (data, said) in invalid_data() {
        for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
            let event = raw_event(data.clone());
            let function = Function::new("sends", move |ctx: Context, _: Event<OrderEvent>| {
                let event = event.clone();
                async move {
                    let refused = ctx.send_event("send", event).await.unwrap_err();
                    Ok((refused.code().map(str::to_owned), refused.to_string()))
                }
            });
            let mut app = TestApp::new().pace(pace).function(function);
            let run = app.send(&order_event()).await.remove(0);
            let (code, sentence) = run.output::<(Option<String>, String)>();
            assert!(sentence.contains("step `send`: cannot send the event `order/noted`"), "{sentence}");
            assert!(sentence.contains(said) && code.as_deref() == Some("bad-event"), "{sentence}");
            use stepladder_engine::ports::Listings;
            assert_eq!(app.memory().events(None, 10).await.unwrap().len(), 1, "only what started the run");
        }
    }
}

#[tokio::test]
async fn an_event_at_its_limits_is_sent() {
    async fn sending_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.send_event("deep", raw_event(nested_json(99))).await?;
        ctx.send_event("large", raw_event(format!(r#"{{"a":"{}"}}"#, "x".repeat((3 << 20) - 100)))).await?;
        ctx.send_event("pair", raw_event(r#"{"a":"\ud83d\ude00"}"#.into())).await.map(drop)
    }
    let mut app = TestApp::new().function(Function::new("sends", sending_handler));
    assert_eq!(app.send(&order_event()).await[0].status(), Status::Completed);
}

#[tokio::test]
async fn events_sent_together_have_the_limits_of_a_request() {
    async fn sending_handler(ctx: Context, _: Event<OrderEvent>) -> Result<(String, String)> {
        let many = ctx.send_events("many", (0..5_001).map(|_| raw_event("{}".into()))).await.unwrap_err();
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(3_000_000));
        let much = ctx.send_events("much", (0..23).map(|_| raw_event(large.clone()))).await.unwrap_err();
        Ok((many.to_string(), much.to_string()))
    }
    let mut app = TestApp::new().function(Function::new("sends", sending_handler));
    let (many, much) = app.send(&order_event()).await[0].output::<(String, String)>();
    assert!(many.contains("cannot send 5001 events; at most 5000 are allowed"), "{many}");
    assert!(much.contains("at most 67108864 are allowed"), "{much}");
}

#[tokio::test]
async fn the_input_of_a_call_has_the_limits_of_an_event() {
    async fn child_handler(_: Context, _: Event<OrderEvent>) -> Result<()> {
        Ok(())
    }
    for (data, said) in invalid_data() {
        let calls = Function::new("calls", move |ctx: Context, _: Event<OrderEvent>| {
            let input: Box<RawValue> = RawValue::from_string(data.clone()).unwrap();
            async move {
                let one: Result<()> = ctx.invoke("one", "child", &input).await;
                let each = ctx.map_runs::<(), _>("each", "child", [&input]).await;
                Ok([one.unwrap_err().to_string(), each.unwrap_err().to_string()])
            }
        });
        let mut app = TestApp::new().function(calls).function(Function::new("child", child_handler));
        let sentences = app.send(&order_event()).await[0].output::<[String; 2]>();
        for (sentence, step) in sentences.iter().zip(["one", "each"]) {
            assert!(sentence.contains(&format!("step `{step}`: its input ")) && sentence.contains(said), "{sentence}");
        }
        // only the event sent at first has started a run of `child`
        assert_eq!(app.runs_of_function("child").await.len(), 1);
    }
}

#[tokio::test]
async fn an_impossible_function_name_is_not_invoked() {
    async fn calling_handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        let called: Result<()> = ctx.invoke("one", "x".repeat(1 << 20), &json!({})).await;
        Ok(called.unwrap_err().to_string())
    }
    let mut app = TestApp::new().function(Function::new("calls", calling_handler));
    let run = app.send(&order_event()).await.remove(0);
    let sentence = run.output::<String>();
    assert!(sentence.contains("the name of the function has 1048576 characters"), "{sentence}");
}
