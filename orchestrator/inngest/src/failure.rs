//! Errors: as an SDK reports them, and as it wants them back.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use stepladder_core::limits::FAILURE_DATA_BYTES;
use stepladder_core::{ErrorCode, Failure, json as values};

/// The name that the SDKs expect of a call whose time is over.
const INVOKE_TIMEOUT: &str = "InngestInvokeTimeoutError";

/// The fields of an SDK's error that become the data of the failure.
const DATA: [&str; 2] = ["cause", "code"];

/// Returns the failure that an SDK's error describes. The cause and the code of the error become
/// its data.
pub(crate) fn failure_of(error: &Value) -> Failure {
    let text = |field: &str| error.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = match error {
        Value::String(message) => message.clone(),
        Value::Null => "the app reported an error without a message".to_owned(),
        // a step that was not found is reported as `error`
        other => text("message").or_else(|| text("error")).map_or_else(|| other.to_string(), str::to_owned),
    };
    let field = |name: &str| Some((name.to_owned(), error.get(name).filter(|value| !value.is_null())?.clone()));
    let fields: Map<String, Value> = DATA.into_iter().filter_map(field).collect();
    let data = (!fields.is_empty()).then(|| values::to_json(&fields).ok()).flatten();
    Failure {
        name: text("name").map(Arc::from),
        stack: text("stack").map(Arc::from),
        // larger data would be left out with a remark in the message, which the code would see
        data: data.filter(|data| data.get().len() <= FAILURE_DATA_BYTES && values::check_within(data.get(), 3).is_ok()),
        ..Failure::new(message)
    }
}

/// Returns a recorded failure as an SDK wants it back.
pub(crate) fn error_of(failure: &Failure) -> Value {
    let mut error = Map::new();
    if failure.code == Some(ErrorCode::InvokeTimeout) {
        return json!({"name": INVOKE_TIMEOUT, "message": failure.message});
    }
    error.insert("name".into(), failure.name.as_deref().unwrap_or("Error").into());
    error.insert("message".into(), failure.message.as_str().into());
    if let Some(stack) = &failure.stack {
        error.insert("stack".into(), (**stack).into());
    }
    let data = failure.data.as_ref().and_then(|data| serde_json::from_str::<Value>(data.get()).ok());
    for name in DATA {
        if let Some(value) = data.as_ref().and_then(|data| data.get(name)) {
            error.insert(name.into(), value.clone());
        }
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_back_as_it_was_reported() {
        let error = json!({
            "name": "TypeError", "message": "bad", "stack": "TypeError: bad\n    at x",
            "cause": {"name": "Error", "message": "deep"}, "code": "unknown",
        });
        let failure = failure_of(&error);
        assert_eq!((failure.name.as_deref(), &*failure.message), (Some("TypeError"), "bad"));
        assert_eq!(error_of(&failure.bounded()), error);
    }

    #[test]
    fn an_error_of_another_form_still_has_a_message() {
        assert_eq!(failure_of(&json!("no")).message, "no");
        assert_eq!(failure_of(&json!({"error": "Could not find step"})).message, "Could not find step");
        assert_eq!(failure_of(&json!({"a": 1})).message, r#"{"a":1}"#);
        assert!(!failure_of(&Value::Null).message.is_empty());
        let cause = "x".repeat(FAILURE_DATA_BYTES);
        let failure = failure_of(&json!({"message": "no", "cause": cause}));
        assert_eq!((failure.bounded().message.as_str(), "no"), ("no", "no"), "a large cause is left out");
    }
}
