//! What code says (`ctx.log`): recorded with what is written anyway, and told once, when it is first recorded.
//!
//! A line of the handler is known by its place, so a replay that says it again adds nothing. It waits here for the next
//! write of this hop: the outcome before it, the start after it, the run's end. Only where the run is left waiting and
//! nothing is to be written, it is written by itself. Lines of a body are part of its outcome's entry.

use stepladder_core::StepId;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::report::{HandlerLogLine, LogLevel, LogLine};
use stepladder_core::state::RunState;

use super::Hop;
use super::append::is_outcome;
use crate::program::Session;

/// What the handler has said in one session, and nobody has recorded yet.
#[derive(Debug, Default)]
pub(crate) struct HandlerLog {
    attempt: u32,
    lines: Vec<HandlerLogLine>,
}

impl HandlerLog {
    /// Nothing yet, in this attempt of the handler.
    pub(crate) fn in_attempt(attempt: u32) -> Self {
        Self { attempt, lines: Vec::new() }
    }

    /// Listens to what the session's handler has said since.
    pub(crate) fn hear(&mut self, session: &mut dyn Session) {
        self.lines.extend(session.take_log_lines());
    }

    /// Another hop may have recorded the same; and what an earlier attempt of the handler said is not news.
    pub(crate) fn forget_recorded(&mut self, state: &RunState) {
        let attempt = self.attempt;
        self.lines.retain(|placed| attempt == state.handler_attempt() && !state.logs.has(attempt, placed));
    }
}

impl Hop<'_> {
    /// The entries with what travels along: the version that a run takes with its first, and lines: after the outcomes, which the handler had seen when it said them, and
    /// before whatever follows. Of all lines, only as many as a run keeps.
    pub(crate) fn with_lines(&mut self, mut entries: Vec<Entry>) -> Vec<Entry> {
        // the version under which the run begins; not before it does
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
        room.fit_placed(&mut lines);
        if !lines.is_empty() {
            let comes_first = |entry: &Entry| is_outcome(entry) || matches!(entry.fact, Fact::VersionChosen { .. });
            let at = entries.iter().position(|entry| !comes_first(entry)).unwrap_or(entries.len());
            entries.insert(at, Fact::LogWritten { attempt, lines }.at(self.now()));
        }
        entries
    }

    /// A write was overtaken. Where no body runs here, the run is replayed, and says it all again.
    pub(crate) fn unsay(&mut self) {
        if self.running.is_empty() {
            self.said.lines.clear();
        }
    }
}

/// The entries that have lines.
pub(crate) fn with_something_to_say(entries: &[Entry]) -> Vec<Entry> {
    let says = |entry: &&Entry| match &entry.fact {
        Fact::LogWritten { .. } => true,
        other => other.report().is_some_and(|report| !report.lines.is_empty()),
    };
    entries.iter().filter(says).cloned().collect()
}

/// Tells what was just recorded: events of the target `stepladder::log`, at the line's own level.
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
