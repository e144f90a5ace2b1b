//! Runs one seed. If it fails, finds the smallest settings that still fail, and reports what
//! happened.

use std::fmt;
use std::sync::Arc;

use crate::simulation::coverage::{Coverage, PlaceCounts};
use crate::simulation::knobs::SimulationSettings;
use crate::simulation::places::{CallSite as PlaceOf, CallSites};
use crate::simulation::{Simulation, SimulationFailure};

/// A failure of a seed.
#[derive(Clone, Debug)]
pub struct FailedSeed {
    /// The seed.
    pub seed: u64,
    /// The violated invariant, as a sentence.
    pub why: String,
    /// The smallest settings that still violate the invariant.
    pub with: String,
    /// What happened, one action per line.
    pub story: Vec<String>,
}

impl fmt::Display for FailedSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, why, with, story } = self;
        write!(f, "seed {seed}: {why}\nshown by {with}\n{}", story.join("\n"))
    }
}

/// Runs a seed and returns the number of its actions. With `tells`, a failure is reduced to the
/// smallest settings and reported in full.
///
/// # Errors
///
/// The violated invariant.
pub fn run_seed(seed: u64, tells: bool, covered: Option<&CallCoverage>) -> Result<u64, Box<FailedSeed>> {
    run(seed, SimulationSettings::from_seed(seed), tells, covered)
}

/// Runs a seed in which a process also dies at `place`, when that place is first reached.
///
/// # Errors
///
/// The violated invariant.
pub fn run_seed_aimed(
    seed: u64,
    place: CallPlace,
    tells: bool,
    covered: Option<&CallCoverage>,
) -> Result<u64, Box<FailedSeed>> {
    run(seed, SimulationSettings { aim_too: Some(place.0), ..SimulationSettings::from_seed(seed) }, tells, covered)
}

/// Returns whether a seed has requests of many events that a deadline interrupts.
pub fn has_bulk_requests(seed: u64) -> bool {
    SimulationSettings::from_seed(seed).bulk > 0
}

/// A place in the engine that calls the store: `file: function method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallPlace(&'static PlaceOf);

impl std::str::FromStr for CallPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let site = text.rsplit_once(' ').and_then(|(function, method)| CallSites::all_sites().site(function, method));
        site.map(Self).ok_or_else(|| format!("`{text}` is no place; those are listed with --places"))
    }
}

impl fmt::Display for CallPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.0, self.0.1)
    }
}

fn run(
    seed: u64,
    knobs: SimulationSettings,
    tells: bool,
    covered: Option<&CallCoverage>,
) -> Result<u64, Box<FailedSeed>> {
    let coverage = covered.map(|covered| covered.0.clone());
    let SimulationFailure { why, story } = match Simulation::new(seed, knobs, false, coverage).run() {
        Ok(actions) => return Ok(actions),
        Err(failed) => failed,
    };
    let broken = FailedSeed { seed, why, with: format!("{knobs:?}"), story };
    Err(Box::new(if tells { shrink(seed, knobs, broken) } else { broken }))
}

fn shrink(seed: u64, mut knobs: SimulationSettings, mut broken: FailedSeed) -> FailedSeed {
    let fails = |knobs: SimulationSettings| Some((knobs, Simulation::new(seed, knobs, false, None).run().err()?));
    while let Some((smaller, SimulationFailure { why, story })) = knobs.smaller().into_iter().find_map(fails) {
        knobs = smaller;
        broken = FailedSeed { seed, why, with: format!("{knobs:?}"), story };
    }
    // Runs the smallest settings once more and logs every call.
    if let Err(SimulationFailure { why, story }) = Simulation::new(seed, knobs, true, None).run() {
        broken = FailedSeed { why, story, ..broken };
    }
    broken
}

/// Counts the calls of the store and the injected faults, by the place in the engine that makes the
/// call.
#[derive(Clone, Default)]
pub struct CallCoverage(Arc<Coverage>);

/// A place in the engine that calls the store, with its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedPlace {
    /// The engine's file and function.
    pub function: String,
    /// The port's method.
    pub method: &'static str,
    /// Number of calls.
    pub calls: u64,
    /// Number of calls at which the process died before, during or after the call.
    pub crashes: u64,
    /// Number of calls that were refused or late, or lost their reply.
    pub failures: u64,
}

impl CallCoverage {
    /// Returns all places in the engine's source, including those that were not reached.
    pub fn sites(&self) -> Vec<CountedPlace> {
        let told = self.0.sites().into_iter().map(|((function, method), befell)| {
            let PlaceCounts { calls, crashes, failures } = befell;
            CountedPlace { function, method, calls, crashes, failures }
        });
        told.collect()
    }

    /// Adds the counts of another report.
    pub fn add(&self, other: &Self) {
        self.0.add(&other.0);
    }

    /// Of the places that `met` has reached, returns the one at which the fewest processes have
    /// died according to `self`. Among equals, returns the one with the fewest calls.
    pub fn least_crashed(&self, met: &Self) -> Option<CallPlace> {
        let here = self.0.sites();
        let met = met.0.sites().into_iter().filter(|(_, befell)| befell.calls > 0).map(|(site, _)| site);
        let least = met.min_by_key(|site| here.get(site).map_or((0, 0), |befell| (befell.crashes, befell.calls)))?;
        CallSites::all_sites().site(&least.0, least.1).map(CallPlace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_the_same_story_each_time() {
        let story = |seed| Simulation::new(seed, SimulationSettings::from_seed(seed), false, None).story();
        for seed in 0..20 {
            assert_eq!(story(seed), story(seed));
        }
    }
}
