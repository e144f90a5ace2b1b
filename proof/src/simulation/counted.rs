//! Counts the log lines that report the start of a run, as a metrics backend does.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use stepladder_core::RunId;
use stepladder_core::activity::{ACTIVITY_FIELD, ActivityKind, RUN_TARGET};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Event, Metadata, Subscriber};

use super::Simulation;
use super::invariants::{Violation, journal, rows};

/// For each run, the number of log lines that report its start.
#[derive(Clone, Default)]
pub(super) struct StartLineCounts(Arc<Mutex<HashMap<String, u32>>>);

impl StartLineCounts {
    /// Counts the log lines that this thread writes until the guard is dropped.
    pub(super) fn listen(&self) -> DefaultGuard {
        tracing::subscriber::set_default(self.clone())
    }
}

/// A log line: the activity that it reports, and the run.
#[derive(Default)]
struct ActivityLine {
    activity: Option<ActivityKind>,
    run: String,
}

impl Visit for ActivityLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == ACTIVITY_FIELD {
            self.activity = value.parse().ok();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "run" {
            self.run = format!("{value:?}");
        }
    }
}

impl Subscriber for StartLineCounts {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == RUN_TARGET && metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = ActivityLine::default();
        event.record(&mut line);
        if line.activity == Some(ActivityKind::RunStarted) {
            *self.0.lock().expect("no panic").entry(line.run).or_default() += 1;
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Simulation {
    /// Checks that the start of each run is logged once. The line may be missing if a process died
    /// or the reply to a write was lost.
    pub(super) fn each_start_is_counted_once(&self) -> Result<(), Violation> {
        let counted = self.counted.0.lock().expect("no panic");
        let of = |run: RunId| counted.get(&run.to_string()).copied().unwrap_or(0);
        for run in rows(&self.memory).into_iter().map(|row| row.run) {
            let started = journal(&self.memory, run).iter().any(|entry| entry.fact.is_requested_by_handler());
            match of(run) {
                0 if started && self.is_calm() => return Err(format!("{run} has started, and no line says so")),
                0 | 1 => {}
                n => return Err(format!("{n} lines say that {run} has started")),
            }
        }
        Ok(())
    }
}
