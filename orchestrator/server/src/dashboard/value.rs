//! JSON values on a page: indented, folded if long, truncated if large. A page has a byte budget
//! for all its values; a value that exceeds the budget becomes a link.

use std::fmt::Write;

use serde_json::value::RawValue;
use stepladder_core::Failure;

use super::text::{brief, format_size, sentence, truncate};

/// The maximum size of one value as HTML, in bytes. In HTML, quotes and line breaks take several
/// bytes.
const VALUE_BYTES: usize = 24 * 1024;
/// The maximum size of all values on a page as HTML, in bytes.
const PAGE_BYTES: usize = 40 * 1024;
/// The maximum size of all errors, names and log lines on a page as HTML, in bytes.
const WORDS_BYTES: usize = 32 * 1024;
/// The maximum size of a string once the budget is used up, in bytes.
const SHORT_BYTES: usize = 24;
/// The number of bytes that are shown of a value that is too large.
const CUT_BYTES: usize = 1024;
/// An array or an object within a value is folded if it has more lines than this.
const FOLD_LINES: usize = 12;
/// The maximum nesting depth of folds, because HTML parsers limit nesting.
const FOLD_LEVELS: usize = 8;

/// The unused part of a page's byte budget, separately for values and for words.
pub(super) struct PageByteBudget {
    values: usize,
    words: usize,
}

/// A value in the form in which a page shows it.
pub(super) struct ShownValue {
    /// The value as HTML: escaped text with folds.
    pub(super) html: String,
    /// Whether the value was truncated.
    pub(super) cut: bool,
    /// The size of the value, formatted for people.
    pub(super) size: String,
    /// The path under which the value can be read in full.
    pub(super) link: String,
}

impl PageByteBudget {
    pub(super) fn new() -> Self {
        Self { values: PAGE_BYTES, words: WORDS_BYTES }
    }

    /// Prepares a value for the page. The value can be read in full at `link`.
    pub(super) fn show(&mut self, json: &RawValue, link: String) -> ShownValue {
        let whole = json.get();
        let most = VALUE_BYTES.min(self.values);
        // indenting and escaping only make a value longer, so a value that is too long needs
        // neither
        let fitting =
            (whole.len() <= most).then(|| fold_long_parts(&indent_json(whole))).filter(|html| html.len() <= most);
        let is_cut = fitting.is_none();
        // a truncated value is not valid JSON, so it cannot be folded
        let html = fitting.unwrap_or_else(|| text(truncate(whole, most.min(CUT_BYTES))));
        self.values = self.values.saturating_sub(html.len());
        ShownValue { html, cut: is_cut, size: format_size(whole.len()), link }
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
            data: failure.data.as_ref().map(|data| self.show_words(&indent_json(data.get()), most)),
        }
    }
}

/// Returns the size of a string as HTML, in bytes.
pub(super) fn escaped_len(text: &str) -> usize {
    let marks = text.bytes().filter(|byte| matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'')).count();
    text.len() + 4 * marks
}

/// Indents JSON, and keeps the order of its fields. Invalid JSON is returned unchanged.
pub(super) fn indent_json(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut from = serde_json::Deserializer::from_str(json);
    let mut to = serde_json::Serializer::pretty(&mut out);
    match serde_transcode::transcode(&mut from, &mut to) {
        Ok(()) => String::from_utf8(out).unwrap_or_else(|_| json.to_owned()),
        Err(_) => json.to_owned(),
    }
}

/// Converts indented JSON to HTML in which long parts can be folded. Each line isolates its own
/// text direction.
fn fold_long_parts(pretty: &str) -> String {
    let lines: Vec<&str> = pretty.lines().collect();
    let ends = closing_lines(&lines);
    let mut html = String::with_capacity(pretty.len() * 2);
    let mut open: Vec<usize> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let inner = i > 0 && open.len() < FOLD_LEVELS;
        match ends[i] {
            Some(end) if inner && end - i > FOLD_LINES => {
                let hidden = end - i - 1;
                html.push_str("<details><summary>");
                line_of(&mut html, line);
                _ = write!(html, "<i>{hidden} lines</i></summary>");
                open.push(end);
            }
            _ => line_of(&mut html, line),
        }
        while open.last() == Some(&i) {
            html.push_str("</details>");
            open.pop();
        }
    }
    html
}

