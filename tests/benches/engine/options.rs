//! The command line of the benchmark.

use std::time::Duration;

const USAGE: &str =
    "usage: just bench [--quick] [--alone] [--growth | --apps], just bench --counts, or just load [SECONDS]
  --quick   fewer runs: a look, no measurement
  --alone   no other engine beside it
  --growth  long and wide runs instead of short ones
  --apps    only an app with Inngest's SDK, in Node.js
  --counts  counts what runs write, and fails if it is too much
  SECONDS   how long a server is sent more than it can serve; 180 unless told otherwise";

/// What to measure, and how much.
#[derive(Clone, Debug)]
pub(crate) struct BenchOptions {
    /// The number of runs of 100 steps, one after the other.
    pub(crate) sequential_runs: usize,
    /// The number of runs of 3 steps, which are all started at the same time.
    pub(crate) runs: usize,
    /// How many times the parallel runs are measured.
    pub(crate) rounds: usize,
    /// The number of events that trigger no function.
    pub(crate) events: usize,
    /// The number of replays of a journal.
    pub(crate) replays: usize,
    /// Whether to measure only our engine.
    pub(crate) alone: bool,
    /// Whether to measure long and wide runs instead of short ones.
    pub(crate) growth: bool,
    /// Whether to measure only an app with Inngest's SDK.
    pub(crate) apps: bool,
    /// Whether to count what runs write instead of measuring.
    pub(crate) counts: bool,
    /// Whether to measure less.
    pub(crate) quick: bool,
    /// How long to overload a server; `None` for the other measurements.
    pub(crate) overload: Option<Duration>,
}

/// How long a server is overloaded by default.
const OVERLOAD: Duration = Duration::from_secs(180);
/// The number of steps of a sequential run.
pub(crate) const STEPS: usize = 100;
/// The number of steps of each parallel run.
pub(crate) const STEPS_OF_MANY: usize = 3;
/// The number of events per request, if events are sent in batches.
pub(crate) const BATCH: usize = 100;
/// The number of batches that are sent at the same time.
pub(crate) const BATCHES: usize = 4;
/// The number of connections, if each request contains one event.
pub(crate) const CLIENTS: usize = 64;

impl BenchOptions {
    /// Parses the command line.
    ///
    /// # Errors
    ///
    /// The usage message, if the arguments are not valid.
    pub(crate) fn from_arguments() -> Result<Self, String> {
        let mut options = Self {
            sequential_runs: 20,
            runs: 1_000,
            rounds: 5,
            events: 10_000,
            replays: 100,
            alone: false,
            growth: false,
            apps: false,
            counts: false,
            quick: false,
            overload: None,
        };
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--quick" => {
                    options = Self {
                        sequential_runs: 3,
                        runs: 200,
                        rounds: 1,
                        events: 2_000,
                        replays: 20,
                        quick: true,
                        ..options
                    };
                }
                "--alone" => options.alone = true,
                "--growth" => options.growth = true,
                "--apps" => options.apps = true,
                "--counts" => options.counts = true,
                "--bench" => {} // cargo adds this argument itself
                "--load" => options.overload = Some(OVERLOAD),
                seconds if options.overload.is_some() && seconds.parse::<u32>().is_ok_and(|n| n > 0) => {
                    options.overload = seconds.parse().map(Duration::from_secs).ok();
                }
                other => return Err(format!("`{other}` is no option\n{USAGE}")),
            }
        }
        Ok(options)
    }
}
