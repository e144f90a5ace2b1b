//! What a run has said: so that a replay, which comes to the same places again, says nothing twice.

use std::collections::HashMap;

use crate::journal::{Entry, Fact};
use crate::report::{HandlerLogLine, LogBudget, LogLine};

/// The lines that a run has said.
#[derive(Clone, Debug, Default)]
pub struct RecordedLogs {
    /// The function's lines by their places (outcomes shown, lines since), and the attempt that said them last.
    said: HashMap<(u64, u32), (u32, LogLine)>,
    /// What is counted of all lines, those of bodies among them.
    room: LogBudget,
}

impl RecordedLogs {
    /// Whether the function has said this line. Within an attempt of the function a line is known by its place, whatever
    /// it says: a replay may put it in other words. A later attempt of it comes to the same places, and says again only
    /// what is another line there.
    pub fn has(&self, attempt: u32, placed: &HandlerLogLine) -> bool {
        self.said.get(&(placed.after, placed.nth)).is_some_and(|(by, line)| *by == attempt || *line == placed.line)
    }

    /// How much more is kept.
    pub fn room(&self) -> LogBudget {
        self.room
    }

    /// Bytes of all lines.
    pub fn bytes(&self) -> usize {
        self.room.bytes()
    }

    /// Adds the lines of an entry.
    pub(super) fn add(&mut self, entry: &Entry) {
        entry.fact.report().into_iter().flat_map(|report| &report.lines).for_each(|line| self.room.add(line));
        if let Fact::LogWritten { attempt, lines } = &entry.fact {
            for HandlerLogLine { after, nth, line } in lines {
                self.room.add(line);
                self.said.insert((*after, *nth), (*attempt, line.clone()));
            }
        }
    }
}
