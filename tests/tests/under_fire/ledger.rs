//! The ledger: a file to which each body adds a line when it begins and when it ends, whatever becomes of its outcome.
//! Lines are appended whole, so their order is the order of things, also across the deaths of the server.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use stepladder_core::{RunId, Timestamp};

/// The environment variable that names the file.
pub(crate) const LEDGER: &str = "FIRE_LEDGER";

/// What the server writes to.
#[derive(Debug)]
pub(crate) struct Ledger(File);

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A server starts: whatever ran before is dead.
    Life,
    /// A body begins.
    Begin { run: RunId, step: String, at: Timestamp },
    /// A body has done its work; whether it gives a value or an error is not said.
    End { run: RunId, step: String },
}

/// All executions of one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Executed {
    /// When its bodies began, in order.
    pub(crate) began: Vec<Timestamp>,
    /// How many of them came to their end.
    pub(crate) ended: usize,
}

impl Ledger {
    pub(crate) fn of_this_process() -> Self {
        let path = std::env::var_os(LEDGER).unwrap_or_else(|| panic!("{LEDGER} names the file to write to"));
        Self(OpenOptions::new().create(true).append(true).open(path).expect("a file to append to"))
    }

    pub(crate) fn life(&self) {
        self.add(&format!("life {}", std::process::id()));
    }

    pub(crate) fn begin(&self, run: RunId, step: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.add(&format!("begin {run} {step} {}", now.as_millis()));
    }

    pub(crate) fn end(&self, run: RunId, step: &str) {
        self.add(&format!("end {run} {step}"));
    }

    fn add(&self, line: &str) {
        (&self.0).write_all(format!("{line}\n").as_bytes()).expect("a line is appended");
    }
}

/// What the servers have written.
pub(crate) fn read(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).expect("the ledger");
    text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("`{line}` in the ledger"))).collect()
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    if kind == "life" {
        return Some(Line::Life);
    }
    let (run, step) = (words.next()?.parse().ok()?, words.next()?.to_owned());
    match kind {
        "begin" => Some(Line::Begin { run, step, at: Timestamp::from_millis(words.next()?.parse().ok()?) }),
        "end" => Some(Line::End { run, step }),
        _ => None,
    }
}

/// The lines by step.
pub(crate) fn by_step(lines: &[Line]) -> HashMap<(RunId, String), Executed> {
    let mut steps: HashMap<(RunId, String), Executed> = HashMap::new();
    for line in lines {
        match line {
            Line::Life => {}
            Line::Begin { run, step, at } => steps.entry((*run, step.clone())).or_default().began.push(*at),
            Line::End { run, step } => steps.entry((*run, step.clone())).or_default().ended += 1,
        }
    }
    steps
}

/// The most bodies that executed at a time, of runs that count.
pub(crate) fn most_at_once(lines: &[Line], counts: impl Fn(RunId) -> bool) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for line in lines {
        match line {
            Line::Life => now = 0,
            Line::Begin { run, .. } if counts(*run) => {
                now += 1;
                most = most.max(now);
            }
            Line::End { run, .. } if counts(*run) => now -= 1,
            Line::Begin { .. } | Line::End { .. } => {}
        }
    }
    most
}
