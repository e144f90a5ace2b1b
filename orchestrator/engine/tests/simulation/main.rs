//! Deterministic simulation: several workers over one storage, every interleaving, crash, lost reply, stale index, torn
//! commit, frozen worker and wrong clock by chance, and what must hold looked at after every action.
//!
//! A failure is shrunk: as little of everything as still shows it, and its story. `SIMULATION_SEED=n` runs one seed alone,
//! `SIMULATION_SEEDS=n` runs so many, from 0.

mod invariants;
mod knobs;
mod port;
mod scheduler;
mod simulation;
#[path = "../support/mod.rs"]
mod support;

use knobs::Knobs;
use port::Log;
use simulation::{Failed, Simulation};
use support::chance::Dice;

/// Runs a seed; a failure comes with the least that still shows one.
fn seed(seed: u64) -> Result<(), (Knobs, Failed)> {
    let mut knobs = Knobs::of(&Dice::new(seed));
    let Err(mut failed) = Simulation::new(seed, knobs, None).run() else { return Ok(()) };
    while let Some((smaller, worse)) =
        knobs.smaller().into_iter().find_map(|knobs| Some((knobs, Simulation::new(seed, knobs, None).run().err()?)))
    {
        (knobs, failed) = (smaller, worse);
    }
    // once more, with every call
    let loud = Simulation::new(seed, knobs, Some(Log::default())).run().err();
    Err((knobs, loud.unwrap_or(failed)))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_is_interleaved_and_goes_wrong_all_that_must_hold_holds() {
    let seeds = match number("SIMULATION_SEED") {
        Some(one) => one..one + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(300),
    };
    for n in seeds {
        if let Err((knobs, Failed { why, story })) = seed(n) {
            panic!("seed {n}: {why}\nshown by {knobs:?}\n{}", story.join("\n"));
        }
    }
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    let story = |seed| Simulation::new(seed, Knobs::of(&Dice::new(seed)), None).story();
    for seed in 0..20 {
        assert_eq!(story(seed), story(seed));
    }
}
