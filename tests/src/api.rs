//! A client of the server's HTTP interface.

use std::time::Duration;

use serde_json::{Value, json};

use crate::journal::JsonJournal;
use crate::wait::{LIMIT, wait_within};

/// A client of one server.
#[derive(Clone, Debug)]
pub struct ApiClient {
    url: String,
    http: reqwest::Client,
    token: Option<String>,
}

/// A response's status and body. The body is null if it is not JSON.
pub type StatusAndBody = (u16, Value);

impl ApiClient {
    /// Creates a client of the server at this address.
    pub fn new(url: &str) -> Self {
        let http = crate::aws_json::http_builder().no_proxy().timeout(LIMIT).build().expect("a client without options");
        Self { url: url.to_owned(), http, token: None }
    }

    /// Adds a dashboard token to every request.
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// Prepares a request to a path, for tests that need more than the other functions offer.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a GET request. Returns an error if the server cannot be reached.
    pub async fn try_get(&self, path: &str) -> reqwest::Result<StatusAndBody> {
        read_response(self.request(reqwest::Method::GET, path)).await
    }

    /// Sends a GET request. Panics if the server cannot be reached.
    pub async fn get(&self, path: &str) -> StatusAndBody {
        self.try_get(path).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Sends a POST request with this body. Returns an error if the server cannot be reached.
    pub async fn try_post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Result<StatusAndBody> {
        let request = self.request(reqwest::Method::POST, path).header("content-type", "application/json");
        read_response(request.body(body)).await
    }

    /// Sends a POST request with this body. Panics if the server cannot be reached.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> StatusAndBody {
        self.try_post(path, body).await.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Sends an event or an array of events. Returns the ids of the events.
    pub async fn send(&self, events: &Value) -> Vec<String> {
        let (status, body) = self.post("/e/test-event-key", events.to_string()).await;
        assert_eq!((status, &body["status"]), (200, &json!(200)), "{body}");
        body["ids"].as_array().expect("ids").iter().map(|id| id.as_str().expect("text").to_owned()).collect()
    }

    /// Returns the ids of the runs that an event started.
    pub async fn runs_of(&self, event: &str) -> Vec<String> {
        let (status, body) = self.get(&format!("/v1/events/{event}/runs")).await;
        assert_eq!(status, 200, "{body}");
        body["data"]
            .as_array()
            .expect("data")
            .iter()
            .map(|run| run["run_id"].as_str().expect("text").to_owned())
            .collect()
    }

    /// Waits until an event has a run. Returns the id of this only run.
    pub async fn run_of(&self, event: &str) -> String {
        let runs = wait_within(LIMIT, "the event's run", async || {
            let runs = self.runs_of(event).await;
            if runs.is_empty() { None } else { Some(runs) }
        })
        .await;
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.into_iter().next().expect("one")
    }

    /// Returns all details of a run.
    pub async fn run(&self, run: &str) -> Value {
        let (status, mut body) = self.get(&format!("/v1/runs/{run}")).await;
        assert_eq!(status, 200, "{body}");
        body["data"].take()
    }

    /// Waits until a run has ended. Returns the run.
    pub async fn wait_for_end(&self, run: &str) -> Value {
        self.wait_for_end_within(LIMIT, run).await
    }

    /// Like [`ApiClient::wait_for_end`], with a time limit chosen by the test.
    pub async fn wait_for_end_within(&self, limit: Duration, run: &str) -> Value {
        wait_within(limit, &format!("the end of run {run}"), async || {
            let found = self.run(run).await;
            if found["ended_at"].is_null() { None } else { Some(found) }
        })
        .await
    }

    /// Returns the whole journal of a run. Panics if the server cannot be reached.
    pub async fn journal(&self, run: &str) -> JsonJournal {
        self.try_journal(run).await.unwrap_or_else(|error| panic!("the journal of {run}: {error}"))
    }

    /// Returns the whole journal of a run, or an error if the server cannot be reached.
    pub async fn try_journal(&self, run: &str) -> reqwest::Result<JsonJournal> {
        let (mut entries, mut from) = (Vec::new(), 0);
        loop {
            let (status, mut body) = self.try_get(&format!("/v1/runs/{run}/journal?from={from}")).await?;
            assert_eq!(status, 200, "{body}");
            let Value::Array(page) = body["data"].take() else { panic!("no entries: {body}") };
            entries.extend(page);
            match body["next"].as_u64() {
                Some(next) => from = next,
                None => return Ok(JsonJournal(entries)),
            }
        }
    }

    /// Returns the number of runs of all functions that the server lists.
    pub async fn number_of_runs(&self) -> usize {
        let (mut count, mut cursor) = (0, String::new());
        loop {
            let (status, body) = self.get(&format!("/v1/runs?limit=500{cursor}")).await;
            assert_eq!(status, 200, "{body}");
            count += body["data"].as_array().expect("data").len();
            match body["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return count,
            }
        }
    }
}

async fn read_response(request: reqwest::RequestBuilder) -> reqwest::Result<StatusAndBody> {
    let answer = request.send().await?;
    let (status, body) = (answer.status().as_u16(), answer.bytes().await?);
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}
