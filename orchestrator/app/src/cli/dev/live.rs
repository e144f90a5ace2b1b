//! Prints the progress of runs: one line for each event that the engine traces.
//!
//! A separate thread writes the lines, so that a slow terminal or a full pipe delays no run. Lines
//! that do not fit into the buffer of this thread are counted and omitted.

use std::fmt::{self, Write as _};
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use owo_colors::OwoColorize;
use stepladder_api::StepStatus;
use stepladder_api::text::format_duration;
use stepladder_core::activity::{ACTIVITY_FIELD, ActivityKind};
use stepladder_observe::logs::CurrentSpan;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::terminal::text::one_line;
use crate::terminal::{status, step_status};

/// The target of the log lines of runs.
pub(super) const LOG_TARGET: &str = "stepladder::log";

/// The maximum number of lines that wait to be written.
const MAX_WAITING: usize = 4_096;

/// Turns traced events into lines.
#[derive(Clone)]
pub(super) struct LiveLines {
    lines: SyncSender<LiveLine>,
    left_out: Arc<AtomicU64>,
    /// Returns the ids that a line ends with; `None` if no spans are exported.
    current_span: Option<CurrentSpan>,
}

enum LiveLine {
    Text(String),
    /// Marks a position: the sender is notified once all lines before it are written.
    Mark(SyncSender<()>),
}

impl LiveLines {
    /// Starts the thread that writes the lines to standard output.
    pub(super) fn start() -> Self {
        let (live, waiting) = Self::with_capacity(MAX_WAITING);
        let left_out = live.left_out.clone();
        std::thread::spawn(move || write_all(&waiting, &left_out));
        live
    }

    fn with_capacity(room: usize) -> (Self, Receiver<LiveLine>) {
        let (lines, waiting) = sync_channel(room);
        (Self { lines, left_out: Arc::default(), current_span: None }, waiting)
    }

    /// Adds the ids of trace and span to each line.
    pub(super) fn with_span_ids(self, current_span: Option<CurrentSpan>) -> Self {
        Self { current_span, ..self }
    }

    /// Waits until all lines so far are written, but at most half a second.
    pub(super) fn flush(&self) {
        let (written, wait) = sync_channel(1);
        if self.lines.try_send(LiveLine::Mark(written)).is_ok() {
            // a reader of the output that has stopped reading must not keep the process alive
            let _ = wait.recv_timeout(Duration::from_millis(500));
        }
    }
}

impl<S: Subscriber> Layer<S> for LiveLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let log_level = (metadata.target() == LOG_TARGET).then(|| *metadata.level());
        let mut fields = ActivityFields { log_level, ..ActivityFields::default() };
        event.record(&mut fields);
        let Some(mut line) = fields.line(Timestamp::now()) else { return };
        if let Some((trace, span)) = self.current_span.and_then(|current| current()) {
            line += &format!(" {}", format_args!("trace_id={trace} span_id={span}").dimmed());
        }
        if self.lines.try_send(LiveLine::Text(line)).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(waiting: &Receiver<LiveLine>, left_out: &AtomicU64) {
    let mut marks = Vec::new();
    while let Ok(first) = waiting.recv() {
        let mut out = BufWriter::new(anstream::stdout().lock());
        let mut written = Ok(());
        for line in std::iter::once(first).chain(waiting.try_iter()) {
            match line {
                LiveLine::Text(text) => written = written.and_then(|()| writeln!(out, "{text}")),
                LiveLine::Mark(mark) => marks.push(mark),
            }
        }
        let missing = left_out.swap(0, Ordering::Relaxed);
        if missing > 0 {
            written = written.and_then(|()| writeln!(out, "… {missing} lines left out"));
        }
        if written.and_then(|()| out.flush()).is_err() {
            // the reader of the output has gone away, but the runs continue
            return;
        }
        for mark in marks.drain(..) {
            // a `flush` that stopped waiting has dropped the receiver
            let _ = mark.send(());
        }
    }
}

/// The fields of a traced event.
#[derive(Debug, Default)]
struct ActivityFields {
    activity: Option<ActivityKind>,
    message: String,
    run: String,
    function: String,
    step: String,
    attempt: u64,
    error: Option<String>,
    retry_at: Option<String>,
    status: Option<String>,
    /// The level of a log line that a run wrote; `None` for an event of the engine.
    log_level: Option<Level>,
    fields: Option<String>,
}

impl ActivityFields {
    fn line(&self, now: Timestamp) -> Option<String> {
        // shows the end of the run id, which distinguishes runs; its start is the time
        let run = self.run.get(self.run.len().saturating_sub(6)..).unwrap_or(&self.run);
        let mut line =
            format!("{} {} {}", time_of_day(now).dimmed(), run.dimmed(), one_line(&self.function, 60).bold());
        let step = one_line(&self.step, 60);
        let attempt = if self.attempt > 1 { format!(" (attempt {})", self.attempt) } else { String::new() };
        let error = self.error.as_deref().map(|error| format!(": {}", one_line(error, 200).red())).unwrap_or_default();
        if let Some(level) = self.log_level {
            return Some(self.log_line(&line, level));
        }
        // writing to a string does not fail
        let _ = match self.activity? {
            ActivityKind::StepSucceeded => write!(line, " {step} {}{attempt}", step_status(StepStatus::Completed)),
            ActivityKind::StepFailed => {
                let next = match self.retry_at.as_ref().and_then(|at| at.parse().ok()) {
                    Some(at) => {
                        let left = Duration::try_from(now.duration_until(at)).unwrap_or_default();
                        format!("{}, retried in {}", "failed".yellow(), format_duration(left))
                    }
                    None => "failed".red().to_string(),
                };
                write!(line, " {step} {next}{attempt}{error}")
            }
            ActivityKind::RunEnded => {
                let word = self.status.as_deref().unwrap_or_default();
                write!(line, " run {}{error}", word.parse().map_or_else(|_| word.to_owned(), status))
            }
            ActivityKind::RunStarted => write!(line, " {}", "run started".cyan()),
            ActivityKind::StepStarted => write!(line, " {step} {}{attempt}", "started".dimmed()),
            ActivityKind::StepChecked
            | ActivityKind::StepInterrupted
            | ActivityKind::StepEnqueued
            | ActivityKind::SweepCompleted
            | ActivityKind::PermanentError => return None,
        };
        Some(line)
    }

