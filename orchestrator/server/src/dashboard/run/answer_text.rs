//! The answer of a language model in the output of a step, as text.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dashboard::prose::push_prose;

/// The maximum size of an output that is searched for an answer, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// The maximum size of an answer as HTML, in bytes.
const HTML_BYTES: usize = 32 * 1024;

/// Returns the answer as HTML, if the output has the form of a response of OpenAI's or Anthropic's
/// interface. The answer must have several lines; the output shows a short one well.
pub(super) fn answer_of(output: &RawValue) -> Option<String> {
    if output.get().len() > MAX_BYTES {
        return None;
    }
    let output: Value = serde_json::from_str(output.get()).ok()?;
    let places = ["/choices/0/message/content", "/output/0/content/0/text", "/content/0/text", "/output_text"];
    let answer = places.into_iter().find_map(|place| output.pointer(place)?.as_str())?;
    let mut html = String::new();
    push_prose(&mut html, answer, HTML_BYTES);
    Some(html).filter(|_| answer.trim().contains('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_where_the_services_put_them() {
        let of = |json: Value| answer_of(&RawValue::from_string(json.to_string()).unwrap());
        let text = "**Yes**\nand <no>";
        let html = Some("<p dir=\"auto\"><strong>Yes</strong></p><p dir=\"auto\">and &#60;no&#62;</p>".to_owned());
        assert_eq!(of(serde_json::json!({"choices": [{"message": {"content": text}}]})), html);
        assert_eq!(of(serde_json::json!({"content": [{"type": "text", "text": text}]})), html);
        assert_eq!(of(serde_json::json!({"content": [{"text": "one line"}]})), None);
        assert_eq!(of(serde_json::json!({"answer": text})), None);
    }
}
