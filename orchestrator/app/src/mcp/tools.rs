//! The tools: their names, arguments, outputs and annotations.

mod changing;
mod documents;
mod explaining;
mod reading;
mod waiting;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepladder_core::sentence::truncated;
use stepladder_core::{Json, encrypted, json as json_text};

use super::SendMessage;
use super::arguments::{self, Argument, Arguments};
use super::message::RpcError;
use crate::cli::CommandAccess;
use crate::client::{Client, ClientError};

/// The maximum size of the text of a result, in bytes.
const TEXT_BYTES: usize = 32 * 1024;

/// The tools, and what they work with.
pub(super) struct Toolbox {
    client: Client,
    event_key: String,
    access: CommandAccess,
}

/// A tool.
struct Tool {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    action: ToolAction,
    effect: ToolEffect,
    arguments: &'static [Argument],
    outputs: &'static [Output],
}

/// What a tool does.
#[derive(Clone, Copy)]
enum ToolAction {
    ListFunctions,
    SearchRuns,
    ExplainRun,
    GetJournal,
    WaitForRun,
    SearchDocs,
    SendEvent,
    RerunRun,
    CancelRun,
}

/// Whether a tool changes something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ToolEffect {
    Reads,
    /// It adds runs. Runs that exist are left alone.
    Adds,
    /// It ends work in progress, or repeats work that had an effect outside.
    Destroys {
        idempotent: bool,
    },
}

/// A field of a tool's structured output.
struct Output {
    name: &'static str,
    /// The JSON types that it may have.
    types: &'static [&'static str],
    is_required: bool,
}

/// A request to call a tool.
#[derive(Deserialize)]
pub(super) struct ToolCall {
    name: String,
    #[serde(default)]
    arguments: Option<BTreeMap<String, Json>>,
    #[serde(default, rename = "_meta")]
    meta: CallMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallMeta {
    #[serde(default)]
    progress_token: Option<Json>,
}

/// The result of a call, which may be a failure that the model should read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallResult {
    content: [TextContent; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_content: Option<Json>,
    is_error: bool,
}

#[derive(Serialize)]
struct TextContent {
    r#type: &'static str,
    text: String,
}

/// The output of a tool: for models that read text, and for programs.
struct ToolOutput {
    text: String,
    structured: Json,
}

/// What a tool needs to report progress.
struct Progress<'a> {
    token: Option<Json>,
    send: SendMessage<'a>,
}

const TOOLS: [&Tool; 9] = [
    &reading::LIST_FUNCTIONS,
    &reading::SEARCH_RUNS,
    &explaining::EXPLAIN_RUN,
    &reading::GET_JOURNAL,
    &waiting::WAIT_FOR_RUN,
    &changing::SEND_EVENT,
    &changing::RERUN_RUN,
    &changing::CANCEL_RUN,
    &documents::SEARCH_DOCS,
];

impl Toolbox {
    pub(super) fn new(client: Client, event_key: String, access: CommandAccess) -> Self {
        Self { client, event_key, access }
    }

    /// Returns the result of `tools/list`.
    pub(super) fn list(&self) -> Value {
        json!({"tools": self.offered().map(Tool::describe).collect::<Vec<_>>()})
    }

    fn offered(&self) -> impl Iterator<Item = &'static Tool> {
        TOOLS.into_iter().filter(|tool| self.access == CommandAccess::Writes || tool.effect == ToolEffect::Reads)
    }

    /// Calls a tool. A failure of the tool, such as an invalid argument, is part of the result, so
    /// that the model reads it.
    ///
    /// # Errors
    /// There is no such tool.
    pub(super) async fn call(&self, call: ToolCall, send: SendMessage<'_>) -> Result<CallResult, RpcError> {
        let Some(tool) = self.offered().find(|tool| tool.name == call.name) else {
            let names: Vec<&str> = self.offered().map(|tool| tool.name).collect();
            let problem = format!("`name`: there is no tool `{}`; the tools are {}", call.name, names.join(", "));
            return Err(RpcError::invalid_params(problem));
        };
        let progress = Progress { token: call.meta.progress_token, send };
        let done = match Arguments::check(tool.arguments, call.arguments.unwrap_or_default()) {
            Ok(arguments) => self.run(tool, &arguments, &progress).await,
            Err(problem) => Err(problem),
        };
        let (text, structured_content, is_error) = match done {
            Ok(ToolOutput { text, structured }) => (text, Some(structured), false),
            Err(problem) => (problem, None, true),
        };
        let text = truncated(text.trim_end(), TEXT_BYTES);
        Ok(CallResult { content: [TextContent { r#type: "text", text }], structured_content, is_error })
    }

    async fn run(&self, tool: &Tool, arguments: &Arguments, progress: &Progress<'_>) -> Result<ToolOutput, String> {
        let client = &self.client;
        match tool.action {
            ToolAction::ListFunctions => reading::list_functions(client).await,
            ToolAction::SearchRuns => reading::search_runs(client, arguments).await,
            ToolAction::ExplainRun => explaining::explain_run(client, arguments).await,
            ToolAction::GetJournal => reading::get_journal(client, arguments).await,
            ToolAction::WaitForRun => waiting::wait_for_run(client, arguments, progress).await,
            ToolAction::SearchDocs => documents::search_docs(arguments),
            ToolAction::SendEvent => changing::send_event(client, &self.event_key, arguments).await,
            ToolAction::RerunRun => changing::rerun_run(client, arguments).await,
            ToolAction::CancelRun => changing::cancel_run(client, arguments).await,
        }
    }
}

impl Tool {
    fn describe(&self) -> Value {
        let properties: serde_json::Map<_, _> =
            self.outputs.iter().map(|output| (output.name.to_owned(), json!({"type": output.types}))).collect();
        let required: Vec<&str> =
            self.outputs.iter().filter(|output| output.is_required).map(|output| output.name).collect();
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": arguments::schema(self.arguments),
            "outputSchema": {"type": "object", "properties": properties, "required": required},
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.effect == ToolEffect::Reads,
                "destructiveHint": matches!(self.effect, ToolEffect::Destroys { .. }),
                "idempotentHint": match self.effect {
                    ToolEffect::Reads => true,
                    ToolEffect::Adds => false,
                    ToolEffect::Destroys { idempotent } => idempotent,
                },
                // a step may call any service; what only reads, reads this server
                "openWorldHint": self.effect != ToolEffect::Reads,
            },
        })
    }
}

