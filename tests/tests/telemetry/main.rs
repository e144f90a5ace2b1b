//! OpenTelemetry end to end: the real binary, and a fake collector that decodes OTLP.

mod exporting;
mod lines;
mod links;
mod spans;

use serde_json::{Value, json};
use stepladder_tests::ServerProcess;
use stepladder_tests::collector::{Collector, ReceivedSpan};
use stepladder_tests::database::DatabaseStub;
use stepladder_tests::openai::OpenAiStub;

/// The time between two exports, in milliseconds.
const EXPORT_EVERY: &str = "20";

/// Prepares a server that exports to this address.
fn exporting_to(url: String) -> ServerProcess {
    export(ServerProcess::new(), url)
}

/// Makes a server export to this address.
fn export(server: ServerProcess, url: String) -> ServerProcess {
    server
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        .variable("OTEL_BSP_SCHEDULE_DELAY", EXPORT_EVERY)
        .variable("OTEL_METRIC_EXPORT_INTERVAL", EXPORT_EVERY)
        .argument("--retry-delay")
        .argument("20ms")
}

/// Adds the addresses of the services that the functions call.
fn with_services(server: ServerProcess, ai: &OpenAiStub, database: &DatabaseStub) -> ServerProcess {
    server
        .variable("OPENAI_API_KEY", "sk-a-key-of-this-test")
        .variable("OPENAI_BASE_URL", ai.url())
        .variable("SUPABASE_URL", database.url())
        .variable("SUPABASE_SERVICE_ROLE_KEY", "a-role-key-of-this-test")
}

fn hello() -> Value {
    json!({"name": "test/hello.world", "data": {"name": "Ada"}})
}

/// Sends an event, and waits for the spans of its run.
async fn run_of(server: &ServerProcess, collector: &Collector, event: &Value) -> (String, Vec<ReceivedSpan>) {
    let ids = server.api().send(event).await;
    let run = server.api().run_of(&ids[0]).await;
    let spans = collector.spans_of(&run).await;
    (run, spans)
}

/// Returns the only span with this name and, if it is not empty, of this step.
fn only<'s>(spans: &'s [ReceivedSpan], name: &str, step: &str) -> &'s ReceivedSpan {
    let found: Vec<_> = spans
        .iter()
        .filter(|span| span.name == name && (step.is_empty() || span.attribute("stepladder.step.id") == step))
        .collect();
    assert_eq!(found.len(), 1, "{name} of {step}: {found:#?}");
    found[0]
}
