//! JSON as HTML: indented, with folds, and with long texts as paragraphs.
//!
//! The formatter reads text, not values. It keeps every number and the order of fields, and it
//! also indents JSON that is cut in the middle.

use super::prose::push_prose;

/// The indentation of a level, and the maximum number of levels that are indented.
const INDENT: usize = 2;
const INDENTED_LEVELS: usize = 40;
/// An array or an object within a value is closed at first if it has more lines than this.
const OPEN_LINES: usize = 60;
/// The maximum nesting depth of folds, because HTML parsers limit nesting.
const FOLD_LEVELS: usize = 12;
/// A string with more bytes than this is shown as a text of its own if it contains a line break.
const TEXT_BYTES: usize = 60;

/// A line of indented JSON.
#[derive(Default)]
struct JsonLine {
    depth: usize,
    text: String,
    /// The end of the key in the text, if the line starts with one.
    key_end: usize,
    /// The line that closes the bracket which this line opens.
    end: Option<usize>,
    /// The number of items between the brackets.
    items: usize,
}

/// Formats JSON as HTML of about `most` bytes. Returns whether the JSON was cut.
pub(super) fn json_html(json: &str, most: usize) -> (String, bool) {
    // HTML is never shorter than the JSON that it shows, so the rest need not be read
    let (read, is_cut) = match json.len() > most {
        true => (&json[..json.floor_char_boundary(most)], true),
        false => (json, false),
    };
    let lines = json_lines(read);
    let mut html = String::with_capacity(most.min(read.len() * 3));
    let mut open: Vec<usize> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        if html.len() >= most {
            open.iter().for_each(|_| html.push_str("</details>"));
            return (html, true);
        }
        let end = line.end.filter(|end| i > 0 && end - i > 1 && open.len() < FOLD_LEVELS);
        match end {
            Some(end) => {
                html.push_str(if end - i > OPEN_LINES { "<details>" } else { "<details open>" });
                html.push_str("<summary>");
                push_line(&mut html, line, most);
                let close = lines[end].text.trim_end_matches(',');
                let items = if line.items == 1 { "item" } else { "items" };
                html.push_str(&format!("<i>{} {items} {close}</i></summary>", line.items));
                open.push(end);
            }
            None => push_line(&mut html, line, most),
        }
        while open.last() == Some(&i) {
            html.push_str("</details>");
            open.pop();
        }
    }
    open.iter().for_each(|_| html.push_str("</details>"));
    (html, is_cut)
}

/// Divides JSON into the lines of its indented form.
fn json_lines(json: &str) -> Vec<JsonLine> {
    let mut lines = vec![JsonLine::default()];
    let mut brackets: Vec<usize> = Vec::new();
    let mut rest = json;
    while let Some(letter) = rest.chars().next() {
        let token = match letter {
            '"' => &rest[..string_end(rest)],
            _ => &rest[..letter.len_utf8()],
        };
        rest = &rest[token.len()..];
        let at = lines.len() - 1;
        match letter {
            '{' | '[' => {
                lines[at].text.push(letter);
                rest = rest.trim_start();
                if rest.starts_with(['}', ']']) {
                    lines[at].text.push_str(&rest[..1]);
                    rest = &rest[1..];
                } else {
                    lines[at].items = 1;
                    brackets.push(at);
                    lines.push(JsonLine { depth: brackets.len(), ..JsonLine::default() });
                }
            }
            '}' | ']' => {
                let opener = brackets.pop();
                lines.push(JsonLine { depth: brackets.len(), text: letter.into(), ..JsonLine::default() });
                if let Some(opener) = opener {
                    lines[opener].end = Some(lines.len() - 1);
                }
            }
            ',' => {
                lines[at].text.push(',');
                if let Some(opener) = brackets.last() {
                    lines[*opener].items += 1;
                }
                lines.push(JsonLine { depth: brackets.len(), ..JsonLine::default() });
            }
            ':' => {
                lines[at].key_end = lines[at].text.len() + 1;
                lines[at].text.push_str(": ");
            }
            _ if letter.is_ascii_whitespace() => {}
            _ => lines[at].text.push_str(token),
        }
    }
    lines
}

/// Returns where the string at the start of a text ends, after its closing quote.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (i, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// Writes JSON in its indented form, as text. Invalid JSON is written as well.
pub(super) fn indent_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    for line in json_lines(json) {
        if !text.is_empty() {
            text.push('\n');
        }
        text.extend(std::iter::repeat_n(' ', line.depth * INDENT));
        text.push_str(&line.text);
    }
    text
}

fn push_line(html: &mut String, line: &JsonLine, most: usize) {
    let indent = line.depth.min(INDENTED_LEVELS) * INDENT;
    let (key, value) = line.text.split_at(line.key_end);
    let written = value.trim_end_matches(',').trim_start();
    if let Some(text) = readable_text(written) {
        html.push_str("<details open class=\"text\"><summary><bdi>");
        html.extend(std::iter::repeat_n(' ', indent));
        push_key(html, key);
        html.push_str(" text</bdi></summary><div class=\"prose\">");
        push_prose(html, &text, most);
        html.push_str("</div></details>");
        return;
    }
    html.push_str("<bdi>");
    html.extend(std::iter::repeat_n(' ', indent));
    push_key(html, key);
    escape_within(html, value, most);
    html.push_str("</bdi>");
}

