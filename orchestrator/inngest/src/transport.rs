//! HTTP requests to apps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url, redirect};
use stepladder_core::Timestamp;
use stepladder_engine::clock::Clock;
use stepladder_engine::executor::Unreachable;

use crate::keys::CurrentKeys;
use crate::lambda::{self, InvokeFunction};
use crate::signature::SigningKeys;

/// The maximum time until a connection is established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept. Node.js closes a connection after five seconds without a
/// request, later if it is busy. A request on a connection that is just being closed is lost, and
/// nothing tells whether the app has received it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum size of an answer. It is larger than any value that a journal stores.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

pub(crate) const SDK: HeaderName = HeaderName::from_static("x-inngest-sdk");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const JOB_ID: HeaderName = HeaderName::from_static("x-inngest-job-id");
pub(crate) const NO_RETRY: HeaderName = HeaderName::from_static("x-inngest-no-retry");
pub(crate) const SYNC_KIND: HeaderName = HeaderName::from_static("x-inngest-sync-kind");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const SERVER_KIND: HeaderName = HeaderName::from_static("x-inngest-server-kind");
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("x-inngest-signature");

/// Sends requests to apps, signed if there is a key.
pub(crate) struct Transport {
    /// For apps on this machine, which no proxy can reach.
    loopback: reqwest::Client,
    other: reqwest::Client,
    /// For requests that a step makes, which follow redirects.
    fetching: OnceLock<Result<reqwest::Client, String>>,
    /// Invokes apps that are Lambda functions.
    invoker: OnceLock<Arc<dyn InvokeFunction>>,
    keys: CurrentKeys,
    /// The number of calls so far.
    calls: AtomicU64,
    pub(crate) clock: Arc<dyn Clock>,
}

/// An answer of an app.
#[derive(Clone, Debug)]
pub(crate) struct AppAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer, as a sentence without a final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The app has not received the request.
    NotSent(String),
    /// The app may have received the request, and may have executed code.
    Lost(String),
}

impl NoAnswer {
    pub(crate) fn into_sentence(self) -> String {
        match self {
            Self::NotSent(why) | Self::Lost(why) => why,
        }
    }
}

impl From<NoAnswer> for Unreachable {
    fn from(none: NoAnswer) -> Self {
        let is_broken = matches!(none, NoAnswer::Lost(_));
        Self { why: none.into_sentence(), is_broken }
    }
}

