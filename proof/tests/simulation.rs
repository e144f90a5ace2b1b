//! A short run of the simulation. `SIMULATION_SEED=n` runs one seed, `SIMULATION_SEEDS=n` runs n
//! seeds from 0.

use stepladder_proof::run_seed;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_is_interleaved_and_goes_wrong_all_that_must_hold_holds() {
    let seeds = match number("SIMULATION_SEED") {
        Some(one) => one..one + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(150),
    };
    for seed in seeds {
        if let Err(broken) = run_seed(seed, true, None) {
            panic!("{broken}");
        }
    }
}
