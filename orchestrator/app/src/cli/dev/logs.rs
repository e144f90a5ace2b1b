//! Logs go to standard error. They are filtered by `RUST_LOG`, and libraries that would log secrets
//! are excluded. The progress of runs goes to standard output.

use std::io::{self, IsTerminal};

use anstream::{AutoStream, ColorChoice};
use stepladder_core::activity::RUN_TARGET;
use stepladder_observe::logs::InnerLayer;
use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::live::{LOG_TARGET, LiveLines};
use crate::terminal::StopReason;

/// Starts logging, over another layer. With `live`, the progress of runs is printed too.
///
/// # Errors
/// `RUST_LOG` cannot be parsed.
pub(super) fn start(live: Option<LiveLines>, inner: Option<InnerLayer>) -> Result<(), StopReason> {
    let levels = std::env::var("RUST_LOG").unwrap_or_default();
    let levels = if levels.trim().is_empty() { "info" } else { &levels };
    let filter = EnvFilter::builder().parse(levels).map_err(|e| {
        StopReason::problem(format!("RUST_LOG is `{levels}`: {e}; write it like info or stepladder_engine=debug"))
    })?;
    let is_of_runs = |target: &str| matches!(target, RUN_TARGET | LOG_TARGET);
    let shown = move |of: &Metadata<'_>| !is_of_runs(of.target()) && stepladder_observe::logs::may_be_written(of);
    let filter = filter.and(filter_fn(shown).with_max_level_hint(LevelFilter::TRACE));
    let coloured = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let logs = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(coloured)
        .with_timer(LogTimeFormat { short: io::stderr().is_terminal() })
        .with_filter(filter);
    let runs = live.map(|live| {
        let shown = move |of: &Metadata<'_>| is_of_runs(of.target()) && *of.level() <= tracing::Level::INFO;
        live.with_filter(filter_fn(shown))
    });
    // if the program has already set up logging, that remains in effect
    let _ = tracing_subscriber::registry().with(inner).with(runs).with(logs).try_init();
    Ok(())
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
