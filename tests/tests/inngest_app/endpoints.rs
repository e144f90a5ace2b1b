//! Durable endpoints: an app executes steps within a request of its own client. The server has no
//! functions, and knows the app only from these requests.

use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use stepladder_tests::{ApiClient, ServerProcess, wait_for};

use crate::app::{App, node};
use crate::{attempts, output};

/// A server without functions, and an app with durable endpoints.
struct Endpoints {
    server: ServerProcess,
    app: App,
    /// Follows no redirects.
    client: Client,
}

impl Endpoints {
    async fn start(of_server: &[&str], key: Option<&str>) -> Self {
        let mut server = ServerProcess::for_program(env!("CARGO_BIN_EXE_without-functions"));
        for argument in ["--retry-delay", "20ms"].iter().chain(of_server) {
            server = server.argument(*argument);
        }
        let key: Vec<_> = key.into_iter().map(|key| ("INNGEST_SIGNING_KEY", key)).collect();
        for (name, key) in &key {
            server = server.variable(name, *key);
        }
        server.start().await;
        let app = start_app(&server, &key).await;
        let client = Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client");
        Self { server, app, client }
    }

    async fn request(&self, method: Method, path: &str) -> Response {
        let request = self.client.request(method, format!("{}{path}", self.app.root()));
        request.send().await.expect("the app answers")
    }

    /// Sends a request that goes on without its client. Returns the address of the response.
    async fn redirected(&self, method: Method, path: &str) -> String {
        let response = self.request(method, path).await;
        let (status, location) = (response.status(), response.headers().get("location").cloned());
        let text = response.text().await.unwrap_or_default();
        assert_eq!(status, StatusCode::FOUND, "{text}");
        location.expect("an address").to_str().expect("text").to_owned()
    }

    /// Returns the status and the body at an address.
    async fn fetch(&self, url: &str) -> (u16, Value) {
        let response = self.client.get(url).send().await.expect("the server answers");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }

    async fn counts(&self, names: &[&str]) -> Vec<u64> {
        let (_, counts) = ApiClient::new(&self.app.root()).get("/counts").await;
        names.iter().map(|name| counts[*name].as_u64().unwrap_or(0)).collect()
    }

    /// Returns the only run, once it has ended.
    async fn ended(&self) -> Value {
        let api = self.server.api();
        let run = wait_for("the run", async || {
            let (_, runs) = api.get("/v1/runs").await;
            runs["data"][0]["run_id"].as_str().map(str::to_owned)
        })
        .await;
        api.wait_for_end(&run).await
    }
}

async fn start_app(server: &ServerProcess, variables: &[(&str, &str)]) -> App {
    App::start_command(node(include_str!("endpoints.mjs")), server.url(), variables).await
}

/// Returns the run that an address of a response names.
pub(crate) fn run_of(location: &str) -> &str {
    location.split("/runs/").nth(1).and_then(|rest| rest.split('/').next()).expect("a run")
}

#[tokio::test]
async fn a_request_without_waits_is_one_request_and_a_complete_run() {
    let endpoints = Endpoints::start(&[], None).await;
    let response = endpoints.request(Method::GET, "/api/hello?name=Ada").await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.json::<Value>().await.expect("JSON"), json!({"message": "Hello Ada, 1!"}));
    let run = endpoints.ended().await;
    assert_eq!(output(&run)["status"], 200, "the SDK does not report the response that it has sent");
    assert_eq!(attempts(&run), [("greet", 1), ("mark", 1)]);
    let function = run["function_id"].as_str().expect("a function");
    assert!(function.starts_with("127.0.0.1-") && function.ends_with("-get-api-hello"), "{function}");
    assert_eq!(endpoints.counts(&["greet"]).await, [1]);
    let (_, apps) = endpoints.server.api().get("/v1/apps").await;
    assert_eq!(apps["data"][0]["url"], format!("{}/", endpoints.app.root()));

    let (status, value) = endpoints.fetch(&format!("{}/api/value", endpoints.app.root())).await;
    assert_eq!((status, value), (200, json!({"value": 1})));
    endpoints.server.assert_no_error_logged();
}

#[tokio::test]
async fn a_request_with_a_wait_goes_on_by_calls_and_its_response_is_fetched() {
    for key in [None, Some("signkey-test-0011223344556677")] {
        let endpoints = Endpoints::start(&[], key).await;
        let location = endpoints.redirected(Method::POST, "/api/pause?name=Ada").await;
        let expected = json!({"before": 1, "a": 1, "b": 1, "name": "Ada"});
        assert_eq!(endpoints.fetch(&location).await, (200, expected.clone()));
        let run = endpoints.server.api().run(run_of(&location)).await;
        assert_eq!(run["status"], "Completed", "{run:#}");
        assert_eq!(endpoints.counts(&["before", "a", "b"]).await, [1, 1, 1]);
        // the app's own address for its clients
        let token = location.split("token=").nth(1).expect("a token");
        let proxy = format!("{}/api/poll?runId={}&token={token}", endpoints.app.root(), run_of(&location));
        assert_eq!(endpoints.fetch(&proxy).await, (200, expected));
        let (status, answer) = endpoints.fetch(&location.replace(token, "0011")).await;
        assert!(status == 403 && answer["error"].as_str().is_some_and(|error| error.contains("token")), "{answer}");
        endpoints.server.assert_no_error_logged();
    }
}

