//! The routes under `/v1/signals/{token}`, and the pages of runs that wait for a signal.

use axum::http::StatusCode;
use serde_json::json;
use stepladder_core::limits::SIGNAL_BYTES;
use stepladder_server::ServerOptions;

use crate::script::ScriptedProgram;
use crate::world::ServerFixture;

/// Starts a run that waits for a signal. Returns the run's id and the callback token.
async fn start_waiting_run(world: &ServerFixture) -> (String, String) {
    let run = world.run(json!({"name": "test/pay"})).await;
    let data = world.get(&format!("/v1/runs/{run}")).await.data();
    let step = &data["steps"][0];
    assert_eq!((&step["kind"], &step["status"]), (&json!("signal"), &json!("Awaiting")));
    assert_eq!(data["waiting"], "waits in `payment` for a signal until 2023-11-14T23:13:20.000Z");
    (run, step["token"].as_str().expect("a token").to_owned())
}

#[tokio::test]
async fn a_signal_completes_the_wait_and_the_run_goes_on() {
    let world = ServerFixture::new();
    let (run, token) = start_waiting_run(&world).await;
    let answer = world.post(&format!("/v1/signals/{token}"), r#"{"cents": 995}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json(), json!({"data": {"run_id": run, "step": "payment", "before": false}}));
    world.settle().await;
    let data = world.get(&format!("/v1/runs/{run}")).await.data();
    assert_eq!((&data["status"], &data["steps"][0]["output"]), (&json!("Completed"), &json!({"cents": 995})));
    assert!(data["steps"][0].get("token").is_none(), "there is nothing left to complete");
}

#[tokio::test]
async fn a_failure_ends_the_wait_with_this_error_once() {
    let world = ServerFixture::new();
    let (run, token) = start_waiting_run(&world).await;
    let path = format!("/v1/signals/{token}");
    let failure =
        r#"{"message":"no funds","name":"CardDeclined","code":"declined","stack":"at pay","data":{"left":3}}"#;
    let answer = world.post(&format!("{path}/fail"), failure).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json(), json!({"data": {"run_id": run, "step": "payment", "before": false}}));
    assert_eq!(world.post(&format!("{path}/fail"), failure).await.json()["data"]["before"], true);
    assert_eq!(world.post(&path, "1").await.status, StatusCode::CONFLICT);
    assert_eq!(world.post(&format!("{path}/fail"), r#"{"message":"another"}"#).await.status, StatusCode::CONFLICT);
    world.settle().await;
    let data = world.get(&format!("/v1/runs/{run}")).await.data();
    let expected: serde_json::Value = serde_json::from_str(failure).unwrap();
    assert_eq!((&data["steps"][0]["status"], &data["steps"][0]["error"]), (&json!("Failed"), &expected));
    let page = world.get(&format!("/runs/{run}")).await.text;
    assert!(page.contains("Signal failed") && page.contains("CardDeclined: no funds"), "{page}");
}

#[tokio::test]
async fn a_body_that_is_no_failure_is_refused_with_its_field_and_the_wait_goes_on() {
    let world = ServerFixture::new();
    let (run, token) = start_waiting_run(&world).await;
    let path = format!("/v1/signals/{token}/fail");
    let long = |field: &str, bytes: usize| format!(r#"{{"message":"no","{field}":"{}"}}"#, "x".repeat(bytes));
    for (body, part) in [
        ("", "`message`"),
        ("[]", "`message`"),
        ("{", "EOF"),
        ("{}", "missing field `message`"),
        (r#"{"message": 5}"#, "`message` is wrong: invalid type: integer `5`, expected a string"),
        (r#"{"message": ""}"#, "`message` is empty"),
        (r#"{"message": "no", "name": []}"#, "`name` is wrong"),
        (r#"{"message": "no", "cause": "x"}"#, "`cause`"),
        (r#"{"message": "no", "message": "no"}"#, "duplicate field `message`"),
        (r#"{"message": "no"} {}"#, "trailing characters"),
        (r#"{"message": "no", "code": "panic"}"#, "`code` is `panic`, a code of Stepladder"),
        (&*long("name", 256), "`name` has 256 characters"),
        (&*long("stack", 16_385), "`stack` has 16385 bytes"),
        (&*long("data", 16_383), "`data` has 16385 bytes"),
        (r#"{"message": "\u0000"}"#, "NUL"),
    ] {
        let answer = world.post(&path, body.to_owned()).await;
        assert_eq!(answer.status, 400, "{body:.80}: {}", answer.text);
        assert!(answer.sentence().contains(part), "{body:.80}: {}", answer.text);
    }
    assert_eq!(world.post(&path, long("message", SIGNAL_BYTES)).await.status, 413);
    assert_eq!(world.post("/v1/signals/unknown/fail", r#"{"message":"no"}"#).await.status, 404);
    assert_eq!(world.get(&path).await.status, 405);
    assert_eq!(world.get(&format!("/v1/runs/{run}")).await.data()["status"], "Running");
    world.assert_no_error_logged();
}

#[tokio::test]
async fn a_heartbeat_says_what_it_did() {
    let world = ServerFixture::with_programs(vec![ScriptedProgram::rendering_program()]);
    let (run, token) = start_waiting_run(&world).await;
    let path = format!("/v1/signals/{token}/heartbeat");
    let unneeded = world.post(&path, "").await;
    assert_eq!(unneeded.status, 200, "{}", unneeded.text);
    let data = json!({"run_id": run, "step": "payment", "effect": "unneeded", "next_before": null});
    assert_eq!(unneeded.json(), json!({"data": data}));
    assert_eq!(world.post(&path, "1").await.status, 400, "it has no body");
    assert_eq!(world.post("/v1/signals/unknown/heartbeat", "").await.status, 404);
    world.post(&format!("/v1/signals/{token}"), "").await;
    assert_eq!(world.post(&path, "").await.status, StatusCode::CONFLICT);

    let run = world.run(json!({"name": "test/render"})).await;
    let step = &world.get(&format!("/v1/runs/{run}")).await.data()["steps"][0];
    assert_eq!(step["awaits"], "a signal, with a heartbeat every 60s");
    let path = format!("/v1/signals/{}/heartbeat", step["token"].as_str().unwrap());
    for effect in ["recorded", "recent"] {
        let data = world.post(&path, "{}").await.data();
        assert_eq!((&data["effect"], &data["next_before"]), (&json!(effect), &json!("2023-11-14T22:14:20.000Z")));
    }
    let page = world.get(&format!("/runs/{run}")).await.text;
    assert!(page.contains("Heartbeat received") && page.contains("with a heartbeat every 1 m"), "{page}");
}

#[tokio::test]
async fn a_second_post_is_told_that_it_was_completed_and_the_same_again_is_answered_as_the_first() {
    let world = ServerFixture::new();
    let (_, token) = start_waiting_run(&world).await;
    let path = format!("/v1/signals/{token}");
    assert_eq!(world.post(&path, "").await.status, 200);
    assert_eq!(world.post(&path, " null ").await.json()["data"]["before"], true);
    let other = world.post(&path, "1").await;
    assert_eq!(other.status, StatusCode::CONFLICT);
    assert!(other.sentence().contains("was completed already, at 2023-"), "{}", other.text);
}

#[tokio::test]
async fn a_signal_needs_its_token_and_no_other() {
    let world = ServerFixture::with_options(ServerOptions {
        event_keys: vec!["key".into()],
        dashboard_token: Some("sesame".into()),
        ..ServerOptions::default()
    });
    let id = world.send(json!({"name": "test/pay"})).await.remove(0);
    let bearer = "Bearer sesame";
    let runs = world.get_with(&format!("/v1/events/{id}/runs"), "authorization", bearer).await.data();
    let run = runs[0]["run_id"].as_str().unwrap();
    let data = world.get_with(&format!("/v1/runs/{run}"), "authorization", bearer).await.data();
    let token = data["steps"][0]["token"].as_str().unwrap();
    let forged = token.replacen('.', ".A", 1);
    assert_eq!(world.post(&format!("/v1/signals/{forged}"), "").await.status, 404);
    assert_eq!(world.post(&format!("/v1/signals/{run}"), "").await.status, 404);
    let fail = |token: &str| format!("/v1/signals/{token}/fail");
    assert_eq!(world.post(&fail(&forged), r#"{"message":"no"}"#).await.status, 404);
    assert_eq!(world.post(&fail(token), r#"{"message":"no"}"#).await.status, 200, "no other secret is needed");
    assert!(!world.log().contains(token), "the token is a secret");
}

#[tokio::test]
async fn a_body_that_is_no_signal_is_refused_and_the_wait_goes_on() {
    let world = ServerFixture::new();
    let (run, token) = start_waiting_run(&world).await;
    let path = format!("/v1/signals/{token}");
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (body, part) in
        [("{", "not valid JSON"), ("yes", "not valid JSON"), (r#""\u0000""#, "NUL"), (&deep, "levels deep")]
    {
        let answer = world.post(&path, body.to_owned()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.sentence().contains(part), "{body}: {}", answer.text);
    }
    assert_eq!(world.post(&path, vec![0xFF]).await.status, 400);
    assert_eq!(world.post(&path, format!("\"{}\"", "x".repeat(SIGNAL_BYTES))).await.status, 413);
    assert_eq!(world.get(&format!("/v1/runs/{run}")).await.data()["status"], "Running");
    world.assert_no_error_logged();
}

#[tokio::test]
async fn a_run_that_waits_for_an_event_says_for_which_and_gets_it() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/listen"})).await;
    let data = world.get(&format!("/v1/runs/{run}")).await.data();
    assert_eq!(data["waiting"], "waits in `word` for event `test/<b>word</b>` until 2023-11-14T23:13:20.000Z");
    assert_eq!((&data["steps"][0]["kind"], &data["steps"][0]["status"]), (&json!("event"), &json!("Awaiting")));
    assert_eq!(data["steps"][0]["awaits"], "event `test/<b>word</b>`");
    let page = world.get(&format!("/runs/{run}")).await.text;
    assert!(page.contains("event `test/&#60;b&#62;word"), "{page}");
    world.send(json!({"name": "test/<b>word</b>", "data": {"x": 1}})).await;
    let data = world.get(&format!("/v1/runs/{run}")).await.data();
    assert_eq!((&data["status"], &data["output"]["data"]), (&json!("Completed"), &json!({"x": 1})));
}
