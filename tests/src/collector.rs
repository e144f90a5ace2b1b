//! A fake of an OpenTelemetry collector. It decodes OTLP over HTTP and over gRPC, and keeps what it
//! receives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status};
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::stub_server::{HttpRequest, StubResponse, serve};
use crate::wait_for;

/// A running collector.
#[derive(Clone, Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

/// What a collector has received.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The spans, in the order of their arrival.
    pub spans: Vec<ReceivedSpan>,
    /// By name and attributes, the latest value of each metric: its sum, its value or its count.
    pub metrics: BTreeMap<String, f64>,
    /// The attributes of the process that has sent the last spans.
    pub resource: Attributes,
    /// The header `x-test` of the last request.
    pub header: Option<String>,
}

/// Attributes as text, by their keys.
pub type Attributes = BTreeMap<String, String>;

/// A span that a collector has received.
#[derive(Clone, Debug)]
pub struct ReceivedSpan {
    /// The trace, in hexadecimal digits.
    pub trace: String,
    /// The span, in hexadecimal digits.
    pub id: String,
    /// The parent, in hexadecimal digits; empty if there is none.
    pub parent: String,
    /// The name.
    pub name: String,
    /// The kind.
    pub kind: SpanKind,
    /// When the span started, in nanoseconds.
    pub start: u64,
    /// When the span ended, in nanoseconds.
    pub end: u64,
    /// The attributes.
    pub attributes: Attributes,
    /// The names and the attributes of the events.
    pub events: Vec<(String, Attributes)>,
    /// The traces and the spans of the links.
    pub links: Vec<(String, String)>,
    /// The message, if the span is an error.
    pub error: Option<String>,
}

impl ReceivedSpan {
    /// Returns an attribute; an empty text if it is missing.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

impl Collector {
    /// Starts a collector that receives protocol buffers over HTTP.
    pub async fn over_http() -> Self {
        let received = Arc::new(Mutex::new(Received::default()));
        let inner = received.clone();
        let address = serve(move |request| {
            let answer = inner.lock().expect("no panic").receive(&request);
            async move { answer }
        })
        .await;
        Self { address, received }
    }

    /// Starts a collector that receives gRPC.
    pub async fn over_grpc() -> Self {
        let received = Arc::new(Mutex::new(Received::default()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let service = GrpcService(received.clone());
        let router = tonic::service::Routes::new(TraceServiceServer::new(service.clone()))
            .add_service(MetricsServiceServer::new(service))
            .into_axum_router();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                let http2 = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                let io = hyper_util::rt::TokioIo::new(socket);
                // an error means that the client was killed
                tokio::spawn(async move { drop(http2.serve_connection(io, service).await) });
            }
        });
        Self { address, received }
    }

    /// Returns the address, for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what was received so far.
    pub fn received(&self) -> Received {
        self.received.lock().expect("no panic").clone()
    }

    /// Waits for the span of a run, which comes after its other spans. Returns all spans of
    /// the run.
    pub async fn spans_of(&self, run: &str) -> Vec<ReceivedSpan> {
        wait_for("the spans of a run", async || {
            let spans = self.received().spans;
            let of_run: Vec<_> = spans.into_iter().filter(|span| span.attribute("stepladder.run.id") == run).collect();
            of_run.iter().any(|span| span.attributes.contains_key("stepladder.run.status")).then_some(of_run)
        })
        .await
    }
}

impl Received {
    fn receive(&mut self, request: &HttpRequest) -> StubResponse {
        self.header = request.headers.get("x-test").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let read = match request.uri.path() {
            "/v1/traces" => ExportTraceServiceRequest::decode(&*request.body).map(|traces| self.add_traces(traces)),
            "/v1/metrics" => {
                ExportMetricsServiceRequest::decode(&*request.body).map(|metrics| self.add_metrics(metrics))
            }
            _ => return StubResponse::bytes(404, "text/plain", "not found"),
        };
        match read {
            Ok(()) => StubResponse::bytes(200, "application/x-protobuf", Vec::new()),
            Err(error) => StubResponse::bytes(400, "text/plain", error.to_string()),
        }
    }

    fn add_traces(&mut self, request: ExportTraceServiceRequest) {
        for of_process in request.resource_spans {
            self.resource = attributes(of_process.resource.unwrap_or_default().attributes);
            let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.extend(spans.map(ReceivedSpan::of));
        }
    }

    fn add_metrics(&mut self, request: ExportMetricsServiceRequest) {
        let of_processes = request.resource_metrics.into_iter().flat_map(|process| process.scope_metrics);
        for Metric { name, data, .. } in of_processes.flat_map(|scope| scope.metrics) {
            let points: Vec<(Vec<KeyValue>, f64)> = match data {
                Some(metric::Data::Sum(sum)) => {
                    sum.data_points.into_iter().map(|point| (point.attributes, number(point.value))).collect()
                }
                Some(metric::Data::Gauge(gauge)) => {
                    gauge.data_points.into_iter().map(|point| (point.attributes, number(point.value))).collect()
                }
                Some(metric::Data::Histogram(histogram)) => {
                    histogram.data_points.into_iter().map(|point| (point.attributes, point.count as f64)).collect()
                }
                other => panic!("the metric {name} has the data {other:?}"),
            };
            for (labels, value) in points {
                let labels: Vec<String> =
                    attributes(labels).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
                self.metrics.insert(format!("{name}{{{}}}", labels.join(",")), value);
            }
        }
    }
}

impl ReceivedSpan {
    fn of(span: Span) -> Self {
        let kind = span.kind();
        let error = span.status.filter(|status| status.code() == status::StatusCode::Error);
        Self {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name,
            kind,
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
            attributes: attributes(span.attributes),
            events: span.events.into_iter().map(|event| (event.name, attributes(event.attributes))).collect(),
            links: span.links.into_iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
            error: error.map(|status| status.message),
        }
    }
}

#[derive(Clone)]
struct GrpcService(Arc<Mutex<Received>>);

#[tonic::async_trait]
impl TraceService for GrpcService {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let header = request.metadata().get("x-test").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut received = self.0.lock().expect("no panic");
        received.header = header;
        received.add_traces(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for GrpcService {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.lock().expect("no panic").add_metrics(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn attributes(list: Vec<KeyValue>) -> Attributes {
    list.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        Some(any_value::Value::DoubleValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn number(value: Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => f64::NAN,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
