//! Text of several lines as HTML. Marks of Markdown that are common in answers of language models
//! become markup: headings, lists, code, bold text. Everything else stays text.

use super::json::{escape, escape_within};
use super::text::truncate;

/// Appends a text as HTML until the HTML has about `most` bytes.
pub(super) fn push_prose(html: &mut String, text: &str, most: usize) {
    let mut code = false;
    for line in text.lines() {
        if html.len() >= most {
            break;
        }
        if line.trim_start().starts_with("```") {
            html.push_str(if code { "</pre>" } else { "<pre>" });
            code = !code;
        } else if code {
            escape_within(html, line, most);
            html.push('\n');
        } else {
            push_line(html, truncate(line, most - html.len()));
        }
    }
    if code {
        html.push_str("</pre>");
    }
}

fn push_line(html: &mut String, line: &str) {
    let body = line.trim_start();
    let level = body.bytes().take_while(|byte| *byte == b'#').count();
    if let Some(heading) = body[level..].strip_prefix(' ').filter(|_| (1..=6).contains(&level)) {
        html.push_str("<h4>");
        push_spans(html, heading);
        html.push_str("</h4>");
    } else if let Some(item) = body.strip_prefix("- ").or_else(|| body.strip_prefix("* ")) {
        html.push_str("<p class=\"item\" dir=\"auto\">");
        push_spans(html, item);
        html.push_str("</p>");
    } else if !body.is_empty() {
        html.push_str("<p dir=\"auto\">");
        push_spans(html, body);
        html.push_str("</p>");
    }
}

/// Appends a line, with its code and its bold text marked. A mark without an end stays text.
fn push_spans(html: &mut String, line: &str) {
    let mut rest = line;
    while let Some(at) = rest.find(['*', '`']) {
        let (mark, tag) = match &rest[at..] {
            marked if marked.starts_with("**") => ("**", "strong"),
            marked if marked.starts_with('`') => ("`", "code"),
            _ => ("*", ""),
        };
        escape(html, &rest[..at]);
        let after = &rest[at + mark.len()..];
        match after.find(mark).filter(|end| *end > 0 && !tag.is_empty()) {
            Some(end) => {
                html.push_str(&format!("<{tag}>"));
                escape(html, &after[..end]);
                html.push_str(&format!("</{tag}>"));
                rest = &after[end + mark.len()..];
            }
            None => {
                escape(html, mark);
                rest = after;
            }
        }
    }
    escape(html, rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prose(text: &str) -> String {
        let mut html = String::new();
        push_prose(&mut html, text, 10_000);
        html
    }

    #[test]
    fn markdown_becomes_markup_and_all_else_stays_text() {
        assert_eq!(
            prose("## A `b` <i>\n\n- one **two**\n* 3 * 4\n\nplain"),
            "<h4>A <code>b</code> &#60;i&#62;</h4><p class=\"item\" dir=\"auto\">one <strong>two</strong></p>\
             <p class=\"item\" dir=\"auto\">3 * 4</p><p dir=\"auto\">plain</p>"
        );
        assert_eq!(prose("a ** b ` c"), "<p dir=\"auto\">a ** b ` c</p>");
        assert_eq!(prose("#no heading"), "<p dir=\"auto\">#no heading</p>");
    }

    #[test]
    fn code_keeps_its_lines_and_is_always_closed() {
        assert_eq!(
            prose("```rs\nlet a = 1;\n  b <c>\n```\nend"),
            "<pre>let a = 1;\n  b &#60;c&#62;\n</pre><p dir=\"auto\">end</p>"
        );
        assert_eq!(prose("```\n# x"), "<pre># x\n</pre>");
    }
}
