//! Journals in files: one entry per line, as JSON. The command `journal` prints this format, and
//! `check --against` reads it.
//!
//! A line is a journal entry of the REST interface, with the id of its run. The entries of several
//! runs may be interleaved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stepladder_api::Time;
use stepladder_core::{Entry, Fact, Json, RunId, Seq};

use crate::client::Client;
use crate::terminal::{StopReason, json};

/// The number of entries that are read at a time.
const PAGE: u16 = 500;

/// One journal entry of the run `run_id`. `F` is the type of the fact: JSON text, or the parsed
/// fact.
#[derive(Debug, Serialize, Deserialize)]
struct JournalLine<F> {
    run_id: RunId,
    seq: Seq,
    at: Time,
    fact: F,
}

/// The journals of runs, each starting at entry 0.
pub(crate) type Journals = BTreeMap<RunId, Vec<Entry>>;

/// Reads the journal of a run as lines, page by page.
pub(crate) async fn journal_lines(client: &Client, run: RunId) -> Result<Vec<String>, StopReason> {
    let (mut lines, mut from) = (Vec::new(), Some(0));
    while let Some(seq) = from {
        let page = client.journal(run, seq, PAGE).await?;
        for entry in &page.data {
            lines.push(json(&JournalLine::<&Json> { run_id: run, seq: entry.seq, at: entry.at, fact: &entry.fact })?);
        }
        from = page.next;
    }
    Ok(lines)
}

/// Adds the entries in `text` to the journals. `source` says in error messages where the text comes
/// from.
pub(crate) fn read_journals(journals: &mut Journals, source: &str, text: &str) -> Result<(), StopReason> {
    for (n, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |why: String| StopReason::problem(format!("{source}, line {n}: {why}"));
        let JournalLine::<Fact> { run_id, seq, at, fact } = serde_json::from_str(line)
            .map_err(|e| bad(format!("it is no entry of a journal ({e}); `stepladder journal ID` prints entries")))?;
        let entries = journals.entry(run_id).or_default();
        if seq != entries.len() as Seq {
            return Err(bad(format!("it is entry {seq} of run {run_id}, but entry {} is expected", entries.len())));
        }
        entries.push(fact.into_entry(at.0));
    }
    Ok(())
}

/// Reads the journals in a file, or in all `.jsonl` files of a folder.
pub(crate) fn read_path(path: &Path) -> Result<Journals, StopReason> {
    let unread =
        |path: &Path, e: std::io::Error| StopReason::problem(format!("{} cannot be read: {e}", path.display()));
    let mut files: Vec<PathBuf> = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.map_err(|e| unread(path, e))?;
        files = entries
            .iter()
            .map(std::fs::DirEntry::path)
            .filter(|p| p.extension().is_some_and(|e| e == "jsonl"))
            .collect();
        files.sort();
    }
    let mut journals = Journals::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| unread(&file, e))?;
        read_journals(&mut journals, &file.display().to_string(), &text)?;
    }
    Ok(journals)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "01KAVZ9Y3M0000000000000001";

    fn journal_line(seq: u64) -> String {
        format!(
            r#"{{"run_id":"{RUN}","seq":{seq},"at":"2026-01-01T00:00:00.123Z","fact":{{"StepsWoken":{{"steps":[]}}}}}}"#
        )
    }

    fn read_all(text: &str) -> Result<Journals, String> {
        let mut journals = Journals::new();
        match read_journals(&mut journals, "kept.jsonl", text) {
            Ok(()) => Ok(journals),
            Err(stop) => Err(format!("{stop:?}")),
        }
    }

    #[test]
    fn lines_are_read_with_their_times() {
        let journals = read_all(&format!("{}\n\n{}\n", journal_line(0), journal_line(1))).unwrap();
        let entries = &journals[&RUN.parse::<RunId>().unwrap()];
        assert_eq!((entries.len(), entries[0].at.as_millis()), (2, 1_767_225_600_123));
    }

    #[test]
    fn a_bad_line_is_refused_with_its_number() {
        let gap = read_all(&format!("{}\n{}", journal_line(0), journal_line(2))).unwrap_err();
        assert!(gap.contains("kept.jsonl, line 2: it is entry 2") && gap.contains("but entry 1 is expected"), "{gap}");
        let none = read_all("{}").unwrap_err();
        assert!(none.contains("kept.jsonl, line 1: it is no entry of a journal"), "{none}");
    }
}
