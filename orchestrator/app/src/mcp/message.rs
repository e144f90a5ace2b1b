//! Messages of JSON-RPC 2.0. Values are kept as text, so that numbers keep all their digits.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use stepladder_core::sentence::shortened;
use stepladder_core::{Json, json};

/// A request, a notification (without an id) or a response (without a method) of the client.
pub(super) struct Incoming {
    pub(super) id: Option<Json>,
    pub(super) method: Option<String>,
    pub(super) params: Option<Json>,
}

#[derive(Deserialize)]
struct IncomingFields {
    #[serde(default)]
    jsonrpc: Option<String>,
    #[serde(default, deserialize_with = "given")]
    id: Option<Json>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Json>,
    #[serde(default, deserialize_with = "given")]
    result: Option<Json>,
    #[serde(default, deserialize_with = "given")]
    error: Option<Json>,
}

/// Reads a field that is given, even if it is `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

impl Incoming {
    /// Parses a message.
    ///
    /// # Errors
    /// The response that refuses the message.
    pub(super) fn parse(text: &str) -> Result<Self, Outgoing> {
        if !text.trim_start().starts_with('{') {
            return Err(Outgoing::error(
                None,
                match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                    Ok(_) => RpcError::invalid_request("a message is a JSON object"),
                    Err(e) => RpcError::no_json(&e),
                },
            ));
        }
        let fields: IncomingFields = serde_json::from_str(text).map_err(|e| {
            let error = match e.classify() {
                serde_json::error::Category::Data => RpcError::invalid_request(e),
                _ => RpcError::no_json(&e),
            };
            Outgoing::error(None, error)
        })?;
        let id = fields.id;
        let is_id = |id: &Json| id.get().starts_with(['"', '-']) || id.get().starts_with(|c: char| c.is_ascii_digit());
        let is_response = fields.method.is_none() && (fields.result.is_some() || fields.error.is_some());
        let problem = match (&fields.jsonrpc, &id) {
            (version, _) if version.as_deref() != Some("2.0") => Some("`jsonrpc` is not `2.0`"),
            _ if is_response => None,
            (_, Some(id)) if !is_id(id) => Some("`id` is neither a string nor a number"),
            _ if fields.method.is_none() => Some("`method` is missing"),
            _ => None,
        };
        match problem {
            Some(problem) => Err(Outgoing::error(id.filter(is_id), RpcError::invalid_request(problem))),
            None => Ok(Self { id, method: fields.method, params: fields.params }),
        }
    }
}

/// A response, or a notification of this server.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Outgoing {
    Result { jsonrpc: &'static str, id: Json, result: Json },
    Error { jsonrpc: &'static str, id: Json, error: RpcError },
    Notification { jsonrpc: &'static str, method: &'static str, params: Json },
}

/// The error of a request that was not carried out.
#[derive(Debug, Serialize)]
pub(super) struct RpcError {
    code: i32,
    message: String,
}

impl Outgoing {
    pub(super) fn result(id: Json, result: Json) -> Self {
        Self::Result { jsonrpc: "2.0", id, result }
    }

    /// Creates an error. Without an id, the message was not understood.
    pub(super) fn error(id: Option<Json>, error: RpcError) -> Self {
        Self::Error { jsonrpc: "2.0", id: id.unwrap_or_else(json::null), error }
    }

    pub(super) fn notification(method: &'static str, params: Json) -> Self {
        Self::Notification { jsonrpc: "2.0", method, params }
    }

    /// Returns the message as one line.
    pub(super) fn to_text(&self) -> String {
        // a value that a client sent may contain line breaks between its parts
        let text = serde_json::to_string(self).unwrap_or_else(|e| format!("{{\"jsonrpc\":\"2.0\",\"error\":\"{e}\"}}"));
        text.replace(['\n', '\r'], " ")
    }
}

impl RpcError {
    pub(super) fn no_json(error: &serde_json::Error) -> Self {
        Self::new(-32700, format!("the message is not JSON: {error}"))
    }

    pub(super) fn invalid_request(problem: impl std::fmt::Display) -> Self {
        Self::new(-32600, format!("the message is not a request: {problem}"))
    }

    pub(super) fn method_not_found(method: &str) -> Self {
        Self::new(-32601, format!("this server has no method `{method}`"))
    }

    pub(super) fn invalid_params(problem: impl Into<String>) -> Self {
        Self::new(-32602, problem.into())
    }

    pub(super) fn internal(problem: impl std::fmt::Display) -> Self {
        Self::new(-32603, problem.to_string())
    }

    pub(super) fn cancelled() -> Self {
        Self::new(-32800, "the request was cancelled".into())
    }

    fn new(code: i32, message: String) -> Self {
        Self { code, message: shortened(message) }
    }
}

/// Reads the parameters of a method.
pub(super) fn params<T: DeserializeOwned>(method: &str, params: Option<Json>) -> Result<T, RpcError> {
    let params = params.unwrap_or_else(json::empty_object);
    serde_json::from_str(params.get()).map_err(|e| RpcError::invalid_params(format!("`params` of {method}: {e}")))
}

/// Writes a result.
pub(super) fn to_result(result: &impl Serialize) -> Result<Json, RpcError> {
    json::to_json(result).map_err(RpcError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Incoming::parse(text).err().expect("it is refused").to_text()
    }

    #[test]
    fn a_message_that_is_no_request_is_refused_with_its_problem() {
        for (text, code, says) in [
            ("{", "-32700", "not JSON"),
            ("nonsense", "-32700", "not JSON"),
            ("7", "-32600", "a JSON object"),
            (r#"{"id":1,"method":"ping"}"#, "-32600", "`jsonrpc` is not `2.0`"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "-32600", "`id` is neither"),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, "-32600", "`id` is neither"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "-32600", "`method` is missing"),
            (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, "-32600", "invalid type"),
        ] {
            let refused = refusal(text);
            assert!(refused.contains(code) && refused.contains(says), "{text}: {refused}");
        }
        assert!(refusal(r#"{"jsonrpc":"2.0","id":7}"#).contains(r#""id":7"#));
    }

    #[test]
    fn an_id_is_returned_as_it_was_sent_on_one_line() {
        let message = Incoming::parse("{\"jsonrpc\":\"2.0\",\"id\":\n12345678901234567890123,\"method\":\"ping\"}");
        let Ok(Incoming { id: Some(id), .. }) = message else { panic!("a request") };
        let answer = Outgoing::result(id, serde_json::from_str("{\n}").unwrap()).to_text();
        assert_eq!(answer, r#"{"jsonrpc":"2.0","id":12345678901234567890123,"result":{ }}"#);
    }

    #[test]
    fn a_response_of_the_client_is_no_request() {
        let message = Incoming::parse(r#"{"jsonrpc":"2.0","id":1,"result":null}"#);
        assert!(message.is_ok_and(|message| message.method.is_none()));
    }
}
