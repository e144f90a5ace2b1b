//! The prices of OpenAI's models.
//!
//! Source: OpenAI's price list, <https://platform.openai.com/docs/pricing>, standard tier, without
//! batch prices and regional surcharges. The numbers come from third-party lists that cite this
//! page and agree with each other (2026-11-28), so check them before you use them for billing. For
//! a model that is not listed here, the tokens are recorded without a cost.

/// The prices of one token in nano-dollars. For example, 250 means 25 cents per million tokens.
struct Price {
    model: &'static str,
    input: u64,
    cached_input: u64,
    output: u64,
}

const fn price(model: &'static str, input: u64, cached_input: u64, output: u64) -> Price {
    Price { model, input, cached_input, output }
}

const PRICES: [Price; 9] = [
    price("gpt-5.1", 1_250, 125, 10_000),
    price("gpt-5", 1_250, 125, 10_000),
    price("gpt-5-mini", 250, 25, 2_000),
    price("gpt-5-nano", 50, 5, 400),
    price("gpt-4.1", 2_000, 500, 8_000),
    price("gpt-4.1-mini", 400, 100, 1_600),
    price("gpt-4.1-nano", 100, 25, 400),
    price("gpt-4o", 2_500, 1_250, 10_000),
    price("gpt-4o-mini", 150, 75, 600),
];

/// Returns the cost in micro-dollars, rounded up; `None` if the model's price is unknown. `cached`
/// is the number of input tokens that came from a cache.
pub(super) fn micro_dollars(model: &str, input: u64, cached: u64, output: u64) -> Option<u64> {
    let price = PRICES.iter().find(|price| is_version_of(price.model, model))?;
    let cached = cached.min(input);
    let parts = [(input - cached, price.input), (cached, price.cached_input), (output, price.output)];
    let cost = parts.into_iter().map(|(tokens, each)| tokens.saturating_mul(each)).fold(0, u64::saturating_add);
    Some(cost.div_ceil(1_000))
}

/// Returns whether a name means this model or a dated version of it. For example,
/// `gpt-5-mini-2025-08-07` is a version of `gpt-5-mini`.
fn is_version_of(name: &str, model: &str) -> bool {
    let Some(rest) = model.strip_prefix(name) else { return false };
    let is_date = |date: &str| {
        let parts: Vec<&str> = date.split('-').collect();
        let digits = |part: &&str| part.chars().all(|c| c.is_ascii_digit());
        matches!(parts[..], ["", year, month, day] if (year.len(), month.len(), day.len()) == (4, 2, 2))
            && parts.iter().all(digits)
    };
    rest.is_empty() || is_date(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_from_a_cache_are_cheaper_and_the_sum_is_rounded_up() {
        assert_eq!(micro_dollars("gpt-5-mini", 1_000_000, 0, 0), Some(250_000));
        assert_eq!(micro_dollars("gpt-5-mini", 1_000_000, 1_000_000, 0), Some(25_000));
        assert_eq!(micro_dollars("gpt-5-mini", 1_000, 200, 300), Some(805));
        assert_eq!(micro_dollars("gpt-5-mini", 1, 0, 0), Some(1));
        assert_eq!(micro_dollars("gpt-5-mini", 0, 0, 0), Some(0));
    }

    #[test]
    fn a_dated_version_costs_the_same_and_a_longer_name_is_another_model() {
        assert_eq!(micro_dollars("gpt-4o-2024-08-06", 0, 0, 1_000_000), Some(10_000_000));
        assert_eq!(micro_dollars("gpt-4o-mini-2024-07-18", 0, 0, 1_000_000), Some(600_000));
        for unknown in ["gpt-4o-audio-preview", "gpt-5-pro", "gpt-5-mini-2025", "llama3", ""] {
            assert_eq!(micro_dollars(unknown, 1, 0, 1), None, "{unknown}");
        }
    }
}
