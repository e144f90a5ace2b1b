//! Labels: keys and values by which people find runs, such as `clientId` = `cust-42`.
//!
//! A function declares a label with a CEL expression over its event. The expression is evaluated
//! when a run is created, and entry 0 of the run keeps the result. Stores index it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::expr::Expr;
use crate::sentence::shortened;
use crate::spec::LazyExprScope;

/// The maximum number of labels of a function, and of a run.
pub const LABELS: usize = 8;
/// The maximum number of characters in the key of a label.
pub const LABEL_KEY_CHARS: usize = 64;
/// The maximum size of the value of a label: 256 bytes. A run whose value is longer does not get
/// the label.
pub const LABEL_BYTES: usize = 256;

/// A label of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// The key, such as `clientId`.
    pub key: Arc<str>,
    /// The value, such as `cust-42`.
    pub value: Arc<str>,
}

/// A label that a function declares.
#[derive(Clone, Debug)]
pub struct LabelSpec {
    /// The key of the label.
    pub key: Arc<str>,
    /// The CEL expression over `event` that returns the value.
    pub value: Expr,
}

impl Label {
    /// Creates a label.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the key or the value.
    pub fn new(key: &str, value: &str) -> Result<Self, String> {
        if let Some(problem) = label_key_problem(key) {
            return Err(format!("the key of label `{}` {problem}", shortened(key)));
        }
        if value.is_empty() {
            return Err(format!("the value of label `{key}` is empty"));
        }
        if value.len() > LABEL_BYTES {
            return Err(format!("the value of label `{key}` has {} bytes; use at most {LABEL_BYTES}", value.len()));
        }
        Ok(Self { key: key.into(), value: value.into() })
    }
}

impl LabelSpec {
    /// Evaluates the labels for an event. A label is left out if its value is empty or null, is too
    /// long, or cannot be evaluated, for example because the field is missing.
    pub fn evaluate(labels: &[Self], scope: &mut LazyExprScope<'_>) -> Vec<Label> {
        let label = |spec: &Self| {
            let value = spec.value.eval_key(scope.get()).ok()?;
            let is_kept = !value.is_empty() && value != "null" && value.len() <= LABEL_BYTES;
            is_kept.then(|| Label { key: spec.key.clone(), value: value.into() })
        };
        labels.iter().filter_map(label).collect()
    }
}

/// Returns what is wrong with the key of a label, as the end of a sentence; `None` if it is valid.
pub fn label_key_problem(key: &str) -> Option<String> {
    let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    if key.is_empty() {
        return Some("is empty".into());
    }
    if let Some(bad) = key.chars().find(|char| !is_allowed(*char)) {
        return Some(format!("contains `{}`; use letters, digits, `_`, `-` and `.`", bad.escape_debug()));
    }
    let chars = key.len();
    (chars > LABEL_KEY_CHARS).then(|| format!("has {chars} characters; use at most {LABEL_KEY_CHARS}"))
}

impl fmt::Display for Label {
    /// Writes the label as `key=value`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl FromStr for Label {
    type Err = String;

    /// Parses `key=value`.
    fn from_str(text: &str) -> Result<Self, String> {
        let no_label = || format!("`{}` is no label; use KEY=VALUE, such as clientId=cust-42", shortened(text));
        let (key, value) = text.split_once('=').ok_or_else(no_label)?;
        Self::new(key, value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{EventId, NewEvent, Timestamp};

    #[test]
    fn a_label_is_read_as_it_is_written() {
        let label: Label = "clientId=a=b".parse().unwrap();
        assert_eq!((&*label.key, &*label.value, label.to_string()), ("clientId", "a=b", "clientId=a=b".into()));
        for (bad, says) in [
            ("clientId", "no label"),
            ("=x", "is empty"),
            ("a b=x", "contains ` `"),
            ("a=", "value of label `a` is empty"),
            (&format!("{}=x", "k".repeat(65)), "65 characters"),
            (&format!("a={}", "x".repeat(257)), "257 bytes"),
        ] {
            let refused = bad.parse::<Label>().unwrap_err();
            assert!(refused.contains(says), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_value_that_is_missing_empty_or_too_long_gives_no_label() {
        let spec = |key: &str, cel: &str| LabelSpec { key: key.into(), value: Expr::compile(cel).unwrap() };
        let specs = ["id", "gone", "empty", "none", "long", "list", "n"]
            .map(|field| spec(field, &format!("event.data.{field}")));
        let data = json!({"id": "c1", "empty": "", "none": null, "long": "x".repeat(257), "list": [1], "n": 7});
        let now = Timestamp::from_millis(1_000);
        let event = NewEvent::new("a", crate::json::to_json(&data).unwrap()).accept(EventId::new(now, 1), now);
        let labels = LabelSpec::evaluate(&specs, &mut LazyExprScope::new(&event));
        assert_eq!(labels.iter().map(ToString::to_string).collect::<Vec<_>>(), ["id=c1", "n=7"]);
    }
}
