//! The ledger: a file to which each body appends a line when it starts and when it ends, even if
//! the body's outcome is lost later. Each line is a single write, so the lines are in the order of
//! events, even across restarts of the server.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use stepladder_core::{RunId, Timestamp};

/// The environment variable with the path of the ledger.
pub(crate) const LEDGER: &str = "FIRE_LEDGER";

/// The ledger of a server process, open for appending.
#[derive(Debug)]
pub(crate) struct BodyLedger(File);

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LedgerLine {
    /// A server has started. All bodies that started before are dead.
    Life,
    /// A body has started.
    Begin { run: RunId, step: String, at: Timestamp },
    /// A body has returned a value or an error.
    End { run: RunId, step: String },
}

/// The executions of one step's body.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepExecutions {
    /// The times at which the body was started, in order.
    pub(crate) began: Vec<Timestamp>,
    /// How often the body has ended.
    pub(crate) ended: usize,
}

impl BodyLedger {
    pub(crate) fn of_this_process() -> Self {
        let path = std::env::var_os(LEDGER).unwrap_or_else(|| panic!("{LEDGER} names the file to write to"));
        Self(OpenOptions::new().create(true).append(true).open(path).expect("a file to append to"))
    }

    pub(crate) fn record_server_start(&self) {
        self.append_line(&format!("life {}", std::process::id()));
    }

    pub(crate) fn record_body_start(&self, run: RunId, step: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.append_line(&format!("begin {run} {step} {}", now.as_millis()));
    }

    pub(crate) fn record_body_end(&self, run: RunId, step: &str) {
        self.append_line(&format!("end {run} {step}"));
    }

    fn append_line(&self, line: &str) {
        (&self.0).write_all(format!("{line}\n").as_bytes()).expect("a line is appended");
    }
}

/// Reads the lines that all server processes have written.
pub(crate) fn read(path: &Path) -> Vec<LedgerLine> {
    let text = std::fs::read_to_string(path).expect("the ledger");
    text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("`{line}` in the ledger"))).collect()
}

fn parse(line: &str) -> Option<LedgerLine> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    if kind == "life" {
        return Some(LedgerLine::Life);
    }
    let (run, step) = (words.next()?.parse().ok()?, words.next()?.to_owned());
    match kind {
        "begin" => Some(LedgerLine::Begin { run, step, at: Timestamp::from_millis(words.next()?.parse().ok()?) }),
        "end" => Some(LedgerLine::End { run, step }),
        _ => None,
    }
}

/// Groups the lines by step.
pub(crate) fn by_step(lines: &[LedgerLine]) -> HashMap<(RunId, String), StepExecutions> {
    let mut steps: HashMap<(RunId, String), StepExecutions> = HashMap::new();
    for line in lines {
        match line {
            LedgerLine::Life => {}
            LedgerLine::Begin { run, step, at } => steps.entry((*run, step.clone())).or_default().began.push(*at),
            LedgerLine::End { run, step } => steps.entry((*run, step.clone())).or_default().ended += 1,
        }
    }
    steps
}

/// Returns the highest number of bodies that executed at the same time. Only the runs for which
/// `counts` returns true are counted.
pub(crate) fn most_at_once(lines: &[LedgerLine], counts: impl Fn(RunId) -> bool) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for line in lines {
        match line {
            LedgerLine::Life => now = 0,
            LedgerLine::Begin { run, .. } if counts(*run) => {
                now += 1;
                most = most.max(now);
            }
            LedgerLine::End { run, .. } if counts(*run) => now -= 1,
            LedgerLine::Begin { .. } | LedgerLine::End { .. } => {}
        }
    }
    most
}
