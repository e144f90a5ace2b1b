//! A client of the REST interface, which the commands of the command line use.

mod address;
mod health;
#[cfg(feature = "aws")]
pub(crate) mod here;
#[cfg(any(feature = "local", feature = "aws"))]
mod in_process;
pub(crate) mod overload;
mod token;

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use stepladder_api::{
    App as RegisteredApp, AppRemoved, AppSynced, DataResponse, ErrorResponse, EventsResponse, Function, FunctionPaused,
    FunctionResumed, JournalPage, Page, RerunRequest, Run, RunCancelled, RunDetail, RunRef, SignalCompleted,
    SignalHeartbeat, SyncAppRequest,
};
use stepladder_core::{Json, RunId};

use self::token::ServerToken;
use crate::terminal::StopReason;

/// The address of the default server.
const LOCAL: &str = "http://127.0.0.1:8288";
/// The environment variable with the address of another server.
const URL: &str = "STEPLADDER_URL";
/// The maximum size of a response. It is larger than any run and any page of a journal.
const ANSWER_BYTES: usize = 128 * 1024 * 1024;
/// The maximum time until a response is complete.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: ServerToken,
    /// The server's router, if the server runs in this process.
    #[cfg(any(feature = "local", feature = "aws"))]
    here: Option<axum::Router>,
}

/// A response of a server.
pub(crate) struct ServerResponse {
    status: StatusCode,
    /// The value of the header `Retry-After`.
    after: Duration,
    text: String,
}

/// Whether a route of the server requires the dashboard token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RouteAccess {
    Guarded,
    /// Events and signals: their paths contain an event key or a callback token instead.
    Open,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No server listens at the address, or the connection was lost.
    #[error("no server answers at {0}; start one with `stepladder dev`, or name another with --url")]
    Unreachable(String),
    /// The server refused the request.
    #[error("{message}")]
    Refused {
        /// The HTTP status of the response.
        status: StatusCode,
        /// The message of the server: one sentence.
        message: String,
    },
    /// The server is overloaded, and has stored nothing of the request.
    #[error("{message}")]
    PushedBack {
        /// The message of the server: one sentence.
        message: String,
        /// How long to wait before the request is sent again.
        after: Duration,
    },
    /// A part of the path cannot be part of a URL, so the request would reach another route.
    #[error("`{0}` cannot be part of a URL; check it")]
    NoPath(String),
    /// The response does not come from a Stepladder server.
    #[error("what answers at {url} does not look like a Stepladder server ({why}); check --url")]
    Foreign {
        /// The address of the server.
        url: String,
        /// What is wrong with the response.
        why: String,
    },
}

impl From<ClientError> for StopReason {
    fn from(error: ClientError) -> Self {
        Self::problem(error)
    }
}

