//! JSON on a page: indented, folded where it is long, truncated where it is large. A page has a
//! byte budget for all its values; a value beyond it becomes a link.

use std::fmt::Write;

use serde_json::value::RawValue;

use super::text::{brief, cut, size};

/// Maximum size of one value as HTML, where quotes and line breaks take several bytes.
const VALUE_BYTES: usize = 24 * 1024;
/// Maximum size of all values of a page as HTML.
const PAGE_BYTES: usize = 40 * 1024;
/// Maximum size of all errors, names and log lines of a page as HTML.
const WORDS_BYTES: usize = 32 * 1024;
/// Bytes of a string when the budget is used up.
const SHORT_BYTES: usize = 24;
/// Bytes that are shown of a value that is too large.
const CUT_BYTES: usize = 1024;
/// Lines above which an array or an object within a value is folded.
const FOLD_LINES: usize = 12;
/// Maximum nesting of folds: HTML parsers limit nesting.
const FOLD_LEVELS: usize = 8;

/// What is left of a page's byte budget for values and for words.
pub(super) struct ByteBudget {
    values: usize,
    words: usize,
}

/// A value as a page shows it.
pub(super) struct ShownValue {
    /// HTML: escaped text with folds in it.
    pub(super) html: String,
    /// Whether the value was truncated.
    pub(super) cut: bool,
    /// Its size, in words.
    pub(super) size: String,
    /// The path of the whole value.
    pub(super) link: String,
}

impl ByteBudget {
    pub(super) fn new() -> Self {
        Self { values: PAGE_BYTES, words: WORDS_BYTES }
    }

    /// Shows a value whose whole text is at `link`.
    pub(super) fn show(&mut self, json: &RawValue, link: String) -> ShownValue {
        let whole = json.get();
        let most = VALUE_BYTES.min(self.values);
        // indenting and escaping only make a value longer
        let fitting = (whole.len() <= most).then(|| folded(&indented(whole))).filter(|html| html.len() <= most);
        let is_cut = fitting.is_none();
        // a truncated value is no JSON: there is nothing to fold
        let html = fitting.unwrap_or_else(|| text(cut(whole, most.min(CUT_BYTES))));
        self.values = self.values.saturating_sub(html.len());
        ShownValue { html, cut: is_cut, size: size(whole.len()), link }
    }

    /// Truncates a string at `most` bytes, or earlier when the budget is used up.
    pub(super) fn words(&mut self, text: &str, most: usize) -> String {
        let mut words = brief(text, most);
        if escaped(&words) > self.words {
            words = brief(text, most.min(SHORT_BYTES));
        }
        self.words = self.words.saturating_sub(escaped(&words));
        words
    }
}

/// Returns the size of a string as HTML.
pub(super) fn escaped(text: &str) -> usize {
    let marks = text.bytes().filter(|byte| matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'')).count();
    text.len() + 4 * marks
}

/// Indents JSON, with its fields in their order. Unreadable JSON stays as it is.
pub(super) fn indented(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut from = serde_json::Deserializer::from_str(json);
    let mut to = serde_json::Serializer::pretty(&mut out);
    match serde_transcode::transcode(&mut from, &mut to) {
        Ok(()) => String::from_utf8(out).unwrap_or_else(|_| json.to_owned()),
        Err(_) => json.to_owned(),
    }
}

/// Writes indented JSON as HTML in which long parts can be folded. Each line has a text direction
/// of its own.
fn folded(pretty: &str) -> String {
    let lines: Vec<&str> = pretty.lines().collect();
    let ends = ends(&lines);
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

/// Finds, for each line that opens a bracket without closing it, the line that closes it.
fn ends(lines: &[&str]) -> Vec<Option<usize>> {
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
        // a key: serde_json writes `": "` behind keys, and in values only with the quote escaped
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

/// Whether the first string of a line ends there: its quote is not escaped.
fn is_key(body: &str, end: usize) -> bool {
    let slashes = body[..end - 1].bytes().rev().take_while(|byte| *byte == b'\\').count();
    slashes % 2 == 0
}

/// Writes text as HTML.
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

    fn shown(json: &str) -> ShownValue {
        ByteBudget::new().show(&RawValue::from_string(json.to_owned()).unwrap(), "/all".into())
    }

    /// Returns the text of HTML, without tags.
    fn plain(html: &str) -> String {
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
            plain(&shown(r#"{"b":1.0,"a":[2]}"#).html).trim_end(),
            "{\n  \"b\": 1.0,\n  \"a\": [\n    2\n  ]\n}"
        );
    }

    #[test]
    fn a_value_cannot_add_markup() {
        let html = shown(r#"{"<script>alert(1)</script>\": \"":"</details><img src=x onerror='a'>&amp;"}"#).html;
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("</details>"), "{html}");
        assert!(plain(&html).contains("</details><img"), "{html}");
    }

    #[test]
    fn long_parts_are_folded_and_every_fold_is_closed() {
        let list: Vec<u32> = (0..40).collect();
        let html = shown(&serde_json::json!({"list": list, "short": [1], "last": {"x": list}}).to_string()).html;
        assert_eq!((html.matches("<details>").count(), html.matches("</details>").count()), (3, 3));
        assert!(plain(&html).contains("40 lines"), "{html}");
        assert_eq!(shown("[1,2,3]").html.matches("<details>").count(), 0);
    }

    #[test]
    fn deep_json_is_folded_a_few_levels_deep_only() {
        let deep = format!("{}{}{}", "[".repeat(60), "1,2", "]".repeat(60));
        let html = shown(&deep).html;
        let folds = html.matches("<details>").count();
        assert!(folds == FOLD_LEVELS && html.matches("</details>").count() == folds, "{folds}");
    }

    #[test]
    fn words_are_cut_when_the_budget_is_used_up() {
        let mut budget = ByteBudget::new();
        let quotes = "\"".repeat(400);
        let bytes: usize = (0..1_000).map(|_| escaped(&budget.words(&quotes, 400))).sum();
        assert!(bytes < WORDS_BYTES + 1_000 * (5 * SHORT_BYTES + 3), "{bytes}");
        assert_eq!(ByteBudget::new().words("short", 400), "short");
    }

    #[test]
    fn the_values_of_a_page_stay_within_its_budget() {
        let large = RawValue::from_string(format!("\"{}\"", "é".repeat(1 << 19))).unwrap();
        let shown = ByteBudget::new().show(&large, "/all".into());
        assert!(shown.cut && shown.html.len() < 4 * 1024 && shown.size == "1.0 MB", "{}", shown.html.len());
        let mut budget = ByteBudget::new();
        let digits = RawValue::from_string(format!("[{}1]", "1,".repeat(400))).unwrap();
        let quotes = RawValue::from_string(format!("\"{}\"", "\\\"".repeat(1_000))).unwrap();
        let bytes: usize = (0..200).map(|i| budget.show([&*digits, &*quotes][i % 2], String::new()).html.len()).sum();
        assert!(bytes < PAGE_BYTES + 5 * CUT_BYTES + 200 * 40, "{bytes}");
    }
}
