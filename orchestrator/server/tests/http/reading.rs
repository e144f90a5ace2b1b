//! The REST routes that read: the shape of each response.

use axum::http::Method;
use serde_json::{Value, json};

use crate::world::ServerFixture;

fn fields(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn an_event_is_shown_as_it_was_accepted() {
    let world = ServerFixture::new();
    let sent = json!({"name": "a/b", "data": {"z": 1, "a": 2.0}, "ts": 1_600_000_000_123_i64, "user": {"id": 5}, "id": "mine"});
    let id = world.send(sent).await.remove(0);
    assert_eq!(
        world.get(&format!("/v1/events/{id}")).await.json(),
        json!({"data": {
            "id": id, "name": "a/b", "data": {"z": 1, "a": 2.0}, "ts": 1_600_000_000_123_i64, "user": {"id": 5},
            "external_id": "mine", "received_at": "2023-11-14T22:13:20.000Z"
        }})
    );
    let plain = world.send(json!({"name": "a"})).await.remove(0);
    let plain = world.get(&format!("/v1/events/{plain}")).await.data();
    assert_eq!((&plain["data"], &plain["ts"]), (&json!({}), &json!(1_700_000_000_000_i64)));
    assert!(plain.get("user").is_none() && plain.get("external_id").is_none());
}

#[tokio::test]
async fn an_events_runs_are_shown_with_their_outputs() {
    let world = ServerFixture::new();
    let event = world.send(json!({"name": "test/echo", "data": {"x": 1}})).await.remove(0);
    let runs = world.get(&format!("/v1/events/{event}/runs")).await.data();
    assert_eq!(runs.as_array().unwrap().len(), 1);
    let run = &runs[0];
    assert_eq!(
        fields(run),
        ["created_at", "ended_at", "error", "event_id", "function_id", "output", "run_id", "run_started_at", "status"]
    );
    assert_eq!((&run["status"], &run["output"]), (&json!("Completed"), &json!({"x": 1})));
    assert_eq!((&run["function_id"], &run["event_id"]), (&json!("echo"), &json!(event)));
    assert_eq!(run["ended_at"], "2023-11-14T22:13:20.000Z");
    let none = world.send(json!({"name": "unused/event"})).await.remove(0);
    assert_eq!(world.get(&format!("/v1/events/{none}/runs")).await.json(), json!({"data": []}));
}

#[tokio::test]
async fn a_run_is_shown_in_full() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"fail": "no luck"}})).await;
    let data = world.get(&format!("/v1/runs/{run}")).await.data();
    assert_eq!((&data["status"], &data["output"]), (&json!("Failed"), &Value::Null));
    assert_eq!(data["error"], json!({"message": "no luck", "code": "asked"}));
    assert_eq!(
        (&data["origin"], &data["waiting"], &data["handler_errors"]),
        (&json!("Event"), &Value::Null, &json!([]))
    );
    assert_eq!(data["event"]["data"], json!({"fail": "no luck"}));
    let step = &data["steps"][0];
    assert_eq!((&step["id"], &step["kind"], &step["status"]), (&json!("say"), &json!("run"), &json!("Failed")));
    assert_eq!(step["error"], json!({"message": "no luck", "code": "asked"}));
    let at = "2023-11-14T22:13:20.000Z";
    assert_eq!(
        step["attempts"],
        json!([{"attempt": 1, "started_at": at, "ended_at": at, "error": {"message": "no luck", "code": "asked"},
                "interrupted": false}])
    );
}

#[tokio::test]
async fn an_error_has_the_name_the_stack_and_the_data_that_its_front_end_knows() {
    let world = ServerFixture::new();
    let details = json!({"fail": "no luck", "stack": "at pay"});
    let run = world.run(json!({"name": "test/echo", "data": details})).await;
    let data = world.get(&format!("/v1/runs/{run}")).await.data();
    let error = json!({"message": "no luck", "code": "asked", "name": "TypeError", "stack": "at pay", "data": details});
    for shown in [&data["error"], &data["steps"][0]["error"], &data["steps"][0]["attempts"][0]["error"]] {
        assert_eq!(*shown, error);
    }
}

#[tokio::test]
async fn a_run_that_waits_says_for_what() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    let data = world.get(&format!("/v1/runs/{run}")).await.data();
    assert!(data["waiting"].as_str().unwrap().contains("sleeps in `rest`"), "{}", data["waiting"]);
    assert_eq!((&data["ended_at"], &data["output"], &data["error"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!((&data["steps"][0]["kind"], &data["steps"][0]["status"]), (&json!("sleep"), &json!("Sleeping")));
    assert_eq!(data["steps"][0]["due"], "2023-11-14T23:13:20.000Z");
    assert!(data["run_started_at"].is_string());
}

#[tokio::test]
async fn runs_are_listed_newest_first_by_page_status_and_function() {
    let world = ServerFixture::new();
    for n in 0..5 {
        world.run(json!({"name": "test/echo", "data": {"n": n}})).await;
    }
    world.run(json!({"name": "test/echo", "data": {"fail": "x"}})).await;
    world.run(json!({"name": "test/nap", "data": {"long": true}})).await;

    let (mut seen, mut path) = (Vec::new(), "/v1/runs?limit=3".to_owned());
    loop {
        let page = world.get(&path).await.json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/v1/runs?limit=3&cursor={cursor}");
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (7, &sorted));

    for (query, wanted) in [
        ("status=Failed", 1),
        ("status=completed", 5),
        ("status=Cancelled", 0),
        ("function=nap", 1),
        ("function=nap&status=Completed", 0),
        ("function=unknown", 0),
        ("status=&function=&limit=&cursor=", 7),
    ] {
        let page = world.get(&format!("/v1/runs?{query}")).await;
        assert_eq!(page.data().as_array().unwrap().len(), wanted, "{query}: {}", page.text);
    }
}

#[tokio::test]
async fn a_listing_leaves_outputs_out() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"x": 1}})).await;
    let page = world.get("/v1/runs").await;
    assert_eq!((&page.data()[0]["run_id"], &page.data()[0]["output"]), (&json!(run), &Value::Null));
    assert_eq!(world.get(&format!("/v1/runs/{run}")).await.data()["output"], json!({"x": 1}));
}

