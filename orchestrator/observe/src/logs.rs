//! Logs for CloudWatch: one JSON object per line. The object contains the fields of the event, the
//! fields of the spans around it, and the role, stack and code version of the process.
//!
//! Each line is written immediately, under a lock that protects only the writer. If the reader is
//! slow, the process becomes slow; on Lambda, the reader is the platform. A line that cannot be
//! written is dropped silently.
//!
//! The metrics in a line are described in [`crate::metrics`]. The log lines of the command line
//! tool are not written here.

mod fields;
mod libraries;
mod line;

use std::io::Write;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use stepladder_core::activity::{ACTIVITY_FIELD, PERMANENT_TARGET, RUN_TARGET, SWEEP_TARGET};
use stepladder_core::trace::{SpanId, TraceId};
use tracing::metadata::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{FilterExt, ParseError, Targets, filter_fn};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use fields::LineFields;
pub use libraries::may_be_written;
use line::JsonLine;
pub use line::LINE_BYTES;

use crate::metrics::{self, LineOrigin};

/// The fields that come first in a line, because readers look for them most often.
const FIRST_FIELDS: [&str; 5] = [ACTIVITY_FIELD, "run", "function", "step", "attempt"];

/// The maximum length of `role`, `stack`, `code` and `target`, in bytes of JSON.
const CONSTANT_BYTES: usize = 1024;

/// The constant members of all lines, and the minimum level of lines that are written.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// The role of this process: `worker`, `ingest`, `sweep` or `http`.
    pub role: String,
    /// The name of the deployment. It is the dimension `Stack` of the metrics.
    pub stack: String,
    /// The version of the code, as the deployment calls it.
    pub code: String,
    /// A level, or levels of modules (`info,stepladder_engine=debug`). With `None`, the variable
    /// `RUST_LOG` is read. A blank string means `info`. Libraries that handle secrets never log
    /// below `info`.
    pub filter: Option<String>,
}

/// A layer below the log lines, for spans that are exported.
pub type InnerLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What log lines need of the spans that a process exports.
pub struct ExportedSpans {
    /// The layer that exports spans of user code.
    pub layer: InnerLayer,
    /// Returns the ids of the span in which a line is written.
    pub current: CurrentSpan,
}

/// Returns the trace and the span in which this thread executes code of a run; `None` outside of
/// runs.
pub type CurrentSpan = fn() -> Option<(TraceId, SpanId)>;

/// Starts logging for the whole process. Lines of runs have the ids of exported spans. If the
/// program has already set up logging, this does nothing.
///
/// If the filter is invalid, the first line reports this and the level is `info`.
pub fn start_over<W: Write + Send + 'static>(options: LogOptions, writer: W, spans: Option<ExportedSpans>) {
    // an error means that the program has already set up logging
    let _ = subscriber_over(options, writer, spans).try_init();
}

/// Starts logging like [`start_over`], without exported spans.
pub fn start<W: Write + Send + 'static>(options: LogOptions, writer: W) {
    start_over(options, writer, None);
}

/// Returns the subscriber that [`start`] installs, for tests and for parts of a program.
///
/// ```
/// use stepladder_observe::logs::{self, LogOptions};
///
/// let options = LogOptions { role: "worker".into(), stack: "prod".into(), ..LogOptions::default() };
/// tracing::subscriber::with_default(logs::subscriber(options, std::io::stdout()), || {
///     tracing::info!(target: "stepladder::run", activity = "run_started", run = "01J", "run started");
/// });
/// ```
pub fn subscriber<W: Write + Send + 'static>(options: LogOptions, writer: W) -> impl Subscriber + Send + Sync {
    subscriber_over(options, writer, None)
}

