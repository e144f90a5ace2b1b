//! Checks the links within the repository, and the table of contents of the book.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use stepladder_tests::binary::root;

use crate::pages::{self, MarkdownPage};

/// Returns the targets of the links and images on a page.
fn link_targets(page: &MarkdownPage) -> Vec<String> {
    let mut found = Vec::new();
    for line in page.prose() {
        // brackets in a code span are no link
        let text: String =
            line.split('`').enumerate().map(|(i, part)| if i % 2 == 0 { part } else { "code" }).collect();
        for rest in text.split("](").skip(1) {
            found.extend(rest.split_once(')').map(|(target, _)| target.to_owned()));
        }
    }
    found
}

/// Returns the anchor that GitHub and mdBook give to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns the anchors of all headings on a page. Repeated headings have numbered anchors.
fn anchors(page: &MarkdownPage) -> BTreeSet<String> {
    let mut uses: HashMap<String, u32> = HashMap::new();
    let headings = page.prose().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let anchor = anchor(line.trim_start_matches('#').trim());
            let earlier = uses.entry(anchor.clone()).or_default();
            *earlier += 1;
            if *earlier == 1 { anchor } else { format!("{anchor}-{}", *earlier - 1) }
        })
        .collect()
}

/// Resolves `.` and `..` in a path.
fn normalize_path(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(normal.pop(), "{} leaves the repository", path.display()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages::all();
    let anchors: HashMap<&Path, BTreeSet<String>> = pages.iter().map(|page| (&*page.path, anchors(page))).collect();
    let (mut links, mut dead) = (0, Vec::new());
    for page in &pages {
        let folder = page.path.parent().expect("a file lies in a folder");
        for target in
            link_targets(page).iter().filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        {
            links += 1;
            let (file, fragment) = target.split_once('#').map_or((target.as_str(), None), |(f, a)| (f, Some(a)));
            let file = if file.is_empty() { page.path.clone() } else { normalize_path(&folder.join(file)) };
            let has_anchor = |fragment| anchors.get(&*file).is_some_and(|known| known.contains(fragment));
            if !root().join(&file).exists() || fragment.is_some_and(|fragment| !has_anchor(fragment)) {
                dead.push(format!("{}: {target}", page.path.display()));
            }
        }
    }
    assert!(links > 100, "{links} links");
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn the_book_has_each_page_once() {
    let listed: Vec<String> = link_targets(&MarkdownPage::read("docs/SUMMARY.md"));
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    let pages = pages::files(&root().join("docs"), "md");
    let pages: Vec<String> = pages
        .iter()
        .map(|path| path.strip_prefix("docs").expect("below docs").display().to_string())
        .filter(|path| path != "SUMMARY.md")
        .collect();
    assert_eq!(sorted, pages);
    let manifest = std::fs::read_to_string(root().join("book.toml")).expect("book.toml");
    assert!(manifest.contains("src = \"docs\""), "{manifest}");
}

#[test]
fn anchors_are_those_of_github() {
    assert_eq!(anchor("Who can read what?"), "who-can-read-what");
    assert_eq!(anchor("`check`, before a deploy"), "check-before-a-deploy");
    let page = MarkdownPage { path: "a.md".into(), text: "# A\n## A\n```sh\n# no heading\n```\n".into() };
    assert_eq!(anchors(&page).into_iter().collect::<Vec<_>>(), ["a", "a-1"]);
}
