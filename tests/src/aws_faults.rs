//! A proxy before DynamoDB or SQS that makes what no emulator makes: lost requests and replies, throttles, conflicts,
//! and batches of which only a part is carried out. It counts what passes, so that a budget is checked at the wire.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Response;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::aws_json::plain_client;
use crate::aws_parts;
use crate::double::{Answer, Asked, serve};
use crate::proxy::forward;

/// What was asked of the service.
#[derive(Clone, Debug)]
pub struct Request {
    /// The operation, e.g. `PutItem`.
    pub operation: String,
    /// Its input.
    pub body: Value,
    /// How many requests for this operation came before, since the start or [`AwsFaults::forget_counts`].
    pub n: u64,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It passes.
    Pass,
    /// The connection is closed before the service sees it.
    LoseRequest,
    /// The service does what it is asked, then the connection is closed: the client cannot know.
    LoseReply,
    /// `ProvisionedThroughputExceededException`, or SQS's `RequestThrottled`; nothing is done.
    Throttle,
    /// Another transaction has the item: `TransactionCanceledException`, whose every reason is `TransactionConflict`,
    /// or `TransactionConflictException` for what is no transaction; nothing is done.
    Conflict,
    /// Status 400 with this code, e.g. `ThrottlingException`; nothing is done.
    Refuse(&'static str),
    /// This status, as a broken service gives it: 500 or 503; nothing is done.
    Status(u16),
    /// It passes after [`AwsFaults::release`].
    Hold,
    /// A batch without the entries at these places: they are answered as unprocessed, or failed by the service's
    /// fault. Places count through the tables in the order of their names.
    LeaveOut(Vec<usize>),
}

type Plan = Arc<dyn Fn(&Request) -> Fault + Send + Sync>;
type Witness = Arc<dyn Fn(&Request, &Value) + Send + Sync>;

/// A running proxy.
#[derive(Clone)]
pub struct AwsFaults {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    gate: Arc<watch::Sender<u64>>,
}

struct State {
    plan: Plan,
    witness: Option<Witness>,
    counts: BTreeMap<String, u64>,
}

impl AwsFaults {
    /// Passes everything on to the service at `upstream` (an address without a final slash), until told otherwise.
    pub async fn start(upstream: impl Into<String>) -> Self {
        let (upstream, client) = (upstream.into(), plain_client());
        let state =
            Arc::new(Mutex::new(State { plan: Arc::new(|_| Fault::Pass), witness: None, counts: BTreeMap::new() }));
        let gate = Arc::new(watch::Sender::new(0));
        let (inner, opens) = (Arc::clone(&state), gate.subscribe());
        let address = serve(move |asked| {
            let (state, opens) = (Arc::clone(&inner), opens.clone());
            let (client, upstream) = (client.clone(), upstream.clone());
            async move { meet(&state, opens, Upstream { client, url: upstream, witnessed: None }, asked).await }
        })
        .await;
        Self { address, state, gate }
    }

    /// Where the proxy listens: the endpoint that the client is given.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, each request meets what `plan` says. It is asked once a request, in the order of their arrival.
    pub fn plan(&self, plan: impl Fn(&Request) -> Fault + Send + Sync + 'static) {
        self.state.lock().expect("no panic").plan = Arc::new(plan);
    }

    /// No faults any more.
    pub fn clear(&self) {
        self.plan(|_| Fault::Pass);
    }

    /// From now on, each answer of the service is told to `see`, whether it reaches the client or not. DynamoDB is asked
    /// to say in it what it counted (`ReturnConsumedCapacity`).
    pub fn witness(&self, see: impl Fn(&Request, &Value) + Send + Sync + 'static) {
        self.state.lock().expect("no panic").witness = Some(Arc::new(see));
    }

    /// Lets the requests go on that are held now.
    pub fn release(&self) {
        self.gate.send_modify(|times| *times += 1);
    }

    /// How many requests came, by operation, whatever was done to them.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.state.lock().expect("no panic").counts.clone()
    }

    /// Counts from zero.
    pub fn forget_counts(&self) {
        self.state.lock().expect("no panic").counts.clear();
    }
}

impl fmt::Debug for AwsFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsFaults").field("address", &self.address).field("counts", &self.counts()).finish()
    }
}

struct Upstream {
    client: reqwest::Client,
    url: String,
    /// Who is told of the answer, and to which request.
    witnessed: Option<(Witness, Request)>,
}

