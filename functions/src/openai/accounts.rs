//! What a model read and wrote, told to the step that asked.
//!
//! The two interfaces name the same numbers differently. Servers that imitate OpenAI may leave them out; then nothing is
//! recorded.

use serde::Deserialize;
use stepladder::Usage;

use super::prices::micro_dollars;

/// The part of an answer that says what it used.
#[derive(Debug, Default, Deserialize)]
struct Account {
    model: Option<String>,
    usage: Option<Tokens>,
}

#[derive(Debug, Default, Deserialize)]
struct Tokens {
    #[serde(alias = "prompt_tokens")]
    input_tokens: Option<u64>,
    #[serde(alias = "completion_tokens")]
    output_tokens: Option<u64>,
    #[serde(alias = "prompt_tokens_details")]
    input_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

/// Records what an answer used with the step that is running; `asked` is the model that was asked for, should the answer
/// not name one. To be called before anything else is made of the answer: it is paid for, whatever is wrong with it.
pub(super) fn record(answer: &serde_json::Value, asked: &str) {
    used_by(answer, asked).into_iter().for_each(stepladder::usage);
}

fn used_by(answer: &serde_json::Value, asked: &str) -> Option<Usage> {
    let Account { model, usage } = Account::deserialize(answer).ok()?;
    let Tokens { input_tokens, output_tokens, input_tokens_details } = usage?;
    let (input, output) = (input_tokens?, output_tokens.unwrap_or_default());
    let cached = input_tokens_details.and_then(|details| details.cached_tokens).unwrap_or_default();
    let model = model.filter(|name| !name.is_empty()).unwrap_or_else(|| asked.to_owned());
    Some(Usage {
        micro_dollars: micro_dollars(&model, input, cached, output),
        model: model.into(),
        input_tokens: input,
        cached_input_tokens: cached,
        output_tokens: output,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_interfaces_come_to_the_same() {
        let chat = json!({"model": "gpt-5-mini-2025-08-07", "usage": {"prompt_tokens": 1_000, "completion_tokens": 300,
            "total_tokens": 1_300, "prompt_tokens_details": {"cached_tokens": 200}}});
        let response = json!({"model": "gpt-5-mini-2025-08-07", "usage": {"input_tokens": 1_000, "output_tokens": 300,
            "input_tokens_details": {"cached_tokens": 200}, "output_tokens_details": {"reasoning_tokens": 100}}});
        let expected = Usage {
            model: "gpt-5-mini-2025-08-07".into(),
            input_tokens: 1_000,
            cached_input_tokens: 200,
            output_tokens: 300,
            micro_dollars: Some(805),
        };
        assert_eq!(used_by(&chat, "other"), Some(expected.clone()));
        assert_eq!(used_by(&response, "other"), Some(expected));
    }

    #[test]
    fn what_is_left_out_or_foreign_is_no_error() {
        for odd in [json!({}), json!({"usage": null}), json!({"usage": {"prompt_tokens": "many"}}), json!([])] {
            assert_eq!(used_by(&odd, "m"), None, "{odd}");
        }
        let bare = used_by(&json!({"usage": {"prompt_tokens": 1}}), "llama3").unwrap();
        assert_eq!((&*bare.model, bare.input_tokens, bare.micro_dollars), ("llama3", 1, None));
    }
}
