//! A server of the Model Context Protocol: the tools with which a coding agent uses Stepladder.
//!
//! A tool is a request of the command line's client ([`Client`]), so it does what a command or a
//! route does, and nothing else. The protocol is small and is written here: the crate `rmcp` would
//! add 19 crates to the 246 of a cold build.
//!
//! Only tools are offered: no resources, no prompts, and no subscriptions.

mod arguments;
mod calls;
mod chapters;
#[cfg(feature = "local")]
pub(crate) mod http;
mod message;
pub(crate) mod stdio;
mod tools;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stepladder_core::Json;

use self::calls::CallsInProgress;
use self::message::{Incoming, Outgoing, RpcError};
use self::tools::{ToolCall, Toolbox};
use crate::cli::CommandAccess;
use crate::client::Client;

/// The revisions of the protocol that are spoken, newest first.
const VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// What a model reads about the server before it calls a tool.
const INSTRUCTIONS: &str = "Stepladder runs durable functions: code made of named, recorded steps. An event starts a \
    run of each function that it triggers. To find out why a run failed or waits, call `explain_run`. To repeat a run \
    without the steps that succeeded, call `rerun_run` with `from_step`; it can change the event's data with `input`. \
    `search_docs` explains how functions are written.";

/// A function that sends a message to the client while a request is in progress.
pub(crate) type SendMessage<'a> = &'a (dyn Fn(String) + Send + Sync);

/// The server, which answers messages of any number of clients.
pub(crate) struct McpServer {
    tools: Toolbox,
    calls: CallsInProgress,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeParams {
    protocol_version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult {
    protocol_version: &'static str,
    capabilities: Capabilities,
    server_info: ServerInfo,
    instructions: &'static str,
}

#[derive(Serialize)]
struct Capabilities {
    tools: Empty,
}

#[derive(Serialize)]
struct ServerInfo {
    name: &'static str,
    title: &'static str,
    version: &'static str,
}

/// The JSON `{}`.
#[derive(Serialize)]
struct Empty {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelledParams {
    request_id: Json,
}

#[derive(Deserialize)]
struct ListParams {
    cursor: Option<String>,
}

impl McpServer {
    /// Creates a server whose tools use this client. Events are sent with `event_key`. With
    /// [`CommandAccess::Reads`], only tools that change nothing are offered.
    pub(crate) fn new(client: Client, event_key: String, access: CommandAccess) -> Self {
        Self { tools: Toolbox::new(client, event_key, access), calls: CallsInProgress::default() }
    }

    /// Answers a message, or the messages of a batch. Returns `None` if there is nothing to answer.
    ///
    /// `session` names the client, if it is known: a client may cancel its own requests only.
    pub(crate) async fn answer(&self, session: Option<&str>, text: &str, send: SendMessage<'_>) -> Option<String> {
        if !text.trim_start().starts_with('[') {
            return self.answer_one(session, text, send).await.map(|message| message.to_text());
        }
        let batch: Vec<&RawValue> = match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(batch) if !batch.is_empty() => batch,
            Ok(_) => return Some(Outgoing::error(None, RpcError::invalid_request("the batch is empty")).to_text()),
            Err(e) => return Some(Outgoing::error(None, RpcError::no_json(&e)).to_text()),
        };
        let mut answers = Vec::new();
        for message in batch {
            answers.extend(self.answer_one(session, message.get(), send).await.map(|answer| answer.to_text()));
        }
        (!answers.is_empty()).then(|| format!("[{}]", answers.join(",")))
    }

    async fn answer_one(&self, session: Option<&str>, text: &str, send: SendMessage<'_>) -> Option<Outgoing> {
        let message = match Incoming::parse(text) {
            Ok(message) => message,
            Err(refused) => return Some(refused),
        };
        let Incoming { id, method, params } = message;
        let method = method?; // a response has none, and this server sends no requests
        let Some(id) = id else {
            self.notice(session, &method, params);
            return None;
        };
        let registered = session.and_then(|session| self.calls.register(session, &id));
        let work = self.result(&method, params, send);
        let result = match registered {
            None => work.await,
            Some((_guard, cancelled)) => tokio::select! {
                result = work => result,
                () = cancelled.wait() => Err(RpcError::cancelled()),
            },
        };
        Some(match result {
            Ok(result) => Outgoing::result(id, result),
            Err(error) => Outgoing::error(Some(id), error),
        })
    }

    /// Handles a notification. Those that this server does not need are ignored, as the protocol
    /// asks.
    fn notice(&self, session: Option<&str>, method: &str, params: Option<Json>) {
        let cancelled = params.filter(|_| method == "notifications/cancelled");
        let cancelled = cancelled.and_then(|params| serde_json::from_str::<CancelledParams>(params.get()).ok());
        if let (Some(session), Some(cancelled)) = (session, cancelled) {
            self.calls.cancel(session, &cancelled.request_id);
        }
    }

    /// Returns the result of a request.
    async fn result(&self, method: &str, params: Option<Json>, send: SendMessage<'_>) -> Result<Json, RpcError> {
        match method {
            "initialize" => {
                let params: InitializeParams = message::params(method, params)?;
                let wanted = VERSIONS.into_iter().find(|version| *version == params.protocol_version);
                message::to_result(&InitializeResult {
                    protocol_version: wanted.unwrap_or(VERSIONS[0]),
                    capabilities: Capabilities { tools: Empty {} },
                    server_info: ServerInfo {
                        name: "stepladder",
                        title: "Stepladder",
                        version: env!("CARGO_PKG_VERSION"),
                    },
                    instructions: INSTRUCTIONS,
                })
            }
            "ping" => message::to_result(&Empty {}),
            "tools/list" => {
                let cursor = match params {
                    Some(params) => message::params::<ListParams>(method, Some(params))?.cursor,
                    None => None,
                };
                match cursor {
                    None => message::to_result(&self.tools.list()),
                    Some(_) => Err(RpcError::invalid_params("`cursor`: the list of tools has one page only")),
                }
            }
            "tools/call" => {
                let call: ToolCall = message::params(method, params)?;
                message::to_result(&self.tools.call(call, send).await?)
            }
            _ => Err(RpcError::method_not_found(method)),
        }
    }
}

/// Returns whether this revision of the protocol is spoken.
#[cfg(feature = "local")]
fn is_spoken(version: &str) -> bool {
    VERSIONS.contains(&version)
}
