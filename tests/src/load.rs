//! Sends more events than a server can handle, over many connections, and records the responses.
//!
//! The clients ignore `Retry-After`: after a refusal they send the next event at once. This load is
//! harder than that of clients that wait.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use reqwest::Method;
use serde_json::Value;

use crate::ApiClient;

/// The size of a load.
#[derive(Clone, Copy, Debug)]
pub struct LoadSize {
    /// The number of clients. Each client sends one request at a time.
    pub clients: usize,
    /// The number of events per request.
    pub batch: usize,
}

/// The responses that a load received.
#[derive(Clone, Debug, Default)]
pub struct LoadResponses {
    /// The numbers of the events that were accepted, each with the id that the server returned.
    pub accepted: Vec<(usize, String)>,
    /// The numbers of the events that were refused.
    pub refused: Vec<usize>,
    /// The shortest and longest `Retry-After`, in seconds; `None` if no request was refused.
    pub waits: Option<(u64, u64)>,
}

impl LoadSize {
    /// Sends events until `enough` returns `true`. `event` creates the event with a number.
    ///
    /// # Panics
    ///
    /// Panics if a response is neither 200 with an id for each event, nor 429 with a `Retry-After`
    /// in whole seconds and a message.
    pub async fn send_load(
        self,
        api: &ApiClient,
        event: impl Fn(usize) -> Value,
        enough: impl Fn(&LoadResponses) -> bool,
    ) -> LoadResponses {
        let (next, answers) = (AtomicUsize::new(0), Mutex::new(LoadResponses::default()));
        let client = async || {
            while !enough(&answers.lock().expect("no client panicked")) {
                let first = next.fetch_add(self.batch, Ordering::Relaxed);
                let numbers = first..first + self.batch;
                let events: Vec<Value> = numbers.clone().map(&event).collect();
                let request = api.request(Method::POST, "/e/test").body(Value::from(events).to_string());
                let answer = request.send().await.expect("an answer, whatever it is");
                let (status, wait) = (answer.status(), answer.headers().get("retry-after").cloned());
                let body: Value = answer.json().await.expect("JSON");
                let ids = body["ids"].as_array().expect("ids");
                let mut answers = answers.lock().expect("no client panicked");
                match status.as_u16() {
                    200 => {
                        assert_eq!(ids.len(), self.batch, "{body}");
                        let ids = ids.iter().map(|id| id.as_str().expect("text").to_owned());
                        answers.accepted.extend(numbers.zip(ids));
                    }
                    429 => {
                        assert!(ids.is_empty() && body["error"].is_string(), "{body}");
                        let wait = wait.as_ref().and_then(|wait| wait.to_str().ok()?.parse().ok());
                        let wait: u64 = wait.expect("whole seconds");
                        let (least, most) = answers.waits.unwrap_or((wait, wait));
                        answers.waits = Some((least.min(wait), most.max(wait)));
                        answers.refused.extend(numbers);
                    }
                    other => panic!("{other}: {body}"),
                }
            }
        };
        let clients: Vec<_> = (0..self.clients).map(|_| client()).collect();
        join_all(clients).await;
        answers.into_inner().expect("no client panicked")
    }
}
