//! Values on a page: JSON is indented, folded if long, and cut if large. A page has a byte budget
//! for all its values; the rest of a value is loaded on demand, or has a page of its own.

use serde_json::value::RawValue;
use stepladder_core::{Failure, encrypted};

use super::json::{indent_json, json_html};
use super::text::{brief, format_size, sentence};

/// The maximum size of one value as HTML, in bytes. In HTML, quotes and line breaks take several
/// bytes.
const VALUE_BYTES: usize = 48 * 1024;
/// The maximum size of all values on a page as HTML, in bytes.
const PAGE_BYTES: usize = 3 * VALUE_BYTES;
/// The maximum size of all errors, names and log lines on a page as HTML, in bytes.
const WORDS_BYTES: usize = 32 * 1024;
/// The maximum size of a string once the budget is used up, in bytes.
const SHORT_BYTES: usize = 24;
/// The size of a value as HTML once the budget is used up, in bytes.
const SHORT_VALUE_BYTES: usize = 512;
/// The maximum size of a value that the page's script shows in full, in bytes. Larger values have a
/// page of their own.
const LAZY_BYTES: usize = 64 * 1024;
/// The maximum size of a value on a page of its own as HTML, in bytes.
const OWN_PAGE_BYTES: usize = 1024 * 1024;

/// The unused part of a page's byte budget, separately for values and for words.
pub(super) struct PageByteBudget {
    values: usize,
    words: usize,
}

/// A value in the form in which a page shows it.
pub(super) struct ShownValue {
    /// The value as HTML: escaped text with folds.
    pub(super) html: String,
    /// Whether the value was cut.
    pub(super) cut: bool,
    /// Whether the page's script loads the rest when the value becomes visible.
    pub(super) lazy: bool,
    /// The size of the value, formatted for people.
    pub(super) size: String,
    /// The path of the value as a file.
    pub(super) link: String,
}

impl ShownValue {
    /// Prepares a value for a page of its own.
    pub(super) fn on_own_page(json: &RawValue, link: String) -> Self {
        Self::new(json, link, OWN_PAGE_BYTES)
    }

    /// Returns the path of the value's own page.
    pub(super) fn page(&self) -> String {
        self.link_to("page")
    }

    /// Returns the path of the value as plain text.
    pub(super) fn raw(&self) -> String {
        self.link_to("raw")
    }

    fn link_to(&self, view: &str) -> String {
        format!("{}{}view={view}", self.link, if self.link.contains('?') { '&' } else { '?' })
    }

    fn new(json: &RawValue, link: String, most: usize) -> Self {
        let whole = &*encrypted::described(json.get());
        let (html, cut) = json_html(whole, most);
        Self { html, cut, lazy: cut && whole.len() <= LAZY_BYTES, size: format_size(json.get().len()), link }
    }
}

impl PageByteBudget {
    pub(super) fn new() -> Self {
        Self { values: PAGE_BYTES, words: WORDS_BYTES }
    }

    /// Prepares a value for the page. The value can be read in full at `link`.
    pub(super) fn show(&mut self, json: &RawValue, link: String) -> ShownValue {
        let shown = ShownValue::new(json, link, VALUE_BYTES.min(self.values.max(SHORT_VALUE_BYTES)));
        self.values = self.values.saturating_sub(shown.html.len());
        shown
    }

    /// Truncates a string to `most` bytes, or to fewer once the budget is used up.
    pub(super) fn show_words(&mut self, text: &str, most: usize) -> String {
        let mut words = brief(text, most);
        if escaped_len(&words) > self.words {
            words = brief(text, most.min(SHORT_BYTES));
        }
        self.words = self.words.saturating_sub(escaped_len(&words));
        words
    }
}

/// A failure in the form in which a page shows it.
pub(super) struct ShownFailure {
    /// The name, the message and the code.
    pub(super) sentence: String,
    pub(super) stack: Option<String>,
    /// The data of the error, as indented JSON.
    pub(super) data: Option<String>,
}

impl PageByteBudget {
    /// Prepares a failure for the page. Each of its parts has at most `most` bytes.
    pub(super) fn show_failure(&mut self, failure: &Failure, most: usize) -> ShownFailure {
        ShownFailure {
            sentence: self.show_words(&sentence(failure), most),
            stack: failure.stack.as_ref().map(|stack| self.show_words(stack, most)),
            data: failure
                .data
                .as_ref()
                .map(|data| self.show_words(&indent_json(&encrypted::described(data.get())), most)),
        }
    }
}

/// Returns the size of a string as HTML, in bytes.
pub(super) fn escaped_len(text: &str) -> usize {
    let marks = text.bytes().filter(|byte| matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'')).count();
    text.len() + 4 * marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_when_the_budget_is_used_up() {
        let mut budget = PageByteBudget::new();
        let quotes = "\"".repeat(400);
        let bytes: usize = (0..1_000).map(|_| escaped_len(&budget.show_words(&quotes, 400))).sum();
        assert!(bytes < WORDS_BYTES + 1_000 * (5 * SHORT_BYTES + 3), "{bytes}");
        assert_eq!(PageByteBudget::new().show_words("short", 400), "short");
    }

    #[test]
    fn the_values_of_a_page_stay_within_its_budget() {
        let large = RawValue::from_string(format!("\"{}\"", "é".repeat(1 << 19))).unwrap();
        let shown = PageByteBudget::new().show(&large, "/all".into());
        assert!(shown.cut && !shown.lazy && shown.html.len() < 49 * 1024 && shown.size == "1.0 MB");
        let medium = RawValue::from_string(format!("[{}1]", "1,".repeat(20_000))).unwrap();
        let shown = PageByteBudget::new().show(&medium, "/all".into());
        assert!(shown.cut && shown.lazy, "the script loads a value of 40 KB");
        assert!(!ShownValue::on_own_page(&medium, "/all".into()).cut);
        let mut budget = PageByteBudget::new();
        let digits = RawValue::from_string(format!("[{}1]", "1,".repeat(400))).unwrap();
        let quotes = RawValue::from_string(format!("\"{}\"", "\\\"".repeat(1_000))).unwrap();
        let bytes: usize = (0..200).map(|i| budget.show([&*digits, &*quotes][i % 2], String::new()).html.len()).sum();
        assert!(bytes < PAGE_BYTES + VALUE_BYTES + 200 * 4 * SHORT_VALUE_BYTES, "{bytes}");
    }
}
