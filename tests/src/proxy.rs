//! A reverse proxy between a function and its database. It records requests and injects faults.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde_json::json;
use tokio::sync::watch;

use crate::stub_server::{HttpRequest, StubResponse, serve};

/// A fault that is injected instead of passing a request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// Responds with this status. The service does not get the request.
    Status(u16),
    /// Responds with 503 and a `Retry-After` of this many seconds. The service does not get the
    /// request.
    RetryAfter(u32),
    /// Closes the connection before the service gets the request.
    CutBefore,
    /// Passes the request on, and closes the connection instead of returning the reply.
    CutAfter,
}

/// A running proxy.
#[derive(Clone, Debug)]
pub struct HttpProxy {
    address: SocketAddr,
    state: Arc<Mutex<HttpProxyState>>,
    held: Arc<watch::Sender<HeldRequests>>,
}

/// The requests that are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldRequests {
    None,
    All,
    Method(&'static str),
}

impl HeldRequests {
    fn is_free(self, method: &str) -> bool {
        match self {
            Self::None => true,
            Self::All => false,
            Self::Method(held) => held != method,
        }
    }
}

#[derive(Debug, Default)]
struct HttpProxyState {
    faults: Vec<(&'static str, ProxyFault)>,
    seen: Vec<ProxiedRequest>,
}

/// A request that reached the proxy.
#[derive(Clone, Debug)]
pub struct ProxiedRequest {
    /// The method, in upper case.
    pub method: String,
    /// The path, including the prefix.
    pub path: String,
    /// The body.
    pub body: serde_json::Value,
    /// The fault that was injected into the request, if any.
    pub fault: Option<ProxyFault>,
}

impl HttpProxy {
    /// Starts a proxy that passes `prefix/…` on to `upstream/…`. `upstream` is an address without a
    /// final slash.
    pub async fn start(prefix: &'static str, upstream: String) -> Self {
        let state = Arc::new(Mutex::new(HttpProxyState::default()));
        let held = Arc::new(watch::Sender::new(HeldRequests::None));
        let client = crate::aws_json::http_builder().build().expect("a client without options");
        let (inner, gate) = (Arc::clone(&state), held.subscribe());
        let address = serve(move |asked| {
            let (state, mut gate) = (Arc::clone(&inner), gate.clone());
            let (client, upstream) = (client.clone(), upstream.clone());
            async move {
                let fault = record_and_pick_fault(&state, &asked);
                gate.wait_for(|held| held.is_free(asked.method.as_str()))
                    .await
                    .expect("the proxy outlives its requests");
                match fault {
                    Some(ProxyFault::Status(status)) => {
                        return StubResponse::json(status, &json!({"message": "a fault on purpose"}));
                    }
                    Some(ProxyFault::RetryAfter(seconds)) => return retry_after(seconds),
                    Some(ProxyFault::CutBefore) => return StubResponse::Cut,
                    Some(ProxyFault::CutAfter) | None => {}
                }
                let answer = pass_on(&client, prefix, &upstream, asked).await;
                if fault == Some(ProxyFault::CutAfter) { StubResponse::Cut } else { answer }
            }
        })
        .await;
        Self { address, state, held }
    }

    /// Returns the address of the proxy. It does not contain the prefix.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Injects these faults into the next requests with this method, one fault per request.
    pub fn next_meet(&self, method: &'static str, faults: impl IntoIterator<Item = ProxyFault>) {
        self.state.lock().expect("no panic").faults.extend(faults.into_iter().map(|fault| (method, fault)));
    }

    /// Returns all requests that have reached the proxy, in order.
    pub fn seen_requests(&self) -> Vec<ProxiedRequest> {
        self.state.lock().expect("no panic").seen.clone()
    }

    /// Cancels the faults that are not injected yet.
    pub fn forget_faults(&self) {
        self.state.lock().expect("no panic").faults.clear();
    }

    /// Holds all requests until [`HttpProxy::release_requests`]. They are recorded when they
    /// arrive.
    pub fn hold_requests(&self) {
        self.held.send_replace(HeldRequests::All);
    }

    /// Holds all requests with this method until [`HttpProxy::release_requests`].
    pub fn hold_method(&self, method: &'static str) {
        self.held.send_replace(HeldRequests::Method(method));
    }

    /// Passes on the requests that are held, and all later ones at once.
    pub fn release_requests(&self) {
        self.held.send_replace(HeldRequests::None);
    }
}

fn retry_after(seconds: u32) -> StubResponse {
    let body = json!({"message": "a fault on purpose"}).to_string();
    let reply = Response::builder().status(503).header("content-type", "application/json");
    let reply = reply.header("retry-after", seconds).body(Full::new(Bytes::from(body)));
    StubResponse::Reply(reply.expect("a number is a header value"))
}

fn record_and_pick_fault(state: &Mutex<HttpProxyState>, asked: &HttpRequest) -> Option<ProxyFault> {
    let mut state = state.lock().expect("no panic");
    let due = state.faults.iter().position(|(method, _)| asked.method == *method);
    let fault = due.map(|place| state.faults.remove(place).1);
    state.seen.push(ProxiedRequest {
        method: asked.method.to_string(),
        path: asked.uri.path().to_owned(),
        body: asked.json(),
        fault,
    });
    fault
}

async fn pass_on(client: &reqwest::Client, prefix: &str, upstream: &str, asked: HttpRequest) -> StubResponse {
    let path = asked.uri.path_and_query().map_or("/", |whole| whole.as_str());
    let Some(rest) = path.strip_prefix(prefix) else {
        return StubResponse::json(
            404,
            &json!({"message": format!("nothing is served at {path}, only under {prefix}")}),
        );
    };
    let url = format!("{upstream}{rest}");
    match forward(client, url, asked).await {
        Ok(reply) => StubResponse::Reply(reply),
        Err(error) => StubResponse::json(502, &json!({"message": format!("the service does not answer: {error}")})),
    }
}

/// Sends a request to the service at `url`. Returns the complete response, without headers that
/// concern only the connection.
pub(crate) async fn forward(
    client: &reqwest::Client,
    url: String,
    asked: HttpRequest,
) -> reqwest::Result<Response<Full<Bytes>>> {
    let mut headers = asked.headers;
    headers.remove("host");
    // these headers describe the original body, which may have changed
    headers.remove("content-length");
    let answer = client.request(asked.method, url).headers(headers).body(asked.body).send().await?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    for name in ["connection", "keep-alive", "transfer-encoding", "content-length"] {
        headers.remove(name);
    }
    let mut reply = Response::new(Full::new(answer.bytes().await?));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    Ok(reply)
}
