//! Log lines and model usage, which are kept until the execution takes them.
//!
//! Their memory is bounded here. The engine limits what a whole run may record.

use stepladder_core::label::LABELS;
use stepladder_core::report::{AttemptReport, HandlerLogLine, LogBudget, LogLine, Usage};
use stepladder_core::{Label, StepId};

use super::{ReplayLedger, Scope};

/// The log lines of the handler. A replay writes the same line at the same position.
#[derive(Default)]
pub(super) struct HandlerLog {
    /// The number of outcomes that were revealed so far.
    outcomes: u64,
    /// The number of lines since the last outcome.
    lines_since: u32,
    lines: Vec<HandlerLogLine>,
    room: LogBudget,
}

impl HandlerLog {
    pub(super) fn count_outcome(&mut self) {
        (self.outcomes, self.lines_since) = (self.outcomes + 1, 0);
    }

    fn push(&mut self, line: LogLine) {
        if !self.room.is_full() {
            self.room.add(&line);
            self.lines.push(HandlerLogLine { after: self.outcomes, nth: self.lines_since, line });
            self.lines_since += 1;
        }
    }
}

/// What the body of a step reports while it is running.
#[derive(Default)]
pub(super) struct BodyReport {
    report: AttemptReport,
    room: LogBudget,
}

impl ReplayLedger {
    /// Adds a log line of the handler, or of the body that is running.
    pub(crate) fn log(&self, line: LogLine) {
        let mut inner = self.lock();
        match inner.scope {
            Scope::Handler(_) => inner.log.push(line),
            Scope::Body(_, at) => {
                let BodyReport { report, room } = &mut inner.steps[at].report;
                if !room.is_full() {
                    room.add(&line);
                    report.lines.push(line);
                }
            }
            // a value that is dropped together with the handler may log, but a replay would not
            // repeat this at the same position
            Scope::Outside => {}
        }
    }

    /// Adds a label to the run.
    ///
    /// # Errors
    /// A sentence that says why the run cannot have the label.
    pub(crate) fn add_label(&self, label: Label) -> Result<(), String> {
        let mut inner = self.lock();
        if !matches!(inner.scope, Scope::Handler(_)) {
            let key = &label.key;
            return Err(format!("the label `{key}` was added by the body of a step; call ctx.label outside of steps"));
        }
        match inner.labels.iter().find(|known| known.key == label.key) {
            Some(known) if *known == label => Ok(()),
            Some(Label { key, value }) => Err(format!(
                "the label `{key}` is `{value}` and cannot become `{}`; use a value that is the same in every replay",
                label.value
            )),
            None if inner.labels.len() >= LABELS => {
                Err(format!("the label `{}` is one too many; a run has at most {LABELS} labels", label.key))
            }
            None => {
                inner.labels.push(label);
                Ok(())
            }
        }
    }

    /// Takes the labels that the handler has added since the last call.
    pub(crate) fn take_labels(&self) -> Vec<Label> {
        let mut inner = self.lock();
        let new = inner.labels[inner.taken_labels..].to_vec();
        inner.taken_labels = inner.labels.len();
        new
    }

    /// Adds model usage to the report of a body.
    pub(crate) fn add_usage(&self, at: usize, usage: Usage) {
        let mut inner = self.lock();
        if let Some(step) = inner.steps.get_mut(at) {
            usage.add_to(&mut step.report.report.usage);
        }
    }

    /// Takes the report of a step's body.
    pub(crate) fn take_report(&self, step: &StepId) -> AttemptReport {
        let mut inner = self.lock();
        match inner.replay.index_of(step) {
            Some(at) => std::mem::take(&mut inner.steps[at].report).report,
            None => AttemptReport::default(),
        }
    }

    /// Takes the handler's log lines since the last call.
    pub(crate) fn take_log(&self) -> Vec<HandlerLogLine> {
        std::mem::take(&mut self.lock().log.lines)
    }
}