fn push_key(html: &mut String, key: &str) {
    if !key.is_empty() {
        html.push_str("<b>");
        escape(html, key);
        html.push_str("</b>");
    }
}

/// Returns the text of a JSON string that is easier to read as a text: it has several lines.
fn readable_text(value: &str) -> Option<String> {
    if value.len() <= TEXT_BYTES || !value.starts_with('"') || !value.contains("\\n") {
        return None;
    }
    // a string that was cut has no closing quote, and may end within an escape
    let whole = value.len() > 1 && value.ends_with('"');
    let text: Option<String> = serde_json::from_str(value).ok();
    let text = text.or_else(|| {
        let cut = value.rfind('\\').filter(|at| value.len() - at < 12).unwrap_or(value.len());
        (!whole).then(|| serde_json::from_str(&format!("{}\"", &value[..cut])).ok()).flatten()
    });
    text.filter(|text| text.trim_end().contains('\n'))
}

/// Appends text to HTML.
pub(super) fn escape(html: &mut String, text: &str) {
    escape_within(html, text, usize::MAX);
}

/// Appends text to HTML until the HTML has `most` bytes.
pub(super) fn escape_within(html: &mut String, text: &str, most: usize) {
    for letter in text.chars() {
        if html.len() >= most {
            return;
        }
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

    fn html_of(json: &str) -> String {
        json_html(json, 64 * 1024).0
    }

    #[test]
    fn json_is_indented_in_its_own_order() {
        assert_eq!(indent_json(r#"{"b":1.0,"a":[2,{}]}"#), "{\n  \"b\": 1.0,\n  \"a\": [\n    2,\n    {}\n  ]\n}");
        assert_eq!(indent_json(r#"{"a:,{\"": "[\\"}"#), "{\n  \"a:,{\\\"\": \"[\\\\\"\n}");
        assert_eq!(indent_json("12"), "12");
    }

    #[test]
    fn a_fold_has_its_brackets_in_one_line_and_its_indentation_once() {
        let html = html_of(r#"{"products":["a","b"],"n":1}"#);
        let wanted = "<details open><summary><bdi>  <b>&#34;products&#34;:</b> [</bdi><i>2 items ]</i></summary>\
                      <bdi>    &#34;a&#34;,</bdi><bdi>    &#34;b&#34;</bdi><bdi>  ],</bdi></details>";
        assert!(html.contains(wanted), "{html}");
        assert!(!html.contains('\n'), "{html}");
    }

    #[test]
    fn only_long_parts_are_closed_at_first() {
        let list: Vec<u32> = (0..80).collect();
        let html = html_of(&serde_json::json!({"list": list, "short": [1, 2]}).to_string());
        assert_eq!((html.matches("<details>").count(), html.matches("<details open>").count()), (1, 1));
        assert!(html.contains("<i>80 items ]</i>"), "{html}");
    }

    #[test]
    fn a_value_cannot_add_markup() {
        let html = html_of(r#"{"<script>alert(1)</script>\": \"":"</details><img src=x onerror='a'>&amp;"}"#);
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("</details>"), "{html}");
        assert!(html.contains("&#60;/details&#62;&#60;img"), "{html}");
    }

    #[test]
    fn a_large_value_is_cut_but_indented_and_every_fold_is_closed() {
        let rows: Vec<_> = (0..4_000).map(|n| serde_json::json!({"n": n, "name": "row"})).collect();
        let json = serde_json::json!({ "rows": rows }).to_string();
        let (html, is_cut) = json_html(&json, 24 * 1024);
        assert!(is_cut && html.len() < 25 * 1024 && html.len() > 20 * 1024, "{}", html.len());
        assert!(html.contains("<bdi>      <b>&#34;n&#34;:</b> 7,</bdi>"), "{html}");
        assert_eq!(html.matches("<details").count(), html.matches("</details>").count());
        let (html, is_cut) = json_html(&format!("\"{}\"", "é".repeat(1 << 20)), 1_024);
        assert!(is_cut && html.len() < 1_100, "{}", html.len());
    }

    #[test]
    fn deep_json_is_folded_a_few_levels_deep_only() {
        let html = html_of(&format!("{}1,2{}", "[".repeat(100), "]".repeat(100)));
        let folds = html.matches("<details").count();
        assert!(folds == FOLD_LEVELS && html.matches("</details>").count() == folds, "{folds}");
    }

    #[test]
    fn a_string_of_several_lines_is_shown_as_a_text() {
        let html = html_of(&serde_json::json!({"answer": format!("# Plan\n\n{}", "words ".repeat(20))}).to_string());
        assert!(html.contains("<details open class=\"text\"><summary><bdi>  <b>&#34;answer&#34;:</b> text"), "{html}");
        assert!(html.contains("<h4>Plan</h4>") && !html.contains("\\n"), "{html}");
        let short = html_of(r#"{"answer":"a\nb"}"#);
        assert!(short.contains("&#34;a\\nb&#34;"), "{short}");
        let cut = json_html(&format!("\"{}\"", "line\\n".repeat(1_000)), 512).0;
        assert!(cut.contains("class=\"prose\""), "{cut}");
    }
}
