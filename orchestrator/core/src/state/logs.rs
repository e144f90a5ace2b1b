//! The log lines that a run has written, so that a replay does not write them twice.

use std::collections::HashMap;

use crate::journal::{Entry, Fact};
use crate::report::{HandlerLogLine, LogBudget, LogLine};

/// The log lines that a run has written.
#[derive(Clone, Debug, Default)]
pub struct RecordedLogs {
    /// The handler's log lines by position (outcomes revealed, lines since), with the attempt that
    /// wrote each last.
    written: HashMap<(u64, u32), (u32, LogLine)>,
    /// The budget used by all log lines, including those of step bodies.
    budget: LogBudget,
}

impl RecordedLogs {
    /// Returns whether the handler has written this log line. Within one attempt a line is
    /// identified by its position, because a replay may word it differently. A later attempt
    /// reaches the same positions and writes only lines that differ.
    pub fn has(&self, attempt: u32, placed: &HandlerLogLine) -> bool {
        self.written.get(&(placed.after, placed.nth)).is_some_and(|(by, line)| *by == attempt || *line == placed.line)
    }

    /// Returns how much of the budget is left.
    pub fn room(&self) -> LogBudget {
        self.budget
    }

    /// Returns the bytes of all log lines.
    pub fn bytes(&self) -> usize {
        self.budget.bytes()
    }

    /// Adds the log lines of an entry.
    pub(super) fn add(&mut self, entry: &Entry) {
        entry.fact.report().into_iter().flat_map(|report| &report.lines).for_each(|line| self.budget.add(line));
        if let Fact::LogWritten { attempt, lines } = &entry.fact {
            for HandlerLogLine { after, nth, line } in lines {
                self.budget.add(line);
                self.written.insert((*after, *nth), (*attempt, line.clone()));
            }
        }
    }
}