/// Returns a builder of an HTTP client with TLS. That of `reqwest` panics, because it is built
/// without TLS of its own.
pub(crate) fn http_builder() -> reqwest::ClientBuilder {
    // fails if the program has chosen another provider already, which then serves as well
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

impl Client {
    /// Creates a client. The address of the server is that of `--url`, or else that of the
    /// environment, or else a server on this machine.
    ///
    /// # Errors
    /// The given address is invalid.
    pub(crate) fn for_url(url: Option<&str>) -> Result<Self, StopReason> {
        let variable = environment_url();
        let token = ServerToken::from_environment(url, variable.as_deref());
        Self::new(url.or(variable.as_deref()).unwrap_or(LOCAL), token)
    }

    /// Creates a client for the server at `url`.
    fn new(url: &str, token: ServerToken) -> Result<Self, StopReason> {
        let base = address::parse_address(url)?;
        // a redirect would send the event key and the body to another server
        let mut http = http_builder().timeout(ANSWER_TIMEOUT).redirect(redirect::Policy::none());
        if is_loopback(&base) {
            // a proxy could not reach a server on this machine
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|e| StopReason::problem(format!("cannot create an HTTP client: {}", root_cause(&e))))?;
        Ok(Self {
            http,
            base,
            token,
            #[cfg(any(feature = "local", feature = "aws"))]
            here: None,
        })
    }

    /// Sends a request, and returns the response.
    async fn answer(&self, request: RequestBuilder) -> Result<ServerResponse, ClientError> {
        #[cfg(any(feature = "local", feature = "aws"))]
        if let Some(router) = &self.here {
            return in_process::answer(router.clone(), request).await.map_err(|why| self.not_our_server_error(why));
        }
        let mut response = request.send().await.map_err(|e| self.transport_error(e))?;
        let (status, after) = (response.status(), retry_after(response.headers()));
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.transport_error(e))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES {
                return Err(self.not_our_server_error(format!("its answer has more than {} MiB", ANSWER_BYTES >> 20)));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(ServerResponse { status, after, text: String::from_utf8_lossy(&bytes).into_owned() })
    }

    /// Sends an event that is already JSON.
    pub(crate) async fn send(&self, key: &str, event: String) -> Result<(EventsResponse, String), ClientError> {
        let text = self.call(RouteAccess::Open, self.request(Method::POST, &["e", key])?.body(event)).await?;
        Ok((self.decode_response(&text)?, text))
    }

    pub(crate) async fn runs_of_event(&self, event: &str) -> Result<(Vec<Run>, String), ClientError> {
        let text =
            self.call(RouteAccess::Guarded, self.request(Method::GET, &["v1", "events", event, "runs"])?).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    pub(crate) async fn runs(&self, query: &[(&str, String)]) -> Result<(Page<Run>, String), ClientError> {
        let mut url = self.url(&["v1", "runs"])?;
        url.query_pairs_mut().extend_pairs(query);
        let text = self.call(RouteAccess::Guarded, self.http.get(url)).await?;
        Ok((self.decode_response(&text)?, text))
    }

    /// Returns a run in full.
    pub(crate) async fn run(&self, run: RunId) -> Result<(RunDetail, String), ClientError> {
        let text =
            self.call(RouteAccess::Guarded, self.request(Method::GET, &["v1", "runs", &run.to_string()])?).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    /// Returns a page of a run's journal, with at most `limit` entries.
    pub(crate) async fn journal(&self, run: RunId, from: u64, limit: u16) -> Result<JournalPage<Json>, ClientError> {
        let mut url = self.url(&["v1", "runs", &run.to_string(), "journal"])?;
        url.query_pairs_mut().append_pair("from", &from.to_string()).append_pair("limit", &limit.to_string());
        let text = self.call(RouteAccess::Guarded, self.http.get(url)).await?;
        self.decode_response(&text)
    }

    pub(crate) async fn cancel(&self, run: RunId) -> Result<(RunCancelled, String), ClientError> {
        let text =
            self.call(RouteAccess::Guarded, self.request(Method::DELETE, &["v1", "runs", &run.to_string()])?).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    pub(crate) async fn rerun(&self, run: RunId, body: &RerunRequest) -> Result<(RunRef, String), ClientError> {
        let request = self.request(Method::POST, &["v1", "runs", &run.to_string(), "rerun"])?.json(body);
        let text = self.call(RouteAccess::Guarded, request).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    /// Cancels or reruns the runs on one page of a listing.
    pub(crate) async fn change_in_bulk(
        &self,
        verb: &str,
        query: &[(&str, String)],
        body: &str,
    ) -> Result<Page<RunRef>, ClientError> {
        let mut url = self.url(&["v1", "runs", verb])?;
        url.query_pairs_mut().extend_pairs(query);
        let text = self.call(RouteAccess::Guarded, self.http.post(url).body(body.to_owned())).await?;
        self.decode_response(&text)
    }

    pub(crate) async fn pause(&self, function: &str) -> Result<(FunctionPaused, String), ClientError> {
        let text = self
            .call(RouteAccess::Guarded, self.request(Method::POST, &["v1", "functions", function, "pause"])?)
            .await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    pub(crate) async fn resume(&self, function: &str) -> Result<(FunctionResumed, String), ClientError> {
        let text = self
            .call(RouteAccess::Guarded, self.request(Method::POST, &["v1", "functions", function, "resume"])?)
            .await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    /// Completes a signal.
    pub(crate) async fn signal(&self, token: &str, data: String) -> Result<(SignalCompleted, String), ClientError> {
        let text =
            self.call(RouteAccess::Open, self.request(Method::POST, &["v1", "signals", token])?.body(data)).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    /// Completes a signal with a failure.
    pub(crate) async fn fail_signal(
        &self,
        token: &str,
        failure: String,
    ) -> Result<(SignalCompleted, String), ClientError> {
        let request = self.request(Method::POST, &["v1", "signals", token, "fail"])?.body(failure);
        let text = self.call(RouteAccess::Open, request).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    /// Posts a heartbeat to a callback token.
    pub(crate) async fn heartbeat(&self, token: &str) -> Result<(SignalHeartbeat, String), ClientError> {
        let request = self.request(Method::POST, &["v1", "signals", token, "heartbeat"])?;
        let text = self.call(RouteAccess::Open, request).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    /// Lists the registered functions.
    pub(crate) async fn functions(&self) -> Result<(Vec<Function>, String), ClientError> {
        let text = self.call(RouteAccess::Guarded, self.request(Method::GET, &["v1", "functions"])?).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    /// Lists the registered apps.
    pub(crate) async fn apps(&self) -> Result<(Vec<RegisteredApp>, String), ClientError> {
        let text = self.call(RouteAccess::Guarded, self.request(Method::GET, &["v1", "apps"])?).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    /// Lets the server ask the app at this address for its functions.
    pub(crate) async fn sync_app(&self, url: &str) -> Result<(AppSynced, String), ClientError> {
        let request = self.request(Method::POST, &["v1", "apps"])?.json(&SyncAppRequest { url: url.to_owned() });
        let text = self.call(RouteAccess::Guarded, request).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    /// Removes an app.
    pub(crate) async fn remove_app(&self, name: &str) -> Result<(AppRemoved, String), ClientError> {
        let text = self.call(RouteAccess::Guarded, self.request(Method::DELETE, &["v1", "apps", name])?).await?;
        Ok((self.decode_response::<DataResponse<_>>(&text)?.data, text))
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, ClientError> {
        Ok(self.http.request(method, self.url(path)?))
    }

    /// Builds a URL from the parts of a path.
    ///
    /// # Errors
    /// A part that cannot be part of a URL: it would be dropped, and the URL would be that of
    /// another route.
    fn url(&self, path: &[&str]) -> Result<Url, ClientError> {
        if let Some(part) = path.iter().find(|part| matches!(**part, "" | "." | "..")) {
            return Err(ClientError::NoPath((*part).to_owned()));
        }
        let mut url = self.base.clone();
        // this cannot fail: a URL with a host has a path
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Ok(url)
    }

    /// Sends a request, and returns the body of a successful response.
    async fn call(&self, route: RouteAccess, request: RequestBuilder) -> Result<String, ClientError> {
        let request = request.header(CONTENT_TYPE, "application/json");
        let ServerResponse { status, after, text } = match route {
            RouteAccess::Open => self.answer(request).await?,
            RouteAccess::Guarded => self.answer_with_token(request).await?,
        };
        if status.is_success() {
            return Ok(text);
        }
        if status.is_redirection() {
            return Err(self.not_our_server_error(format!(
                "HTTP {}: it redirects to another address; use that address with --url",
                status.as_u16()
            )));
        }
        match serde_json::from_str::<ErrorResponse>(&text) {
            Ok(refused) if status == StatusCode::UNAUTHORIZED && route == RouteAccess::Guarded => {
                let hint = self.token.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                Err(ClientError::Refused { status, message: format!("{}{hint}", refused.error) })
            }
            Ok(refused) if status == StatusCode::TOO_MANY_REQUESTS => {
                Err(ClientError::PushedBack { message: refused.error, after })
            }
            Ok(refused) => Err(ClientError::Refused { status, message: refused.error }),
            Err(_) => Err(self.not_our_server_error(format!("HTTP {}", status.as_u16()))),
        }
    }

    /// Sends a request. The dashboard token is added only if the server has asked for it, because
    /// most local servers do not.
    async fn answer_with_token(&self, request: RequestBuilder) -> Result<ServerResponse, ClientError> {
        let Some(token) = self.token.text() else { return self.answer(request).await };
        if self.token.is_required() {
            return self.answer(request.bearer_auth(token)).await;
        }
        let again = request.try_clone();
        let answer = self.answer(request).await?;
        match again {
            Some(again) if answer.status == StatusCode::UNAUTHORIZED => {
                self.token.mark_required();
                self.answer(again.bearer_auth(token)).await
            }
            _ => Ok(answer),
        }
    }

    fn decode_response<T: DeserializeOwned>(&self, text: &str) -> Result<T, ClientError> {
        serde_json::from_str(text).map_err(|e| self.not_our_server_error(format!("unexpected JSON: {e}")))
    }

    fn transport_error(&self, error: reqwest::Error) -> ClientError {
        if error.is_connect() || error.is_timeout() || error.is_request() || error.is_body() {
            ClientError::Unreachable(address::address_without_password(&self.base))
        } else {
            // the URL is removed, because it may contain a password or an event key
            self.not_our_server_error(root_cause(&error.without_url()))
        }
    }

    fn not_our_server_error(&self, why: String) -> ClientError {
        ClientError::Foreign { url: address::address_without_password(&self.base), why }
    }
}

/// Returns the address of the server that the environment names.
pub(crate) fn environment_url() -> Option<String> {
    std::env::var(URL).ok().map(|url| url.trim().to_owned()).filter(|url| !url.is_empty())
}

/// Reads the header `Retry-After` in whole seconds, as Stepladder's servers send it. The default is
/// one second.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