fn subscriber_over<W: Write + Send + 'static>(
    options: LogOptions,
    writer: W,
    spans: Option<ExportedSpans>,
) -> impl Subscriber + Send + Sync {
    let levels = options.filter.clone().or_else(|| Some(std::env::var_os("RUST_LOG")?.to_string_lossy().into_owned()));
    let levels = levels.filter(|levels| !levels.trim().is_empty()).unwrap_or_else(|| "info".into());
    let mut logs = LogLayer::new(options, writer, Timestamp::now);
    let inner = spans.map(|spans| {
        logs.current_span = Some(spans.current);
        spans.layer
    });
    let filter = parse(&levels).unwrap_or_else(|error| {
        let message = format!("RUST_LOG is `{levels}`: {error}; write it like info or stepladder_engine=debug");
        logs.write(Level::WARN, module_path!(), Some(message.into()), LineFields::default());
        Targets::new().with_default(LevelFilter::INFO)
    });
    tracing_subscriber::registry().with(inner).with(logs.with_filter(with_spans(filter)))
}

/// Parses the levels. Lines that carry metrics are written at `info` whatever the default level is,
/// because alarms depend on them. Only a level for their own target turns them off
/// (`stepladder::run=off`).
fn parse(levels: &str) -> Result<Targets, ParseError> {
    // a later level for the same target overrides an earlier one
    format!("{RUN_TARGET}=info,{SWEEP_TARGET}=info,{PERMANENT_TARGET}=info,{levels}").parse()
}

/// Keeps spans at `info` even if only warnings are written, because a warning must name the run
/// that it concerns.
fn with_spans<S: Subscriber>(filter: Targets) -> impl Filter<S> {
    let is_span = |metadata: &Metadata<'_>| metadata.is_span() && *metadata.level() <= Level::INFO;
    let spans = filter_fn(is_span).with_max_level_hint(LevelFilter::INFO);
    let without_secrets = filter_fn(may_be_written).with_max_level_hint(LevelFilter::TRACE);
    filter.and(without_secrets).or(spans)
}

/// The tracing layer that writes the log lines.
struct LogLayer<W> {
    constants: [(&'static str, String); 3],
    stack: String,
    now: fn() -> Timestamp,
    current_span: Option<CurrentSpan>,
    writer: Mutex<W>,
}

impl<W: Write> LogLayer<W> {
    fn new(options: LogOptions, writer: W, now: fn() -> Timestamp) -> Self {
        let LogOptions { role, stack, code, filter: _ } = options;
        let constant = |text: &str| fields::truncate(text, CONSTANT_BYTES);
        let constants = [("role", constant(&role)), ("stack", constant(&stack)), ("code", constant(&code))];
        Self { constants, stack, now, current_span: None, writer: Mutex::new(writer) }
    }

    fn write(&self, level: Level, target: &str, message: Option<Value>, mut fields: LineFields) {
        let now = (self.now)();
        let metrics = metrics::metric_members(&LineOrigin { target, stack: &self.stack, at: now }, &fields);
        let mut line = JsonLine::new();
        line.add_member("timestamp", format!("{now:.3}"));
        line.add_member("level", level.as_str());
        line.add_member("target", fields::truncate(target, CONSTANT_BYTES));
        if let Some(message) = message {
            line.add_field("message", message);
        }
        for name in FIRST_FIELDS {
            if let Some(value) = fields.take_field(name) {
                line.add_field(name, value);
            }
        }
        for (name, value) in fields.into_iter() {
            line.add_field(name, value);
        }
        for (name, value) in &self.constants {
            line.add_member(name, value.as_str());
        }
        for (name, value) in metrics {
            line.add_member(name, value);
        }
        let text = line.finish();
        let mut writer = self.writer.lock();
        // a write error is ignored, because it could only be reported to the same writer
        let _ = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
    }
}

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = LineFields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<LineFields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = LineFields::default();
        event.record(&mut fields);
        let message = fields.take_field("message");
        if let Some((trace, span)) = self.current_span.and_then(|current| current()) {
            fields.add_missing_text("trace_id", trace);
            fields.add_missing_text("span_id", span);
        }
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<LineFields>() {
                fields.add_missing(outer);
            }
        }
        self.write(*event.metadata().level(), event.metadata().target(), message, fields);
    }
}

#[cfg(test)]
mod tests;