    /// Formats a log line that a run wrote.
    fn log_line(&self, line: &str, level: Level) -> String {
        let message = one_line(&self.message, 500);
        let message = match level {
            Level::ERROR => message.red().to_string(),
            Level::WARN => message.yellow().to_string(),
            _ => message,
        };
        let step = if self.step.is_empty() { String::new() } else { format!(" {}", one_line(&self.step, 60)) };
        let fields = self.fields.as_deref().map(|fields| format!(" {}", one_line(fields, 300).dimmed()));
        format!("{line}{step} {} {message}{}", "log".dimmed(), fields.unwrap_or_default())
    }
}

impl Visit for ActivityFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "attempt" {
            self.attempt = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            ACTIVITY_FIELD => self.activity = value.parse().ok(),
            "message" => self.message = value.into(),
            "run" => self.run = value.into(),
            "function" => self.function = value.into(),
            "step" => self.step = value.into(),
            "error" => self.error = Some(value.into()),
            "retry_at" => self.retry_at = Some(value.into()),
            "status" => self.status = Some(value.into()),
            "fields" => self.fields = Some(value.into()),
            _ => {}
        }
    }
}

fn time_of_day(now: Timestamp) -> impl fmt::Display {
    now.strftime("%H:%M:%S")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: ActivityFields) -> Option<String> {
        let line = fields.line("2026-01-01T10:20:30Z".parse().unwrap())?;
        Some(console::strip_ansi_codes(&line).into_owned())
    }

    fn log_fields(message: &str) -> ActivityFields {
        ActivityFields { activity: None, message: message.into(), ..activity_fields(ActivityKind::StepStarted) }
    }

    fn activity_fields(activity: ActivityKind) -> ActivityFields {
        ActivityFields {
            activity: Some(activity),
            run: "01KAVZ9Y3M0000000000000001".into(),
            function: "enhance".into(),
            step: "call".into(),
            attempt: 1,
            ..ActivityFields::default()
        }
    }

    #[test]
    fn a_failure_says_when_it_is_retried() {
        let failed = ActivityFields {
            error: Some("503\nlater".into()),
            retry_at: Some("2026-01-01T10:20:32Z".into()),
            attempt: 2,
            ..activity_fields(ActivityKind::StepFailed)
        };
        assert_eq!(
            line(failed).as_deref(),
            Some("10:20:30 000001 enhance call failed, retried in 2.0 s (attempt 2): 503 later")
        );
        assert_eq!(
            line(activity_fields(ActivityKind::StepFailed)).as_deref(),
            Some("10:20:30 000001 enhance call failed")
        );
    }

    #[test]
    fn events_become_lines_and_lines_without_room_are_counted() {
        use stepladder_core::activity::RUN_TARGET;
        use tracing_subscriber::layer::SubscriberExt;

        let (live, waiting) = LiveLines::with_capacity(1);
        let subscriber = tracing_subscriber::registry().with(live.clone());
        tracing::subscriber::with_default(subscriber, || {
            for attempt in [1_u32, 2] {
                let activity = ActivityKind::StepSucceeded.name();
                tracing::info!(target: RUN_TARGET, activity, run = %"01KAVZ9Y3M0000000000000001", function = %"f", step = %"s", attempt, "any sentence");
            }
        });
        let Ok(LiveLine::Text(line)) = waiting.try_recv() else { panic!("a line") };
        let plain = console::strip_ansi_codes(&line).into_owned();
        assert!(plain.ends_with(" 000001 f s Completed"), "{plain}");
        assert!(waiting.try_recv().is_err());
        assert_eq!(live.left_out.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_log_line_is_printed_whatever_its_text() {
        let logged = ActivityFields {
            log_level: Some(Level::WARN),
            fields: Some(r#"{"rows":7}"#.into()),
            ..log_fields("run ended")
        };
        assert_eq!(line(logged).as_deref(), Some(r#"10:20:30 000001 enhance call log run ended {"rows":7}"#));
        let logged = ActivityFields { log_level: Some(Level::INFO), step: String::new(), ..log_fields("two\nlines") };
        assert_eq!(line(logged).as_deref(), Some("10:20:30 000001 enhance log two lines"));
    }

    #[test]
    fn the_end_of_a_run_has_its_status() {
        let ended = ActivityFields {
            status: Some("Completed".into()),
            step: String::new(),
            ..activity_fields(ActivityKind::RunEnded)
        };
        assert_eq!(line(ended).as_deref(), Some("10:20:30 000001 enhance run Completed"));
    }

    #[test]
    fn an_unknown_event_takes_no_line() {
        assert_eq!(line(log_fields("run started")), None);
        assert_eq!(line(activity_fields(ActivityKind::StepEnqueued)), None);
    }
}
