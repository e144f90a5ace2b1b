//! A reverse proxy that counts what passes and makes the faults that it is told to make: what lies between a
//! function and its database on a bad day.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde_json::json;
use tokio::sync::watch;

use crate::double::{Answer, Asked, serve};

/// What happens to a request instead of being passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status; the service never sees it.
    Status(u16),
    /// It is answered with status 503, and to be sent again after this many seconds; the service never sees it.
    RetryAfter(u32),
    /// The connection is closed before the service sees it.
    CutBefore,
    /// The service does what it is asked, then the connection is closed: the client cannot know.
    CutAfter,
}

/// A running proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    held: Arc<watch::Sender<Held>>,
}

/// Which requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    None,
    All,
    Method(&'static str),
}

impl Held {
    fn is_free(self, method: &str) -> bool {
        match self {
            Self::None => true,
            Self::All => false,
            Self::Method(held) => held != method,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<(&'static str, Fault)>,
    seen: Vec<Seen>,
}

/// A request that reached the proxy.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method, in capitals.
    pub method: String,
    /// The path, with the prefix.
    pub path: String,
    /// The body.
    pub body: serde_json::Value,
    /// What was done to it.
    pub fault: Option<Fault>,
}

impl Proxy {
    /// Passes `prefix/…` on to `upstream/…` (an address without a final slash).
    pub async fn start(prefix: &'static str, upstream: String) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let held = Arc::new(watch::Sender::new(Held::None));
        let client = reqwest::Client::new();
        let (inner, gate) = (Arc::clone(&state), held.subscribe());
        let address = serve(move |asked| {
            let (state, mut gate) = (Arc::clone(&inner), gate.clone());
            let (client, upstream) = (client.clone(), upstream.clone());
            async move {
                let fault = note(&state, &asked);
                gate.wait_for(|held| held.is_free(asked.method.as_str()))
                    .await
                    .expect("the proxy outlives its requests");
                match fault {
                    Some(Fault::Status(status)) => {
                        return Answer::json(status, &json!({"message": "a fault on purpose"}));
                    }
                    Some(Fault::RetryAfter(seconds)) => return retry_after(seconds),
                    Some(Fault::CutBefore) => return Answer::Cut,
                    Some(Fault::CutAfter) | None => {}
                }
                let answer = pass_on(&client, prefix, &upstream, asked).await;
                if fault == Some(Fault::CutAfter) { Answer::Cut } else { answer }
            }
        })
        .await;
        Self { address, state, held }
    }

    /// Where the proxy listens, without the prefix.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next requests of this method meet these faults, one each.
    pub fn next_meet(&self, method: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().expect("no panic").faults.extend(faults.into_iter().map(|fault| (method, fault)));
    }

    /// Everything that reached the proxy, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().expect("no panic").seen.clone()
    }

    /// Faults that nothing has met are not made any more.
    pub fn forget_faults(&self) {
        self.state.lock().expect("no panic").faults.clear();
    }

    /// Requests are noted, then wait until [`Proxy::release`].
    pub fn hold(&self) {
        self.held.send_replace(Held::All);
    }

    /// [`Proxy::hold`], for one method only.
    pub fn hold_method(&self, method: &'static str) {
        self.held.send_replace(Held::Method(method));
    }

    /// Lets held requests go on.
    pub fn release(&self) {
        self.held.send_replace(Held::None);
    }
}

fn retry_after(seconds: u32) -> Answer {
    let body = json!({"message": "a fault on purpose"}).to_string();
    let reply = Response::builder().status(503).header("content-type", "application/json");
    let reply = reply.header("retry-after", seconds).body(Full::new(Bytes::from(body)));
    Answer::Reply(reply.expect("a number is a header value"))
}

fn note(state: &Mutex<State>, asked: &Asked) -> Option<Fault> {
    let mut state = state.lock().expect("no panic");
    let due = state.faults.iter().position(|(method, _)| asked.method == *method);
    let fault = due.map(|place| state.faults.remove(place).1);
    state.seen.push(Seen {
        method: asked.method.to_string(),
        path: asked.uri.path().to_owned(),
        body: asked.json(),
        fault,
    });
    fault
}

async fn pass_on(client: &reqwest::Client, prefix: &str, upstream: &str, asked: Asked) -> Answer {
    let path = asked.uri.path_and_query().map_or("/", |whole| whole.as_str());
    let Some(rest) = path.strip_prefix(prefix) else {
        return Answer::json(404, &json!({"message": format!("nothing is served at {path}, only under {prefix}")}));
    };
    let url = format!("{upstream}{rest}");
    match forward(client, url, asked).await {
        Ok(reply) => Answer::Reply(reply),
        Err(error) => Answer::json(502, &json!({"message": format!("the service does not answer: {error}")})),
    }
}

/// Asks the service at `url` what was asked here: its whole answer, with its headers but for those of the connection.
pub(crate) async fn forward(
    client: &reqwest::Client,
    url: String,
    asked: Asked,
) -> reqwest::Result<Response<Full<Bytes>>> {
    let mut headers = asked.headers;
    headers.remove("host");
    // of the body as it came; it may be another one by now
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
