//! Tests the deployed stack: `template.yaml` through CloudFormation on an emulator, where every
//! role is a process of the binary under test. Events are sent to the queue and over HTTP. The
//! tests can observe only what the owner of an account can.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use stepladder_tests::aimock::AiMock;
use stepladder_tests::deployed::{DeployedStack, EVENT_KEY, STACK, TOKEN};
use stepladder_tests::postgres::Postgres;
use stepladder_tests::proxy::{HttpProxy, ProxyFault};
use stepladder_tests::wait_calmly;
use tokio::sync::OnceCell;

const EVENTS: &str = "EventsQueueUrl";
const EVENTS_DEAD: &str = "EventsDeadLettersUrl";
const STEPS: &str = "StepsQueueUrl";
const STEPS_DEAD: &str = "StepsDeadLettersUrl";

/// Returns the stack that all tests without stubs share, because deploying one takes ten seconds.
/// The stack has no settings for OpenAI or Supabase.
async fn shared_stack() -> &'static DeployedStack {
    static SHARED: OnceCell<DeployedStack> = OnceCell::const_new();
    SHARED.get_or_init(|| DeployedStack::start(&[])).await
}

fn hello_event(id: &str, name: &str) -> Value {
    json!({"name": "test/hello.world", "id": id, "data": {"name": name}})
}

fn enhance_event(id: &str) -> Value {
    let data = json!({"clientId": id, "clientName": "Acme", "clientDomain": "acme.example"});
    json!({"name": "client/enhance.requested", "id": id, "data": data})
}

/// Waits until an event has a run, which may take a moment. Returns the id of this only run.
async fn run_of(stack: &DeployedStack, event: &str) -> String {
    let (api, path) = (stack.api(), format!("/v1/events/{event}/runs"));
    wait_calmly("the event to be known", async || (api.get(&path).await.0 == 200).then_some(())).await;
    api.run_of(event).await
}

#[tokio::test]
async fn an_event_by_http_creates_a_run_that_is_shown_with_the_token() {
    let stack = shared_stack().await;
    let (api, stranger) = (stack.api(), stack.api_without_token());
    let (status, refused) = stranger.post("/e/wrong", hello_event("by-http", "Ada").to_string()).await;
    assert_eq!((status, refused["ids"].clone()), (401, json!([])), "{refused}");
    let (status, _) = api.get("/v1/events/by-http").await;
    assert_eq!(status, 404, "a refused event is not taken in");

    let ids = stranger.send(&hello_event("by-http", "Ada")).await;
    let run = api.run_of(&ids[0]).await;
    let ended = api.wait_for_end(&run).await;
    assert_eq!((&ended["status"], &ended["output"]["farewell"]), (&json!("Completed"), &json!("Goodbye, Ada!")));
    api.journal(&run).await.assert_legal();

    let paths = [
        "/".to_owned(),
        "/v1/runs".to_owned(),
        "/v1/functions".to_owned(),
        format!("/runs/{run}"),
        format!("/v1/runs/{run}"),
        format!("/v1/runs/{run}/journal"),
        format!("/v1/events/{}", ids[0]),
        format!("/v1/events/{}/runs", ids[0]),
    ];
    for path in paths {
        assert_eq!(stranger.get(&path).await.0, 401, "GET {path} without the token");
        assert_eq!(api.get(&path).await.0, 200, "GET {path} with the token");
    }
    let page = api.request(Method::GET, "/").send().await.expect("an answer").text().await.expect("text");
    assert!(
        page.contains(&run) && page.contains("enhance-client-with-ai"),
        "the page lists runs and functions: {page}"
    );
}

#[tokio::test]
async fn a_browser_logs_in_with_the_token_and_pages_of_other_sites_cannot() {
    let stack = shared_stack().await;
    // redirects are not followed but checked: their paths are absolute, and the emulator's URLs
    // have a prefix
    let plain = stepladder_tests::http_builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let browser = plain.build().expect("a client");
    let (url, own) = (stack.http_url(), stack.endpoint());
    let ask = async |request: reqwest::RequestBuilder| request.send().await.expect("an answer");

    let led = ask(browser.get(format!("{url}/")).header("accept", "text/html")).await;
    assert_eq!((led.status().as_u16(), &led.headers()["location"]), (303, &"/login".parse().expect("a header")));

    let form = |origin: &str, token: &str| {
        let request = browser.post(format!("{url}/login")).header("origin", origin);
        request.header("content-type", "application/x-www-form-urlencoded").body(format!("token={token}"))
    };
    assert_eq!(ask(form("https://elsewhere.example", TOKEN)).await.status(), 403);
    assert!(ask(form(&own, "guessed")).await.headers().get("set-cookie").is_none(), "the wrong token");
    let logged_in = ask(form(&own, TOKEN)).await;
    assert_eq!(logged_in.status(), 303);
    let cookie =
        logged_in.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("a cookie").to_owned();
    let page = ask(browser.get(format!("{url}/")).header("cookie", cookie)).await;
    assert_eq!(page.status(), 200);
}

