//! Collects the log lines of one target as strings.

use std::fmt::{Debug, Write};
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// A subscriber that collects the log lines of its target as strings: the message, then the fields
/// except `run` and `activity`.
#[derive(Clone)]
pub struct LogCollector {
    target: &'static str,
    lines: Arc<Mutex<Vec<String>>>,
}

impl LogCollector {
    pub fn for_target(target: &'static str) -> Self {
        // With only one subscriber, `tracing` lets the first thread that reaches a log line decide
        // for all threads whether the line is logged. Two more subscribers prevent that.
        static OTHERS: LazyLock<[Dispatch; 2]> =
            LazyLock::new(|| [LogCollector::new("no"), LogCollector::new("no")].map(Dispatch::new));
        LazyLock::force(&OTHERS);
        Self::new(target)
    }

    fn new(target: &'static str) -> Self {
        Self { target, lines: Arc::default() }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Returns the number of lines that start with `beginning`.
    pub fn count(&self, beginning: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(beginning)).count()
    }
}

struct LineVisitor(String);

impl Visit for LineVisitor {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.0 = format!("{value:?}{}", self.0),
            "run" | "activity" => {}
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for LogCollector {
    /// `sometimes` is not cached: tests that run in parallel have other subscribers, each for a
    /// short time.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == self.target
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = LineVisitor(String::new());
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
