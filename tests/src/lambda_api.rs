//! A stub of Lambda's Runtime API. The process of a Lambda function asks the stub for the next
//! event, and posts a response or an error. Each process is an execution environment and handles
//! one event at a time.
//!
//! The test starts and stops the processes, even after a timeout.

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
use crate::stub_server::{HttpRequest, StubResponse, serve};

const NAME: &str = "stepladder-test";
const ROOT: &str = "/2018-06-01/runtime";
/// The maximum size of an event and of a response, in bytes. The number is that of Lambda's error
/// message.
const PAYLOAD_BYTES: usize = 6_291_556;

/// The result of an invocation.
#[derive(Clone, Debug, PartialEq)]
pub enum InvocationOutcome {
    /// The process responded.
    Response(Value),
    /// The process reported an error: `{"errorType", "errorMessage", …}`.
    Error(Value),
    /// No process responded by the deadline. A later response is refused.
    TimedOut,
}

/// A running stub of the Runtime API.
#[derive(Clone, Debug)]
pub struct LambdaApi {
    address: SocketAddr,
    events: mpsc::UnboundedSender<InvocationEvent>,
    state: Arc<Mutex<LambdaApiState>>,
}

#[derive(Debug, Default)]
struct LambdaApiState {
    invocations: u64,
    open: HashMap<String, oneshot::Sender<InvocationOutcome>>,
    first_asked: Option<Instant>,
    first_answered: Option<Instant>,
    init_errors: Vec<Value>,
}

#[derive(Debug)]
struct InvocationEvent {
    id: String,
    trace: String,
    deadline: SystemTime,
    payload: Bytes,
}

impl LambdaApi {
    /// Starts the stub on a free port.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(LambdaApiState::default()));
        let (events, queue) = mpsc::unbounded_channel();
        let (inner, queue) = (Arc::clone(&state), Arc::new(tokio::sync::Mutex::new(queue)));
        let address = serve(move |asked| {
            let (state, queue) = (Arc::clone(&inner), Arc::clone(&queue));
            async move { answer_request(&state, &queue, asked).await }
        })
        .await;
        Self { address, events, state }
    }

    /// Returns the environment variables that Lambda sets for an OS-only runtime. The test must
    /// remove all other variables except `PATH`.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
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

    /// Gives an event to the next process that asks for one, and waits for the response. After
    /// `timeout`, which is also the process's deadline, the invocation has failed.
    pub async fn invoke(&self, payload: &Value, timeout: Duration) -> InvocationOutcome {
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
            InvocationEvent { id, trace, deadline: SystemTime::now() + timeout, payload: payload.into() }
        };
        let id = event.id.clone();
        self.events.send(event).expect("the server outlives its clients");
        match tokio::time::timeout(timeout, outcome).await {
            Ok(outcome) => outcome.expect("it is answered once"),
            Err(_) => {
                self.state.lock().expect("no panic").open.remove(&id);
                InvocationOutcome::TimedOut
            }
        }
    }

    /// Returns when a process first asked for an event. Lambda bills the time from the process's
    /// start to this moment as `Init Duration`.
    pub fn first_asked(&self) -> Option<Instant> {
        self.state.lock().expect("no panic").first_asked
    }

    /// Returns when the first response arrived. The time from the process's start to this moment is
    /// the cold start, including the first event.
    pub fn first_answered(&self) -> Option<Instant> {
        self.state.lock().expect("no panic").first_answered
    }

    /// Returns the errors reported by processes that could not start.
    pub fn init_errors(&self) -> Vec<Value> {
        self.state.lock().expect("no panic").init_errors.clone()
    }
}

/// Returns the error that Lambda reports for a payload of this size.
fn too_large(kind: &str, bytes: usize) -> InvocationOutcome {
    let said = format!("payload size ({bytes} bytes) exceeded maximum allowed payload size ({PAYLOAD_BYTES} bytes).");
    InvocationOutcome::Error(json!({"errorType": kind, "errorMessage": said}))
}

type InvocationQueue = tokio::sync::Mutex<mpsc::UnboundedReceiver<InvocationEvent>>;

async fn answer_request(state: &Mutex<LambdaApiState>, queue: &InvocationQueue, asked: HttpRequest) -> StubResponse {
    let path = asked.uri.path().to_owned();
    let Some(rest) = path.strip_prefix(ROOT) else {
        return StubResponse::json(404, &json!({"errorMessage": format!("{path} is not of the Runtime API")}));
    };
    let parts: Vec<_> = rest.trim_start_matches('/').split('/').collect();
    match (&asked.method, parts.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => next_invocation(state, queue).await,
        (&Method::POST, ["invocation", id, "response"]) => {
            state.lock().expect("no panic").first_answered.get_or_insert_with(Instant::now);
            if asked.body.len() > PAYLOAD_BYTES {
                end_invocation(state, id, too_large("Function.ResponseSizeTooLarge", asked.body.len()));
                return StubResponse::json(413, &json!({"errorType": "RequestEntityTooLarge"}));
            }
            end_invocation(state, id, InvocationOutcome::Response(asked.json()))
        }
        (&Method::POST, ["invocation", id, "error"]) => {
            end_invocation(state, id, InvocationOutcome::Error(asked.json()))
        }
        (&Method::POST, ["init", "error"]) => {
            state.lock().expect("no panic").init_errors.push(asked.json());
            StubResponse::json(202, &json!({"status": "OK"}))
        }
        (method, _) => StubResponse::json(404, &json!({"errorMessage": format!("{method} {path} is not served")})),
    }
}

/// Waits for the next event and returns it. If the process disconnects, this future is dropped, and
/// the event stays in the queue.
async fn next_invocation(state: &Mutex<LambdaApiState>, queue: &InvocationQueue) -> StubResponse {
    state.lock().expect("no panic").first_asked.get_or_insert_with(Instant::now);
    let event = loop {
        let Some(event) = queue.lock().await.recv().await else { return StubResponse::Cut };
        // an event past its deadline is skipped
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
    StubResponse::Reply(reply.expect("all of these are header values"))
}

fn end_invocation(state: &Mutex<LambdaApiState>, id: &str, outcome: InvocationOutcome) -> StubResponse {
    let Some(waiting) = state.lock().expect("no panic").open.remove(id) else {
        let said = json!({"errorType": "InvalidRequestID", "errorMessage": "it is over, or never was"});
        return StubResponse::json(400, &said);
    };
    // an error means that the test no longer waits for this invocation
    let _ = waiting.send(outcome);
    StubResponse::json(202, &json!({"status": "OK"}))
}
