//! A client for OpenAI, or for any server that offers the same chat completions. No other file uses
//! the crate `async-openai`.
//!
//! The client sends one question and decodes one answer by a JSON schema, either directly or in the
//! background (`openai/background.rs`). The model usage is recorded with the step
//! (`openai/usage.rs`). The engine retries, not the client: the transport sends each request once
//! (`openai/transport.rs`).

mod background;
mod prices;
mod transport;
mod usage;

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::OpenAIError,
    types::chat::{
        ChatCompletionRequestSystemMessage, ChatCompletionRequestUserMessage, CreateChatCompletionRequest,
        ResponseFormat, ResponseFormatJsonSchema,
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use stepladder::prelude::*;
use tracing::Instrument;

pub use self::background::{PendingResponse, in_background};
use crate::secret::Secret;

/// The default of `OPENAI_BASE_URL`: OpenAI's own server.
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";
/// The default of `OPENAI_MODEL`. It is small and fast, and supports strict schemas.
pub const DEFAULT_MODEL: &str = "gpt-5-mini";

/// A client for one server, with one key and one model.
#[derive(Debug, Clone)]
pub struct OpenAi {
    client: Client<OpenAIConfig>,
    model: String,
    key: Secret,
}

/// A question to the model, with the JSON schema of the answer.
#[derive(Debug, Clone)]
pub struct Question {
    /// The instructions for the model: its role, and how it must answer.
    pub instructions: String,
    /// The question.
    pub input: String,
    /// The name of the schema: at most 64 letters, digits, `_` and `-`.
    pub schema_name: &'static str,
    /// A JSON schema in the subset that strict mode accepts: every property is required, and no
    /// other property is allowed.
    pub schema: Value,
}

impl OpenAi {
    /// Creates a client with this key, and the settings in `OPENAI_BASE_URL` and `OPENAI_MODEL`,
    /// which have defaults.
    ///
    /// # Errors
    /// Returns a terminal error with the variable's name if the key or a variable is invalid.
    pub fn with_key(key: &str) -> Result<Self> {
        let base = optional_variable("OPENAI_BASE_URL").unwrap_or_else(|| DEFAULT_BASE_URL.to_owned());
        let model = optional_variable("OPENAI_MODEL").unwrap_or_else(|| DEFAULT_MODEL.to_owned());
        Self::new(key, &base, &model)
    }

    /// Creates a client for the server at `base`, which must include `/v1`.
    ///
    /// # Errors
    /// Returns a terminal error if the key or the address is invalid.
    pub fn new(key: &str, base: &str, model: &str) -> Result<Self> {
        let key = Secret::new("OPENAI_API_KEY", key)?;
        let base = base.trim().trim_end_matches('/');
        match reqwest::Url::parse(base) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {}
            Ok(_) | Err(_) => {
                return Err(Error::terminal(
                    "OPENAI_BASE_URL is not an address; it looks like https://api.openai.com/v1",
                ));
            }
        }
        let config = OpenAIConfig::new().with_api_key(key.expose()).with_api_base(base);
        let service = transport::SendOnceService::new(key.clone())?;
        let client = Client::build(service.client().clone(), config).with_http_service(service);
        Ok(Self { client, model: model.trim().to_owned(), key })
    }

    /// Sends the question once, and decodes the answer.
    ///
    /// # Errors
    /// - Retryable: a failed connection, and the statuses 408, 429 and 5xx (after `Retry-After`, if
    ///   the server sent this header).
    /// - Retryable: an answer that is incomplete or does not match the schema, because the next
    ///   answer may match.
    /// - Terminal: every other 4xx.
    /// - Terminal: the model or its content filter refused to answer. The same question would cost
    ///   the same and be refused again.
    pub async fn answer<T: DeserializeOwned>(&self, question: Question) -> Result<T> {
        // with OpenTelemetry, this is a child of the attempt's span
        let span = tracing::info_span!(
            "chat",
            otel.kind = "client",
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = "openai",
            gen_ai.request.model = %self.model,
        );
        let request = self.build_request(question);
        let sent = self.client.chat().create_byot(request).instrument(span).await;
        let answer: Value = sent.map_err(|e| self.convert_error(e))?;
        usage::record(&answer, &self.model);
        let completion: Completion = serde_json::from_value(answer)
            .map_err(|fault| Error::new(format!("openai's answer is not a chat completion: {fault}")))?;
        let Some(choice) = completion.choices.into_iter().next() else {
            return Err(Error::new("openai answered without a choice"));
        };
        if let Some(refusal) = choice.message.refusal.filter(|text| !text.trim().is_empty()) {
            return Err(Error::terminal(format!("the model refused: {}", self.key.excerpt(&refusal))));
        }
        let finish = choice.finish_reason.unwrap_or_default();
        if finish == "content_filter" {
            return Err(Error::terminal("openai's content filter withheld the answer; change what is asked"));
        }
        let content = choice.message.content.unwrap_or_default();
        self.decode(&content).map_err(|fault| {
            let why =
                if finish == "length" { "it was cut off at the length limit".to_owned() } else { fault.to_string() };
            Error::new(format!(
                "openai's answer does not fit the schema ({why}): {}",
                first_characters(&self.key.excerpt_of_body(&content))
            ))
        })
    }

    /// Decodes the model's answer. The transport has already masked the key in the response. But
    /// the answer is JSON within JSON, where the key may be escaped a second time, so it is masked
    /// again here.
    fn decode<T: DeserializeOwned>(&self, text: &str) -> serde_json::Result<T> {
        let mut value: Value = serde_json::from_str(text)?;
        // if nothing was masked, the text itself is decoded, because a `Value` rounds integers
        // beyond 64 bits
        if self.key.mask_json(&mut value) { serde_json::from_value(value) } else { serde_json::from_str(text) }
    }

    fn build_request(&self, question: Question) -> CreateChatCompletionRequest {
        CreateChatCompletionRequest {
            model: self.model.clone(),
            messages: vec![
                ChatCompletionRequestSystemMessage::from(question.instructions).into(),
                ChatCompletionRequestUserMessage::from(question.input).into(),
            ],
            response_format: Some(ResponseFormat::JsonSchema {
                json_schema: ResponseFormatJsonSchema {
                    description: None,
                    name: question.schema_name.to_owned(),
                    schema: question.schema,
                    strict: Some(true),
                },
            }),
            ..CreateChatCompletionRequest::default()
        }
    }

    fn convert_error(&self, error: OpenAIError) -> Error {
        match error {
            OpenAIError::Boxed(error) => match error.downcast::<transport::RequestFailure>() {
                Ok(failure) => failure.into_error(),
                Err(other) => Error::new(self.key.mask(&other.to_string())),
            },
            OpenAIError::InvalidArgument(what) => Error::terminal(self.key.mask(&what)),
            // the transport returns no other error; the message is kept in full, so that a new kind
            // of error is noticed
            other => Error::new(self.key.mask(&other.to_string())),
        }
    }
}

// Only the fields that are used. Servers that imitate OpenAI differ in the others, and an answer
// that costs money must not be lost because of them.
#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    choices: Vec<CompletionChoice>,
}

#[derive(Deserialize)]
struct CompletionChoice {
    message: CompletionMessage,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct CompletionMessage {
    content: Option<String>,
    refusal: Option<String>,
}

fn optional_variable(name: &str) -> Option<String> {
    stepladder::env(name).ok().filter(|value| !value.trim().is_empty())
}

// returns enough of an answer to see what is wrong with it
fn first_characters(text: &str) -> &str {
    &text[..text.floor_char_boundary(300)]
}
