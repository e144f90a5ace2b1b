//! A double of OpenAI's chat completions in Rust: it answers any JSON schema with a value that fits it, counts, and
//! can hold its answers back, so that a test decides what is in flight.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::double::{Answer, Asked, serve};

/// A running double.
#[derive(Clone, Debug)]
pub struct OpenAi {
    address: SocketAddr,
    count: Arc<Mutex<Count>>,
    open: Arc<watch::Sender<Gate>>,
}

#[derive(Clone, Copy, Debug)]
struct Gate {
    /// Requests with a number up to this are answered.
    answered: usize,
}

/// What the double has seen.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Requests that arrived.
    pub requests: Vec<Value>,
    /// Requests that are being answered now.
    pub now: usize,
    /// The most that were being answered at the same moment.
    pub most: usize,
}

struct InFlight(Arc<Mutex<Count>>);

impl Drop for InFlight {
    // also when the client goes away in the middle
    fn drop(&mut self) {
        self.0.lock().expect("no panic").now -= 1;
    }
}

impl OpenAi {
    /// Answers everything at once, until [`OpenAi::hold`].
    pub async fn start() -> Self {
        let count = Arc::new(Mutex::new(Count::default()));
        let open = Arc::new(watch::Sender::new(Gate { answered: usize::MAX }));
        let (inner, gate) = (Arc::clone(&count), open.subscribe());
        let address = serve(move |asked| {
            let (count, mut gate) = (Arc::clone(&inner), gate.clone());
            async move {
                if !asked.uri.path().ends_with("/chat/completions") {
                    return Answer::json(404, &json!({"error": {"message": "the double knows chat completions only"}}));
                }
                let number = arrive(&count, &asked);
                let _in_flight = InFlight(count);
                gate.wait_for(|gate| number <= gate.answered).await.expect("the double outlives its requests");
                Answer::json(200, &completion(&asked.json()))
            }
        })
        .await;
        Self { address, count, open }
    }

    /// What `OPENAI_BASE_URL` is set to.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it has seen so far.
    pub fn count(&self) -> Count {
        self.count.lock().expect("no panic").clone()
    }

    /// From now on only the first `n` requests ever are answered; the others wait.
    pub fn answer_first(&self, n: usize) {
        self.open.send_replace(Gate { answered: n });
    }

    /// No answers until [`OpenAi::release`], but to requests that have one already.
    pub fn hold(&self) {
        let arrived = self.count().requests.len();
        self.answer_first(arrived);
    }

    /// Answers everything again.
    pub fn release(&self) {
        self.answer_first(usize::MAX);
    }
}

fn arrive(count: &Mutex<Count>, asked: &Asked) -> usize {
    let mut count = count.lock().expect("no panic");
    count.requests.push(asked.json());
    count.now += 1;
    count.most = count.most.max(count.now);
    count.requests.len()
}

fn completion(request: &Value) -> Value {
    let content = fitting(&request["response_format"]["json_schema"]["schema"], "answer");
    json!({
        "id": "chatcmpl-double",
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

/// A value that fits a JSON schema of the kind that strict answers are asked for with.
pub fn fitting(schema: &Value, name: &str) -> Value {
    if let Some(choice) = schema["enum"].get(0) {
        return choice.clone();
    }
    if let Some(choice) = schema["anyOf"].get(0) {
        return fitting(choice, name);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            Value::Object(fields.map(|(key, field)| (key.clone(), fitting(field, key))).collect::<Map<_, _>>())
        }
        Some("array") => json!([fitting(&schema["items"], name)]),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        // what looks like a name, and like a domain to whom it must be one
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
        assert_eq!(fitting(&schema, "answer"), expected);
    }
}
