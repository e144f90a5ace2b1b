//! The tool that searches the book.

use std::collections::HashSet;

use serde::Serialize;
use stepladder_core::sentence::truncated;

use super::{Output, Tool, ToolAction, ToolEffect, ToolOutput};
use crate::mcp::arguments::{Argument, ArgumentKind, Arguments};
use crate::mcp::chapters::CHAPTERS;

pub(super) const SEARCH_DOCS: Tool = Tool {
    name: "search_docs",
    title: "Search the documentation",
    description: "Returns the sections of Stepladder's documentation that fit a question or some words best: how to write \
        functions, steps, waits, flow control, tests, deployment, the command line, HTTP.",
    action: ToolAction::SearchDocs,
    effect: ToolEffect::Reads,
    arguments: &ARGUMENTS,
    outputs: &[Output::always("sections", &["array"])],
};

const ARGUMENTS: [Argument; 2] = [
    Argument::required("query", ArgumentKind::Text, "words to look for, such as `retry backoff`"),
    Argument::optional("limit", ArgumentKind::Number { min: 1, max: 10, default: 4 }, "maximum number of sections"),
];

/// The maximum size of a section in a result, in bytes.
const SECTION_BYTES: usize = 6 * 1024;
/// The weight of a word in the heading of a section, and in the title of its chapter. A word in the
/// text counts once, however often it occurs.
const HEADING_WEIGHT: f64 = 3.0;
const TITLE_WEIGHT: f64 = 1.5;

/// A section of a chapter: a heading and the text up to the next one.
#[derive(Serialize)]
struct Section {
    /// The path of the chapter within the book.
    chapter: &'static str,
    /// The title of the chapter.
    title: &'static str,
    heading: &'static str,
    text: String,
}

pub(super) fn search_docs(arguments: &Arguments) -> Result<ToolOutput, String> {
    #[derive(Serialize)]
    struct Found {
        sections: Vec<Section>,
    }
    let query = arguments.text("query").unwrap_or_default();
    let limit = usize::try_from(arguments.number(&ARGUMENTS, "limit")).unwrap_or(usize::MAX);
    let sections = find(&query, limit);
    let texts: Vec<String> =
        sections.iter().map(|found| format!("docs/{}: {}\n\n{}", found.chapter, found.title, found.text)).collect();
    let text = match texts.is_empty() {
        true => "no section has one of these words".to_owned(),
        false => texts.join("\n\n---\n\n"),
    };
    ToolOutput::new(text, &Found { sections })
}

/// Returns the sections that fit best, the best first.
fn find(query: &str, limit: usize) -> Vec<Section> {
    let terms: HashSet<String> = words(query).collect();
    let sections: Vec<Section> = CHAPTERS.iter().flat_map(|(path, text)| sections_of(path, text)).collect();
    let known: Vec<HashSet<String>> = sections.iter().map(|section| words(&section.text).collect()).collect();
    // a rare word says more than one that is everywhere
    let weight = |term: &str| {
        let with = known.iter().filter(|words| words.contains(term)).count();
        ((sections.len() + 1) as f64 / (with + 1) as f64).ln()
    };
    let weights: Vec<(&String, f64)> = terms.iter().map(|term| (term, weight(term))).collect();
    let score = |section: &Section, known: &HashSet<String>| -> f64 {
        let heading: HashSet<String> = words(section.heading).collect();
        let title: HashSet<String> = words(section.title).collect();
        weights
            .iter()
            .map(|(term, weight)| {
                let places = [(known, 1.0), (&heading, HEADING_WEIGHT), (&title, TITLE_WEIGHT)];
                weight * places.iter().filter(|(words, _)| words.contains(*term)).map(|(_, times)| times).sum::<f64>()
            })
            .sum()
    };
    let scores: Vec<f64> = sections.iter().zip(&known).map(|(section, known)| score(section, known)).collect();
    let mut found: Vec<(Section, f64)> = sections.into_iter().zip(scores).filter(|(_, score)| *score > 0.0).collect();
    found.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    found.into_iter().take(limit).map(|(section, _)| section).collect()
}

/// Returns the sections of a chapter.
fn sections_of(chapter: &'static str, text: &'static str) -> Vec<Section> {
    let (mut starts, mut in_code, mut at) = (vec![], false, 0);
    for line in text.split_inclusive('\n') {
        in_code ^= line.trim_start().starts_with("```");
        if !in_code && line.starts_with('#') {
            starts.push(at);
        }
        at += line.len();
    }
    let heading = |start: usize| text[start..].lines().next().unwrap_or_default().trim_start_matches('#').trim();
    let title = starts.first().map_or(chapter, |start| heading(*start));
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let sections = starts.iter().zip(ends).map(|(start, end)| Section {
        chapter,
        title,
        heading: heading(*start),
        text: truncated(text[*start..end].trim(), SECTION_BYTES),
    });
    sections.collect()
}

/// Returns the words of a text in lower case, each without a final `s`, so that a plural is found.
fn words(text: &str) -> impl Iterator<Item = String> {
    const SHORTEST: usize = 2;
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| word.len() >= SHORTEST).map(|word| {
        let word = word.to_lowercase();
        word.strip_suffix('s').filter(|stem| stem.len() > SHORTEST).map(str::to_owned).unwrap_or(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_finds_its_section() {
        for (query, chapter) in [
            ("throttle a function", "flow-control.md"),
            ("virtual clock test", "testing.md"),
            ("undo compensate", "steps.md"),
            ("environment variables", "reference/environment.md"),
            ("time zone of a cron schedule", "cron.md"),
        ] {
            let found = find(query, 4);
            assert!(found.iter().any(|section| section.chapter == chapter), "{query}: {:?}", headings(&found));
        }
        assert!(find("xyzzy", 4).is_empty());
        assert_eq!(find("step", 3).len(), 3);
    }

    fn headings(found: &[Section]) -> Vec<&str> {
        found.iter().map(|section| section.heading).collect()
    }

    #[test]
    fn a_comment_in_code_is_no_heading() {
        let sections = sections_of("a.md", "# A\ntext\n```sh\n# a comment\n```\n## B\nmore\n");
        assert_eq!(headings(&sections), ["A", "B"]);
        assert!(sections[0].text.contains("# a comment"));
        assert_eq!((sections[1].title, sections[1].text.as_str()), ("A", "## B\nmore"));
    }
}
