//! The log lines of handlers (`ctx.log`). They are recorded together with other entries, and are
//! logged once, when they are first recorded.
//!
//! A handler's log line has a fixed position, so a replay that repeats the line adds nothing. A new
//! line waits here for the next write of this hop: that of the outcome before it, the start after
//! it, or the end of the run. If the run suspends without another write, the log lines are written
//! alone. The log lines of a body are part of the entry of its outcome.
//!
//! Labels that the handler adds (`ctx.label`) take the same way. A label is known by its key.

use crate::hop::active::ActiveHop;
use crate::hop::effect::EarlyWrite;
use crate::hop::facts::is_outcome;
use crate::journal::{Entry, Fact};
use crate::label::LABELS;
use crate::report::HandlerLogLine;
use crate::state::RunState;
use crate::{Label, Timestamp};

/// The handler's log lines in one execution that are not recorded yet.
#[derive(Clone, Debug, Default)]
pub(super) struct HandlerLog {
    attempt: u32,
    lines: Vec<HandlerLogLine>,
    labels: Vec<Label>,
}

impl HandlerLog {
    /// Creates an empty log for this attempt of the handler.
    pub(super) fn in_attempt(attempt: u32) -> Self {
        Self { attempt, ..Self::default() }
    }

    pub(super) fn extend(&mut self, lines: Vec<HandlerLogLine>) {
        self.lines.extend(lines);
    }

    pub(super) fn add_labels(&mut self, labels: Vec<Label>) {
        self.labels.extend(labels);
    }

    /// Drops all log lines and labels.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.labels.clear();
    }

    /// Returns whether every line and every label is in the journal.
    pub(super) fn is_recorded(&self, state: &RunState) -> bool {
        let has_labels = self.labels.iter().all(|label| has_key(&state.labels, label));
        has_labels && self.lines.iter().all(|placed| state.logs.has_line(self.attempt, placed))
    }

    /// Drops log lines that another hop has recorded, and those of an earlier attempt of the
    /// handler.
    pub(super) fn forget_recorded(&mut self, state: &RunState) {
        let attempt = self.attempt;
        self.labels.retain(|label| !has_key(&state.labels, label));
        self.lines.retain(|placed| attempt == state.handler_attempt() && !state.logs.has_line(attempt, placed));
    }
}

impl ActiveHop {
    /// Adds the version of the run and the log lines to the entries. The version is added to the
    /// first entries of the run. Log lines are inserted after the outcomes, which the handler had
    /// already seen, and before all other entries. Log lines beyond the run's limit are dropped.
    pub(super) fn with_lines(&mut self, mut entries: Vec<Entry>, now: Timestamp) -> Vec<Entry> {
        // the run gets its version when it starts, and not before
        if let Some(version) = &self.function.version
            && !entries.is_empty()
            && !self.run.has_requested()
            && !self.run.collecting
        {
            entries.insert(0, Fact::VersionChosen { version: version.clone() }.into_entry(now));
        }
        let mut room = self.run.logs.remaining_budget();
        for report in entries.iter_mut().filter_map(|entry| entry.fact.report_mut()) {
            room.fit(&mut report.lines);
        }
        let log = &mut self.execution.log;
        log.forget_recorded(&self.run);
        let (attempt, mut lines, mut labels) = (log.attempt, log.lines.clone(), log.labels.clone());
        room.fit_handler_lines(&mut lines);
        // a replay that is not deterministic may ask for more labels than the SDK allows
        labels.truncate(LABELS.saturating_sub(self.run.labels.len()));
        let comes_first = |entry: &Entry| is_outcome(entry) || matches!(entry.fact, Fact::VersionChosen { .. });
        let at = entries.iter().position(|entry| !comes_first(entry)).unwrap_or(entries.len());
        if !lines.is_empty() {
            entries.insert(at, Fact::LogWritten { attempt, lines }.into_entry(now));
        }
        if !labels.is_empty() {
            entries.insert(at, Fact::LabelsAdded { labels }.into_entry(now));
        }
        entries
    }

    /// Returns the writes that let people find the run: by its new labels, and by the events that
    /// it received.
    pub(super) fn index_writes(&self, entries: &[Entry]) -> Vec<EarlyWrite> {
        let run = self.run.run;
        let of = |entry: &Entry| match &entry.fact {
            Fact::LabelsAdded { labels } => {
                labels.iter().map(|label| EarlyWrite::AddLabel { run, label: label.clone() }).collect()
            }
            Fact::EventDelivered { event, .. } => vec![EarlyWrite::NoteDelivery { run, event: event.id }],
            _ => Vec::new(),
        };
        entries.iter().flat_map(of).collect()
    }
}

fn has_key(labels: &[Label], label: &Label) -> bool {
    labels.iter().any(|known| known.key == label.key)
}

/// Returns the entries that contain log lines.
pub(super) fn with_log_lines(entries: &[Entry]) -> Vec<Entry> {
    let has_lines = |entry: &&Entry| match &entry.fact {
        Fact::LogWritten { .. } => true,
        other => other.report().is_some_and(|report| !report.lines.is_empty()),
    };
    entries.iter().filter(has_lines).cloned().collect()
}
