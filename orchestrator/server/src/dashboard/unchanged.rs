//! Leaves out the parts of a page that the browser already has.
//!
//! A template marks a part: `<div id="facts" data-unit>…<!--/unit--></div>`. The part gets a hash
//! of its tag and its content. When the script of the page asks for the page again, it sends the
//! hashes of the parts that it has, and these come as empty tags with their id. What never changes,
//! such as the navigation, is marked by `<!--fixed-->…<!--/fixed-->` and left out then. This works
//! for streams and for polling, and the server keeps no state.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::HeaderMap;

/// The header with the hashes of the parts that the browser has, separated by spaces.
const HAVE: &str = "x-stepladder-have";
/// The begin and the end of the content of a part. Text from outside cannot contain them, because
/// it is escaped.
const BEGIN: &str = " data-unit>";
const END: &str = "<!--/unit-->";
/// The begin and the end of what never changes.
const FIXED: [&str; 2] = ["<!--fixed-->", "<!--/fixed-->"];

/// Replaces the marks of parts by their hashes, and leaves out what the request says that the
/// browser has.
pub(super) fn without_known_parts(page: &str, headers: &HeaderMap) -> String {
    let have = headers.get(HAVE).and_then(|have| have.to_str().ok()).unwrap_or_default();
    let known: HashSet<&str> = have.split(' ').filter(|hash| !hash.is_empty()).collect();
    let mut html = String::with_capacity(page.len() + 4_096);
    let mut rest = page;
    while let Some((before, from)) = rest.split_once(BEGIN) {
        let Some((content, after)) = from.split_once(END) else { break };
        let (text, tag) = before.split_at(before.rfind('<').unwrap_or(before.len()));
        let hash = hash_of(tag, content);
        html.push_str(text);
        if known.contains(&hash[..]) {
            let name = tag[1..].split(' ').next().unwrap_or_default();
            html.push_str(&format!("<{name} id=\"{}\" data-same>", id_of(tag)));
        } else {
            html.push_str(&format!("{tag} data-h=\"{hash}\">"));
            html.push_str(content);
        }
        rest = after;
    }
    html.push_str(rest);
    without_fixed_parts(html, !known.is_empty())
}

/// Removes what never changes, or only its marks.
fn without_fixed_parts(page: String, is_known: bool) -> String {
    if !is_known {
        return FIXED.iter().fold(page, |page, mark| page.replace(mark, ""));
    }
    let mut parts = page.split(FIXED[0]);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |html, part| html + part.split_once(FIXED[1]).map_or(part, |(_, after)| after))
}

/// Returns the id in a tag.
fn id_of(tag: &str) -> &str {
    tag.split(" id=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default()
}

fn hash_of(tag: &str, content: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (tag, content).hash(&mut hasher);
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
            format!("<p id=\"a\" data-h=\"{a}\">one</p><a id=\"b\" data-same></a>."),
            "a part that is known has an id and nothing else"
        );
        // the same content in another tag is another part
        assert!(!without_known_parts(&PAGE.replace("\"b\"", "\"c\""), &known(b)).contains("data-same"));
    }

    #[test]
    fn what_never_changes_is_sent_once() {
        let page = format!("<!--fixed--><nav>x</nav><!--/fixed-->{PAGE}<!--fixed-->y<!--/fixed-->z");
        assert!(without_known_parts(&page, &HeaderMap::new()).starts_with("<nav>x</nav><p"));
        let update = without_known_parts(&page, &known("0123456789"));
        assert!(update.starts_with("<p id=\"a\"") && update.ends_with("</a>.z"), "{update}");
    }

    #[test]
    fn pages_without_marks_stay_as_they_are() {
        assert_eq!(without_known_parts("<p>x</p>", &known("a")), "<p>x</p>");
        assert_eq!(without_known_parts("<p data-unit>x", &HeaderMap::new()), "<p data-unit>x");
    }
}
