//! Checks that `docs/hop.md` matches the machine: the transition table, and the example of a hop.
//! `tests/tests/reference` checks its table of rules.

use std::fmt::Debug;

use stepladder_core::hop::{Effect, Write};
use stepladder_core::json;

use crate::world::{HopFixture, HopSetup, body};

const BOOK: &str = include_str!("../../../../docs/hop.md");
const SOURCE: &str = include_str!("../../src/hop.rs");

#[test]
fn the_book_has_the_transition_table_of_the_source() {
    let table: Vec<&str> =
        SOURCE.lines().filter_map(|line| line.strip_prefix("//! ")).filter(|line| line.starts_with('|')).collect();
    assert!(table.len() > 15 && BOOK.contains(&table.join("\n")), "copy the table of core/src/hop.rs into docs/hop.md");
}

/// Returns the name of an enum's variant.
fn variant(of: &impl Debug) -> String {
    format!("{of:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

/// Returns the name of an effect; of a write, also its entries, and whether it acknowledges.
fn described(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Log(_) => None,
        Effect::Write(write) => {
            let Write { entries, acknowledges, .. } = &**write;
            let entries = entries.iter().map(|entry| format!("`{}`", entry.fact.name()));
            let parts: Vec<String> = entries.chain(acknowledges.then(|| "the acknowledgement".to_owned())).collect();
            Some(format!("`Write` of {}", parts.join(", ")))
        }
        effect => Some(format!("`{}`", variant(effect))),
    }
}

fn row(phase: &str, input: &str, world: &HopFixture) -> String {
    let effects: Vec<String> = world.effects.iter().filter_map(described).collect();
    let effects = if effects.is_empty() { "none: the hop is over".to_owned() } else { effects.join(", then ") };
    format!("| `{phase}` | {input} | {effects} |")
}

#[test]
fn the_book_shows_the_hop_of_a_function_with_one_step() {
    let mut world = HopSetup::new().begin();
    let mut rows = vec![row("Loading", "none", &world)];
    let mut polls = 0;
    while !world.is_done() {
        let phase = world.phase();
        let input = match world.open_question() {
            Effect::Poll(_) if polls == 0 => {
                polls += 1;
                world.want_steps(vec![body("a")]);
                "`Polled(Wanted)`: the function wants the step `a`"
            }
            Effect::Poll(_) => {
                world.return_from_handler(Ok(json::null()));
                "`Polled(Ended)`: the function has returned"
            }
            Effect::AwaitAttempts(_) => {
                world.succeed(&["a"]);
                "`Finished`: the body of `a` has returned"
            }
            Effect::Load => {
                world.load();
                "`Loaded`: the journal has only `RunCreated`"
            }
            Effect::Write(_) => {
                world.written();
                "`Written(Done)`"
            }
            Effect::AskIfPaused => {
                world.answer();
                "`Paused(false)`"
            }
            Effect::AskFlowControl => {
                world.answer();
                "`Admission(None)`: the run may start"
            }
            Effect::Open(_) => {
                world.answer();
                "`Opened`"
            }
            other => panic!("the example has no answer to {other:?}"),
        };
        rows.push(row(phase, input, &world));
    }
    let table = rows.join("\n");
    assert!(BOOK.contains(&table), "the example in docs/hop.md must be:\n{table}");
}
