//! The HTTP role as a process: requests and responses up to Lambda's limit of 6 MB, and no secrets
//! in the logs.

#[path = "aws/roles.rs"]
mod roles;
#[path = "aws/table.rs"]
mod table;

use serde_json::{Value, json};
use stepladder_core::RunId;

use roles::{LambdaRoles, RoleRequest};

const KEY: &str = "EVENT-KEY-OF-THIS-TEST";
const TOKEN: &str = "TOKEN-OF-THIS-TEST";

async fn world(level: &str) -> LambdaRoles {
    LambdaRoles::start(&[
        ("RUST_LOG", level.into()),
        ("STEPLADDER_EVENT_KEYS", KEY.into()),
        ("STEPLADDER_DASHBOARD_TOKEN", TOKEN.into()),
        ("OPENAI_API_KEY", "sk-openai-of-this-test".into()),
        ("SUPABASE_SERVICE_ROLE_KEY", "supabase-key-of-this-test".into()),
    ])
    .await
}

async fn get(world: &LambdaRoles, path: &str) -> (u64, String) {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", &*authorization)];
    let ask = RoleRequest { method: "GET", path, headers: &headers, body: None, base64: false };
    world.send_request(ask).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
}

async fn get_json(world: &LambdaRoles, path: &str) -> Value {
    let (status, body) = get(world, path).await;
    assert_eq!(status, 200, "GET {path}: {body:.300}");
    serde_json::from_str(&body).expect("JSON")
}

async fn send(world: &LambdaRoles, body: &str, base64: bool) -> Result<(u64, String), Value> {
    let path = format!("/e/{KEY}");
    world.send_request(RoleRequest { method: "POST", path: &path, headers: &[], body: Some(body), base64 }).await
}

fn hello_event(id: &str, name: &str) -> String {
    json!({"name": "test/hello.world", "id": id, "data": {"name": name}}).to_string()
}

/// Executes a run of hello-world to its end. `id` is the id of its event, and `name` its input.
async fn run(world: &LambdaRoles, id: &str, name: &str) -> RunId {
    assert_eq!(send(world, &hello_event(id, name), true).await.expect("it is taken").0, 200);
    let run = world.run_of(id).await;
    world.until_ended(&[run]).await;
    run
}

#[tokio::test]
async fn a_run_with_large_values_fits_into_lambdas_answers() {
    let world = world("info").await;
    let (_worker, _front) = (world.worker(), world.http());
    // a quotation mark takes two bytes in the journal's JSON, and four in Lambda's, so both values
    // are too large for a response
    for (id, name) in [("large", "x".repeat(1_900_000)), ("quotes", "\"".repeat(900_000))] {
        let run = run(&world, id, &name).await;
        let whole = get_json(&world, &format!("/v1/runs/{run}")).await["data"].take();
        assert_eq!(whole["status"], "Completed");
        let values = [&whole["event"]["data"], &whole["output"], &whole["steps"][0]["output"]];
        let left_out = values.map(|value| &value["stepladder_left_out"]);
        assert!(left_out.iter().any(|link| link.is_object()), "{id}: a value must be left out");
        for link in left_out.into_iter().filter(|link| link.is_object()) {
            let (status, value) = get(&world, link["href"].as_str().expect("a link")).await;
            assert_eq!((status, Some(value.len() as u64)), (200, link["bytes"].as_u64()), "{link}");
        }
        let (mut from, mut entries, mut pages) = (Some(0), Vec::new(), 0);
        while let Some(seq) = from {
            let mut page = get_json(&world, &format!("/v1/runs/{run}/journal?from={seq}")).await;
            entries.append(page["data"].as_array_mut().expect("entries"));
            (from, pages) = (page["next"].as_u64(), pages + 1);
        }
        assert!(pages > 1, "{id}: {pages}");
        let recorded = world.journal(run).await;
        assert_eq!(entries, recorded.0, "{id}: the pages are the whole journal");
        for path in [
            format!("/v1/events/{id}"),
            format!("/v1/events/{id}/runs"),
            "/v1/runs".into(),
            "/v1/functions".into(),
            format!("/runs/{run}"),
            format!("/runs/{run}/value?of=event"),
            format!("/runs/{run}/value?of=output"),
            format!("/events/{id}/data"),
            "/".into(),
            "/events".into(),
        ] {
            let (status, body) = get(&world, &path).await;
            assert_eq!(status, 200, "GET {path}: {body:.300}");
        }
    }
}

/// Tests the limits of requests that docs/deploying-on-aws.md states.
#[tokio::test]
async fn a_request_is_accepted_if_its_encoding_fits_into_lambdas_limit() {
    let world = world("info").await;
    let _front = world.http();
    let quotes = hello_event("quotes", &"\"".repeat(1_200_000));
    // a quotation mark takes two bytes in the request's JSON, and four in Lambda's event
    assert_eq!(quotes.len() / 1_000_000, 2);
    assert_eq!(send(&world, &quotes, false).await.expect("it passes").0, 200);
    let many = json!([
        {"name": "unused/event", "id": "1", "data": {"name": "\"".repeat(1_100_000)}},
        {"name": "unused/event", "id": "2", "data": {"name": "\"".repeat(1_100_000)}},
    ])
    .to_string();
    let error = send(&world, &many, false).await.expect_err("4.4 MB of quotes do not pass as text");
    assert_eq!(error["errorType"], "RequestTooLarge");
    assert_eq!(send(&world, &many, true).await.expect("as bytes they do").0, 200);
}

/// Runs each role at the most verbose log level.
#[tokio::test]
async fn no_secret_is_logged_by_any_role_at_any_level() {
    let world = world("trace,hyper=trace,lambda_runtime=trace,aws_smithy_runtime=trace").await;
    let (worker, ingest, front) = (world.worker(), world.ingest(), world.http());
    assert_eq!(send(&world, &hello_event("by-http", "Personal Data"), false).await.expect("an answer").0, 200);
    world.send(&[hello_event("by-queue", "Personal Data")]).await;
    assert_eq!(world.pump_events().drain().await.len(), 1);
    let runs = [world.run_of("by-http").await, world.run_of("by-queue").await];
    world.until_ended(&runs).await;
    get_json(&world, &format!("/v1/runs/{}", runs[0])).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let token = format!("token={TOKEN}");
    let login = RoleRequest { method: "POST", path: "/login", headers: &form, body: Some(&token), base64: false };
    assert_eq!(world.send_request(login).await.expect("an answer").0, 303);
    for (role, log) in [("worker", worker.log()), ("ingest", ingest.log()), ("http", front.log())] {
        for secret in [
            KEY,
            TOKEN,
            "Personal Data",
            "sk-openai-of-this-test",
            "supabase-key-of-this-test",
            "Bearer",
            "Signature",
            "Credential=",
            "aws4_request",
        ] {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{role}: {secret} is logged");
        }
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let (level, target) =
                (line["level"].as_str().expect("a level"), line["target"].as_str().expect("a target"));
            let own = target.starts_with("stepladder");
            assert!(own || !["DEBUG", "TRACE"].contains(&level), "{role}: a library talks below info: {line}");
        }
    }
    assert!(front.log().contains("\"answered\""), "the level counts");
}
