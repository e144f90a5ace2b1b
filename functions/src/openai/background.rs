//! A model that thinks for minutes: the question is handed in, and the answer is looked for.
//!
//! With OpenAI's background mode (<https://platform.openai.com/docs/guides/background>) no connection is held meanwhile, and
//! with [`poll_until`](Context::poll_until) nothing runs: on AWS no Lambda is billed while the model thinks. The response's
//! id is remembered by a step of its own, so whatever fails later, the same answer is looked for, and paid for once.

use serde::de::DeserializeOwned;
use serde_json::Value;
use stepladder::prelude::*;

use super::{OpenAi, Question, accounts, start};
use crate::services::Services;

/// The first and the longest wait between two looks.
const LOOKS: Backoff = Backoff::Exponential { first: Duration::from_secs(5), max: Duration::from_secs(120) };
/// A longer id of a response is not taken: it is kept in the journal, and becomes a part of an address.
const ID_CHARS: usize = 255;
/// How long an answer is looked for.
const PATIENCE: Duration = Duration::from_secs(3 * 3_600);

/// A question that was handed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedIn {
    /// The id of the response that it will become.
    pub response: String,
}

/// Asks in the background, by two steps: `hand in <name>`, and `<name>`, which has the answer and what it used. Looks
/// for it for three hours.
///
/// # Errors
/// Those of the steps. Terminal, with a code, when the response has failed (`openai-failed`), was cancelled
/// (`openai-cancelled`) or is incomplete (`openai-incomplete`), or does not fit `T` (`openai-unfit`): looking again would
/// find the same. `poll-timeout` when there is no answer in time.
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
    let handed_in: HandedIn =
        ctx.step(format!("hand in {name}"), async || services.openai()?.hand_in(question).await).await?;
    ctx.poll_until(name, async || services.openai()?.answer_to(&handed_in).await)
        .every(LOOKS)
        .timeout(PATIENCE)
        .retries(10) // the answer is paid for, a look is not
        .await
}

impl OpenAi {
    /// Hands in a question, and gives what its answer is found by.
    ///
    /// # Errors
    /// As [`OpenAi::answer`]. A reply that is lost leaves a response that nobody looks for, and that is paid for.
    pub async fn hand_in(&self, question: Question) -> Result<HandedIn> {
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
        let response: Value = self.client.responses().create_byot(request).await.map_err(|e| self.error(e))?;
        let Found { id, .. } = found(&response)?;
        // it becomes a part of an address
        match id.filter(|id| {
            (1..=ID_CHARS).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        }) {
            Some(response) => Ok(HandedIn { response }),
            None => Err(Error::new("openai took the question and gave no id to find the answer by")),
        }
    }

    /// The answer, when it is there.
    ///
    /// # Errors
    /// Terminal when there will be none that fits; see [`in_background`].
    pub async fn answer_to<T: DeserializeOwned>(&self, handed_in: &HandedIn) -> Result<Option<T>> {
        let id = &handed_in.response;
        let response: Value = self.client.responses().retrieve_byot(id).await.map_err(|e| self.error(e))?;
        let Found { status, error, incomplete_details, output, .. } = found(&response)?;
        let over = |what: &str, why: Option<String>| {
            let why = why.map(|why| format!(": {}", self.key.excerpt(&why))).unwrap_or_default();
            Error::terminal(format!("openai's response {id} {what}{why}"))
        };
        match status.as_deref() {
            Some("queued" | "in_progress") => return Ok(None),
            Some("completed") => accounts::record(&response, &self.model),
            Some("incomplete") => {
                accounts::record(&response, &self.model);
                let why = incomplete_details.and_then(|details| details.reason);
                return Err(over("is incomplete", why).with_code("openai-incomplete"));
            }
            Some("failed") => {
                accounts::record(&response, &self.model);
                return Err(over("has failed", error.and_then(|error| error.message)).with_code("openai-failed"));
            }
            Some("cancelled") => return Err(over("was cancelled", None).with_code("openai-cancelled")),
            Some(_) | None => return Err(Error::new(format!("openai's response {id} has no status that is known"))),
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
            Error::terminal(format!("openai's response {id} does not fit the schema ({fault}): {}", start(&text)))
                .with_code("openai-unfit")
        })
    }
}

fn found(response: &Value) -> Result<Found> {
    Found::deserialize(response).map_err(|fault| Error::new(format!("openai's answer is no response: {fault}")))
}

// The parts of a response that are used.
#[derive(Deserialize)]
struct Found {
    id: Option<String>,
    status: Option<String>,
    error: Option<Failure>,
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    output: Vec<Item>,
}

#[derive(Deserialize)]
struct Failure {
    message: Option<String>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

/// Messages have content; what the model thought has none that is shown.
#[derive(Deserialize)]
struct Item {
    content: Option<Vec<Part>>,
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    refusal: Option<String>,
}
