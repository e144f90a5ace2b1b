//! Counts runs for Prometheus, and serves the counts as text at `/metrics`.
//!
//! The counts are those of this process since its start. `docs/observability.md` lists them. The
//! only label with many values is the function; at most [`MAX_FUNCTIONS`] have values of their own.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use stepladder_core::journal::Record;
use stepladder_core::spans::{Count, walk};
use stepladder_core::state::RunState;
use stepladder_engine::Load;
use stepladder_engine::telemetry::RunObserver;

use crate::error::HttpProblem;
use crate::router::SharedServerState;

/// The maximum number of functions with values of their own. All further ones are counted as
/// `others`.
pub const MAX_FUNCTIONS: usize = 200;
const OTHERS: &str = "others";

/// The upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3_600.0];
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The counts of a process.
pub struct RunMetrics {
    registry: Registry,
    runs_started: Family<OfFunction, Counter>,
    runs_ended: Family<OfStatus, Counter>,
    run_duration: Durations,
    run_queue: Durations,
    steps: Family<OfOutcome, Counter>,
    attempts: Family<OfOutcome, Counter>,
    attempt_duration: Durations,
    attempt_queue: Durations,
    retries: Family<OfFunction, Counter>,
    executing: Gauge,
    queue_due: Gauge,
    queue_waiting: Gauge,
    functions: Mutex<HashSet<Arc<str>>>,
}

type Durations = Family<OfFunction, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfFunction {
    function: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfStatus {
    function: Arc<str>,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfOutcome {
    function: Arc<str>,
    outcome: &'static str,
}

impl fmt::Debug for RunMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunMetrics")
    }
}

impl Default for RunMetrics {
    fn default() -> Self {
        let durations = || Durations::new_with_constructor(|| Histogram::new(BUCKETS));
        let mut metrics = Self {
            registry: Registry::with_prefix("stepladder"),
            runs_started: Family::default(),
            runs_ended: Family::default(),
            run_duration: durations(),
            run_queue: durations(),
            steps: Family::default(),
            attempts: Family::default(),
            attempt_duration: durations(),
            attempt_queue: durations(),
            retries: Family::default(),
            executing: Gauge::default(),
            queue_due: Gauge::default(),
            queue_waiting: Gauge::default(),
            functions: Mutex::default(),
        };
        metrics.register();
        metrics
    }
}

impl RunMetrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("runs_started", "Runs whose handler started", self.runs_started.clone());
        registry.register("runs_ended", "Runs that ended, by status", self.runs_ended.clone());
        registry.register("steps_ended", "Steps that ended, by outcome", self.steps.clone());
        registry.register("attempts_ended", "Attempts that ended, by outcome", self.attempts.clone());
        registry.register("retries", "Attempts that failed and are retried", self.retries.clone());
        for (name, help, durations) in [
            ("run_duration", "From the creation of a run to its end", &self.run_duration),
            ("run_queue_duration", "From the readiness of a run to its start", &self.run_queue),
            ("attempt_duration", "From the start of an attempt to its end", &self.attempt_duration),
            ("attempt_queue_duration", "From the readiness of an attempt to its start", &self.attempt_queue),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, durations.clone());
        }
        registry.register("attempts_executing", "Bodies that execute now", self.executing.clone());
        registry.register("queue_due", "Wakes that are due and not received yet", self.queue_due.clone());
        registry.register("queue_waiting", "Wakes and tickets that wait for later", self.queue_waiting.clone());
    }

    /// Returns the counts as text, with the current load.
    ///
    /// # Errors
    /// [`fmt::Error`] if a value cannot be written.
    pub fn text(&self, load: &Load) -> Result<String, fmt::Error> {
        let backlog = load.backlog.unwrap_or_default();
        for (gauge, value) in
            [(&self.executing, load.executing), (&self.queue_due, backlog.due), (&self.queue_waiting, backlog.waiting)]
        {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn count(&self, function: &Arc<str>, count: Count<'_>) {
        let of = OfFunction { function: function.clone() };
        match count {
            Count::RunStarted(waited) => {
                self.runs_started.get_or_create(&of).inc();
                self.run_queue.get_or_create(&of).observe(waited.as_secs_f64());
            }
            Count::RunEnded(status, took) => {
                let ended = OfStatus { function: of.function.clone(), status: status.word() };
                self.runs_ended.get_or_create(&ended).inc();
                self.run_duration.get_or_create(&of).observe(took.as_secs_f64());
            }
            Count::StepEnded { outcome } => {
                self.steps.get_or_create(&OfOutcome { function: of.function, outcome }).inc();
            }
            Count::AttemptEnded { outcome, took, is_retried, usage: _ } => {
                self.attempts.get_or_create(&OfOutcome { function: of.function.clone(), outcome }).inc();
                self.attempt_duration.get_or_create(&of).observe(took.as_secs_f64());
                self.retries.get_or_create(&of).inc_by(u64::from(is_retried));
            }
            Count::AttemptQueued(waited) => self.attempt_queue.get_or_create(&of).observe(waited.as_secs_f64()),
        }
    }

    /// Returns the label of a function.
    fn label(&self, function: &Arc<str>) -> Arc<str> {
        let mut known = self.functions.lock();
        if known.contains(function) {
            return function.clone();
        }
        if known.len() >= MAX_FUNCTIONS {
            return OTHERS.into();
        }
        known.insert(function.clone());
        function.clone()
    }
}

impl RunObserver for RunMetrics {
    fn recorded(&self, before: &RunState, record: &Record) {
        let mut function = None;
        walk(before, record, &mut |span| {
            if let Some(count) = span.count() {
                self.count(function.get_or_insert_with(|| self.label(&before.created.function)), count);
            }
        });
    }
}

/// `GET /metrics`: the counts as text.
pub(crate) async fn get_metrics(State(shared): State<SharedServerState>) -> Result<Response, HttpProblem> {
    let Some(metrics) = &shared.metrics else {
        return Err(HttpProblem::not_found("this process counts nothing; its log lines carry metrics"));
    };
    let text = metrics.text(&shared.engine.query().load());
    let text = text.map_err(|_| HttpProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "the counts cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