#[tokio::test]
async fn an_invalid_message_becomes_a_dead_letter_and_its_neighbours_create_runs() {
    let stack = shared_stack().await;
    let broken = r#"{"name": "test/hello.world", "data": "#.to_owned();
    let good =
        [hello_event("beside-broken-1", "Bob"), hello_event("beside-broken-2", "Eve")].map(|event| event.to_string());
    let [first, second] = good;
    let ids = stack.send(EVENTS, &[first, broken.clone(), second]).await;
    for delivery in 1..=30 {
        // checks the state of the queue, because the emulator shows a late log line only with the
        // next invocation
        let is_received = async || (stack.message_counts(EVENTS).await == [0, 1, 0]).then_some(());
        wait_calmly(&format!("delivery {delivery}"), is_received).await;
        assert_eq!(stack.message_counts(EVENTS_DEAD).await, [0; 3], "after {delivery} deliveries");
        stack.advance(Duration::from_secs(180));
    }
    wait_calmly("the dead letter", async || (stack.message_counts(EVENTS_DEAD).await == [1, 0, 0]).then_some(())).await;
    let asked = json!({"QueueUrl": stack.stack_output(EVENTS_DEAD), "VisibilityTimeout": 0});
    let dead = stack.client().sqs("ReceiveMessage", &asked).await.expect("an answer").expect("the queue is there");
    assert_eq!(dead["Messages"][0]["Body"], json!(broken));
    let refused =
        stack.log_lines("ingest").await.into_iter().filter(|line| line["message_id"] == json!(ids[1])).count();
    assert!((1..=30).contains(&refused), "{refused} log lines name the message");

    for event in ["beside-broken-1", "beside-broken-2"] {
        let run = run_of(stack, event).await;
        assert_eq!(stack.api().wait_for_end(&run).await["status"], "Completed");
        stack.api().journal(&run).await.assert_legal();
    }
    stack.until_empty(EVENTS).await;
    assert_eq!(stack.message_counts(STEPS_DEAD).await, [0; 3]);
}

#[tokio::test]
async fn the_health_page_counts_and_redrives_dead_letters() {
    let stack = DeployedStack::start_with_workers("[briefs]\nfunctions = [\"content-brief-generator\"]", &[]).await;
    let dead_event = hello_event("was-dead", "Ada").to_string();
    stack.send(EVENTS_DEAD, &[dead_event, "<what is this>".into()]).await;
    let ask = async |request: reqwest::RequestBuilder| request.send().await.expect("an answer");
    let page = async |path: &str| {
        let answer = ask(stack.api().request(Method::GET, path)).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.expect("text")
    };
    let health = page("/health/page").await;
    for queue in ["steps", "steps-for-briefs", "events", "steps-dead-letters", "events-dead-letters"] {
        assert!(health.contains(&format!("<bdi>{STACK}-{queue}</bdi>")), "{queue}: {health}");
    }
    for part in ["wakes of content-brief-generator", "status Failed\">2<", "ApproximateAgeOfOldestMessage"] {
        assert!(health.contains(part), "{part}: {health}");
    }

    let plain = stepladder_tests::http_builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let browser = plain.build().expect("a client");
    let press = |origin: &str| {
        let request = browser.post(format!("{}/health/redrive", stack.http_url())).bearer_auth(TOKEN);
        request.header("origin", origin)
    };
    assert_eq!(ask(press("https://elsewhere.example")).await.status(), 403);
    assert_eq!(stack.message_counts(EVENTS_DEAD).await, [2, 0, 0], "nothing was moved");
    let pressed = ask(press(&stack.endpoint())).await;
    let to = pressed.headers()["location"].to_str().expect("text");
    assert_eq!((pressed.status().as_u16(), to), (303, "/health/page"));
    let cookie = pressed.headers()["set-cookie"].to_str().expect("text").split(';').next().unwrap_or_default();
    let shown = browser.get(format!("{}{to}", stack.http_url())).bearer_auth(TOKEN).header("cookie", cookie);
    let health = ask(shown).await.text().await.expect("a page");
    assert!(health.contains("Moved 0 wakes and 1 event message back. 1 is left: it is unreadable."), "{health}");

    let run = run_of(&stack, "was-dead").await;
    assert_eq!(stack.api().wait_for_end(&run).await["status"], "Completed");
    assert_eq!(
        stack.message_counts(EVENTS_DEAD).await,
        [0, 1, 0],
        "an unreadable message stays, and is hidden for a minute"
    );
}

