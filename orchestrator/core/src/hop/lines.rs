//! Log lines of handlers (`ctx.log`). They are recorded with other entries, and logged once, when
//! first recorded.
//!
//! A handler's log line has a fixed index, so a replay that repeats it adds nothing. It waits here
//! for the next write of this hop: the outcome before it, the start after it, or the run's end. If
//! the run suspends without another write, the log lines are written by themselves. A body's log
//! lines are part of its outcome's entry.

use crate::Timestamp;
use crate::hop::active::ActiveHop;
use crate::hop::facts::is_outcome;
use crate::journal::{Entry, Fact};
use crate::report::HandlerLogLine;
use crate::state::RunState;

/// The handler's log lines of one execution that are not recorded yet.
#[derive(Clone, Debug, Default)]
pub(super) struct HandlerLog {
    attempt: u32,
    lines: Vec<HandlerLogLine>,
}

impl HandlerLog {
    /// Creates an empty log for this attempt of the handler.
    pub(super) fn in_attempt(attempt: u32) -> Self {
        Self { attempt, lines: Vec::new() }
    }

    /// Adds new log lines.
    pub(super) fn extend(&mut self, lines: Vec<HandlerLogLine>) {
        self.lines.extend(lines);
    }

    /// Drops all log lines.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
    }

    /// Drops log lines that another hop has recorded, and those of an earlier attempt of the handler.
    pub(super) fn forget_recorded(&mut self, state: &RunState) {
        let attempt = self.attempt;
        self.lines.retain(|placed| attempt == state.handler_attempt() && !state.logs.has(attempt, placed));
    }
}

impl ActiveHop {
    /// Adds the run's version and the log lines to the entries. The version goes with the run's first
    /// entry. Log lines follow the outcomes, which the handler had seen, and precede the rest. Log
    /// lines past the run's limit are dropped.
    pub(super) fn with_lines(&mut self, mut entries: Vec<Entry>, now: Timestamp) -> Vec<Entry> {
        // the run takes its version when it starts, not before
        if let Some(version) = &self.function.version
            && !entries.is_empty()
            && !self.run.has_requested()
            && !self.run.collecting
        {
            entries.insert(0, Fact::VersionChosen { version: version.clone() }.at(now));
        }
        let mut room = self.run.logs.room();
        for report in entries.iter_mut().filter_map(|entry| entry.fact.report_mut()) {
            room.fit(&mut report.lines);
        }
        let log = &mut self.execution.log;
        log.forget_recorded(&self.run);
        let (attempt, mut lines) = (log.attempt, log.lines.clone());
        room.fit_handler_lines(&mut lines);
        if !lines.is_empty() {
            let comes_first = |entry: &Entry| is_outcome(entry) || matches!(entry.fact, Fact::VersionChosen { .. });
            let at = entries.iter().position(|entry| !comes_first(entry)).unwrap_or(entries.len());
            entries.insert(at, Fact::LogWritten { attempt, lines }.at(now));
        }
        entries
    }
}

/// Returns the entries that have log lines.
pub(super) fn with_log_lines(entries: &[Entry]) -> Vec<Entry> {
    let has_lines = |entry: &&Entry| match &entry.fact {
        Fact::LogWritten { .. } => true,
        other => other.report().is_some_and(|report| !report.lines.is_empty()),
    };
    entries.iter().filter(has_lines).cloned().collect()
}
