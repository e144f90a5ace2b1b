//! What sends spans and metrics to a collector.
//!
//! OpenTelemetry's threads batch and send. They keep a bounded number of spans, and drop further
//! ones. A collector that cannot be reached is reported in one log line, and once more when it can
//! be reached again.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::Context;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanProcessor};
use tokio::runtime::Handle;

use crate::settings::{OtelSettings, Signal, Transport};

/// The maximum time until a connection to the collector is established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a collector's answer. Nothing in it is used.
const ANSWER_BYTES: usize = 64 * 1024;

/// The processor of all spans of this process: those of runs and those of user code.
#[derive(Clone, Debug)]
pub(crate) struct SharedProcessor(Arc<BatchSpanProcessor>);

impl SharedProcessor {
    /// Starts the thread that sends spans.
    pub(crate) fn start(settings: &OtelSettings, resource: &Resource) -> Result<Self, String> {
        let built = match settings.transport(Signal::Traces) {
            Some(Transport::Grpc) => grpc::span_exporter(),
            Some(Transport::Http) | None => {
                let http = SpanExporter::builder().with_http().with_http_client(CollectorClient::new()?);
                http.with_headers(settings.headers.clone()).build()
            }
        };
        let exporter = built.map_err(|error| format!("traces cannot be exported: {error}"))?;
        let reported = Reported { exporter, signal: "traces", lost: AtomicU64::new(0) };
        let mut processor = BatchSpanProcessor::builder(reported).build();
        processor.set_resource(resource);
        Ok(Self(Arc::new(processor)))
    }

    /// Adds a span that has ended.
    pub(crate) fn add(&self, span: SpanData) {
        self.0.on_end(span);
    }
}

impl SpanProcessor for SharedProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

/// Starts the thread that sends metrics.
pub(crate) fn meter_provider(settings: &OtelSettings, resource: Resource) -> Result<SdkMeterProvider, String> {
    let built = match settings.transport(Signal::Metrics) {
        Some(Transport::Grpc) => grpc::metric_exporter(settings.temporality),
        Some(Transport::Http) | None => MetricExporter::builder()
            .with_http()
            .with_http_client(CollectorClient::new()?)
            .with_headers(settings.headers.clone())
            .with_temporality(settings.temporality)
            .build(),
    };
    let exporter = built.map_err(|error| format!("metrics cannot be exported: {error}"))?;
    let reported = Reported { exporter, signal: "metrics", lost: AtomicU64::new(0) };
    Ok(SdkMeterProvider::builder().with_periodic_exporter(reported).with_resource(resource).build())
}

/// An exporter that reports a failure once.
#[derive(Debug)]
struct Reported<E> {
    exporter: E,
    signal: &'static str,
    /// The number of items that were lost since the last success.
    lost: AtomicU64,
}

impl<E> Reported<E> {
    fn report(&self, items: usize, result: OTelSdkResult) -> OTelSdkResult {
        let signal = self.signal;
        match &result {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::info!(signal, lost, "the collector receives again; what was lost is not sent again");
                }
            }
            Err(error) => {
                if self.lost.fetch_add(items.max(1) as u64, Ordering::Relaxed) == 0 {
                    tracing::warn!(
                        signal, %error,
                        "the collector does not receive; runs are not affected, and this is not reported again"
                    );
                }
            }
        }
        result
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Reported<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        let result = self.exporter.export(batch).await;
        self.report(items, result)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        opentelemetry_sdk::trace::SpanExporter::shutdown_with_timeout(&self.exporter, timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        opentelemetry_sdk::trace::SpanExporter::set_resource(&mut self.exporter, resource);
    }
}

impl PushMetricExporter for Reported<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.report(1, result)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        PushMetricExporter::shutdown_with_timeout(&self.exporter, timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// An HTTP client for OpenTelemetry's threads, whose requests are tasks of the program's runtime.
struct CollectorClient {
    http: reqwest::Client,
    runtime: Handle,
}

impl CollectorClient {
    fn new() -> Result<Self, String> {
        // fails if the program has chosen another provider already, which then serves as well
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
        // a redirect would send the headers with their secrets to another server
        let http = builder.redirect(reqwest::redirect::Policy::none()).build();
        let http = http.map_err(|error| format!("cannot create an HTTP client: {error}"))?;
        Ok(Self { http, runtime: Handle::current() })
    }
}

impl Debug for CollectorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CollectorClient")
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request: reqwest::Request = request.map(reqwest::Body::from).try_into()?;
        let http = self.http.clone();
        let answer = self.runtime.spawn(async move {
            let mut response = http.execute(request).await.map_err(reqwest::Error::without_url)?;
            let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                if body.len() + chunk.len() > ANSWER_BYTES {
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            let mut answer = Response::new(Bytes::from(body));
            (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
            Ok::<_, reqwest::Error>(answer)
        });
        Ok(answer.await??)
    }
}

/// Exporters over gRPC.
#[cfg(feature = "grpc")]
mod grpc {
    use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter};
    use opentelemetry_sdk::metrics::Temporality;

    pub(super) fn span_exporter() -> Result<SpanExporter, ExporterBuildError> {
        SpanExporter::builder().with_tonic().build()
    }

    pub(super) fn metric_exporter(temporality: Temporality) -> Result<MetricExporter, ExporterBuildError> {
        MetricExporter::builder().with_tonic().with_temporality(temporality).build()
    }
}

/// A build without gRPC. The settings refuse it before.
#[cfg(not(feature = "grpc"))]
mod grpc {
    use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter};
    use opentelemetry_sdk::metrics::Temporality;

    pub(super) fn span_exporter() -> Result<SpanExporter, ExporterBuildError> {
        Err(missing())
    }

    pub(super) fn metric_exporter(_: Temporality) -> Result<MetricExporter, ExporterBuildError> {
        Err(missing())
    }

    fn missing() -> ExporterBuildError {
        ExporterBuildError::InvalidConfiguration("this build has no gRPC".into())
    }
}
