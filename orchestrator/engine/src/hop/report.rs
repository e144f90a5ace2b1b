//! What a hop writes to the log of the process. Each fact of a run is logged once: by the process
//! that wrote it, after the write.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::hop::{Hop, Input, LogEvent};
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::report::{LogLevel, LogLine};
use stepladder_core::state::{RunEnd, RunOutcome, RunState};
use stepladder_core::trace::{RunTrace, SpanOf};
use stepladder_core::{RunId, Status, StepId, Timestamp};

use crate::activity::{Activity, StepChange};
use crate::config::Config;
use crate::hop::Shell;
use crate::permanent;
use crate::ports::StoreError;
use crate::telemetry::{BodyScope, Tracer};

/// The run that a log line is about.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    run: RunId,
    function: Arc<str>,
    created_at: Timestamp,
    /// The trace of the run, and the tracer; `None` if runs are not traced.
    trace: Option<(Arc<dyn Tracer>, Arc<RunTrace>)>,
}

impl Subject {
    pub(super) fn of(config: &Config, state: &RunState) -> Self {
        let trace = config.tracer.clone().map(|tracer| (tracer, Arc::new(RunTrace::of(state.run, &state.created))));
        Self { run: state.run, function: state.created.function.clone(), created_at: state.created_at, trace }
    }

    /// Returns the scope in which log lines have the ids of this span of the run.
    pub(super) fn scope(&self, of: SpanOf<'_>) -> Option<Arc<dyn BodyScope>> {
        let (tracer, trace) = self.trace.as_ref()?;
        Some(tracer.line_scope(&trace.context(of, true)))
    }

    /// Emits log lines with the ids of this span of the run, if runs are traced.
    fn within(&self, of: SpanOf<'_>, emit: impl FnOnce()) {
        let Some(scope) = self.scope(of) else { return emit() };
        let mut emit = Some(emit);
        scope.enter(&mut || emit.take().into_iter().for_each(|emit| emit()));
    }

    fn emit_step(&self, step: &StepId, attempt: u32, change: StepChange<'_>) {
        let activity = Activity::Step { run: self.run, function: &self.function, step, attempt, change };
        self.within(SpanOf::Attempt(step, attempt), || activity.emit());
    }

    fn log_end(&self, end: &RunEnd) {
        let error = match &end.how {
            RunOutcome::Failed(error) => Some(error.headline()),
            RunOutcome::Completed(_) | RunOutcome::Cancelled(_) | RunOutcome::Skipped(_) => None,
        };
        let (run, function) = (self.run, &*self.function);
        let took = end.at.since(self.created_at);
        let error = error.as_deref();
        self.within(SpanOf::Run, || {
            Activity::RunEnded { run, function, status: end.how.status(), took, error }.emit();
        });
    }

    fn log_attempt(&self, entry: &Entry, took: Duration) {
        if let Fact::StepSucceeded { step, attempt, .. } = &entry.fact {
            self.emit_step(step, *attempt, StepChange::Succeeded { took });
        } else if let Fact::StepFailed { step, attempt, error, retry_at, .. } = &entry.fact {
            let retry_at = *retry_at;
            let change = match error.is_not_yet() {
                true => StepChange::Checked { took, retry_at },
                false => StepChange::Failed { took, error: &error.headline(), retry_at },
            };
            self.emit_step(step, *attempt, change);
        } else if let Fact::AttemptUnreachable { step, attempt, why, retry_at, .. } = &entry.fact {
            let (run, function) = (self.run, &*self.function);
            self.within(SpanOf::Attempt(step, *attempt), || {
                tracing::warn!(%run, %function, %step, attempt, %why, %retry_at, "the executor of a step cannot be reached; the step is tried again");
            });
        } else if let Fact::AttemptInterrupted { step, attempt } = &entry.fact {
            self.emit_step(step, *attempt, StepChange::Interrupted);
        }
    }

    fn log_lines(&self, entries: &[Entry]) {
        for entry in entries {
            if let Fact::LogWritten { attempt, lines } = &entry.fact {
                lines.iter().for_each(|placed| self.log_line(None, *attempt, &placed.line));
            }
            if let Fact::StepSucceeded { step, attempt, report, .. }
            | Fact::StepFailed { step, attempt, report, .. }
            | Fact::StepAbandoned { step, attempt, report } = &entry.fact
            {
                report.lines.iter().for_each(|line| self.log_line(Some(step), *attempt, line));
            }
        }
    }

