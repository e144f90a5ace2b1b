//! OpenAI, or any server that speaks its chat completions: the one file that knows the `async-openai` client.
//!
//! It asks one question and takes one answer that fits a JSON schema, at once or in the background
//! (`openai/background.rs`), and records with the step what that used (`openai/accounts.rs`). It does not retry: the engine
//! does, and the client's own retries are replaced by a transport that sends each request once (`openai/transport.rs`).

mod accounts;
mod background;
mod prices;
mod transport;

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

pub use self::background::{HandedIn, in_background};
use crate::secret::Secret;

/// Where OpenAI itself answers; used when `OPENAI_BASE_URL` is not set.
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";
/// Small, quick, and able to answer in a strict schema; used when `OPENAI_MODEL` is not set.
pub const DEFAULT_MODEL: &str = "gpt-5-mini";

/// A client for one server, key and model.
#[derive(Debug, Clone)]
pub struct OpenAi {
    client: Client<OpenAIConfig>,
    model: String,
    key: Secret,
}

/// What is asked, and the shape of the answer.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who answers, and how.
    pub instructions: String,
    /// What is asked.
    pub input: String,
    /// The schema's name: letters, digits, `_` and `-`, at most 64.
    pub schema_name: &'static str,
    /// A JSON schema in the strict subset: every property required, no additional ones.
    pub schema: Value,
}

impl OpenAi {
    /// The client that `OPENAI_API_KEY`, `OPENAI_BASE_URL` and `OPENAI_MODEL` describe; the last two have defaults.
    ///
    /// # Errors
    /// Terminal, naming the variable, when the key is missing or one of them cannot be used.
    pub fn from_environment() -> Result<Self> {
        let key = stepladder::env("OPENAI_API_KEY")?;
        let base = optional("OPENAI_BASE_URL").unwrap_or_else(|| DEFAULT_BASE_URL.to_owned());
        let model = optional("OPENAI_MODEL").unwrap_or_else(|| DEFAULT_MODEL.to_owned());
        Self::new(&key, &base, &model)
    }

    /// A client for the server at `base` (with its `/v1`).
    ///
    /// # Errors
    /// Terminal, when the key or the address cannot be used.
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
        let client = Client::with_config(config).with_http_service(transport::SendOnce::new(key.clone())?);
        Ok(Self { client, model: model.trim().to_owned(), key })
    }

    /// Asks once, and decodes the answer.
    ///
    /// # Errors
    /// Retryable: no connection, 408, 429 and 5xx (after `Retry-After`, if the server sent one), and an answer that
    /// is cut off or does not fit the schema, since the next one may. Terminal: every other 4xx, and an answer that
    /// the model or its content filter refused, since asking again costs the same for the same no.
    pub async fn answer<T: DeserializeOwned>(&self, question: Question) -> Result<T> {
        let answer: Value = self.client.chat().create_byot(self.request(question)).await.map_err(|e| self.error(e))?;
        accounts::record(&answer, &self.model);
        let completion: Completion = serde_json::from_value(answer)
            .map_err(|fault| Error::new(format!("openai's answer is no chat completion: {fault}")))?;
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
                start(&self.key.excerpt_of_body(&content))
            ))
        })
    }

    /// What the model wrote, as a value. The transport has masked the key in the response; this text is JSON within JSON, and
    /// may have escaped it once more.
    fn decode<T: DeserializeOwned>(&self, text: &str) -> serde_json::Result<T> {
        let mut value: Value = serde_json::from_str(text)?;
        // read from the text where nothing was masked: a `Value` rounds integers beyond 64 bits
        if self.key.mask_json(&mut value) { serde_json::from_value(value) } else { serde_json::from_str(text) }
    }

    fn request(&self, question: Question) -> CreateChatCompletionRequest {
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

    fn error(&self, error: OpenAIError) -> Error {
        match error {
            OpenAIError::Boxed(error) => match error.downcast::<transport::Failure>() {
                Ok(failure) => failure.into_error(),
                Err(other) => Error::new(self.key.mask(&other.to_string())),
            },
            OpenAIError::InvalidArgument(what) => Error::terminal(self.key.mask(&what)),
            // what is left cannot come from this transport: kept whole, so that it would be noticed
            other => Error::new(self.key.mask(&other.to_string())),
        }
    }
}

// The parts of a completion that are used. Servers that imitate OpenAI leave out or add to the rest, and an answer
// that was paid for must not be lost to that.
#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

fn optional(name: &str) -> Option<String> {
    stepladder::env(name).ok().filter(|value| !value.trim().is_empty())
}

// enough of an answer to see what went wrong with it
fn start(text: &str) -> &str {
    &text[..text.floor_char_boundary(300)]
}