impl Output {
    const fn always(name: &'static str, types: &'static [&'static str]) -> Self {
        Self { name, types, is_required: true }
    }

    const fn sometimes(name: &'static str, types: &'static [&'static str]) -> Self {
        Self { name, types, is_required: false }
    }
}

impl ToolOutput {
    fn new(text: impl Into<String>, structured: &impl Serialize) -> Result<Self, String> {
        let structured = json_text::to_json(structured).map_err(|e| format!("the output is not JSON: {e}"))?;
        Ok(Self { text: console::strip_ansi_codes(&text.into()).into_owned(), structured })
    }
}

/// Returns the sentence for a failed request, with how long to wait if the server is overloaded.
fn problem(error: ClientError) -> String {
    match error {
        ClientError::PushedBack { message, after } => {
            format!("the server is overloaded: {message}; call this tool again in {} s", after.as_secs().max(1))
        }
        other => other.to_string(),
    }
}

/// Returns a value, or a note of its size if it has more than `bytes` bytes. An encrypted value is
/// described.
fn bounded(value: &Json, bytes: usize) -> Json {
    #[derive(Serialize)]
    struct LeftOut<'a> {
        stepladder_left_out: LeftOutValue<'a>,
    }
    #[derive(Serialize)]
    struct LeftOutValue<'a> {
        bytes: usize,
        begins: &'a str,
    }
    const BEGINNING: usize = 500;
    let value = encrypted::described_json(value);
    let text = value.get();
    if text.len() <= bytes {
        return value;
    }
    let begins = &text[..text.floor_char_boundary(BEGINNING)];
    let note = LeftOut { stepladder_left_out: LeftOutValue { bytes: text.len(), begins } };
    json_text::to_json(&note).unwrap_or_else(|_| json_text::null())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_what_destroys_is_annotated() {
        let described: Vec<Value> = TOOLS.into_iter().map(Tool::describe).collect();
        let names: HashSet<&str> = described.iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names.len(), TOOLS.len());
        let destroying = described.iter().filter(|tool| tool["annotations"]["destructiveHint"] == true);
        assert_eq!(destroying.map(|tool| &tool["name"]).collect::<Vec<_>>(), ["rerun_run", "cancel_run"]);
        let changing = described.iter().filter(|tool| tool["annotations"]["readOnlyHint"] == false);
        assert_eq!(changing.count(), 3);
    }

    #[test]
    fn a_large_value_is_replaced_with_its_size_and_its_beginning() {
        let value = |text: &str| -> Json { serde_json::from_str(text).unwrap() };
        assert_eq!(bounded(&value("[1.00]"), 6).get(), "[1.00]");
        let encrypted = r#"{"stepladder/encrypted":{"key":"k1","for":{"place":"output"},"data":"AAAA"}}"#;
        assert_eq!(bounded(&value(encrypted), 40).get(), "\"encrypted with key k1, 3 bytes\"");
        let large = format!("\"{}\"", "é".repeat(600));
        let short: Value = serde_json::from_str(bounded(&value(&large), 1_000).get()).unwrap();
        assert_eq!(short["stepladder_left_out"]["bytes"], 1_202);
        assert!(short["stepladder_left_out"]["begins"].as_str().unwrap().len() <= 500);
    }
}
