//! Logs as CloudWatch reads them: one JSON object a line, with what the event says, what the spans around it say, and
//! who says it.
//!
//! A line is written whole, at once, under a lock that is held for nothing else. Whoever reads the lines may be slow;
//! then so is whoever writes them: in Lambda that is a pipe to the platform. Lines that cannot be written are lost
//! without a word, since there is nowhere to say it.
//!
//! Not here: which metrics a line carries ([`crate::metrics`]), and lines for people, which are the command line's.

mod fields;
mod libraries;
mod line;

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tracing::metadata::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{FilterExt, ParseError, Targets, filter_fn};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use fields::Fields;
pub use libraries::may_be_written;
pub use line::LINE_BYTES;
use line::Line;

use crate::metrics::{self, Said};

/// What comes first among the fields, since everybody looks for it.
const FIRST: [&str; 4] = ["run", "function", "step", "attempt"];

/// The most that a constant takes, in bytes of JSON.
const CONSTANT_BYTES: usize = 1024;

/// Who writes the lines, and which.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What this process does: `worker`, `ingest`, `sweep`, `http`.
    pub role: String,
    /// The deployment that it belongs to; the dimension `Stack` of its metrics.
    pub stack: String,
    /// The version of its code, as the deployment names it.
    pub code: String,
    /// Which lines are written, in the syntax of `RUST_LOG`, which is read when this is `None`: a level, or levels of
    /// modules (`info,stepladder_engine=debug`). Blank means `info`. Libraries that see secrets write nothing below
    /// `info`, whatever it says.
    pub filter: Option<String>,
}

/// Starts logging for the whole process; a program that has set up its own logs keeps them.
///
/// A filter that makes no sense is told in the first line, and then `info` is written.
pub fn start<W: Write + Send + 'static>(options: Options, writer: W) {
    // a program that has set up its own logs keeps them
    let _ = subscriber(options, writer).try_init();
}

/// The same for a part of a program, for a test.
///
/// ```
/// use stepladder_observe::logs::{self, Options};
///
/// let options = Options { role: "worker".into(), stack: "prod".into(), ..Options::default() };
/// tracing::subscriber::with_default(logs::subscriber(options, std::io::stdout()), || {
///     tracing::info!(target: "stepladder::run", run = "01J", function = "enhance", "run started");
/// });
/// ```
pub fn subscriber<W: Write + Send + 'static>(options: Options, writer: W) -> impl Subscriber + Send + Sync {
    let levels = options.filter.clone().or_else(|| Some(std::env::var_os("RUST_LOG")?.to_string_lossy().into_owned()));
    let levels = levels.filter(|levels| !levels.trim().is_empty()).unwrap_or_else(|| "info".into());
    let logs = Logs::new(options, writer, Timestamp::now);
    let filter = parse(&levels).unwrap_or_else(|bad| {
        let told = format!("RUST_LOG is `{levels}`: {bad}; write it like info or stepladder_engine=debug");
        logs.say(Level::WARN, module_path!(), &told);
        Targets::new().with_default(LevelFilter::INFO)
    });
    tracing_subscriber::registry().with(logs.with_filter(with_spans(filter)))
}

/// What runs do is written at `info` whatever is said of everything else, since metrics and alarms live on it. Only
/// its own name silences it (`stepladder::run=off`).
fn parse(levels: &str) -> Result<Targets, ParseError> {
    // what is said later of the same target wins
    let [runs, sweeps, errors] = [metrics::RUN_TARGET, metrics::SWEEP_TARGET, metrics::PERMANENT_TARGET];
    format!("{runs}=info,{sweeps}=info,{errors}=info,{levels}").parse()
}

/// Spans are known also where only warnings are written: they say whose warnings these are.
fn with_spans<S: Subscriber>(filter: Targets) -> impl Filter<S> {
    let spans = filter_fn(|of| of.is_span() && *of.level() <= Level::INFO).with_max_level_hint(LevelFilter::INFO);
    let secretive = filter_fn(may_be_written).with_max_level_hint(LevelFilter::TRACE);
    filter.and(secretive).or(spans)
}

/// Writes the lines.
struct Logs<W> {
    constants: [(&'static str, String); 3],
    stack: String,
    now: fn() -> Timestamp,
    writer: Mutex<W>,
}

impl<W: Write> Logs<W> {
    fn new(options: Options, writer: W, now: fn() -> Timestamp) -> Self {
        let Options { role, stack, code, filter: _ } = options;
        let constant = |text: &str| fields::cut(text, CONSTANT_BYTES);
        let constants = [("role", constant(&role)), ("stack", constant(&stack)), ("code", constant(&code))];
        Self { constants, stack, now, writer: Mutex::new(writer) }
    }

    fn say(&self, level: Level, target: &str, message: &str) {
        self.write(level, target, Some(message.into()), Fields::default());
    }

    fn write(&self, level: Level, target: &str, message: Option<Value>, mut fields: Fields) {
        let now = (self.now)();
        let said = message.as_ref().and_then(Value::as_str).unwrap_or_default();
        let metrics = metrics::members(&Said { target, message: said, stack: &self.stack, at: now }, &fields);
        let mut line = Line::new();
        line.member("timestamp", format!("{now:.3}"));
        line.member("level", level.as_str());
        line.member("target", fields::cut(target, CONSTANT_BYTES));
        if let Some(message) = message {
            line.field("message", message);
        }
        for name in FIRST {
            if let Some(value) = fields.take(name) {
                line.field(name, value);
            }
        }
        for (name, value) in fields.into_iter() {
            line.field(name, value);
        }
        for (name, value) in &self.constants {
            line.member(name, value.as_str());
        }
        for (name, value) in metrics {
            line.member(name, value);
        }
        let text = line.finish();
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // there is nowhere to say that a line could not be written
        let _ = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
    }
}

impl<S, W> Layer<S> for Logs<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.take("message");
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add_missing(outer);
            }
        }
        self.write(*event.metadata().level(), event.metadata().target(), message, fields);
    }
}

#[cfg(test)]
mod tests;
