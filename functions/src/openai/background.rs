//! For models that take minutes to answer: one step submits the question, and another step polls
//! for the answer.
//!
//! OpenAI's background mode (<https://platform.openai.com/docs/guides/background>) keeps no
//! connection open, and [`poll_until`](Context::poll_until) runs nothing between checks. So on AWS
//! no Lambda is billed in the meantime. The first step records the id of the response. After a
//! later failure, the poll continues for the same answer, which is paid for once.

use serde::de::DeserializeOwned;
use serde_json::Value;
use stepladder::prelude::*;

use super::{OpenAi, Question, first_characters, usage};
use crate::services::Services;

/// The delays between checks.
const POLL_EVERY: Backoff = Backoff::exponential(Duration::from_secs(5), Duration::from_secs(120));
/// The maximum number of characters in the id of a response. The journal keeps the id, and the id
/// becomes a part of a URL.
const ID_CHARS: usize = 255;
/// How long to poll for an answer.
const POLL_TIMEOUT: Duration = Duration::from_secs(3 * 3_600);

/// A response that OpenAI has not finished yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingResponse {
    /// The id of the response.
    #[serde(alias = "response")]
    pub id: String,
}

/// Sends a question in the background with two steps. The step `hand in <name>` submits the
/// question. The step `<name>` polls for the answer for up to three hours, and records the model
/// usage.
///
/// # Errors
/// The errors of the two steps, and these terminal errors, which have a code:
///
/// - `openai-failed`, `openai-cancelled`, `openai-incomplete`: the response has this status.
/// - `openai-unfit`: the answer does not match `T`.
/// - `poll-timeout`: there was no answer in time.
///
/// ```
/// # use stepladder::prelude::*;
/// # use stepladder_functions::{openai::{self, Question}, services::Services};
/// # #[derive(Serialize, Deserialize)] struct Report { text: String }
/// # async fn example(ctx: Context, services: Services, question: Question) -> Result<()> {
/// let report: Report = openai::in_background(&ctx, &services, "report", question).await?;
/// # Ok(()) }
/// ```
pub async fn in_background<T>(ctx: &Context, services: &Services, name: &str, question: Question) -> Result<T>
where
    T: Serialize + DeserializeOwned + Send,
{
    let pending: PendingResponse =
        ctx.step(format!("hand in {name}"), async || services.openai().await?.submit(question).await).await?;
    ctx.poll_until(name, async || services.openai().await?.fetch_answer(&pending).await)
        .every(POLL_EVERY)
        .timeout(POLL_TIMEOUT)
        .retries(10) // the answer costs money, a check does not
        .await
}

impl OpenAi {
    /// Submits a question. Returns the pending response, which will contain the answer.
    ///
    /// # Errors
    /// The same as those of [`OpenAi::answer`]. If the reply to this request is lost, the response
    /// costs money and is never used.
    pub async fn submit(&self, question: Question) -> Result<PendingResponse> {
        let Question { instructions, input, schema_name, schema } = question;
        let format = json!({ "type": "json_schema", "name": schema_name, "schema": schema, "strict": true });
        let request = json!({
            "model": self.model,
            "instructions": instructions,
            "input": input,
            "text": { "format": format },
            "background": true,
            "store": true,
        });
        let response: Value = self.client.responses().create_byot(request).await.map_err(|e| self.convert_error(e))?;
        let ResponseFields { id, .. } = decode_fields(&response)?;
        // the id becomes a part of a URL, so it is checked
        match id.filter(|id| {
            (1..=ID_CHARS).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        }) {
            Some(id) => Ok(PendingResponse { id }),
            None => Err(Error::new("openai accepted the question and returned no valid id")),
        }
    }

    /// Returns the answer, or `None` if OpenAI has not finished it yet.
    ///
    /// # Errors
    /// Returns a terminal error if there will be no answer; see [`in_background`].
    pub async fn fetch_answer<T: DeserializeOwned>(&self, pending: &PendingResponse) -> Result<Option<T>> {
        let id = &pending.id;
        let response: Value = self.client.responses().retrieve_byot(id).await.map_err(|e| self.convert_error(e))?;
        let ResponseFields { status, error, incomplete_details, output, .. } = decode_fields(&response)?;
        let ended = |what: &str, why: Option<String>| {
            let why = why.map(|why| format!(": {}", self.key.excerpt(&why))).unwrap_or_default();
            Error::terminal(format!("openai's response {id} {what}{why}"))
        };
        match status.as_deref() {
            Some("queued" | "in_progress") => return Ok(None),
            Some("completed") => usage::record(&response, &self.model),
            Some("incomplete") => {
                usage::record(&response, &self.model);
                let why = incomplete_details.and_then(|details| details.reason);
                return Err(ended("is incomplete", why).with_code("openai-incomplete"));
            }
            Some("failed") => {
                usage::record(&response, &self.model);
                return Err(ended("has failed", error.and_then(|error| error.message)).with_code("openai-failed"));
            }
            Some("cancelled") => return Err(ended("was cancelled", None).with_code("openai-cancelled")),
            Some(_) | None => return Err(Error::new(format!("openai's response {id} has an unknown status"))),
        }
        let (mut text, mut refused) = (String::new(), None);
        for part in output.into_iter().flat_map(|item| item.content.unwrap_or_default()) {
            text += &part.text.unwrap_or_default();
            refused = refused.or(part.refusal);
        }
        if let Some(refusal) = refused {
            return Err(Error::terminal(format!("the model refused: {}", self.key.excerpt(&refusal))));
        }
        self.decode(&text).map(Some).map_err(|fault| {
            let text = self.key.excerpt_of_body(&text);
            Error::terminal(format!(
                "openai's response {id} does not fit the schema ({fault}): {}",
                first_characters(&text)
            ))
            .with_code("openai-unfit")
        })
    }
}

fn decode_fields(response: &Value) -> Result<ResponseFields> {
    ResponseFields::deserialize(response)
        .map_err(|fault| Error::new(format!("openai's answer is not a response: {fault}")))
}

// Only the fields that are used.
#[derive(Deserialize)]
struct ResponseFields {
    id: Option<String>,
    status: Option<String>,
    error: Option<ResponseFailure>,
    incomplete_details: Option<IncompleteDetails>,
    #[serde(default)]
    output: Vec<OutputItem>,
}

#[derive(Deserialize)]
struct ResponseFailure {
    message: Option<String>,
}

#[derive(Deserialize)]
struct IncompleteDetails {
    reason: Option<String>,
}

/// An item of a response. A message has content; the model's reasoning has none.
#[derive(Deserialize)]
struct OutputItem {
    content: Option<Vec<ContentPart>>,
}

#[derive(Deserialize)]
struct ContentPart {
    text: Option<String>,
    refusal: Option<String>,
}
