//! The arguments of tools: one table per tool, from which its schema follows and by which a call is
//! checked.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use stepladder_core::{Json, Label, RunId, Status};

use crate::cli::run_selection::{parse_label, parse_time};
use crate::cli::{parse_run_id, parse_status};

/// An argument of a tool.
pub(super) struct Argument {
    pub(super) name: &'static str,
    pub(super) kind: ArgumentKind,
    pub(super) is_required: bool,
    pub(super) description: &'static str,
}

/// The type of an argument.
#[derive(Clone, Copy)]
pub(super) enum ArgumentKind {
    Text,
    /// The id of a run.
    Run,
    Status,
    /// A label, such as `clientId=cust-42`.
    Label,
    /// A time, or a time span before now.
    Time,
    Object,
    Number {
        min: u64,
        max: u64,
        default: u64,
    },
}

/// The arguments of a call. They are those of the tool's table, and valid.
pub(super) struct Arguments(BTreeMap<String, Json>);

impl Argument {
    pub(super) const fn required(name: &'static str, kind: ArgumentKind, description: &'static str) -> Self {
        Self { name, kind, is_required: true, description }
    }

    pub(super) const fn optional(name: &'static str, kind: ArgumentKind, description: &'static str) -> Self {
        Self { name, kind, is_required: false, description }
    }

    fn schema(&self) -> Value {
        let mut schema = match self.kind {
            ArgumentKind::Text => json!({"type": "string", "minLength": 1}),
            ArgumentKind::Run => json!({"type": "string", "minLength": 26, "maxLength": 26}),
            ArgumentKind::Status => {
                json!({"type": "string", "enum": ["Scheduled", "Running", "Completed", "Failed", "Cancelled", "Skipped"]})
            }
            ArgumentKind::Label | ArgumentKind::Time => json!({"type": "string"}),
            ArgumentKind::Object => json!({"type": "object"}),
            ArgumentKind::Number { min, max, default } => {
                json!({"type": "integer", "minimum": min, "maximum": max, "default": default})
            }
        };
        schema["description"] = self.description.into();
        schema
    }

    /// Checks a value.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    fn check(&self, value: &Json) -> Result<(), String> {
        let text = || match serde_json::from_str::<String>(value.get()) {
            Ok(text) if text.is_empty() => Err("it is empty".to_owned()),
            Ok(text) => Ok(text),
            Err(_) => Err("it is not a string".to_owned()),
        };
        match self.kind {
            ArgumentKind::Text => text().map(drop),
            ArgumentKind::Run => parse_run_id(&text()?).map(drop),
            ArgumentKind::Status => parse_status(&text()?).map(drop),
            ArgumentKind::Label => parse_label(&text()?).map(drop),
            ArgumentKind::Time => parse_time(&text()?).map(drop),
            ArgumentKind::Object => match value.get().starts_with('{') {
                true => Ok(()),
                false => Err("it is not a JSON object".into()),
            },
            ArgumentKind::Number { min, max, .. } => match serde_json::from_str::<u64>(value.get()) {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                Ok(number) => Err(format!("it is {number}; use {min} to {max}")),
                Err(_) => Err(format!("it is not a whole number from {min} to {max}")),
            },
        }
    }
}

