//! Leaves out the parts of a page that the browser already has.
//!
//! A template marks a part: `<div id="facts" data-unit>…<!--/unit--></div>`. The part gets a hash
//! of its id and its content. When the script of the page asks for the page again, it sends the
//! hashes of the parts that it has, and these come without content. This works for streams and for
//! polling, and the server keeps no state.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::HeaderMap;

/// The header with the hashes of the parts that the browser has, separated by spaces.
const HAVE: &str = "x-stepladder-have";
/// The begin and the end of the content of a part. Text from outside cannot contain them, because
/// it is escaped.
const BEGIN: &str = " data-unit>";
const END: &str = "<!--/unit-->";

/// Replaces the marks of parts by their hashes, and leaves out what the request says that the
/// browser has.
pub(super) fn without_known_parts(page: &str, headers: &HeaderMap) -> String {
    let known: HashSet<&str> =
        headers.get(HAVE).and_then(|have| have.to_str().ok()).unwrap_or_default().split(' ').collect();
    let mut html = String::with_capacity(page.len() + 4_096);
    let mut rest = page;
    while let Some((before, from)) = rest.split_once(BEGIN) {
        let Some((content, after)) = from.split_once(END) else { break };
        html.push_str(before);
        let hash = hash_of(id_of(before), content);
        html.push_str(&format!(" data-h=\"{hash}\""));
        if known.contains(&hash[..]) {
            html.push_str(" data-same>");
        } else {
            html.push('>');
            html.push_str(content);
        }
        rest = after;
    }
    html.push_str(rest);
    html
}

/// Returns the id in the tag at the end of a text.
fn id_of(before: &str) -> &str {
    let tag = before.rsplit('<').next().unwrap_or_default();
    tag.split(" id=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default()
}

fn hash_of(id: &str, content: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (id, content).hash(&mut hasher);
    format!("{:010x}", hasher.finish() >> 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "<p id=\"a\" data-unit>one<!--/unit--></p><a class=\"x\" id=\"b\" data-unit>two<!--/unit--></a>.";

    fn known(hashes: &str) -> HeaderMap {
        HeaderMap::from_iter([(HAVE.parse().unwrap(), hashes.parse().unwrap())])
    }

    #[test]
    fn a_browser_gets_each_part_once() {
        let whole = without_known_parts(PAGE, &HeaderMap::new());
        let hashes: Vec<&str> = whole.split("data-h=\"").skip(1).map(|rest| &rest[..10]).collect();
        let [a, b] = hashes[..] else { panic!("{whole}") };
        assert_eq!(whole, format!("<p id=\"a\" data-h=\"{a}\">one</p><a class=\"x\" id=\"b\" data-h=\"{b}\">two</a>."));
        let rest = without_known_parts(PAGE, &known(&format!("zz {b}")));
        assert_eq!(
            rest,
            format!("<p id=\"a\" data-h=\"{a}\">one</p><a class=\"x\" id=\"b\" data-h=\"{b}\" data-same></a>.")
        );
        // the same content under another id is another part
        assert!(!without_known_parts(&PAGE.replace("\"b\"", "\"c\""), &known(b)).contains("data-same"));
    }

    #[test]
    fn pages_without_marks_stay_as_they_are() {
        assert_eq!(without_known_parts("<p>x</p>", &known("a")), "<p>x</p>");
        assert_eq!(without_known_parts("<p data-unit>x", &HeaderMap::new()), "<p data-unit>x");
    }
}
