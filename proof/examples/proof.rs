//! Runs the simulation for a number of actions and prints what it covered. For `proof/mutate`, it
//! stops at the first failure instead.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use clap::Parser;
use stepladder_proof::{
    CallCoverage, CallPlace, CountedPlace, FailedSeed, has_bulk_requests, run_seed, run_seed_aimed,
};

/// The default number of actions is at least `LEAST`. It grows up to `MOST` until a process has
/// died at each place that calls the store.
const LEAST: u64 = 20_000_000;
const MOST: u64 = 100_000_000;

/// Look for an interleaving, a crash or a lost reply that the engine does not survive
#[derive(Debug, Parser)]
#[command(
    name = "proof",
    version,
    after_help = "A failure prints its seed and its shortest story; --seed runs that one again."
)]
struct ProofArgs {
    /// Simulate this many actions: polls of tasks and calls of the store [default: 20 million, and
    /// until a process has died at each place that calls the store; at most 100 million]
    #[arg(long, value_name = "N")]
    actions: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Run this seed alone
    #[arg(long, value_name = "SEED", conflicts_with_all = ["actions", "from"])]
    seed: Option<u64>,
    /// With --seed: also let a process die at this place when the place is first reached
    #[arg(long, value_name = "PLACE", requires = "seed")]
    die_at: Option<CallPlace>,
    /// List every place in the engine that calls the store, with its calls and faults
    #[arg(long)]
    places: bool,
    /// Run only seeds with requests of many events that a deadline interrupts
    #[arg(long, conflicts_with = "seed")]
    bulk: bool,
    /// Print the first failure as it is, without searching for a shorter story
    #[arg(long)]
    no_shrink: bool,
    /// Run at most N seeds and stop at the first failure; print its seed and the violation, without
    /// a story
    #[arg(long, value_name = "N", conflicts_with_all = ["actions", "seed", "places"])]
    until_broken: Option<u64>,
}

impl ProofArgs {
    /// Returns the next seed to run.
    fn next(&self, next: &AtomicU64) -> u64 {
        loop {
            let seed = next.fetch_add(1, SeqCst);
            if !self.bulk || has_bulk_requests(seed) {
                return seed;
            }
        }
    }

    /// Returns the progress as a fraction from 0 to 1.
    fn completed_share(&self, actions: u64, covered: &CallCoverage) -> f64 {
        let share = actions as f64 / self.actions.unwrap_or(LEAST) as f64;
        let is_complete = || covered.sites().iter().all(|site| site.crashes > 0);
        match self.actions {
            None if share >= 1.0 && actions < MOST && !is_complete() => 0.99,
            _ => share.min(1.0),
        }
    }
}

fn main() -> ExitCode {
    let args = ProofArgs::parse();
    if let Some(most) = args.until_broken {
        return run_until_a_failure(&args, most);
    }
    let (covered, begun) = (CallCoverage::default(), Instant::now());
    let (first, threads) = match args.seed {
        Some(seed) => (seed, 1),
        None => (args.from, std::thread::available_parallelism().map_or(1, Into::into)),
    };
    // The next seed, and the numbers of finished seeds and actions.
    let (next, done, actions) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let failed: Mutex<Option<ReproducibleFailure>> = Mutex::default();
    let (told, failing) = (Mutex::new(ProgressLine::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    match once_and_again(args.next(&next), &args, &covered) {
                        Ok(more) => actions.fetch_add(more, SeqCst),
                        Err(other) => {
                            failing.store(true, SeqCst);
                            let mut failed = failed.lock().expect("no panic");
                            // Of several failures, the one with the lowest seed is reported.
                            let seed = |failed: &ReproducibleFailure| failed.0.seed;
                            *failed = failed.take().into_iter().chain([other]).min_by_key(seed);
                            return;
                        }
                    };
                    let (seeds, actions) = (1 + done.fetch_add(1, SeqCst), actions.load(SeqCst));
                    let share = args.completed_share(actions, &covered);
                    if args.seed.is_some() || share >= 1.0 || failing.load(SeqCst) {
                        return;
                    }
                    told.lock().expect("no panic").show(share, actions, seeds);
                }
            });
        }
    });
    told.lock().expect("no panic").clear();
    if let Some((broken, again)) = failed.into_inner().expect("no panic") {
        println!("{broken}");
        println!("\nrun it again with {again}");
        return ExitCode::FAILURE;
    }
    let (seconds, actions) = (begun.elapsed().as_secs_f64(), actions.into_inner());
    let seeds = done.into_inner();
    println!("{actions} actions in {seconds:.1} s: {seeds} seeds, from {first}, and all that must hold held");
    report(&covered.sites(), args.places);
    ExitCode::SUCCESS
}