/// Returns the JSON schema of a tool's arguments.
pub(super) fn schema(arguments: &[Argument]) -> Value {
    let properties: Map<String, Value> =
        arguments.iter().map(|argument| (argument.name.to_owned(), argument.schema())).collect();
    let required: Vec<&str> =
        arguments.iter().filter(|argument| argument.is_required).map(|argument| argument.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

impl Arguments {
    /// Checks the arguments of a call. An optional argument may be `null`.
    ///
    /// # Errors
    /// A sentence with the name of the argument.
    pub(super) fn check(known: &[Argument], mut given: BTreeMap<String, Json>) -> Result<Self, String> {
        if let Some(name) = given.keys().find(|name| !known.iter().any(|argument| argument.name == **name)) {
            let names: Vec<String> = known.iter().map(|argument| format!("`{}`", argument.name)).collect();
            let takes = match names.is_empty() {
                true => "it takes none".to_owned(),
                false => format!("it takes {}", names.join(", ")),
            };
            return Err(format!("`{name}` is no argument of this tool; {takes}"));
        }
        for argument in known {
            let name = argument.name;
            match given.get(name) {
                Some(value) if value.get() == "null" && !argument.is_required => _ = given.remove(name),
                Some(value) => argument.check(value).map_err(|problem| format!("`{name}`: {problem}"))?,
                None if argument.is_required => return Err(format!("`{name}` is missing: {}", argument.description)),
                None => {}
            }
        }
        Ok(Self(given))
    }

    /// Returns a text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(|value| serde_json::from_str(value.get()).ok())
    }

    /// Returns a JSON object.
    pub(super) fn object(&self, name: &str) -> Option<Json> {
        self.0.get(name).cloned()
    }

    /// Returns a number, or its default from the table.
    pub(super) fn number(&self, known: &[Argument], name: &str) -> u64 {
        let given = self.0.get(name).and_then(|value| serde_json::from_str(value.get()).ok());
        let default = known.iter().find(|argument| argument.name == name).map(|argument| argument.kind);
        match (given, default) {
            (Some(number), _) | (None, Some(ArgumentKind::Number { default: number, .. })) => number,
            (None, _) => 0,
        }
    }

    /// Returns the id of the run.
    ///
    /// # Errors
    /// It is missing.
    pub(super) fn run(&self) -> Result<RunId, String> {
        parse_run_id(&self.text("run_id").unwrap_or_default()).map_err(|problem| format!("`run_id`: {problem}"))
    }

    pub(super) fn status(&self, name: &str) -> Option<Status> {
        self.text(name).and_then(|text| parse_status(&text).ok())
    }

    pub(super) fn label(&self, name: &str) -> Option<Label> {
        self.text(name).and_then(|text| parse_label(&text).ok())
    }

    /// Returns a time, as the parameter of a query.
    pub(super) fn time(&self, name: &str) -> Option<String> {
        self.text(name).and_then(|text| parse_time(&text).ok()).map(|time| time.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Argument; 5] = [
        Argument::required("run_id", ArgumentKind::Run, "the id of the run"),
        Argument::optional("limit", ArgumentKind::Number { min: 1, max: 9, default: 5 }, "how many"),
        Argument::optional("status", ArgumentKind::Status, "which"),
        Argument::optional("input", ArgumentKind::Object, "the data"),
        Argument::optional("since", ArgumentKind::Time, "from when on"),
    ];
    const RUN: &str = "01KAVZ9Y3M0000000000000001";

    fn check(given: &str) -> Result<Arguments, String> {
        Arguments::check(&KNOWN, serde_json::from_str(given).unwrap())
    }

    #[test]
    fn a_bad_argument_is_refused_by_its_name() {
        for (given, says) in [
            ("{}", "`run_id` is missing: the id of the run"),
            (r#"{"run_id":null}"#, "`run_id`: it is not a string"),
            (r#"{"run_id":"x"}"#, "`run_id`: a run's id has 26"),
            (r#"{"run":"x"}"#, "`run` is no argument of this tool; it takes `run_id`, `limit`"),
            (r#"{"run_id":"RUN","limit":10}"#, "`limit`: it is 10; use 1 to 9"),
            (r#"{"run_id":"RUN","limit":1.5}"#, "`limit`: it is not a whole number"),
            (r#"{"run_id":"RUN","limit":"1"}"#, "`limit`: it is not a whole number"),
            (r#"{"run_id":"RUN","status":"done"}"#, "`status`: `done` is not a status"),
            (r#"{"run_id":"RUN","input":[]}"#, "`input`: it is not a JSON object"),
            (r#"{"run_id":"RUN","since":"yesterday"}"#, "`since`: `yesterday` is not a time"),
            (r#"{"run_id":"RUN","since":""}"#, "`since`: it is empty"),
        ] {
            let refused = check(&given.replace("RUN", RUN)).err().unwrap_or_default();
            assert!(refused.starts_with(says), "{given}: {refused}");
        }
    }

    #[test]
    fn arguments_have_their_values_or_defaults() {
        let arguments = check(&format!(r#"{{"run_id":"{RUN}","input":{{"n":1.00}},"status":null}}"#)).ok().unwrap();
        assert_eq!(arguments.run().unwrap().to_string(), RUN);
        assert_eq!(arguments.number(&KNOWN, "limit"), 5);
        assert_eq!(arguments.object("input").unwrap().get(), r#"{"n":1.00}"#);
        assert!(arguments.status("status").is_none());
    }

    #[test]
    fn the_schema_allows_no_other_arguments() {
        let schema = schema(&KNOWN);
        assert_eq!((&schema["required"], &schema["additionalProperties"]), (&json!(["run_id"]), &json!(false)));
        assert_eq!(schema["properties"]["limit"]["maximum"], 9);
    }
}
