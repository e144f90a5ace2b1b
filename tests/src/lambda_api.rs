//! Lambda's Runtime API, as the process of a function sees it: it asks for its next event, and posts a response or an
//! error. Every process that asks is an execution environment; each holds one event at a time.
//!
//! It starts no process and stops none: that is the test's, and a time-out is the test's to punish.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::aws_json::{ACCOUNT, REGION};
use crate::double::{Answer, Asked, serve};

const NAME: &str = "stepladder-test";
const ROOT: &str = "/2018-06-01/runtime";
/// Bytes of an event and of a response, at most. Lambda's own message says 6,291,556.
const PAYLOAD_BYTES: usize = 6_291_556;

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The function's response.
    Response(Value),
    /// The function's error: `{"errorType", "errorMessage", …}`.
    Error(Value),
    /// Nobody took the event and answered it by its deadline; an answer that comes later is refused.
    TimedOut,
}

/// A running Runtime API.
#[derive(Clone, Debug)]
pub struct LambdaApi {
    address: SocketAddr,
    events: mpsc::UnboundedSender<Event>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    invocations: u64,
    open: HashMap<String, oneshot::Sender<Outcome>>,
    first_asked: Option<Instant>,
    first_answered: Option<Instant>,
    init_errors: Vec<Value>,
}

#[derive(Debug)]
struct Event {
    id: String,
    trace: String,
    deadline: SystemTime,
    payload: Bytes,
}

impl LambdaApi {
    /// On a free port.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (events, queue) = mpsc::unbounded_channel();
        let (inner, queue) = (Arc::clone(&state), Arc::new(tokio::sync::Mutex::new(queue)));
        let address = serve(move |asked| {
            let (state, queue) = (Arc::clone(&inner), Arc::clone(&queue));
            async move { answer(&state, &queue, asked).await }
        })
        .await;
        Self { address, events, state }
    }

    /// The environment variables that Lambda gives to the process of an OS-only runtime. Every other variable of the
    /// test process is to be taken away, `PATH` excepted.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let own = [("AWS_LAMBDA_RUNTIME_API", self.address.to_string())];
        let fixed = [
            ("AWS_LAMBDA_FUNCTION_NAME", NAME),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/stepladder-test"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]0123456789abcdef0123456789abcdef"),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_SESSION_TOKEN", "test"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
            ("_HANDLER", "bootstrap"),
            ("TZ", ":UTC"),
            ("LANG", "en_US.UTF-8"),
        ];
        own.into_iter().chain(fixed.map(|(name, value)| (name, value.to_owned()))).collect()
    }

    /// Gives the event to the next process that asks for one, and waits for what it makes of it, until `timeout` from
    /// now: the deadline that the process is told.
    pub async fn invoke(&self, payload: &Value, timeout: Duration) -> Outcome {
        let payload = payload.to_string();
        if payload.len() > PAYLOAD_BYTES {
            return too_large("RequestTooLarge", payload.len());
        }
        let (done, outcome) = oneshot::channel();
        let event = {
            let mut state = self.state.lock().expect("no panic");
            state.invocations += 1;
            let n = state.invocations;
            let id = format!("00000000-0000-4000-8000-{n:012x}");
            state.open.insert(id.clone(), done);
            let trace = format!("Root=1-00000000-{n:024x};Parent={n:016x};Sampled=1");
            Event { id, trace, deadline: SystemTime::now() + timeout, payload: payload.into() }
        };
        let id = event.id.clone();
        self.events.send(event).expect("the server outlives its clients");
        match tokio::time::timeout(timeout, outcome).await {
            Ok(outcome) => outcome.expect("it is answered once"),
            Err(_) => {
                self.state.lock().expect("no panic").open.remove(&id);
                Outcome::TimedOut
            }
        }
    }

    /// When a process first asked for an event: from its start to here is what Lambda bills as `Init Duration`.
    pub fn first_asked(&self) -> Option<Instant> {
        self.state.lock().expect("no panic").first_asked
    }

    /// When the first response came: from the start of the process to here is its cold start, with its first event.
    pub fn first_answered(&self) -> Option<Instant> {
        self.state.lock().expect("no panic").first_answered
    }

    /// What processes said that could not begin.
    pub fn init_errors(&self) -> Vec<Value> {
        self.state.lock().expect("no panic").init_errors.clone()
    }
}

/// What Lambda says instead of handing it on.
fn too_large(kind: &str, bytes: usize) -> Outcome {
    let said = format!("payload size ({bytes} bytes) exceeded maximum allowed payload size ({PAYLOAD_BYTES} bytes).");
    Outcome::Error(json!({"errorType": kind, "errorMessage": said}))
}

type Queue = tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>;

async fn answer(state: &Mutex<State>, queue: &Queue, asked: Asked) -> Answer {
    let path = asked.uri.path().to_owned();
    let Some(rest) = path.strip_prefix(ROOT) else {
        return Answer::json(404, &json!({"errorMessage": format!("{path} is not of the Runtime API")}));
    };
    let parts: Vec<_> = rest.trim_start_matches('/').split('/').collect();
    match (&asked.method, parts.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => next(state, queue).await,
        (&Method::POST, ["invocation", id, "response"]) => {
            state.lock().expect("no panic").first_answered.get_or_insert_with(Instant::now);
            if asked.body.len() > PAYLOAD_BYTES {
                end(state, id, too_large("Function.ResponseSizeTooLarge", asked.body.len()));
                return Answer::json(413, &json!({"errorType": "RequestEntityTooLarge"}));
            }
            end(state, id, Outcome::Response(asked.json()))
        }
        (&Method::POST, ["invocation", id, "error"]) => end(state, id, Outcome::Error(asked.json())),
        (&Method::POST, ["init", "error"]) => {
            state.lock().expect("no panic").init_errors.push(asked.json());
            Answer::json(202, &json!({"status": "OK"}))
        }
        (method, _) => Answer::json(404, &json!({"errorMessage": format!("{method} {path} is not served")})),
    }
}

/// A process that goes away while it waits is dropped here, and the event stays.
async fn next(state: &Mutex<State>, queue: &Queue) -> Answer {
    state.lock().expect("no panic").first_asked.get_or_insert_with(Instant::now);
    let event = loop {
        let Some(event) = queue.lock().await.recv().await else { return Answer::Cut };
        // one whose time is over is nobody's any more
        if state.lock().expect("no panic").open.contains_key(&event.id) {
            break event;
        }
    };
    let deadline = event.deadline.duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
    let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{NAME}");
    let reply = Response::builder().header("content-type", "application/json");
    let reply = reply.header("lambda-runtime-aws-request-id", event.id).header("lambda-runtime-trace-id", event.trace);
    let reply = reply.header("lambda-runtime-deadline-ms", deadline.to_string());
    let reply = reply.header("lambda-runtime-invoked-function-arn", arn).body(Full::new(event.payload));
    Answer::Reply(reply.expect("all of these are header values"))
}

fn end(state: &Mutex<State>, id: &str, outcome: Outcome) -> Answer {
    let Some(waiting) = state.lock().expect("no panic").open.remove(id) else {
        let said = json!({"errorType": "InvalidRequestID", "errorMessage": "it is over, or never was"});
        return Answer::json(400, &said);
    };
    // nobody waits any more when the test has dropped its invocation
    let _ = waiting.send(outcome);
    Answer::json(202, &json!({"status": "OK"}))
}
