//! The ids of trace and span in log lines are those that the collector receives.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stepladder::testing::{Status, TestApp};
use stepladder_observe::logs::{self, ExportedSpans, LogOptions};
use stepladder_otel::{Otel, OtelSettings, current_span};
use stepladder_sdk::runtime::TestEngine;
use stepladder_tests::collector::{Collector, ReceivedSpan};
use stepladder_tests::logging::{LoggingRequested, function};
use stepladder_tests::{ServerProcess, wait_for};

use super::{only, run_of};

/// The trace and the span of a line.
type Ids = (String, String);

/// Returns the ids of each line that code of the function writes, by a part of the line.
async fn expected_lines(collector: &Collector, spans: &[ReceivedSpan]) -> BTreeMap<&'static str, Ids> {
    let of_user = wait_for("the spans of user code", async || {
        let spans = collector.received().spans;
        let found = ["outer", "inner", "spawned"].map(|name| spans.iter().find(|span| span.name == name).cloned());
        found.iter().all(Option::is_some).then(|| found.map(Option::unwrap))
    })
    .await;
    let [outer, inner, spawned] = &of_user;
    let attempt = |number: &str| {
        let found = spans.iter().find(|span| span.attribute("stepladder.attempt.number") == number);
        found.unwrap_or_else(|| panic!("attempt {number} in {spans:#?}"))
    };
    let (run, first, second) = (only(spans, "logging", ""), attempt("1"), attempt("2"));
    assert_eq!((&outer.parent, &inner.parent, &spawned.parent), (&second.id, &outer.id, &second.id));
    let lines = [
        ("in the handler", run),
        ("recorded between steps", run),
        ("in the first attempt", first),
        ("in the body", second),
        ("recorded in the body", second),
        ("in a user span", outer),
        ("in an inner span", inner),
        ("in a spawned task", spawned),
        ("after the spans", second),
    ];
    lines.into_iter().map(|(text, span)| (text, (span.trace.clone(), span.id.clone()))).collect()
}

/// Returns the ids at the end of a line of text.
fn ids_of_text(line: &str) -> Ids {
    let after = |name: &str| {
        let (_, rest) = line.rsplit_once(name).unwrap_or_else(|| panic!("no {name} in {line}"));
        rest.split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(line.matches("span_id=").count(), 1, "{line}");
    (after("trace_id="), after("span_id="))
}

#[tokio::test]
async fn each_line_of_text_within_a_run_has_the_ids_that_the_collector_received() {
    let collector = Collector::over_http().await;
    let program = env!("CARGO_BIN_EXE_logging");
    let mut server = super::export(ServerProcess::for_program(program), collector.url());
    server.start().await;
    let event = json!({"name": "test/logging.requested", "data": {}});
    let (_, spans) = run_of(&server, &collector, &event).await;
    let mut expected = expected_lines(&collector, &spans).await;
    let run = expected["in the handler"].clone();
    let (first, second) = (expected["in the first attempt"].clone(), expected["in the body"].clone());
    // the lines that the engine writes about the run
    expected.extend([("run started", run.clone()), ("run Completed", run)]);
    expected.extend([("work failed", first), ("work Completed", second)]);
    let log = wait_for("the last line", async || Some(server.log()).filter(|log| log.contains("run Completed"))).await;
    for (text, ids) in expected {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(text)).collect();
        assert!(!lines.is_empty(), "no `{text}` in:\n{log}");
        lines.iter().for_each(|line| assert_eq!(ids_of_text(line), ids, "{line}"));
    }
    let outside = log.lines().find(|line| line.contains("http://127.0.0.1") && line.contains("trace_id"));
    assert_eq!(outside, None, "a line outside of runs has no ids");
}

#[tokio::test]
async fn without_an_exporter_no_line_has_ids() {
    let mut server =
        ServerProcess::for_program(env!("CARGO_BIN_EXE_logging")).argument("--retry-delay").argument("20ms");
    server.start().await;
    let ids = server.api().send(&json!({"name": "test/logging.requested", "data": {}})).await;
    let run = server.api().run_of(&ids[0]).await;
    assert_eq!(server.api().wait_for_end(&run).await["status"], "Completed");
    let log = wait_for("the last line", async || Some(server.log()).filter(|log| log.contains("run Completed"))).await;
    assert!(log.contains("in a user span") && log.contains("in the handler"), "{log}");
    assert!(!log.contains("trace_id") && !log.contains("span_id"), "{log}");
}

/// A writer with output that the test can read.
#[derive(Clone, Default)]
struct SharedOutput(Arc<Mutex<Vec<u8>>>);

impl Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// the subscriber is that of the whole process: no other test of this suite logs in this process
#[tokio::test]
async fn each_json_line_within_a_run_has_the_ids_that_the_collector_received() {
    let collector = Collector::over_http().await;
    let variable = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(collector.url()),
        "OTEL_BSP_SCHEDULE_DELAY" => Some("20".into()),
        "OTEL_METRICS_EXPORTER" => Some("none".into()),
        _ => None,
    };
    let settings = OtelSettings::read(variable).expect("valid settings");
    let otel = Otel::start(&settings).expect("exporters").expect("an endpoint is set");
    let output = SharedOutput::default();
    let spans = ExportedSpans { layer: otel.layer().expect("traces are exported"), current: current_span };
    // a level that leaves out all spans must not take the ids away
    let options =
        LogOptions { filter: Some("warn,stepladder_tests=info,stepladder::log=info".into()), ..LogOptions::default() };
    logs::start_over(options, output.clone(), Some(spans));

    let mut app = TestApp::new().config(|config| otel.connect(config)).function(function());
    let run = app.send(&LoggingRequested {}).await.remove(0);
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    otel.flush(Duration::from_secs(10)).await;
    let spans = collector.spans_of(&run.id().to_string()).await;
    let expected = expected_lines(&collector, &spans).await;
    let text = String::from_utf8(output.0.lock().expect("no panic").clone()).expect("UTF-8");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (message, ids) in &expected {
        let found: Vec<_> = lines.iter().filter(|line| line["message"] == *message).collect();
        assert!(!found.is_empty(), "no `{message}` in:\n{text}");
        for line in found {
            assert_eq!((line["trace_id"].as_str(), line["span_id"].as_str()), (Some(&*ids.0), Some(&*ids.1)), "{line}");
        }
    }
    let ended = lines.iter().find(|line| line["activity"] == "run_ended").expect("the end of the run");
    assert_eq!(ended["span_id"], expected["in the handler"].1.as_str());
    tracing::warn!("outside of runs");
    let text = String::from_utf8(output.0.lock().expect("no panic").clone()).expect("UTF-8");
    let outside: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&outside["message"], outside.get("trace_id")), (&json!("outside of runs"), None));
}
