//! Each rule that the simulated engine keeps, broken on purpose: the simulation must notice. `PLANTED=Name` looks at one
//! alone, and tells the story; `PLANTED_SEEDS=n` gives up after so many seeds.

use std::time::Instant;

use stepladder_core::planted::{Plant, plant};
use stepladder_proof::run_seed;

/// The seeds until the broken rule is noticed, and by what.
fn seeds_until_noticed(rule: Plant, most: u64, tells: bool) -> Option<(u64, String)> {
    plant(Some(rule));
    let noticed = (0..most).find_map(|seed| Some((seed + 1, run_seed(seed, tells, None).err()?)));
    plant(None);
    noticed.map(|(seeds, broken)| {
        if tells {
            println!("{broken}");
        }
        (seeds, broken.why)
    })
}

#[test]
fn each_broken_rule_is_noticed() {
    let most = std::env::var("PLANTED_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let one = std::env::var("PLANTED").ok();
    let chosen = |rule: &Plant| one.as_ref().is_none_or(|one| *one == format!("{rule:?}"));
    let mut unnoticed = Vec::new();
    for rule in Plant::ALL.into_iter().filter(chosen) {
        let begun = Instant::now();
        match seeds_until_noticed(rule, most, one.is_some()) {
            Some((seeds, why)) => {
                println!("{rule:?}: {seeds} seeds, {:.1} s: {why:.160}", begun.elapsed().as_secs_f64());
            }
            None => unnoticed.push(rule),
        }
    }
    assert_eq!(unnoticed, [], "broken, and not noticed within {most} seeds");
}
