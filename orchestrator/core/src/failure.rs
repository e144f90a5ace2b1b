//! A recorded error: a message for people, a code for programs, and what the front end knows about
//! the error.

mod code;
mod posted;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{FAILURE_BYTES, FAILURE_DATA_BYTES, FAILURE_STACK_BYTES, NAME_CHARS};
use crate::sentence::truncated;
use crate::{Json, json};

pub use code::ErrorCode;

/// The nesting depth of a failure's data in the event that reports the end of a run.
const LEVELS: usize = 3;

/// A recorded error: a message for people, a code for programs, and what the front end knows about
/// the error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The error message: a sentence; causes follow after colons. A journal stores at most
    /// [`FAILURE_BYTES`] of it.
    pub message: String,
    /// A code to branch on. A journal stores this code, but not the type of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The name of the error's type, such as `TypeError`. A retry policy may list names that are
    /// not retried. A journal stores at most [`NAME_CHARS`] of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The stack trace. A journal stores at most [`FAILURE_STACK_BYTES`] of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Arc<str>>,
    /// Further fields of the error, as JSON. A journal stores at most [`FAILURE_DATA_BYTES`];
    /// larger data is left out, and the message says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}

impl PartialEq for Failure {
    /// Compares `data` by its JSON value, not by its text.
    fn eq(&self, other: &Self) -> bool {
        let is_same_data = match (&self.data, &other.data) {
            (None, None) => true,
            (Some(data), Some(other)) => json::is_same(data, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        is_same_data
            && (&self.message, &self.code, &self.name, &self.stack)
                == (&other.message, &other.code, &other.name, &other.stack)
    }
}

impl Eq for Failure {}

impl Failure {
    /// Creates a failure with only a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None, name: None, stack: None, data: None }
    }

    /// Creates a failure with a message and a code.
    pub fn with_code(message: impl Into<String>, code: impl Into<ErrorCode>) -> Self {
        Self { code: Some(code.into()), ..Self::new(message) }
    }

    /// Creates the failure that means "check again later": the check of a poll has returned no
    /// value yet. The journal records each check like a failed attempt.
    pub fn not_yet() -> Self {
        Self::with_code("not yet", ErrorCode::NotYet)
    }

    /// Creates the failure that means "check again later", with the state for the next check.
    ///
    /// # Errors
    /// The failure of a check with a state that a journal cannot store: it exceeds
    /// [`POLL_STATE_BYTES`](crate::limits::POLL_STATE_BYTES), is nested too deep, or contains what
    /// databases cannot store.
    pub fn not_yet_with(state: Json) -> Result<Self, Self> {
        let failure = Self { data: Some(state), ..Self::not_yet() };
        failure.problem_of_state().map_or(Ok(failure), Err)
    }

    /// Returns the failure of a check that passes a state to the next check which a journal cannot
    /// store; `None` if it can, or if this is no [`Failure::not_yet`].
    pub(crate) fn problem_of_state(&self) -> Option<Self> {
        let problem = data_problem(self.data.as_ref().filter(|_| self.is_not_yet())?)?;
        let message = format!("the state for the next check {problem}; store large values elsewhere");
        Some(Self::with_code(message, ErrorCode::TooLarge))
    }

    /// Returns whether this failure was created by [`Failure::not_yet`].
    pub fn is_not_yet(&self) -> bool {
        self.code == Some(ErrorCode::NotYet)
    }

    /// Returns the code as a string, if there is one.
    pub fn code(&self) -> Option<&str> {
        self.code.as_ref().map(ErrorCode::as_str)
    }

    /// Returns the message after the name of the error, such as `TypeError: x is undefined`.
    pub fn headline(&self) -> Cow<'_, str> {
        headline(self.name.as_deref(), &self.message)
    }

    /// Returns the number of bytes of all parts.
    pub fn bytes(&self) -> usize {
        let texts =
            [self.code(), self.name.as_deref(), self.stack.as_deref(), self.data.as_ref().map(|data| data.get())];
        self.message.len() + texts.into_iter().flatten().map(str::len).sum::<usize>()
    }

    /// Returns the failure, truncated to the limits of a journal. A long message and a long stack
    /// are truncated and end in `…`; a long code or name is truncated. NUL characters are replaced,
    /// because databases cannot store them. Data that is too large or that databases cannot store
    /// is left out, and the message says so.
    #[must_use]
    pub fn bounded(self) -> Self {
        let Self { message, code, name, stack, data } = self;
        let problem = data.as_ref().and_then(data_problem);
        let note = problem.as_ref().map(|problem| format!(" [the error's data was left out: it {problem}]"));
        let note = note.unwrap_or_default();
        let message = bounded_text(message.into(), FAILURE_BYTES - note.len()).into_owned() + &note;
        let name = name.filter(|name| !name.is_empty());
        Self {
            message,
            code: code.map(ErrorCode::bounded),
            name: name.map(|name| match name.contains('\0') || name.chars().nth(NAME_CHARS).is_some() {
                true => name.replace('\0', "\u{fffd}").chars().take(NAME_CHARS).collect::<String>().into(),
                false => name,
            }),
            stack: stack.map(|stack| match bounded_text((&*stack).into(), FAILURE_STACK_BYTES) {
                Cow::Borrowed(_) => stack,
                Cow::Owned(text) => text.into(),
            }),
            data: data.filter(|_| problem.is_none()),
        }
    }
}

/// Returns a message after the name of its error. The name is omitted if the message starts with
/// it.
pub fn headline<'a>(name: Option<&str>, message: &'a str) -> Cow<'a, str> {
    match name.filter(|name| !message.starts_with(*name)) {
        Some(name) => format!("{name}: {message}").into(),
        None => message.into(),
    }
}

