//! A proxy in front of DynamoDB or SQS. It injects faults that no emulator has: lost requests and
//! replies, throttling, conflicts, and batches that are carried out in part. It counts requests, so
//! that tests can limit them.

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
use crate::proxy::forward;
use crate::stub_server::{HttpRequest, StubResponse, serve};

/// A request from a client to the service.
#[derive(Clone, Debug)]
pub struct AwsRequest {
    /// The operation, e.g. `PutItem`.
    pub operation: String,
    /// The input of the request.
    pub body: Value,
    /// The number of earlier requests for this operation, since the proxy started or
    /// [`AwsFaultProxy::forget_counts`] was called.
    pub n: u64,
}

/// What the proxy does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsFault {
    /// Passes the request on.
    Pass,
    /// Closes the connection. The service does not get the request.
    LoseRequest,
    /// Passes the request on, and closes the connection instead of returning the reply.
    LoseReply,
    /// Responds with `ProvisionedThroughputExceededException`, or with SQS's `RequestThrottled`.
    /// The service does not get the request.
    Throttle,
    /// Responds as if another transaction were using the item: with `TransactionCanceledException`
    /// and the reason `TransactionConflict` for every item, or with `TransactionConflictException`
    /// for a single write. The service does not get the request.
    Conflict,
    /// Responds with 400 and this error code, e.g. `ThrottlingException`. The service does not get
    /// the request.
    Refuse(&'static str),
    /// Responds with this status, 500 or 503, like a broken service. The service does not get the
    /// request.
    Status(u16),
    /// Passes the request on only after a call of [`AwsFaultProxy::release`].
    Hold,
    /// Passes a batch on without the entries at these positions. The response reports those entries
    /// as not processed. If a batch has several tables, positions are counted across the tables, in
    /// the order of the tables' names.
    LeaveOut(Vec<usize>),
}

type FaultPlan = Arc<dyn Fn(&AwsRequest) -> AwsFault + Send + Sync>;
type ResponseObserver = Arc<dyn Fn(&AwsRequest, &Value) + Send + Sync>;

/// A running proxy.
#[derive(Clone)]
pub struct AwsFaultProxy {
    address: SocketAddr,
    state: Arc<Mutex<ProxyState>>,
    gate: Arc<watch::Sender<u64>>,
}

struct ProxyState {
    plan: FaultPlan,
    witness: Option<ResponseObserver>,
    counts: BTreeMap<String, u64>,
}

impl AwsFaultProxy {
    /// Starts a proxy in front of the service at `upstream`, an address without a final slash. The
    /// proxy injects no faults before [`AwsFaultProxy::set_plan`] is called.
    pub async fn start(upstream: impl Into<String>) -> Self {
        let (upstream, client) = (upstream.into(), plain_client());
        let state = Arc::new(Mutex::new(ProxyState {
            plan: Arc::new(|_| AwsFault::Pass),
            witness: None,
            counts: BTreeMap::new(),
        }));
        let gate = Arc::new(watch::Sender::new(0));
        let (inner, opens) = (Arc::clone(&state), gate.subscribe());
        let address = serve(move |asked| {
            let (state, opens) = (Arc::clone(&inner), opens.clone());
            let (client, upstream) = (client.clone(), upstream.clone());
            async move { handle(&state, opens, UpstreamService { client, url: upstream, witnessed: None }, asked).await }
        })
        .await;
        Self { address, state, gate }
    }

    /// Returns the address of the proxy, which clients use as the service's endpoint.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the function that picks a fault for each request from now on. It is called once per
    /// request, in the order of arrival.
    pub fn set_plan(&self, plan: impl Fn(&AwsRequest) -> AwsFault + Send + Sync + 'static) {
        self.state.lock().expect("no panic").plan = Arc::new(plan);
    }

    /// Stops injecting faults.
    pub fn clear_plan(&self) {
        self.set_plan(|_| AwsFault::Pass);
    }

    /// Sets a function that is called with each response of the service from now on, even if the
    /// response does not reach the client. Adds `ReturnConsumedCapacity` to each request to
    /// DynamoDB.
    pub fn observe_responses(&self, see: impl Fn(&AwsRequest, &Value) + Send + Sync + 'static) {
        self.state.lock().expect("no panic").witness = Some(Arc::new(see));
    }

    /// Passes on all requests that are held at this moment.
    pub fn release(&self) {
        self.gate.send_modify(|times| *times += 1);
    }

    /// Returns the number of requests per operation, with and without faults.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.state.lock().expect("no panic").counts.clone()
    }

    /// Resets the counts to zero.
    pub fn forget_counts(&self) {
        self.state.lock().expect("no panic").counts.clear();
    }
}

impl fmt::Debug for AwsFaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsFaults").field("address", &self.address).field("counts", &self.counts()).finish()
    }
}

struct UpstreamService {
    client: reqwest::Client,
    url: String,
    /// The function to call with the response, and the request that the response belongs to.
    witnessed: Option<(ResponseObserver, AwsRequest)>,
}

