//! Mutations of the corpus, the same ones in each run: a few seconds of fuzzing as a test.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use stepladder_proof::hostile::{self, FuzzTarget};

use crate::corpus;

/// Strings that are likely to break decoders.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "-1",
    "1e999",
    "18446744073709551615",
    "\n\n",
    "\n====\n",
    ":",
    "?",
    "%00",
    "%ff",
    "{run}",
    "{event}",
    "\u{feff}",
    "\u{0}",
    "é",
    "4294967295",
];

/// One change to an input.
#[derive(Clone, Debug)]
enum InputChange {
    /// Replaces a byte.
    Byte(Index, u8),
    /// Removes this many bytes from this position on.
    Cut(Index, usize),
    /// Inserts a string, this many times.
    Word(Index, &'static str, usize),
    /// Repeats this many bytes from this position on, this many times.
    Again(Index, usize, usize),
    /// Replaces the rest with the end of another input.
    Cross(Index, Index),
}

fn change() -> impl Strategy<Value = InputChange> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| InputChange::Byte(at, byte)),
        (at(), 1..40_usize).prop_map(|(at, n)| InputChange::Cut(at, n)),
        (at(), select(&WORDS[..]), prop_oneof![9 => 1..3_usize, 1 => 90..200_usize])
            .prop_map(|(at, word, n)| InputChange::Word(at, word, n)),
        (at(), 1..60_usize, prop_oneof![9 => 1..4_usize, 1 => 20..120_usize])
            .prop_map(|(at, n, times)| InputChange::Again(at, n, times)),
        (at(), at()).prop_map(|(at, other)| InputChange::Cross(at, other)),
    ]
}

impl InputChange {
    fn apply(&self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Self::Byte(at, byte) => {
                let at = place(at, bytes);
                bytes.splice(at..(at + 1).min(bytes.len()), [*byte]);
            }
            Self::Cut(at, n) => {
                let at = place(at, bytes);
                bytes.drain(at..(at + n).min(bytes.len()));
            }
            Self::Word(at, word, n) => {
                let at = place(at, bytes);
                bytes.splice(at..at, word.repeat(*n).into_bytes());
            }
            Self::Again(at, n, times) => {
                let at = place(at, bytes);
                let again = bytes[at..(at + n).min(bytes.len())].repeat(*times);
                bytes.splice(at..at, again);
            }
            Self::Cross(at, other) => {
                bytes.truncate(place(at, bytes));
                let other = other.get(corpus);
                bytes.extend_from_slice(&other[other.len() / 2..]);
            }
        }
    }
}

/// Runs a target on this many mutations. If one fails, reduces it to few changes and prints the
/// input.
fn run_target(name: &str, target: FuzzTarget, cases: u32) {
    let corpus: Vec<Vec<u8>> = corpus::inputs_of_target(name).into_iter().map(|kept| kept.bytes).collect();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let inputs = (select(corpus.clone()), vec(change(), 1..6)).prop_map(|(mut bytes, changes)| {
        changes.iter().for_each(|change| change.apply(&mut bytes, &corpus));
        PrintedInput(bytes)
    });
    let run = |PrintedInput(bytes): PrintedInput| {
        target(&bytes);
        Ok(())
    };
    runner.run(&inputs, run).unwrap_or_else(|fault| panic!("{name}: {fault}"));
}

/// An input with readable text as its `Debug` output.
#[derive(Clone)]
struct PrintedInput(Vec<u8>);

impl std::fmt::Debug for PrintedInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

#[test]
fn mutated_events_do_no_harm() {
    run_target("event", hostile::event, 10_000);
}

#[test]
fn mutated_journals_do_no_harm() {
    run_target("journal", hostile::journal, 1_000);
}

#[test]
fn mutated_expressions_do_no_harm() {
    run_target("cel", hostile::cel, 500);
}

#[test]
fn mutated_conversations_do_no_harm() {
    run_target("http", hostile::http, 600);
}

#[test]
fn mutated_wakes_and_ids_do_no_harm() {
    run_target("wake", hostile::wake, 10_000);
}
