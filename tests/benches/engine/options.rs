//! What the benchmark can be told.

use std::time::Duration;

const USAGE: &str = "usage: just bench [--quick] [--alone], or just load [SECONDS]
  --quick   fewer runs: a look, no measurement
  --alone   no other engine beside it
  SECONDS   how long a server is sent more than it can serve; 180 unless told otherwise";

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Runs of 100 steps, one after the other.
    pub(crate) sequential_runs: usize,
    /// Runs of 3 steps, all at once.
    pub(crate) runs: usize,
    /// How often that is repeated.
    pub(crate) rounds: usize,
    /// Events that no function takes.
    pub(crate) events: usize,
    /// Replays of a journal.
    pub(crate) replays: usize,
    /// Whether no other engine is measured.
    pub(crate) alone: bool,
    /// How long a server is overloaded, where this is measured and nothing else.
    pub(crate) overload: Option<Duration>,
}

/// How long a server is overloaded unless told otherwise.
const OVERLOAD: Duration = Duration::from_secs(180);
/// Steps of a sequential run.
pub(crate) const STEPS: usize = 100;
/// Steps of each of many runs.
pub(crate) const STEPS_OF_MANY: usize = 3;
/// Events in a request, where they are sent in batches.
pub(crate) const BATCH: usize = 100;
/// Such requests at a time.
pub(crate) const BATCHES: usize = 4;
/// Connections of the client, where events are sent one in a request.
pub(crate) const CLIENTS: usize = 64;

impl Options {
    /// From the command line.
    ///
    /// # Errors
    /// How it is used, when it makes no sense.
    pub(crate) fn from_arguments() -> Result<Self, String> {
        let mut options = Self {
            sequential_runs: 20,
            runs: 1_000,
            rounds: 5,
            events: 10_000,
            replays: 100,
            alone: false,
            overload: None,
        };
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--quick" => {
                    let Self { alone, overload, .. } = options;
                    options =
                        Self { sequential_runs: 3, runs: 200, rounds: 1, events: 2_000, replays: 20, alone, overload };
                }
                "--alone" => options.alone = true,
                "--bench" => {} // cargo's own
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
