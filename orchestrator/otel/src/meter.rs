//! The metrics of an engine. `docs/observability.md` lists them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use stepladder_core::Usage;
use stepladder_core::journal::Record;
use stepladder_core::spans::{Count, walk};
use stepladder_core::state::RunState;
use stepladder_engine::Load;
use stepladder_engine::ports::Backlog;
use stepladder_engine::telemetry::RunObserver;

/// The maximum number of functions, and of models, with values of their own. All further ones are
/// counted together.
const MAX_NAMES: usize = 200;
/// The name under which they are counted.
const OTHERS: &str = "others";
/// The upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3_600.0];

/// The current sizes of a process, as it last set them.
#[derive(Debug, Default)]
pub struct Gauges {
    executing: AtomicU64,
    due: AtomicU64,
    waiting: AtomicU64,
}

impl Gauges {
    /// Sets the current load of the process.
    pub fn set(&self, load: &Load) {
        let Backlog { due, waiting, .. } = load.backlog.unwrap_or_default();
        for (gauge, value) in [(&self.executing, load.executing), (&self.due, due), (&self.waiting, waiting)] {
            gauge.store(value as u64, Ordering::Relaxed);
        }
    }
}

/// Counts the runs of an engine.
#[derive(Debug)]
pub(crate) struct RunMeter {
    runs_started: Counter<u64>,
    runs_ended: Counter<u64>,
    run_duration: Histogram<f64>,
    run_queue: Histogram<f64>,
    steps: Counter<u64>,
    attempts: Counter<u64>,
    attempt_duration: Histogram<f64>,
    attempt_queue: Histogram<f64>,
    retries: Counter<u64>,
    tokens: Counter<u64>,
    functions: Mutex<HashSet<Arc<str>>>,
    models: Mutex<HashSet<Arc<str>>>,
    gauges: Arc<Gauges>,
}

impl RunMeter {
    pub(crate) fn new(provider: &SdkMeterProvider) -> Self {
        let meter = provider.meter("stepladder");
        let count = |name: &'static str, unit: &'static str| meter.u64_counter(name).with_unit(unit).build();
        let seconds =
            |name: &'static str| meter.f64_histogram(name).with_unit("s").with_boundaries(BUCKETS.to_vec()).build();
        Self {
            runs_started: count("stepladder.runs.started", "{run}"),
            runs_ended: count("stepladder.runs.ended", "{run}"),
            run_duration: seconds("stepladder.run.duration"),
            run_queue: seconds("stepladder.run.queue.duration"),
            steps: count("stepladder.steps.ended", "{step}"),
            attempts: count("stepladder.attempts.ended", "{attempt}"),
            attempt_duration: seconds("stepladder.attempt.duration"),
            attempt_queue: seconds("stepladder.attempt.queue.duration"),
            retries: count("stepladder.retries", "{retry}"),
            tokens: count("gen_ai.client.token.count", "{token}"),
            functions: Mutex::default(),
            models: Mutex::default(),
            gauges: observed(&meter),
        }
    }

    pub(crate) fn gauges(&self) -> Arc<Gauges> {
        self.gauges.clone()
    }

    fn count(&self, function: &KeyValue, count: Count<'_>) {
        let with = |key: &'static str, value: &'static str| [function.clone(), KeyValue::new(key, value)];
        let alone = std::slice::from_ref(function);
        match count {
            Count::RunStarted(waited) => {
                self.runs_started.add(1, alone);
                self.run_queue.record(waited.as_secs_f64(), alone);
            }
            Count::RunEnded(status, took) => {
                let status = KeyValue::new("status", status.word());
                self.runs_ended.add(1, &[function.clone(), status]);
                self.run_duration.record(took.as_secs_f64(), alone);
            }
            Count::StepEnded { outcome } => self.steps.add(1, &with("outcome", outcome)),
            Count::AttemptEnded { outcome, took, is_retried, usage } => {
                self.attempts.add(1, &with("outcome", outcome));
                self.attempt_duration.record(took.as_secs_f64(), alone);
                self.retries.add(u64::from(is_retried), alone);
                usage.iter().for_each(|usage| self.count_tokens(usage));
            }
            Count::AttemptQueued(waited) => self.attempt_queue.record(waited.as_secs_f64(), alone),
        }
    }

    fn count_tokens(&self, usage: &Usage) {
        let model = KeyValue::new("gen_ai.response.model", known_name(&self.models, &usage.model));
        for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            self.tokens.add(tokens, &[model.clone(), KeyValue::new("gen_ai.token.type", kind)]);
        }
    }
}

impl RunObserver for RunMeter {
    fn recorded(&self, before: &RunState, record: &Record) {
        let mut function = None;
        walk(before, record, &mut |span| {
            let Some(count) = span.count() else { return };
            let named = || KeyValue::new("function", known_name(&self.functions, &before.created.function));
            self.count(function.get_or_insert_with(named), count);
        });
    }
}

/// Returns a name, or the common name if there are too many.
fn known_name(known: &Mutex<HashSet<Arc<str>>>, name: &Arc<str>) -> Arc<str> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if !known.contains(name) {
        if known.len() >= MAX_NAMES {
            return OTHERS.into();
        }
        known.insert(name.clone());
    }
    name.clone()
}

/// Registers the instruments of current sizes.
fn observed(meter: &Meter) -> Arc<Gauges> {
    let gauges = Arc::new(Gauges::default());
    let observe = |name: &'static str, unit: &'static str, read: fn(&Gauges) -> &AtomicU64| {
        let gauges = gauges.clone();
        let _ = meter
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_callback(move |observer| observer.observe(read(&gauges).load(Ordering::Relaxed), &[]))
            .build();
    };
    observe("stepladder.attempts.executing", "{attempt}", |gauges| &gauges.executing);
    observe("stepladder.queue.due", "{wake}", |gauges| &gauges.due);
    observe("stepladder.queue.waiting", "{item}", |gauges| &gauges.waiting);
    gauges
}