    /// Writes a log line of user code as an event with the target `stepladder::log` and the line's
    /// own level.
    fn log_line(&self, step: Option<&StepId>, attempt: u32, line: &LogLine) {
        let of = step.map_or(SpanOf::Run, |step| SpanOf::Attempt(step, attempt));
        self.within(of, || self.emit_log_line(step, attempt, line));
    }

    fn emit_log_line(&self, step: Option<&StepId>, attempt: u32, line: &LogLine) {
        let (run, function, message) = (self.run, &self.function, &line.message);
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
}

/// Logs that a run has ended.
pub(crate) fn log_end(config: &Config, state: &RunState, end: &RunEnd) {
    Subject::of(config, state).log_end(end);
}

/// Logs that a run was skipped. Such a run ends when it is created.
pub(crate) fn log_skipped(run: RunId, function: &str) {
    let (status, took) = (Status::Skipped, Duration::ZERO);
    Activity::RunEnded { run, function, status, took, error: None }.emit();
}

/// Logs how an attempt ended, with its execution time.
pub(crate) fn log_attempt(config: &Config, state: &RunState, entry: &Entry, took: Duration) {
    Subject::of(config, state).log_attempt(entry, took);
}

impl Shell<'_> {
    pub(super) fn log(&self, hop: &Hop, event: LogEvent) -> Option<Input> {
        match &self.subject {
            Some(subject) => subject.within(SpanOf::Run, || self.log_event(hop, event)),
            None => self.log_event(hop, event),
        }
        None
    }

    fn log_event(&self, hop: &Hop, event: LogEvent) {
        let run = hop.wake().run;
        match (event, &self.subject) {
            (LogEvent::StoreFailed(fault), _) => {
                self.storage.note_fault(&fault);
                let error = StoreError::from(fault);
                if !permanent::report_failure("move a run", Some(run), &error) {
                    tracing::warn!(%run, %error, "the storage failed; the wake comes again");
                }
            }
            (LogEvent::SendFailed(fault), _) => {
                permanent::report_failure("send a wake", Some(run), &fault.into());
            }
            (LogEvent::NoSuchRun, _) | (_, None) => tracing::debug!(%run, "a wake of a run that does not exist"),
            (event, Some(subject)) => subject.log(event),
        }
    }
}

impl Subject {
    fn log(&self, event: LogEvent) {
        let (run, function) = (self.run, &*self.function);
        match event {
            LogEvent::RunStarted => Activity::RunStarted { run, function }.emit(),
            LogEvent::RunEnded(end) => self.log_end(&end),
            LogEvent::AttemptStarted { step, attempt } => self.emit_step(&step, attempt, StepChange::Started),
            LogEvent::AttemptEnded { entry, took } => self.log_attempt(&entry, took),
            LogEvent::Enqueued { step, attempt, limit } => {
                self.emit_step(&step, attempt, StepChange::Enqueued { limit: &limit });
            }
            LogEvent::Lines(entries) => self.log_lines(&entries),
            LogEvent::Orphans(orphans) => {
                // rule 6
                tracing::warn!(%run, ?orphans, "recorded outcomes that the code does not ask for (any more)");
            }
            LogEvent::OtherVersion { own, now } => {
                let (begun, now) = (own.as_deref(), now.as_deref());
                tracing::warn!(%run, %function, begun, now, "a run goes on under another version of its function: its own is not registered");
            }
            LogEvent::Unregistered => {
                tracing::warn!(%run, %function, "a run waits: its function is not registered");
            }
            LogEvent::UnregisteredChild { child, function } => {
                tracing::warn!(%run, %child, %function, "a called run waits to begin: its function is not registered");
            }
            LogEvent::Unreachable { why, due } => {
                tracing::warn!(%run, %function, %why, %due, "the executor of a function cannot be reached; it is tried again");
            }
            LogEvent::Overtaken => tracing::debug!(%run, "overtaken; deciding again"),
            LogEvent::StartsFailed(fault) => {
                let error = StoreError::from(fault);
                tracing::warn!(%run, %error, "steps could not be started; their outcomes before are kept");
            }
            LogEvent::OutcomesLost(fault) => {
                let error = StoreError::from(fault);
                tracing::warn!(%run, %error, "outcomes could not be written; their steps run again");
            }
            LogEvent::NoSuchRun | LogEvent::StoreFailed(_) | LogEvent::SendFailed(_) => {}
        }
    }
}