#[tokio::test]
async fn the_sweep_runs_each_minute_and_publishes_the_queues_addresses() {
    let stack = shared_stack().await;
    stack.advance(Duration::from_secs(61));
    let swept = stack.wait_for_log_line("sweep", "sweep_completed", |line| line["activity"] == "sweep_completed").await;
    assert_eq!((&swept["role"], metric_value(&swept, "SweepTimers")), (&json!("sweep"), json!("Count")), "{swept}");
    let asked = json!({
        "TableName": stack.stack_output("TableName"), "Key": {"PK": {"S": "S#queues"}, "SK": {"S": "M"}},
    });
    let addresses: Value = wait_calmly("the addresses", async || {
        let answer = stack.client().dynamodb("GetItem", &asked).await.expect("an answer").expect("the table is there");
        let text = answer["Item"]["v"]["S"].as_str()?.to_owned();
        Some(serde_json::from_str(&text).expect("JSON"))
    })
    .await;
    let names = [
        ("steps", STEPS),
        ("events", EVENTS),
        ("steps_dead_letters", STEPS_DEAD),
        ("events_dead_letters", EVENTS_DEAD),
    ];
    for (name, output) in names {
        assert_eq!(addresses[name], stack.stack_output(output), "{name}");
    }
}

#[tokio::test]
async fn every_log_line_is_json_and_ended_runs_are_metrics() {
    let stack = shared_stack().await;
    let api = stack.api();
    let ids = api.send(&json!([hello_event("metric", "Mel"), enhance_event("metric-of-failure")])).await;
    let (completed, failed) = (api.run_of(&ids[0]).await, api.run_of(&ids[1]).await);
    assert_eq!(api.wait_for_end(&completed).await["status"], "Completed");
    let ended = api.wait_for_end(&failed).await;
    assert_eq!(ended["status"], "Failed");
    let said = ended["error"]["message"].as_str().expect("text");
    assert!(said.contains("OPENAI_API_KEY"), "a secret that the stack does not have is named: {said}");

    for (run, function, name) in
        [(&completed, "hello-world", "RunsCompleted"), (&failed, "enhance-client-with-ai", "RunsFailed")]
    {
        let line =
            stack.wait_for_log_line("worker", name, |line| line["run"] == json!(run) && !line[name].is_null()).await;
        assert_eq!((&line[name], metric_value(&line, name)), (&json!(1), json!("Count")), "{line}");
        assert_eq!((&line["Stack"], &line["Function"]), (&json!(STACK), &json!(function)), "{line}");
        assert_eq!(metric_value(&line, "RunDuration"), "Milliseconds", "{line}");
    }
    // the queue is empty only if every invocation succeeded: the wake of a failed one is delivered
    // again
    stack.until_empty(STEPS).await;
    assert_eq!(stack.message_counts(STEPS_DEAD).await, [0; 3]);
    let problems = |line: &&Value| line["level"] == "ERROR" || line["level"] == "WARN";
    let lines = stack.log_lines("worker").await;
    assert_eq!(lines.iter().filter(problems).collect::<Vec<_>>(), [] as [&Value; 0]);
    for role in ["ingest", "sweep", "http"] {
        stack.log_lines(role).await;
    }
}

/// Returns the unit that a log line declares for a metric; null if the line does not declare the
/// metric.
fn metric_value(line: &Value, name: &str) -> Value {
    let declared = &line["_aws"]["CloudWatchMetrics"][0];
    let metrics = declared["Metrics"].as_array().cloned().unwrap_or_default();
    let found = metrics.into_iter().find(|metric| metric["Name"] == name && declared["Namespace"] == "Stepladder");
    found.map_or(Value::Null, |metric| metric["Unit"].clone())
}

