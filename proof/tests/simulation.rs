//! A short run of the simulation. `SIMULATION_SEED=n` runs one seed, `SIMULATION_SEEDS=n` runs n
//! seeds from 0.

use stepladder_proof::run_seed;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn invariants_hold_under_random_schedules_and_faults() {
    let seeds = match number_from_environment("SIMULATION_SEED") {
        Some(one) => one..one + 1,
        None => 0..number_from_environment("SIMULATION_SEEDS").unwrap_or(150),
    };
    for seed in seeds {
        if let Err(broken) = run_seed(seed, true, None) {
            panic!("{broken}");
        }
    }
}