/// For each line that opens a bracket without closing it, finds the line that closes it.
fn closing_lines(lines: &[&str]) -> Vec<Option<usize>> {
    let mut ends = vec![None; lines.len()];
    let mut open = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        if line.trim_start().starts_with(['}', ']'])
            && let Some(begin) = open.pop()
        {
            ends[begin as usize] = Some(i);
        }
        if line.ends_with(['{', '[']) {
            open.push(i as u32);
        }
    }
    ends
}

fn line_of(html: &mut String, line: &str) {
    html.push_str("<span dir=\"auto\">");
    let body = line.trim_start();
    html.push_str(&line[..line.len() - body.len()]);
    match body.strip_prefix('"').and_then(|rest| rest.find("\": ").map(|end| end + 2)) {
        // this is a key: serde_json writes `": "` after keys, and within values only with an
        // escaped quote
        Some(end) if is_key(body, end) => {
            html.push_str("<b>");
            escape(html, &body[..end]);
            html.push_str("</b>");
            escape(html, &body[end..]);
        }
        _ => escape(html, body),
    }
    html.push_str("</span>\n");
}

/// Returns whether the first string of a line ends at this position, because the quote there is not
/// escaped.
fn is_key(body: &str, end: usize) -> bool {
    let slashes = body[..end - 1].bytes().rev().take_while(|byte| *byte == b'\\').count();
    slashes % 2 == 0
}

/// Escapes a string for HTML.
pub(super) fn text(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    html.push_str("<span dir=\"auto\">");
    escape(&mut html, text);
    html.push_str("</span>");
    html
}

fn escape(html: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&#38;"),
            '<' => html.push_str("&#60;"),
            '>' => html.push_str("&#62;"),
            '"' => html.push_str("&#34;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show_value(json: &str) -> ShownValue {
        PageByteBudget::new().show(&RawValue::from_string(json.to_owned()).unwrap(), "/all".into())
    }

    /// Returns the text in an HTML fragment, without the tags.
    fn without_markup(html: &str) -> String {
        let mut text = String::new();
        let mut inside = false;
        for letter in html.chars() {
            match letter {
                '<' => inside = true,
                '>' => inside = false,
                _ if !inside => text.push(letter),
                _ => {}
            }
        }
        text.replace("&#34;", "\"").replace("&#60;", "<").replace("&#62;", ">").replace("&#38;", "&")
    }

    #[test]
    fn json_is_indented_in_its_own_order() {
        assert_eq!(
            without_markup(&show_value(r#"{"b":1.0,"a":[2]}"#).html).trim_end(),
            "{\n  \"b\": 1.0,\n  \"a\": [\n    2\n  ]\n}"
        );
    }

    #[test]
    fn a_value_cannot_add_markup() {
        let html = show_value(r#"{"<script>alert(1)</script>\": \"":"</details><img src=x onerror='a'>&amp;"}"#).html;
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("</details>"), "{html}");
        assert!(without_markup(&html).contains("</details><img"), "{html}");
    }

    #[test]
    fn long_parts_are_folded_and_every_fold_is_closed() {
        let list: Vec<u32> = (0..40).collect();
        let html = show_value(&serde_json::json!({"list": list, "short": [1], "last": {"x": list}}).to_string()).html;
        assert_eq!((html.matches("<details>").count(), html.matches("</details>").count()), (3, 3));
        assert!(without_markup(&html).contains("40 lines"), "{html}");
        assert_eq!(show_value("[1,2,3]").html.matches("<details>").count(), 0);
    }

    #[test]
    fn deep_json_is_folded_a_few_levels_deep_only() {
        let deep = format!("{}{}{}", "[".repeat(60), "1,2", "]".repeat(60));
        let html = show_value(&deep).html;
        let folds = html.matches("<details>").count();
        assert!(folds == FOLD_LEVELS && html.matches("</details>").count() == folds, "{folds}");
    }

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
        assert!(shown.cut && shown.html.len() < 4 * 1024 && shown.size == "1.0 MB", "{}", shown.html.len());
        let mut budget = PageByteBudget::new();
        let digits = RawValue::from_string(format!("[{}1]", "1,".repeat(400))).unwrap();
        let quotes = RawValue::from_string(format!("\"{}\"", "\\\"".repeat(1_000))).unwrap();
        let bytes: usize = (0..200).map(|i| budget.show([&*digits, &*quotes][i % 2], String::new()).html.len()).sum();
        assert!(bytes < PAGE_BYTES + 5 * CUT_BYTES + 200 * 40, "{bytes}");
    }
}