#[tokio::test]
async fn a_stack_with_signing_keys_has_apps() {
    let shop = "arn:aws:lambda:us-east-1:123456789012:function:shop";
    let stack = DeployedStack::start(&[
        ("SigningKeysSecretName", "signkey-prod-00ff".into()),
        ("AppFunctionArns", shop.into()),
    ])
    .await;
    let url = "http://127.0.0.1:1/api/inngest";
    let function = json!({
        "id": "shop-a", "triggers": [{"event": "shop/a"}],
        "steps": {"step": {"id": "step", "name": "step", "runtime": {"type": "http", "url": url}}},
    });
    let body = json!({"appName": "shop", "url": url, "functions": [function]}).to_string();
    let (status, answer) = stack.api_without_token().post("/fn/register", body.clone()).await;
    assert_eq!(status, 401, "the role can read the key: {answer}");
    // the prefix of the key, and the hash of its secret
    let bearer = "signkey-prod-06eb7d6a69ee19e5fbdf749018d3d2abfa04bcbd1365db312eb86dc7169389b8";
    let (status, answer) = stack.api_without_token().with_token(bearer).post("/fn/register", body).await;
    assert_eq!((status, &answer["modified"]), (200, &json!(true)), "{answer}");
    assert_eq!(stack.api().get("/v1/apps").await.1["data"][0]["functions"], json!(["shop-a"]));

    // ingest starts a run of the function, and the worker calls the app, which is not there
    stack.send(EVENTS, &[json!({"name": "shop/a", "id": "to-an-app", "data": {}}).to_string()]).await;
    let run = run_of(&stack, "to-an-app").await;
    wait_calmly("the call", async || {
        let journal = json!(stack.api().journal(&run).await.0).to_string();
        journal.contains("ExecutorUnreachable").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_ends_as_a_row_with_one_ai_request_although_the_database_refuses_twice() {
    let answer = intelligence_json();
    let (ai, postgres) = tokio::join!(AiMock::start(&answer), Postgres::start());
    let line = HttpProxy::start("/v1", ai.url()).await;
    let database = HttpProxy::start("/rest/v1", postgres.rest_url()).await;
    let stack = DeployedStack::start(&[
        (
            "Secrets",
            format!(
                "OPENAI_API_KEY=ssm:sk-a-key-of-this-test,SUPABASE_SERVICE_ROLE_KEY=secretsmanager:{}",
                postgres.service_role_key()
            ),
        ),
        ("SecretArns", "arn:aws:ssm:us-east-1:1:parameter/of-this-test/OPENAI_API_KEY".into()),
        ("Settings", format!("OPENAI_BASE_URL={}/v1,SUPABASE_URL={}", line.url(), database.url())),
    ])
    .await;
    let client = "00000000-0000-4000-8000-000000000001";
    postgres.execute(&format!("insert into clients (id, name) values ('{client}', 'Acme')")).await;
    database.next_meet("PATCH", [ProxyFault::RetryAfter(1); 2]);
    // a message contains one event or several, and each message is sent twice, as a queue may
    // deliver it
    let greeting = hello_event("by-queue", "Ada").to_string();
    let request = json!([enhance_event(client)]).to_string();
    stack.send(EVENTS, &[greeting.clone(), request.clone(), greeting, request]).await;

    let greeted = stack.api().wait_for_end(&run_of(&stack, "by-queue").await).await;
    assert_eq!((&greeted["status"], &greeted["output"]["greeting"]), (&json!("Completed"), &json!("Hello, Ada!")));
    let run = run_of(&stack, client).await;
    let enhanced = stack.api().wait_for_end(&run).await;
    assert_eq!(enhanced["status"], "Completed", "{enhanced}");
    let journal = stack.api().journal(&run).await;
    journal.assert_legal();
    assert_eq!(journal.steps_with_fact("StepFailed"), ["update-client"; 2], "{:#?}", journal.story());
    assert_eq!(ai.requests().await.len(), 1, "the AI is paid once");

    let rows = postgres.rows(&format!("select industry, products from clients where id = '{client}'")).await;
    assert_eq!(json!(rows), json!([{"industry": "Tea", "products": ["Assam"]}]));
    let rows = postgres.rows(&format!("select name, domain from competitors where client_id = '{client}'")).await;
    assert_eq!(json!(rows), json!([{"name": "First", "domain": "first.example"}]));
    assert_eq!(stack.api().number_of_runs().await, 2, "two messages of an event are one run");
    stack.until_empty(EVENTS).await;
    // the second delivery of a wake may have met a live lease, and is then repeated after the lease
    // has expired
    stack.advance(Duration::from_secs(900));
    stack.until_empty(STEPS).await;
    for secret in ["sk-a-key-of-this-test", postgres.service_role_key(), TOKEN, &format!("/e/{EVENT_KEY}")] {
        for role in ["worker", "ingest", "http"] {
            let lines = stack.log_lines(role).await;
            assert!(!json!(lines).to_string().contains(secret), "{role} logs a secret");
            let environment = stack.environment(role).await.to_string();
            let is_of_functions = ![TOKEN, &format!("/e/{EVENT_KEY}")].contains(&secret);
            assert!(!is_of_functions || !environment.contains(secret), "{role} has a secret in its environment");
        }
    }
}

/// Returns the AI's answer.
fn intelligence_json() -> Value {
    json!({
        "industry": "Tea", "description": "Sells tea.", "business_model": "Shops", "tone": "Warm",
        "products": ["Assam"], "services": ["Tasting"], "audiences": ["Everybody"], "keywords": ["tea"],
        "unique_selling_points": ["Fresh"], "locations": ["Lisbon"],
        "competitors": [{"name": "First", "domain": "first.example", "reason": "Sells tea too."}],
    })
}