#[tokio::test]
async fn a_journal_is_shown_in_order_and_by_pages() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"x": 1}})).await;
    let whole = world.get(&format!("/v1/runs/{run}/journal")).await.json();
    let entries = whole["data"].as_array().unwrap();
    let facts: Vec<_> = entries.iter().map(|entry| fields(&entry["fact"])[0]).collect();
    assert_eq!(facts, ["RunCreated", "StepStarted", "StepSucceeded", "RunCompleted"]);
    assert_eq!(whole["next"], Value::Null);
    assert_eq!(entries[0]["at"], "2023-11-14T22:13:20.000Z");
    let (mut paged, mut from) = (Vec::new(), json!(0));
    while let Some(next) = from.as_u64() {
        let mut page = world.get(&format!("/v1/runs/{run}/journal?from={next}&limit=3")).await.json();
        paged.append(page["data"].as_array_mut().unwrap());
        from = page["next"].take();
    }
    assert_eq!(&paged, entries);
    let past = world.get(&format!("/v1/runs/{run}/journal?from={}", u64::MAX)).await.json();
    assert_eq!(past, json!({"data": [], "next": null}));
}

#[tokio::test]
async fn a_cancelled_run_is_over() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    let answer = world.request(Method::DELETE, &format!("/v1/runs/{run}"), "").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({"data": {"run_id": run, "status": "Cancelled"}})));
    let data = world.get(&format!("/v1/runs/{run}")).await.data();
    assert_eq!(data["status"], "Cancelled");
    assert!(data["error"]["message"].as_str().unwrap().starts_with("cancelled"));
    let done = world.run(json!({"name": "test/echo"})).await;
    let answer = world.request(Method::DELETE, &format!("/v1/runs/{done}"), "").await;
    assert_eq!((answer.status.as_u16(), &answer.data()["status"]), (202, &json!("Completed")));
}

#[tokio::test]
async fn a_rerun_is_a_new_run_with_its_own_input() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"n": 1}})).await;
    let path = format!("/v1/runs/{run}/rerun");
    for (body, output) in [
        (String::new(), json!({"n": 1})),
        ("  \n".into(), json!({"n": 1})),
        ("{}".into(), json!({"n": 1})),
        (json!({"input": {"n": 2}}).to_string(), json!({"n": 2})),
        (json!({"from_step": "say", "input": null}).to_string(), json!({"n": 1})),
    ] {
        let answer = world.post(&path, body.clone()).await;
        assert_eq!(answer.status, 201, "{body}: {}", answer.text);
        let again = answer.data()["run_id"].as_str().unwrap().to_owned();
        assert_ne!(again, run);
        world.settle().await;
        let data = world.get(&format!("/v1/runs/{again}")).await.data();
        assert_eq!((&data["output"], &data["origin"]), (&output, &json!({"Rerun": {"of": run}})), "{body}");
    }
}

#[tokio::test]
async fn functions_are_described() {
    let world = ServerFixture::new();
    let functions = world.get("/v1/functions").await.data();
    assert_eq!(
        functions[0],
        json!({"id": "echo", "triggers": [{"event": "test/echo", "if": null}], "retries": 4, "timeout_ms": 60_000,
               "concurrency": [{"limit": 2, "of": "steps", "key": "event.name", "shared": null}], "flow_control": [],
               "on_failure": null, "paused_since": null})
    );
    assert_eq!(functions[1]["triggers"], json!([{"event": "test/nap", "if": "event.data.long == true"}]));
    assert_eq!(functions[1]["on_failure"], "echo");
    assert_eq!(functions[1]["non_retryable"], json!(["CardDeclined", "<Error>"]));
}

#[tokio::test]
async fn the_probes_of_inngests_clients_are_answered() {
    let world = ServerFixture::new();
    assert_eq!(
        world.get("/api/inngest").await.json(),
        json!({"function_count": 5, "mode": "dev", "has_event_key": false, "has_signing_key": false})
    );
    let dev = world.get("/dev").await.json();
    assert_eq!((&dev["version"], &dev["functions"][0]["id"]), (&json!("1.2.3"), &json!("echo")));
    assert!(dev["startOpts"].is_object());
    assert_eq!(world.get("/health").await.json(), json!({"status": "ok"}));
}