async fn handle(
    state: &Mutex<ProxyState>,
    mut gate: watch::Receiver<u64>,
    mut upstream: UpstreamService,
    mut asked: HttpRequest,
) -> StubResponse {
    let target = asked.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let (service, operation) = target.split_once('.').unwrap_or(("", asked.uri.path()));
    let (is_sqs, operation) = (service == "AmazonSQS", operation.to_owned());
    // must precede the counting: a test may call `release` as soon as the request is counted
    gate.mark_unchanged();
    let (request, fault) = count_request(state, &operation, asked.json());
    if let Some(witness) = state.lock().expect("no panic").witness.clone() {
        if !is_sqs {
            let mut body = request.body.clone();
            body["ReturnConsumedCapacity"] = json!("INDEXES");
            asked.body = body.to_string().into();
        }
        upstream.witnessed = Some((witness, request.clone()));
    }
    match fault {
        AwsFault::Pass => upstream.answer(asked).await,
        AwsFault::LoseRequest => StubResponse::Cut,
        AwsFault::LoseReply => {
            upstream.answer(asked).await;
            StubResponse::Cut
        }
        AwsFault::Throttle if is_sqs => refusal_response(400, "RequestThrottled"),
        AwsFault::Throttle => refusal_response(400, "ProvisionedThroughputExceededException"),
        AwsFault::Conflict => conflict_response(&request),
        AwsFault::Refuse(code) => refusal_response(400, code),
        AwsFault::Status(status) => {
            refusal_response(status, if status == 503 { "ServiceUnavailable" } else { "InternalServerError" })
        }
        AwsFault::Hold => {
            gate.changed().await.expect("the proxy outlives its requests");
            upstream.answer(asked).await
        }
        AwsFault::LeaveOut(places) => upstream.answer_partly(&request, &places, asked).await,
    }
}

fn count_request(state: &Mutex<ProxyState>, operation: &str, body: Value) -> (AwsRequest, AwsFault) {
    let mut state = state.lock().expect("no panic");
    let count = state.counts.entry(operation.to_owned()).or_default();
    let request = AwsRequest { operation: operation.to_owned(), body, n: *count };
    *count += 1;
    let fault = (state.plan)(&request);
    (request, fault)
}

impl UpstreamService {
    async fn answer(&self, asked: HttpRequest) -> StubResponse {
        let path = asked.uri.path_and_query().map_or("/", |whole| whole.as_str());
        match forward(&self.client, format!("{}{path}", self.url), asked.clone()).await {
            Ok(reply) => StubResponse::Reply(self.observed(reply).await),
            Err(error) => StubResponse::json(502, &json!({"message": format!("the service does not answer: {error}")})),
        }
    }

    async fn observed(&self, reply: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        let Some((witness, request)) = &self.witnessed else { return reply };
        let (head, body) = reply.into_parts();
        let Ok(body) = body.collect().await;
        let body = body.to_bytes();
        witness(request, &serde_json::from_slice(&body).unwrap_or(Value::Null));
        Response::from_parts(head, Full::new(body))
    }

    async fn answer_partly(&self, request: &AwsRequest, places: &[usize], mut asked: HttpRequest) -> StubResponse {
        let Some(parts) = aws_parts::split(&request.operation, &request.body, places) else {
            let message = format!("{} is no batch: a plan left out a part of it", request.operation);
            return StubResponse::json(501, &json!({"message": message}));
        };
        let Some(forwarded) = &parts.forwarded else {
            return StubResponse::json(200, &parts.add_left_out(json!({})));
        };
        asked.body = forwarded.to_string().into();
        let reply = match self.answer(asked).await {
            StubResponse::Reply(reply) if reply.status().is_success() => reply,
            other => return other,
        };
        let (mut head, body) = reply.into_parts();
        let Ok(body) = body.collect().await;
        let body: Value = serde_json::from_slice(&body.to_bytes()).expect("the service answers with JSON");
        // these headers describe the original body
        head.headers.remove("x-amz-crc32");
        StubResponse::Reply(Response::from_parts(head, Full::new(Bytes::from(parts.add_left_out(body).to_string()))))
    }
}

fn conflict_response(request: &AwsRequest) -> StubResponse {
    let Some(items) = request.body["TransactItems"].as_array() else {
        return refusal_response(400, "TransactionConflictException");
    };
    let reason = json!({"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"});
    error_answer(400, "TransactionCanceledException", json!({"CancellationReasons": vec![reason; items.len()]}))
}

fn refusal_response(status: u16, code: &str) -> StubResponse {
    error_answer(status, code, json!({}))
}

/// Returns an error response that both services' clients understand: the code is in the body, and
/// for SQS in a header as well.
fn error_answer(status: u16, code: &str, mut body: Value) -> StubResponse {
    body["__type"] = json!(format!("com.amazonaws.fault#{code}"));
    body["message"] = json!("a fault on purpose");
    let side = if status < 500 { "Sender" } else { "Receiver" };
    let reply = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    let reply = reply.header("x-amzn-query-error", format!("{code};{side}")).body(Full::new(body.to_string().into()));
    StubResponse::Reply(reply.expect("a code is a header value"))
}
