//! Operations as the TypeScript package 4.24 sends them, and some that are refused.

use std::time::Duration;

use serde_json::json;
use stepladder_core::Timestamp;

use super::*;

fn requested(operation: Value) -> Result<Requested, String> {
    serde_json::from_value::<WireOperation>(operation).unwrap().requested()
}

fn wanted(operation: Value) -> (String, Operation) {
    match requested(operation).unwrap() {
        Requested::Wanted(want) => (want.step.to_string(), want.operation),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sleeps_waits_and_calls_become_operations_of_the_engine() {
    let (step, sleep) = wanted(json!({
        "displayName": "wait-a-moment", "op": "Sleep", "id": "b101b7cef051778f3c4378e92fad02d5f90a527d",
        "name": "1s", "opts": {}, "userland": {"id": "wait-a-moment"}, "data": null,
    }));
    assert_eq!(step, "wait-a-moment");
    assert!(matches!(sleep, Operation::SleepFor(duration) if duration == Duration::from_secs(1)));
    let hash = "51e69892ab49df85c6230ccc57f8e1d1606caccc";
    let (_, until) = wanted(json!({"op": "Sleep", "id": hash, "name": "2030-01-01T00:00:00.000Z", "opts": {}}));
    assert!(matches!(until, Operation::SleepUntil(at) if at == Timestamp::from_millis(1_893_456_000_000)));
    let (_, specified) = wanted(json!({"op": "Sleep", "id": hash, "opts": {"duration": "2h"}}));
    assert!(matches!(specified, Operation::SleepFor(duration) if duration == Duration::from_secs(7_200)));

    let (step, wait) = wanted(json!({
        "displayName": "w", "op": "WaitForEvent", "id": "aff024fe4ab0fece4091de044c58c9ae4233383a", "name": "x/y",
        "opts": {"timeout": "2d", "if": "async.data.z == 1"}, "userland": {"id": "w"}, "data": null,
    }));
    let Operation::WaitForEvent { wait, timeout } = wait else { panic!("{wait:?}") };
    assert_eq!((&*step, timeout), ("w", Duration::from_secs(172_800)));
    assert_eq!(
        (&wait.events[..], &wait.matching),
        (&["x/y".into()][..], &EventMatch::When("async.data.z == 1".into()))
    );

    let (step, invoke) = wanted(json!({
        "displayName": "i", "op": "InvokeFunction", "id": "042dc4512fa3d391c5170cf3aa61e6a638f84342",
        "opts": {"payload": {"data": {"q": 1}}, "function_id": "shop-hello-world"}, "userland": {"id": "i"},
    }));
    let Operation::Invoke { function, input, .. } = invoke else { panic!("{invoke:?}") };
    assert_eq!((&*step, &*function, input.get()), ("i", "shop-hello-world", r#"{"q":1}"#));
}

#[test]
fn executed_steps_have_their_value_or_their_error() {
    // the package sends its internal fields too
    let executed = requested(json!({
        "id": "825b938e1bf063c8ae74c6b0689861a0c2c0ae63", "mode": "sync", "op": "StepRun", "name": "x",
        "displayName": "x", "userland": {"id": "x", "index": 1}, "opts": {}, "rawArgs": ["x", null],
        "hashedId": "825b938e1bf063c8ae74c6b0689861a0c2c0ae63", "promise": {}, "data": 6,
        "timing": {"a": 1, "b": 0},
    }));
    let Requested::Executed { want, result: Ok(value) } = executed.unwrap() else { panic!("no value") };
    assert_eq!((&*want.step, value.get()), ("x:1", "6"));
    for (op, is_final) in [("StepError", false), ("StepFailed", true)] {
        let failed = requested(json!({
            "id": "11f6ad8ec52a2984abaafd7c3b516503785c2072", "op": op, "name": "x", "displayName": "x",
            "error": {"name": "TypeError", "message": "bad", "__serialized": true}, "data": null,
        }));
        let Requested::Executed { result: Err(error), .. } = failed.unwrap() else { panic!("no error") };
        assert_eq!((error.is_final, error.error["name"].as_str()), (is_final, Some("TypeError")));
    }
    let completed =
        requested(json!({"op": "RunComplete", "id": "0737c22d3bfae812339732d14d8c7dbd6dc4e09c", "data": [1]}));
    assert!(matches!(completed, Ok(Requested::Completed(value)) if value.get() == "[1]"));
}

#[test]
fn a_request_of_the_server_is_a_step_with_a_body() {
    let fetch = requested(json!({
        "displayName": "step.fetch: example.com", "op": "Gateway", "id": "cddbefbc388f55bde1c7f013cfa5d987c51e3d0f",
        "opts": {"url": "https://example.com/x", "method": "POST", "headers": {"a": "b"}, "body": "hi"},
        "userland": {"id": "step.fetch: example.com"}, "data": null,
    }));
    assert!(matches!(fetch, Ok(Requested::Request(want, _)) if &*want.step == "step.fetch: example.com"));
    let infer = requested(json!({
        "displayName": "ai", "op": "AIGateway", "id": "141a92417f71895e56c4a5da05f3e98fc78e2220",
        "opts": {
            "type": "step.ai.infer", "url": "https://api.openai.com/v1/chat", "headers": {}, "auth_key": "k",
            "format": "openai-chat", "body": {"a": 1},
        },
        "userland": {"id": "ai"}, "data": null,
    }));
    assert!(matches!(infer, Ok(Requested::Request(want, _)) if &*want.step == "ai"));
}

#[test]
fn what_is_not_supported_is_refused_with_the_step() {
    let hash = "b3ed2cf313e7546085c3c50622143ff31e467d23";
    let step = |op: &str, opts: Value| {
        let operation = json!({"op": op, "id": hash, "displayName": "sig", "userland": {"id": "sig"}, "opts": opts});
        requested(operation).expect_err("it is refused")
    };
    for (sentence, says) in [
        (
            step("WaitForSignal", json!({"signal": "abc", "timeout": "1h", "conflict": "replace"})),
            "`onConflict: replace`",
        ),
        (step("WaitForSignal", json!({"signal": "abc", "timeout": "soon"})), "the `timeout` `soon`"),
        (step("Gateway", json!({"url": "file:///x"})), "http://"),
        (step("AIGateway", json!({})), "missing field `url`"),
        (step("Teleport", json!({})), "`Teleport`"),
        (step("Sleep", json!({"duration": "soon"})), "sleeps for `soon`"),
        (step("Sleep", json!({"duration": 5})), "`duration` is no text"),
        (step("Sleep", json!([])), "no JSON object"),
        (step("WaitForEvent", json!({"event": "x"})), "is no duration"),
        (step("WaitForEvent", json!({"event": "x", "timeout": "1s", "match": "data.id"})), "the option `match`"),
        (step("InvokeFunction", json!({"function_id": "f", "payload": {}, "timeout": "soon"})), "`timeout`"),
        (step("InvokeFunction", json!({"function_id": "f", "payload": {"ts": 1}})), "`ts`"),
    ] {
        assert!(sentence.contains("step `sig`") && sentence.contains(says), "{says}: {sentence}");
    }
    let id = requested(json!({"op": "StepRun", "id": "sig"})).unwrap_err();
    assert!(id.contains("is no SHA-1"), "{id}");
}