#[tokio::test]
async fn a_failed_step_is_retried_after_the_request_and_a_final_error_is_the_response() {
    let endpoints = Endpoints::start(&[], None).await;
    let location = endpoints.redirected(Method::GET, "/api/flaky").await;
    assert_eq!(endpoints.fetch(&location).await, (200, json!({"first": 1, "tries": 3})));
    let run = endpoints.server.api().run(run_of(&location)).await;
    assert_eq!(attempts(&run), [("first", 1), ("flaky", 3)], "the attempt of the request counts");
    assert_eq!(run["steps"][1]["attempts"][0]["error"]["name"], "TypeError", "{run:#}");

    let location = endpoints.redirected(Method::GET, "/api/handler").await;
    assert_eq!(endpoints.fetch(&location).await, (200, json!({"only": 1})));

    let location = endpoints.redirected(Method::GET, "/api/never").await;
    let (status, error) = endpoints.fetch(&location).await;
    assert_eq!((status, &error["message"]), (500, &json!("out of stock")));
    assert_eq!(endpoints.counts(&["first", "flaky", "only", "never"]).await, [1, 3, 1, 1]);
}

#[tokio::test]
async fn a_run_goes_on_after_its_app_has_died_in_the_middle_of_the_request() {
    let Endpoints { server, app, client } = Endpoints::start(&["--worker-timeout", "6s"], None).await;
    let request = tokio::spawn(client.get(format!("{}/api/halfway", app.root())).send());
    let api = server.api();
    let run = wait_for("the first step", async || {
        let (_, runs) = api.get("/v1/runs").await;
        let run = api.run(runs["data"][0]["run_id"].as_str()?).await;
        let is_done = run["steps"].as_array()?.iter().any(|step| step["id"] == "one" && step["output"] == 1);
        is_done.then(|| run["run_id"].as_str().expect("an id").to_owned())
    })
    .await;
    let port = app.port();
    app.kill().await;
    assert!(request.await.expect("no panic").is_err(), "the request is lost");
    let app = start_app(&server, &[("PORT", &port), ("RELEASED", "1")]).await;
    let run = api.wait_for_end(&run).await;
    assert_eq!(output(&run)["body"], "[1,1,1]");
    let endpoints = Endpoints { server, app, client };
    assert_eq!(endpoints.counts(&["one", "two", "three"]).await, [0, 1, 1], "the recorded step is not executed again");
}

#[tokio::test]
async fn a_report_that_cannot_be_recorded_is_refused_with_a_sentence() {
    let endpoints = Endpoints::start(&[], None).await;
    let location = endpoints.redirected(Method::GET, "/api/pause").await;
    assert_eq!(endpoints.fetch(&location).await.0, 200);
    let api = endpoints.server.api();
    let run = api.run(run_of(&location)).await;
    let (id, function) = (run["run_id"].as_str().expect("a run"), &run["function_id"]);
    let step =
        json!({"id": "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", "op": "StepRun", "displayName": "a", "data": 1});
    let unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let event = json!({"name": "inngest/http.request", "data": {"domain": "x", "method": "GET", "path": "/"}});
    for (path, body, status, says) in [
        (
            format!("/v1/checkpoint/{id}/steps"),
            json!({"run_id": id, "fn_id": function, "steps": [step]}),
            409,
            "has ended",
        ),
        (format!("/v1/checkpoint/{id}/steps"), json!({"run_id": id, "fn_id": "x", "steps": []}), 400, "`fn_id`"),
        (format!("/v1/checkpoint/{id}/steps"), json!({"run_id": unknown, "fn_id": "x", "steps": []}), 400, "`run_id`"),
        (
            format!("/v1/checkpoint/{unknown}/steps"),
            json!({"run_id": unknown, "fn_id": "x", "steps": []}),
            404,
            "no run",
        ),
        ("/v1/checkpoint".into(), json!({"run_id": "x", "event": event, "steps": []}), 400, "`run_id`"),
        ("/v1/checkpoint".into(), json!({"run_id": unknown, "event": event, "steps": []}), 400, "check the clocks"),
        ("/v1/checkpoint".into(), json!({"run_id": id, "event": event, "steps": []}), 400, "`event.data.domain`"),
        (
            "/v1/checkpoint".into(),
            json!({"run_id": id, "event": {"name": "a", "data": {}}, "steps": []}),
            400,
            "`event.name`",
        ),
        ("/v1/checkpoint".into(), json!({"run_id": id}), 400, "`event`"),
    ] {
        let (answered, answer) = api.post(&path, body.to_string()).await;
        let sentence = answer["error"].as_str().unwrap_or_default();
        assert!(answered == status && sentence.contains(says), "{path}: {answered} {sentence}");
    }
    // the id of a run of another request
    let other = json!({"domain": endpoints.app.root(), "method": "GET", "path": "/api/other"});
    let body = json!({"run_id": id, "event": {"name": "inngest/http.request", "data": other}, "steps": []});
    let (status, answer) = api.post("/v1/checkpoint", body.to_string()).await;
    assert!(status == 409 && answer["error"].as_str().is_some_and(|error| error.contains("exists")), "{answer}");
}
