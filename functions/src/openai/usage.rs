//! Records the tokens and the cost of an answer with the executing step.
//!
//! OpenAI's two interfaces have different names for the same numbers. If a server sends no numbers,
//! nothing is recorded.

use serde::Deserialize;
use stepladder::Usage;

use super::prices::micro_dollars;

/// The part of a response that contains the model and the numbers of tokens.
#[derive(Debug, Default, Deserialize)]
struct MeteredResponse {
    model: Option<String>,
    usage: Option<TokenUsage>,
}

#[derive(Debug, Default, Deserialize)]
struct TokenUsage {
    #[serde(alias = "prompt_tokens")]
    input_tokens: Option<u64>,
    #[serde(alias = "completion_tokens")]
    output_tokens: Option<u64>,
    #[serde(alias = "prompt_tokens_details")]
    input_tokens_details: Option<TokenDetails>,
}

#[derive(Debug, Default, Deserialize)]
struct TokenDetails {
    cached_tokens: Option<u64>,
}

/// Records the usage of an answer with the executing step. If the answer names no model,
/// `requested` is recorded. Call this before anything else reads the answer, because the answer
/// costs money even if it cannot be used.
pub(super) fn record(answer: &serde_json::Value, requested: &str) {
    usage_of(answer, requested).into_iter().for_each(stepladder::record_usage);
}

fn usage_of(answer: &serde_json::Value, requested: &str) -> Option<Usage> {
    let MeteredResponse { model, usage } = MeteredResponse::deserialize(answer).ok()?;
    let TokenUsage { input_tokens, output_tokens, input_tokens_details } = usage?;
    let (input, output) = (input_tokens?, output_tokens.unwrap_or_default());
    let cached = input_tokens_details.and_then(|details| details.cached_tokens).unwrap_or_default();
    let model = model.filter(|name| !name.is_empty()).unwrap_or_else(|| requested.to_owned());
    let cost = micro_dollars(&model, input, cached, output);
    let usage = Usage::new(model).input_tokens(input).cached_input_tokens(cached).output_tokens(output);
    Some(match cost {
        Some(cost) => usage.micro_dollars(cost),
        None => usage,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_interfaces_have_the_same_usage() {
        let chat = json!({"model": "gpt-5-mini-2025-08-07", "usage": {"prompt_tokens": 1_000, "completion_tokens": 300,
            "total_tokens": 1_300, "prompt_tokens_details": {"cached_tokens": 200}}});
        let response = json!({"model": "gpt-5-mini-2025-08-07", "usage": {"input_tokens": 1_000, "output_tokens": 300,
            "input_tokens_details": {"cached_tokens": 200}, "output_tokens_details": {"reasoning_tokens": 100}}});
        let expected = Usage::new("gpt-5-mini-2025-08-07")
            .input_tokens(1_000)
            .cached_input_tokens(200)
            .output_tokens(300)
            .micro_dollars(805);
        assert_eq!(usage_of(&chat, "other"), Some(expected.clone()));
        assert_eq!(usage_of(&response, "other"), Some(expected));
    }

    #[test]
    fn missing_or_invalid_numbers_are_not_an_error() {
        for odd in [json!({}), json!({"usage": null}), json!({"usage": {"prompt_tokens": "many"}}), json!([])] {
            assert_eq!(usage_of(&odd, "m"), None, "{odd}");
        }
        let bare = usage_of(&json!({"usage": {"prompt_tokens": 1}}), "llama3").unwrap();
        assert_eq!((&*bare.model, bare.input_tokens, bare.micro_dollars), ("llama3", 1, None));
    }
}
