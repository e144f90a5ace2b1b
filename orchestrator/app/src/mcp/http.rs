//! MCP over HTTP: the route `/mcp` of the local server, in the protocol's transport "Streamable
//! HTTP". The server guards the route like its REST interface: the dashboard token, the origin and
//! the host of each request.
//!
//! Each request is answered on its own. The session id of a client only tells which requests it may
//! cancel, so a restart of the server breaks no session.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::rejection::StringRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::stream;
use serde::Deserialize;
use serde::de::IgnoredAny;
use stepladder_api::ErrorResponse;
use stepladder_core::sentence::shortened;
use stepladder_engine::clock::{Entropy, SystemEntropy};
use tokio::sync::mpsc;

use super::{McpServer, VERSIONS, is_spoken};
use crate::cli::CommandAccess;
use crate::client::Client;
use crate::terminal::StopReason;

/// The maximum size of a message.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// The header with the session of a client.
const SESSION: &str = "mcp-session-id";
/// The header with the revision of the protocol.
const VERSION: &str = "mcp-protocol-version";

/// The route, which is part of the router whose routes the tools request.
#[derive(Clone, Default)]
pub(crate) struct McpRoute(Arc<OnceLock<McpServer>>);

impl McpRoute {
    /// Returns the route.
    pub(crate) fn routes(&self) -> Router {
        Router::new().route("/mcp", post(receive)).layer(DefaultBodyLimit::max(MESSAGE_BYTES)).with_state(self.clone())
    }

    /// Connects the tools with the router, which requires these secrets.
    pub(crate) fn connect(
        &self,
        router: Router,
        token: Option<&str>,
        event_key: Option<&str>,
    ) -> Result<(), StopReason> {
        let client = Client::in_process(router, token)?;
        let key = event_key.unwrap_or("local").trim().to_owned();
        self.0.get_or_init(|| McpServer::new(client, key, CommandAccess::Writes));
        Ok(())
    }
}

/// What decides how a message is answered.
#[derive(Default, Deserialize)]
struct MessageHead {
    #[serde(default)]
    method: String,
    #[serde(default)]
    params: ParamsHead,
}

#[derive(Default, Deserialize)]
struct ParamsHead {
    #[serde(default, rename = "_meta")]
    meta: MetaHead,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaHead {
    #[serde(default)]
    progress_token: Option<IgnoredAny>,
}

impl MessageHead {
    /// Reads the head of a message. One that cannot be read is refused where it is answered.
    fn of(body: &str) -> Self {
        serde_json::from_str(body).unwrap_or_default()
    }

    fn wants_progress(&self) -> bool {
        self.params.meta.progress_token.is_some()
    }
}

/// `POST /mcp`: answers a message. If the client wants to know the progress, the response is a
/// stream of events, and otherwise JSON.
async fn receive(State(route): State<McpRoute>, headers: HeaderMap, body: Result<String, StringRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refusal_response(rejection.status(), rejection.body_text()),
    };
    let given = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(version) = given(VERSION).filter(|version| !is_spoken(version)) {
        let known = VERSIONS.join(", ");
        return refusal_response(
            StatusCode::BAD_REQUEST,
            format!("`MCP-Protocol-Version` is `{version}`; this server speaks {known}"),
        );
    }
    if headers.contains_key(SESSION) && given(SESSION).is_none() {
        return refusal_response(StatusCode::BAD_REQUEST, "`Mcp-Session-Id` is not ASCII".into());
    }
    let session = given(SESSION).map(str::to_owned);
    let message = MessageHead::of(&body);
    let is_new = session.is_none() && message.method == "initialize";
    let streams = given(header::ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/event-stream"));
    let mut response = match streams && message.wants_progress() {
        true => stream(route, session, body),
        false => match route.server() {
            Some(server) => match server.answer(session.as_deref(), &body, &|_| {}).await {
                Some(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
                None => StatusCode::ACCEPTED.into_response(),
            },
            None => refusal_response(StatusCode::SERVICE_UNAVAILABLE, "the server is still starting; try again".into()),
        },
    };
    if is_new && let Ok(id) = HeaderValue::from_str(&format!("{:032x}", SystemEntropy.bits())) {
        response.headers_mut().insert(SESSION, id);
    }
    response
}

/// Answers with a stream of events: notifications of progress, and then the response.
fn stream(route: McpRoute, session: Option<String>, body: String) -> Response {
    let (sender, receiver) = mpsc::unbounded_channel::<String>();
    // a separate task, which ends with the stream: a client that has gone waits for nothing
    let answering = tokio::spawn({
        let sender = sender.clone();
        async move {
            let Some(server) = route.server() else { return };
            // if this fails, the client has gone
            let send = |message| _ = sender.send(message);
            if let Some(answer) = server.answer(session.as_deref(), &body, &send).await {
                send(answer);
            }
        }
    });
    drop(sender);
    let events = stream::unfold((receiver, AbortOnDrop(answering)), async |(mut receiver, answering)| {
        let message = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Event::default().event("message").data(message)), (receiver, answering)))
    });
    Sse::new(events).into_response()
}

/// Ends a task when its reader has gone.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl McpRoute {
    /// Returns the server; `None` until it is connected.
    fn server(&self) -> Option<&McpServer> {
        self.0.get()
    }
}

fn refusal_response(status: StatusCode, sentence: String) -> Response {
    (status, axum::Json(ErrorResponse { error: shortened(sentence) })).into_response()
}