/// Runs up to `most` seeds on all cores. Prints the lowest seed that fails, and why.
fn run_until_a_failure(args: &ProofArgs, most: u64) -> ExitCode {
    let (begun, next, left) = (Instant::now(), AtomicU64::new(args.from), AtomicU64::new(most));
    let from = args.from;
    let first: Mutex<Option<Box<FailedSeed>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(|| {
                loop {
                    let seed = args.next(&next);
                    let is_over = left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err();
                    if is_over || first.lock().expect("no panic").is_some() {
                        return;
                    }
                    if let Err(broken) = run_seed(seed, false, None) {
                        let mut first = first.lock().expect("no panic");
                        *first = first.take().into_iter().chain([broken]).min_by_key(|broken| broken.seed);
                    }
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    match first.into_inner().expect("no panic") {
        Some(broken) => {
            let FailedSeed { seed, why, .. } = *broken;
            println!("broken after {} seeds, in {seconds:.1} s, by seed {seed}: {why}", seed - from + 1);
            ExitCode::FAILURE
        }
        None => {
            println!("{most} seeds in {seconds:.1} s, and all that must hold held");
            ExitCode::SUCCESS
        }
    }
}

/// A failed seed, and the arguments that run it again.
type ReproducibleFailure = (Box<FailedSeed>, String);

/// Runs a seed, then runs it again with one more death. The process dies at the place that the seed
/// reached and at which the fewest processes have died so far.
fn once_and_again(seed: u64, args: &ProofArgs, covered: &CallCoverage) -> Result<u64, ReproducibleFailure> {
    let aimed = |place| {
        let again = format!("--seed {seed} --die-at '{place}'");
        run_seed_aimed(seed, place, !args.no_shrink, Some(covered)).map_err(|broken| (broken, again))
    };
    if let Some(place) = args.die_at {
        return aimed(place);
    }
    let met = CallCoverage::default();
    let actions = run_seed(seed, !args.no_shrink, Some(&met)).map_err(|broken| (broken, format!("--seed {seed}")))?;
    covered.add(&met);
    Ok(actions + covered.least_crashed(&met).map_or(Ok(0), aimed)?)
}

/// Prints the counts of the places that call the store: of all places with `each`, otherwise only
/// of those at which no process died.
fn report(sites: &[CountedPlace], each: bool) {
    let count = |is: fn(&CountedPlace) -> bool| sites.iter().filter(|site| is(site)).count();
    println!(
        "{} places in the engine call the storage: {} were met, a process died at {}, a call failed at {}",
        sites.len(),
        count(|site| site.calls > 0),
        count(|site| site.crashes > 0),
        count(|site| site.failures > 0),
    );
    for site in sites.iter().filter(|site| each || site.crashes == 0) {
        let CountedPlace { function, method, calls, crashes, failures } = site;
        println!("  {function:34} {method:10} {calls:>10} calls {crashes:>8} crashes {failures:>8} failures");
    }
}

/// The progress line on a terminal. It is not printed if the output is a pipe.
struct ProgressLine {
    is_terminal: bool,
    said: Instant,
}

impl ProgressLine {
    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), said: Instant::now() }
    }

    fn show(&mut self, share: f64, actions: u64, seeds: u64) {
        if self.is_terminal && self.said.elapsed().as_millis() > 200 {
            self.said = Instant::now();
            eprint!("\r{:>3.0} %  {actions} actions, {seeds} seeds", 100.0 * share);
            std::io::stderr().flush().ok();
        }
    }

    fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}