async fn meet(
    state: &Mutex<State>,
    mut gate: watch::Receiver<u64>,
    mut upstream: Upstream,
    mut asked: Asked,
) -> Answer {
    let target = asked.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let (service, operation) = target.split_once('.').unwrap_or(("", asked.uri.path()));
    let (is_sqs, operation) = (service == "AmazonSQS", operation.to_owned());
    // before the request counts: whoever sees it counted may release it
    gate.mark_unchanged();
    let (request, fault) = note(state, &operation, asked.json());
    if let Some(witness) = state.lock().expect("no panic").witness.clone() {
        if !is_sqs {
            let mut body = request.body.clone();
            body["ReturnConsumedCapacity"] = json!("INDEXES");
            asked.body = body.to_string().into();
        }
        upstream.witnessed = Some((witness, request.clone()));
    }
    match fault {
        Fault::Pass => upstream.answer(asked).await,
        Fault::LoseRequest => Answer::Cut,
        Fault::LoseReply => {
            upstream.answer(asked).await;
            Answer::Cut
        }
        Fault::Throttle if is_sqs => refusal(400, "RequestThrottled"),
        Fault::Throttle => refusal(400, "ProvisionedThroughputExceededException"),
        Fault::Conflict => conflict(&request),
        Fault::Refuse(code) => refusal(400, code),
        Fault::Status(status) => {
            refusal(status, if status == 503 { "ServiceUnavailable" } else { "InternalServerError" })
        }
        Fault::Hold => {
            gate.changed().await.expect("the proxy outlives its requests");
            upstream.answer(asked).await
        }
        Fault::LeaveOut(places) => upstream.answer_partly(&request, &places, asked).await,
    }
}

fn note(state: &Mutex<State>, operation: &str, body: Value) -> (Request, Fault) {
    let mut state = state.lock().expect("no panic");
    let count = state.counts.entry(operation.to_owned()).or_default();
    let request = Request { operation: operation.to_owned(), body, n: *count };
    *count += 1;
    let fault = (state.plan)(&request);
    (request, fault)
}

impl Upstream {
    async fn answer(&self, asked: Asked) -> Answer {
        let path = asked.uri.path_and_query().map_or("/", |whole| whole.as_str());
        match forward(&self.client, format!("{}{path}", self.url), asked.clone()).await {
            Ok(reply) => Answer::Reply(self.told(reply).await),
            Err(error) => Answer::json(502, &json!({"message": format!("the service does not answer: {error}")})),
        }
    }

    async fn told(&self, reply: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        let Some((witness, request)) = &self.witnessed else { return reply };
        let (head, body) = reply.into_parts();
        let Ok(body) = body.collect().await;
        let body = body.to_bytes();
        witness(request, &serde_json::from_slice(&body).unwrap_or(Value::Null));
        Response::from_parts(head, Full::new(body))
    }

    async fn answer_partly(&self, request: &Request, places: &[usize], mut asked: Asked) -> Answer {
        let Some(parts) = aws_parts::split(&request.operation, &request.body, places) else {
            let message = format!("{} is no batch: a plan left out a part of it", request.operation);
            return Answer::json(501, &json!({"message": message}));
        };
        let Some(forwarded) = &parts.forwarded else {
            return Answer::json(200, &parts.complete(json!({})));
        };
        asked.body = forwarded.to_string().into();
        let reply = match self.answer(asked).await {
            Answer::Reply(reply) if reply.status().is_success() => reply,
            other => return other,
        };
        let (mut head, body) = reply.into_parts();
        let Ok(body) = body.collect().await;
        let body: Value = serde_json::from_slice(&body.to_bytes()).expect("the service answers with JSON");
        // of the body as it came
        head.headers.remove("x-amz-crc32");
        Answer::Reply(Response::from_parts(head, Full::new(Bytes::from(parts.complete(body).to_string()))))
    }
}

fn conflict(request: &Request) -> Answer {
    let Some(items) = request.body["TransactItems"].as_array() else {
        return refusal(400, "TransactionConflictException");
    };
    let reason = json!({"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"});
    refused(400, "TransactionCanceledException", json!({"CancellationReasons": vec![reason; items.len()]}))
}

fn refusal(status: u16, code: &str) -> Answer {
    refused(status, code, json!({}))
}

/// In the form of both services: the code is in the body, and SQS has it in a header, too.
fn refused(status: u16, code: &str, mut body: Value) -> Answer {
    body["__type"] = json!(format!("com.amazonaws.fault#{code}"));
    body["message"] = json!("a fault on purpose");
    let side = if status < 500 { "Sender" } else { "Receiver" };
    let reply = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    let reply = reply.header("x-amzn-query-error", format!("{code};{side}")).body(Full::new(body.to_string().into()));
    Answer::Reply(reply.expect("a code is a header value"))
}
