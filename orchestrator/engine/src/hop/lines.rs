//! Log lines of handlers (`ctx.log`). They are recorded with other entries, and logged once, when
//! first recorded.
//!
//! A handler's log line has a fixed index, so a replay that repeats it adds nothing. It waits here
//! for the next write of this hop: the outcome before it, the start after it, or the run's end. If
//! the run suspends without another write, the log lines are written by themselves. A body's log
//! lines are part of its outcome's entry.

use stepladder_core::StepId;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::report::{HandlerLogLine, LogLevel, LogLine};
use stepladder_core::state::RunState;

use super::Hop;
use super::append::is_outcome;
use crate::program::Session;

/// The handler's log lines of one session that are not recorded yet.
#[derive(Debug, Default)]
pub(crate) struct HandlerLog {
    attempt: u32,
    lines: Vec<HandlerLogLine>,
}

impl HandlerLog {
    /// Creates an empty log for this attempt of the handler.
    pub(crate) fn in_attempt(attempt: u32) -> Self {
        Self { attempt, lines: Vec::new() }
    }

    /// Takes the session's new log lines.
    pub(crate) fn hear(&mut self, session: &mut dyn Session) {
        self.lines.extend(session.take_log_lines());
    }

    /// Drops log lines that another hop has recorded, and those of an earlier attempt of the
    /// handler.
    pub(crate) fn forget_recorded(&mut self, state: &RunState) {
        let attempt = self.attempt;
        self.lines.retain(|placed| attempt == state.handler_attempt() && !state.logs.has(attempt, placed));
    }
}

impl Hop<'_> {
    /// Adds the run's version and the log lines to the entries. The version goes with the run's
    /// first entry. Log lines follow the outcomes, which the handler had seen, and precede the
    /// rest. Log lines past the run's limit are dropped.
    pub(crate) fn with_lines(&mut self, mut entries: Vec<Entry>) -> Vec<Entry> {
        // the run takes its version when it starts, not before
        if let Some(version) = self.program.version()
            && !entries.is_empty()
            && !self.state.has_requested()
            && !self.state.collecting
        {
            entries.insert(0, Fact::VersionChosen { version: version.into() }.at(self.now()));
        }
        let mut room = self.state.logs.room();
        for report in entries.iter_mut().filter_map(|entry| entry.fact.report_mut()) {
            room.fit(&mut report.lines);
        }
        if self.said.lines.is_empty() {
            return entries;
        }
        self.said.forget_recorded(&self.state);
        let (attempt, mut lines) = (self.said.attempt, self.said.lines.clone());
        room.fit_handler_lines(&mut lines);
        if !lines.is_empty() {
            let comes_first = |entry: &Entry| is_outcome(entry) || matches!(entry.fact, Fact::VersionChosen { .. });
            let at = entries.iter().position(|entry| !comes_first(entry)).unwrap_or(entries.len());
            entries.insert(at, Fact::LogWritten { attempt, lines }.at(self.now()));
        }
        entries
    }

    /// Drops log lines after a conflict, if no body runs here: the replayed run writes them again.
    pub(crate) fn unsay(&mut self) {
        if self.running.is_empty() {
            self.said.lines.clear();
        }
    }
}

/// Returns the entries that have log lines.
pub(crate) fn with_something_to_say(entries: &[Entry]) -> Vec<Entry> {
    let says = |entry: &&Entry| match &entry.fact {
        Fact::LogWritten { .. } => true,
        other => other.report().is_some_and(|report| !report.lines.is_empty()),
    };
    entries.iter().filter(says).cloned().collect()
}

/// Logs what was just recorded: events of the target `stepladder::log`, at the log line's own
/// level.
pub(crate) fn say_lines(state: &RunState, entries: &[Entry]) {
    for entry in entries {
        if let Fact::LogWritten { attempt, lines } = &entry.fact {
            lines.iter().for_each(|placed| say_line(state, None, *attempt, &placed.line));
        }
        if let Fact::StepSucceeded { step, attempt, report, .. }
        | Fact::StepFailed { step, attempt, report, .. }
        | Fact::StepAbandoned { step, attempt, report } = &entry.fact
        {
            report.lines.iter().for_each(|line| say_line(state, Some(step), *attempt, line));
        }
    }
}

fn say_line(state: &RunState, step: Option<&StepId>, attempt: u32, line: &LogLine) {
    let (run, function, message) = (state.run, &state.created.function, &line.message);
    let step = step.map(tracing::field::display);
    let fields = line.fields.as_ref().map(|fields| fields.get());
    match line.level {
        LogLevel::Info => {
            tracing::info!(target: "stepladder::log", %run, %function, step, attempt, fields, "{message}");
        }
        LogLevel::Warn => {
            tracing::warn!(target: "stepladder::log", %run, %function, step, attempt, fields, "{message}");
        }
        LogLevel::Error => {
            tracing::error!(target: "stepladder::log", %run, %function, step, attempt, fields, "{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use stepladder_core::journal::{Failure, NewRun, Origin, Record};
    use stepladder_core::{Event, EventId, RunId, Timestamp, json};

    use super::*;

    #[test]
    fn what_an_earlier_attempt_of_the_handler_said_is_not_recorded_after_it() {
        let at = Timestamp::from_millis(1);
        let event = Event {
            id: EventId::new(at, 1),
            name: "a".into(),
            data: json::empty_object(),
            ts: at,
            user: None,
            external_id: None,
            received_at: at,
        };
        let created = Fact::RunCreated(Box::new(NewRun::new("f".into(), event, Origin::Event)));
        let failed = Fact::HandlerFailed { attempt: 1, error: Failure::new("x"), retry_at: at };
        let record = |entries| Record { seq: 0, token: 1, code: "".into(), entries };
        let state = |entries| RunState::fold(RunId::new(at, 1), &[record(entries)]).unwrap();
        let said = || {
            let placed = HandlerLogLine { after: 0, nth: 0, line: LogLine::new(LogLevel::Info, "begun", None) };
            HandlerLog { attempt: 1, lines: vec![placed] }
        };
        let (mut before, mut after) = (said(), said());
        before.forget_recorded(&state(vec![created.clone().at(at)]));
        after.forget_recorded(&state(vec![created.at(at), failed.at(at)]));
        assert_eq!((before.lines.len(), after.lines.len()), (1, 0));
    }
}
