//! Logs go to standard error. They are filtered by `RUST_LOG`, and libraries that would log secrets
//! are excluded. The progress of runs goes to standard output.

use std::io::{self, IsTerminal};

use anstream::{AutoStream, ColorChoice};
use stepladder_core::activity::RUN_TARGET;
use stepladder_observe::logs::{CurrentSpan, ExportedSpans};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::live::{LOG_TARGET, LiveLines};
use crate::terminal::StopReason;

/// The target of spans that give log lines the ids, for programs with their own logging.
const LINE_TARGET: &str = "stepladder::trace";

/// Starts logging. Lines of runs have the ids of exported spans. With `live`, the progress of runs
/// is printed too.
///
/// # Errors
/// `RUST_LOG` cannot be parsed.
pub(super) fn start(live: Option<LiveLines>, spans: Option<ExportedSpans>) -> Result<(), StopReason> {
    let levels = std::env::var("RUST_LOG").unwrap_or_default();
    let levels = if levels.trim().is_empty() { "info" } else { &levels };
    let filter = EnvFilter::builder().parse(levels).map_err(|e| {
        StopReason::problem(format!("RUST_LOG is `{levels}`: {e}; write it like info or stepladder_engine=debug"))
    })?;
    let (inner, current) = spans.map(|spans| (spans.layer, spans.current)).unzip();
    let is_of_runs = |target: &str| matches!(target, RUN_TARGET | LOG_TARGET);
    let shown = move |of: &Metadata<'_>| {
        let is_shown = !is_of_runs(of.target()) && of.target() != LINE_TARGET;
        is_shown && stepladder_observe::logs::may_be_written(of)
    };
    let filter = filter.and(filter_fn(shown).with_max_level_hint(LevelFilter::TRACE));
    let coloured = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let logs = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(coloured)
        .event_format(WithSpanIds {
            line: fmt::format().with_timer(LogTimeFormat { short: io::stderr().is_terminal() }),
            current,
        })
        .with_filter(filter);
    let runs = live.map(|live| {
        let shown = move |of: &Metadata<'_>| is_of_runs(of.target()) && *of.level() <= tracing::Level::INFO;
        live.with_span_ids(current).with_filter(filter_fn(shown))
    });
    // if the program has already set up logging, that remains in effect
    let _ = tracing_subscriber::registry().with(inner).with(runs).with(logs).try_init();
    Ok(())
}

/// Adds the ids of trace and span to the end of a line that is written in a run.
struct WithSpanIds<F> {
    line: F,
    current: Option<CurrentSpan>,
}

impl<S, N, F> FormatEvent<S, N> for WithSpanIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let Some((trace, span)) = self.current.and_then(|current| current()) else {
            return self.line.format_event(context, out, event);
        };
        let mut line = String::new();
        self.line.format_event(context, Writer::new(&mut line), event)?;
        writeln!(out, "{} trace_id={trace} span_id={span}", line.trim_end_matches('\n'))
    }
}

/// Writes the time of a log line in UTC: only the time of day on a terminal, date and time in a
/// file.
struct LogTimeFormat {
    short: bool,
}

impl FormatTime for LogTimeFormat {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let now = jiff::Timestamp::now();
        if self.short { write!(out, "{}", now.strftime("%H:%M:%S")) } else { write!(out, "{now:.3}") }
    }
}
