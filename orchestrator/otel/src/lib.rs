//! Traces and metrics of durable runs over OTLP, with OpenTelemetry's crates.
//!
//! The spans of a run are read from its journal ([`stepladder_core::spans`]), as its records are
//! written. Each process exports the spans that end with its own records. Their ids are derived
//! from the run, so the parts of all processes form one trace.
//!
//! Spans of the crate `tracing` in the body of a step become children of the attempt's span.
//!
//! | module | contents |
//! | --- | --- |
//! | `settings` | the standard environment variables |
//! | `export` | what sends spans and metrics, and reports failures once |
//! | `spans` | a span of a run as one of OpenTelemetry |
//! | `tracer` | the observer and the tracer of an engine, and the spans of user code |
//! | `meter` | the metrics of an engine |
//!
//! Which spans a run has is not decided here, but in `stepladder-core`.

mod export;
mod meter;
mod settings;
mod spans;
mod tracer;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use stepladder_engine::Config;
use tracing_subscriber::{Layer, Registry};

pub use meter::Gauges;
pub use settings::{OtelSettings, Signal};
pub use tracer::current_span;

/// A layer of the process's tracing subscriber. It must be the innermost layer.
pub type UserSpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The exporters of a process. [`Otel::shut_down`] sends what is left.
#[derive(Debug)]
pub struct Otel {
    traces: Option<Traces>,
    metrics: Option<SdkMeterProvider>,
    meter: Option<Arc<meter::RunMeter>>,
}

#[derive(Debug)]
struct Traces {
    provider: SdkTracerProvider,
    tracer: Arc<tracer::RunTracer>,
}

impl Otel {
    /// Starts the exporters, within a Tokio runtime. Returns `None` if the settings name no
    /// endpoint; then nothing is started.
    ///
    /// # Errors
    /// A sentence that names the variable.
    pub fn start(settings: &OtelSettings) -> Result<Option<Self>, String> {
        if !settings.exports(Signal::Traces) && !settings.exports(Signal::Metrics) {
            return Ok(None);
        }
        let resource = settings.resource();
        let traces = match settings.exports(Signal::Traces) {
            true => {
                let processor = export::SharedProcessor::start(settings, &resource)?;
                let provider = SdkTracerProvider::builder()
                    .with_span_processor(processor.clone())
                    // the spans of user code have the attempt's span as their parent
                    .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
                    .with_resource(resource.clone())
                    .build();
                let tracer = Arc::new(tracer::RunTracer::new(processor, settings.sampler.clone()));
                Some(Traces { provider, tracer })
            }
            false => None,
        };
        let metrics = match settings.exports(Signal::Metrics) {
            true => Some(export::meter_provider(settings, resource)?),
            false => None,
        };
        let meter = metrics.as_ref().map(|provider| Arc::new(meter::RunMeter::new(provider)));
        Ok(Some(Self { traces, metrics, meter }))
    }

    /// Makes an engine with this config report its runs.
    pub fn connect(&self, config: &mut Config) {
        if let Some(Traces { tracer, .. }) = &self.traces {
            config.observers.push(tracer.clone());
            config.tracer = Some(tracer.clone());
        }
        if let Some(meter) = &self.meter {
            config.observers.push(meter.clone());
        }
    }

    /// Returns the layer that turns spans of user code into spans of the trace; `None` if no traces
    /// are exported.
    pub fn layer(&self) -> Option<UserSpanLayer> {
        let Traces { provider, .. } = self.traces.as_ref()?;
        Some(tracer::user_span_layer(provider.tracer("stepladder.user")))
    }

    /// Returns where the current sizes of a process are set for export; `None` if no metrics are
    /// exported.
    pub fn gauges(&self) -> Option<Arc<Gauges>> {
        Some(self.meter.as_ref()?.gauges())
    }

    /// Sends what is waiting, at most for this long. What could not be sent is sent later.
    pub async fn flush(&self, within: Duration) {
        let traces = self.traces.as_ref().map(|traces| traces.provider.clone());
        let metrics = self.metrics.clone();
        let flush = move || {
            // failures are reported by the exporters
            let _ = traces.map(|traces| traces.force_flush());
            let _ = metrics.map(|metrics| metrics.force_flush());
        };
        let _ = tokio::time::timeout(within, tokio::task::spawn_blocking(flush)).await;
    }

    /// Sends what is waiting, at most for this long, and ends the exporters.
    pub async fn shut_down(&self, within: Duration) {
        let traces = self.traces.as_ref().map(|traces| traces.provider.clone());
        let metrics = self.metrics.clone();
        let shut_down = move || {
            let _ = traces.map(|traces| traces.shutdown_with_timeout(within));
            let _ = metrics.map(|metrics| metrics.shutdown_with_timeout(within));
        };
        let _ = tokio::time::timeout(within, tokio::task::spawn_blocking(shut_down)).await;
    }
}
