//! A stub of OpenAI's chat completions. Its response to a question is a value that fits the
//! requested JSON schema. It counts requests, and can hold responses back, so that tests control
//! which requests are in flight.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::stub_server::{HttpRequest, StubResponse, serve};

/// A running stub.
#[derive(Clone, Debug)]
pub struct OpenAiStub {
    address: SocketAddr,
    count: Arc<Mutex<RequestCount>>,
    open: Arc<watch::Sender<AnswerGate>>,
}

#[derive(Clone, Copy, Debug)]
struct AnswerGate {
    /// The number of requests that get a response. Later requests wait.
    answered: usize,
    /// The number of requests that get an error.
    failed: usize,
}

/// The requests that the stub has received.
#[derive(Clone, Debug, Default)]
pub struct RequestCount {
    /// The number of requests.
    pub requests: Vec<Value>,
    /// The number of requests without a response yet.
    pub now: usize,
    /// The highest number of requests without a response at the same time.
    pub most: usize,
}

struct InFlightGuard(Arc<Mutex<RequestCount>>);

impl Drop for InFlightGuard {
    // this also happens if the client disconnects
    fn drop(&mut self) {
        self.0.lock().expect("no panic").now -= 1;
    }
}

impl OpenAiStub {
    /// Starts a stub that responds to everything at once, until [`OpenAiStub::hold_requests`] is
    /// called.
    pub async fn start() -> Self {
        let count = Arc::new(Mutex::new(RequestCount::default()));
        let open = Arc::new(watch::Sender::new(AnswerGate { answered: usize::MAX, failed: 0 }));
        let (inner, gate) = (Arc::clone(&count), open.subscribe());
        let address = serve(move |asked| {
            let (count, mut gate) = (Arc::clone(&inner), gate.clone());
            async move {
                if !asked.uri.path().ends_with("/chat/completions") {
                    return StubResponse::json(
                        404,
                        &json!({"error": {"message": "the stub knows chat completions only"}}),
                    );
                }
                let number = count_request(&count, &asked);
                let _in_flight = InFlightGuard(count);
                let gate =
                    *gate.wait_for(|gate| number <= gate.answered).await.expect("the stub outlives its requests");
                if number <= gate.failed {
                    let error = json!({"error": {"message": "the stub is overloaded", "type": "server_error"}});
                    return StubResponse::json(503, &error);
                }
                StubResponse::json(200, &completion(&asked.json()))
            }
        })
        .await;
        Self { address, count, open }
    }

    /// Returns the URL of the stub, for `OPENAI_BASE_URL`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns the number of requests so far, and the requests.
    pub fn request_count(&self) -> RequestCount {
        self.count.lock().expect("no panic").clone()
    }

    /// Lets only the first `n` requests since the start have a response from now on. The others
    /// wait.
    pub fn answer_first(&self, n: usize) {
        self.open.send_modify(|gate| gate.answered = n);
    }

    /// Answers the first `n` requests since the start with an error that may pass.
    pub fn fail_first(&self, n: usize) {
        self.open.send_modify(|gate| gate.failed = n);
    }

    /// Holds back the responses to all requests that arrive from now on, until
    /// [`OpenAiStub::release_requests`].
    pub fn hold_requests(&self) {
        let arrived = self.request_count().requests.len();
        self.answer_first(arrived);
    }

    /// Sends the responses that are held back, and all later ones at once.
    pub fn release_requests(&self) {
        self.answer_first(usize::MAX);
    }
}

fn count_request(count: &Mutex<RequestCount>, asked: &HttpRequest) -> usize {
    let mut count = count.lock().expect("no panic");
    count.requests.push(asked.json());
    count.now += 1;
    count.most = count.most.max(count.now);
    count.requests.len()
}

fn completion(request: &Value) -> Value {
    let content = value_for_schema(&request["response_format"]["json_schema"]["schema"], "answer");
    json!({
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": request["model"],
        "choices": [{
            "index": 0,
            "finish_reason": "stop",
            "logprobs": null,
            "message": {"role": "assistant", "content": content.to_string(), "refusal": null},
        }],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    })
}

/// Returns a value that fits a JSON schema, as a model's structured output does.
pub fn value_for_schema(schema: &Value, name: &str) -> Value {
    if let Some(choice) = schema["enum"].get(0) {
        return choice.clone();
    }
    if let Some(choice) = schema["anyOf"].get(0) {
        return value_for_schema(choice, name);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            Value::Object(fields.map(|(key, field)| (key.clone(), value_for_schema(field, key))).collect::<Map<_, _>>())
        }
        Some("array") => json!([value_for_schema(&schema["items"], name)]),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        // this string is valid as a name and as a domain
        Some(_) | None => json!(format!("{}.example", name.replace('_', "-"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_fits_its_schema() {
        let schema = json!({"type": "object", "properties": {
            "name": {"type": "string"},
            "size": {"type": ["integer", "null"]},
            "kind": {"type": "string", "enum": ["b", "c"]},
            "parts": {"type": "array", "items": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
        }});
        let expected = json!({"name": "name.example", "size": 1, "kind": "b", "parts": [{"ok": true}]});
        assert_eq!(value_for_schema(&schema, "answer"), expected);
    }
}
