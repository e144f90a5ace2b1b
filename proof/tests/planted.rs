//! Rules that the simulated engine keeps, broken on purpose: the simulation must notice. The default run takes those that
//! it notices soon; `PLANTED=all` takes all, `PLANTED=Name` one, whose story it tells. `PLANTED_SEEDS=n` gives up after so
//! many seeds.

use std::time::Instant;

use stepladder_core::planted::{Plant, plant};
use stepladder_proof::run_seed;

/// Noticed within 100 seeds when this was written.
const SOON: [Plant; 16] = [
    Plant::OvertakenStops,
    Plant::OvertakenStartsAnyway,
    Plant::NoWatchdog,
    Plant::CollectedAgain,
    Plant::EventsEnterAgain,
    Plant::ParksWithoutAsking,
    Plant::ReleaseIsNotRedone,
    Plant::LoserFreesTheSlot,
    Plant::NothingIsPassedOn,
    Plant::Barging,
    Plant::EarlierEventsCount,
    Plant::OverdueStartsAtOnce,
    Plant::NotesHaveNoToken,
    Plant::MissedTicksStart,
    Plant::PermanentIsPassing,
    Plant::StartsAreCountedAgain,
];

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
    let asked = std::env::var("PLANTED").ok();
    let most = std::env::var("PLANTED_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let chosen = |rule: &Plant| match asked.as_deref() {
        None => SOON.contains(rule),
        Some("all") => true,
        Some(one) => format!("{rule:?}") == one,
    };
    let rules: Vec<Plant> = Plant::ALL.into_iter().filter(chosen).collect();
    assert_ne!(rules, [], "a rule's name is one of {:?}", Plant::ALL);
    let tells = rules.len() == 1;
    let mut unnoticed = Vec::new();
    for rule in rules {
        let begun = Instant::now();
        match seeds_until_noticed(rule, most, tells) {
            Some((seeds, why)) => {
                println!("{rule:?}: {seeds} seeds, {:.1} s: {why:.160}", begun.elapsed().as_secs_f64());
            }
            None => unnoticed.push(rule),
        }
    }
    assert_eq!(unnoticed, [], "broken, and not noticed within {most} seeds");
}