/// Truncates a text to `most` bytes, and replaces NUL characters.
fn bounded_text(text: Cow<'_, str>, most: usize) -> Cow<'_, str> {
    let most_before_ellipsis = most - '…'.len_utf8();
    let text = if text.len() > most { truncated(&text, most_before_ellipsis).into() } else { text };
    if text.contains('\0') { truncated(text.replace('\0', "\u{fffd}"), most_before_ellipsis).into() } else { text }
}

/// Returns why a journal cannot store the data of an error, as the end of a sentence; `None` if it
/// can.
fn data_problem(data: &Json) -> Option<String> {
    let bytes = data.get().len();
    match bytes > FAILURE_DATA_BYTES {
        true => Some(format!("has {bytes} bytes; at most {FAILURE_DATA_BYTES} are allowed")),
        false => json::check_within(data.get(), LEVELS).err().map(|problem| problem.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_version_0_2_0_wrote_it() {
        for (failure, stored) in [
            (Failure::new("no"), r#"{"message":"no"}"#),
            (Failure::with_code("no", "declined"), r#"{"message":"no","code":"declined"}"#),
            (Failure::with_code("no", ErrorCode::TooLarge), r#"{"message":"no","code":"too-large"}"#),
            (Failure::not_yet(), r#"{"message":"not yet","code":"stepladder/not-yet"}"#),
        ] {
            assert_eq!(serde_json::to_string(&failure).unwrap(), stored);
            assert_eq!(serde_json::from_str::<Failure>(stored).unwrap(), failure);
        }
    }

    #[test]
    fn name_stack_and_data_are_stored_only_if_there_are_any() {
        let data = json::to_json(&serde_json::json!({"status": 402})).unwrap();
        let failure = Failure {
            name: Some("CardError".into()),
            stack: Some("at pay".into()),
            data: Some(data),
            ..Failure::with_code("no", "declined")
        };
        let stored = r#"{"message":"no","code":"declined","name":"CardError","stack":"at pay","data":{"status":402}}"#;
        assert_eq!(serde_json::to_string(&failure).unwrap(), stored);
        assert_eq!(serde_json::from_str::<Failure>(stored).unwrap(), failure);
        assert_eq!(failure.bytes(), 2 + 8 + 9 + 6 + 14);
        assert_eq!(failure.clone().bounded(), failure);
        let spaced = stored.replace("402}", "402 }");
        assert_eq!(serde_json::from_str::<Failure>(&spaced).unwrap(), failure, "data is compared by value");
        for other in [
            Failure { name: None, ..failure.clone() },
            Failure { stack: None, ..failure.clone() },
            Failure { data: None, ..failure.clone() },
            Failure { data: Some(json::null()), ..failure.clone() },
        ] {
            assert_ne!(other, failure);
        }
    }

    #[test]
    fn name_stack_and_data_are_bounded() {
        let text = |bytes: usize| -> Json { json::to_json(&"d".repeat(bytes - 2)).unwrap() };
        let failure = Failure {
            name: Some("é\0".repeat(NAME_CHARS).into()),
            stack: Some("é\0".repeat(FAILURE_STACK_BYTES).into()),
            data: Some(text(FAILURE_DATA_BYTES + 1)),
            ..Failure::new("m".repeat(FAILURE_BYTES))
        };
        let bounded = failure.bounded();
        assert_eq!(bounded.name.as_ref().map(|name| name.chars().count()), Some(NAME_CHARS));
        let stack = bounded.stack.clone().unwrap();
        assert!(stack.len() <= FAILURE_STACK_BYTES && stack.len() > FAILURE_STACK_BYTES - 8 && stack.ends_with('…'));
        assert!(!format!("{bounded:?}").contains("\\0"));
        assert!(bounded.message.len() <= FAILURE_BYTES, "{}", bounded.message.len());
        assert!(
            bounded
                .message
                .ends_with("… [the error's data was left out: it has 16385 bytes; at most 16384 are allowed]")
        );
        assert!(bounded.data.is_none());
        assert_eq!(bounded.clone().bounded(), bounded);
        let fits = Failure { data: Some(text(FAILURE_DATA_BYTES)), name: Some("".into()), ..Failure::new("no") };
        let bounded = fits.clone().bounded();
        assert_eq!((&bounded.data.is_some(), &bounded.name), (&true, &None), "an empty name counts as no name");
        let nul = Failure { data: Some(json::to_json("a\0").unwrap()), ..Failure::new("no") }.bounded();
        assert!(nul.data.is_none() && nul.message.contains("contains a NUL character"), "{}", nul.message);
    }

    #[test]
    fn a_headline_has_the_name_once() {
        assert_eq!(headline(Some("TypeError"), "x is undefined"), "TypeError: x is undefined");
        assert_eq!(headline(Some("TypeError"), "TypeError: x is undefined"), "TypeError: x is undefined");
        assert_eq!(headline(None, "no"), "no");
    }

    #[test]
    fn a_code_of_stepladder_is_a_variant_however_it_is_written() {
        assert_eq!(ErrorCode::from("timeout"), ErrorCode::Timeout);
        assert_eq!(ErrorCode::from(String::from("undecodable-memo")), ErrorCode::Undecodable);
        assert_eq!(ErrorCode::from("http-429"), ErrorCode::Other("http-429".into()));
        assert_eq!(serde_json::from_str::<ErrorCode>(r#""cancell\u0065d""#).unwrap(), ErrorCode::Cancelled);
    }
}