impl Transport {
    pub(crate) fn new(keys: CurrentKeys, clock: Arc<dyn Clock>) -> Result<Self, String> {
        // fails if the program has chosen another provider already, which then serves as well
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            // a redirect would send events and results to another server
            let builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
            builder.pool_idle_timeout(IDLE_TIMEOUT).redirect(redirect::Policy::none())
        };
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| format!("cannot create an HTTP client: {}", causes(&error)))
        };
        Ok(Self {
            loopback: build(builder().no_proxy())?,
            other: build(builder())?,
            fetching: OnceLock::new(),
            invoker: OnceLock::new(),
            keys,
            calls: AtomicU64::new(0),
            clock,
        })
    }

    /// Sends a request with a JSON body.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(HeaderName, &str)],
        body: Vec<u8>,
    ) -> Result<AppAnswer, NoAnswer> {
        self.refresh_keys().await.map_err(NoAnswer::NotSent)?;
        let keys = self.keys.get();
        let mut all = HeaderMap::new();
        all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        all.insert(SERVER_KIND, HeaderValue::from_static(if keys.is_some() { "cloud" } else { "dev" }));
        all.extend(headers.iter().filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_str(value).ok()?))));
        if let Some(keys) = &keys {
            let signature = keys.current.sign(&body, self.clock.now().as_millis().div_euclid(1_000));
            if let Ok(signature) = HeaderValue::from_str(&signature) {
                all.insert(SIGNATURE, signature);
            }
        }
        if url.scheme() == lambda::SCHEME {
            let no_invoker =
                || NoAnswer::NotSent("this server does not invoke Lambda functions; one on AWS does".into());
            let invoker = self.invoker.get().ok_or_else(no_invoker)?;
            return lambda::send(&**invoker, &method, url, &all, body, self.clock.now()).await;
        }
        let client = if is_loopback(url) { &self.loopback } else { &self.other };
        let request = client.request(method, url.clone()).headers(all);
        let server = format!("the app at {}", place(url));
        let (status, headers, body) = answer(request.body(body), &server).await?;
        Ok(AppAnswer { status, headers, body })
    }

    pub(crate) fn set_invoker(&self, invoker: Arc<dyn InvokeFunction>) {
        // only the first one counts, and there is no second one
        let _ = self.invoker.set(invoker);
    }

    /// Makes a request of a step. Follows redirects.
    pub(crate) async fn fetch(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>), NoAnswer> {
        let client = self.fetching.get_or_init(|| {
            // servers exist that tell the case of header names apart
            let builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).http1_title_case_headers();
            builder
                .pool_idle_timeout(IDLE_TIMEOUT)
                .build()
                .map_err(|error| format!("cannot create an HTTP client: {}", causes(&error)))
        });
        let client = client.as_ref().map_err(|problem| NoAnswer::NotSent(problem.clone()))?;
        let server = url.host_str().unwrap_or_default().to_owned();
        answer(client.request(method, url).headers(headers).body(body), &server).await
    }

    /// Returns what identifies a call in the logs of the app. Code reads it without a check.
    pub(crate) fn next_request_id(&self) -> String {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        format!("{:x}-{number}", self.clock.now().as_millis())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns whether an answer has no bad signature. Answers to calls without a key are not
    /// signed.
    pub(crate) fn accepts(&self, answer: &AppAnswer) -> bool {
        let Some((keys, signature)) = self.keys.get().zip(answer.header(&SIGNATURE)) else { return true };
        keys.verify(signature, &answer.body, self.clock.now().as_millis().div_euclid(1_000))
    }

    /// Returns the keys with which requests are signed, if there are any.
    pub(crate) fn keys(&self) -> Option<Arc<SigningKeys>> {
        self.keys.get()
    }

    /// Reads the keys again if they may have changed.
    ///
    /// # Errors
    /// A sentence, if there are keys that cannot be read.
    pub(crate) async fn refresh_keys(&self) -> Result<(), String> {
        self.keys.refresh(&*self.clock).await
    }
}

impl AppAnswer {
    /// Returns a header as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns whether an SDK has answered, and not a proxy before the app.
    pub(crate) fn is_of_sdk(&self) -> bool {
        self.headers.contains_key(&SDK)
    }
}

/// Sends a request, and reads the whole answer. `server` is the subject of error sentences.
async fn answer(request: reqwest::RequestBuilder, server: &str) -> Result<(StatusCode, HeaderMap, Vec<u8>), NoAnswer> {
    let mut response = request.send().await.map_err(|error| {
        let why = format!("{server} does not answer: {}", causes(&error));
        match error.is_connect() || error.is_builder() {
            true => NoAnswer::NotSent(why),
            false => NoAnswer::Lost(why),
        }
    })?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| NoAnswer::Lost(format!("the answer of {server} ended early: {}", causes(&error))))?
    {
        if body.len() + chunk.len() > ANSWER_BYTES {
            return Err(NoAnswer::Lost(format!("the answer of {server} is larger than {ANSWER_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, headers, body))
}

/// Returns an address without its query, which may contain a secret.
pub(crate) fn place(url: &Url) -> String {
    let mut place = url.clone();
    place.set_query(None);
    // an address with a host can have no user
    let _ = place.set_username("");
    let _ = place.set_password(None);
    place.to_string()
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// Returns the causes of an error, without the address of the request.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let mut texts = Vec::new();
    while let Some(next) = cause.source() {
        texts.push(next.to_string());
        cause = next;
    }
    texts.dedup();
    match texts.is_empty() {
        true => "the request failed".into(),
        false => texts.join(": "),
    }
}
