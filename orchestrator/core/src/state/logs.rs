//! The log lines that a run has recorded, so that a replay does not record them again.

use std::collections::HashMap;

use crate::journal::{Entry, Fact};
use crate::report::{HandlerLogLine, LogBudget, LogLine};

/// The log lines that a run has recorded.
#[derive(Clone, Debug, Default)]
pub struct RecordedLogs {
    /// The handler's log lines by position. A position consists of the number of outcomes revealed
    /// before the line and of the number of lines since then. Each line has the number of the
    /// attempt that wrote it last.
    written: HashMap<(u64, u32), (u32, LogLine)>,
    /// The part of the log budget that all log lines use, including those of step bodies.
    budget: LogBudget,
}

impl RecordedLogs {
    /// Returns whether the handler has already recorded this log line. Within one attempt, the
    /// position alone identifies a line, because a replay may word it differently. A later attempt
    /// reaches the same positions, and records only lines that differ.
    pub fn has_line(&self, attempt: u32, placed: &HandlerLogLine) -> bool {
        self.written.get(&(placed.after, placed.nth)).is_some_and(|(by, line)| *by == attempt || *line == placed.line)
    }

    /// Returns the part of the log budget that is used so far.
    pub fn remaining_budget(&self) -> LogBudget {
        self.budget
    }

    /// Returns the size of all log lines, in bytes.
    pub fn bytes(&self) -> usize {
        self.budget.bytes()
    }

    /// Counts the log lines of an entry.
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
