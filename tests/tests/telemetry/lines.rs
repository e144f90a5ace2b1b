//! The ids of trace and span in log lines are those that the collector receives.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepladder_tests::collector::{Collector, ReceivedSpan};
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

#[tokio::test]
async fn each_json_line_within_a_run_has_the_ids_that_the_collector_received() {
    let collector = Collector::over_http().await;
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_json-logging"));
    program.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).env("OTEL_METRICS_EXPORTER", "none");
    // levels that leave out the spans of the crate `tracing` must not take the ids away
    program.env("RUST_LOG", "warn,stepladder_tests=info,stepladder::log=info").kill_on_drop(true);
    let printed = program.output().await.expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (log, run) = (text(&printed.stdout), text(&printed.stderr));
    assert!(printed.status.success(), "{run}\n{log}");
    let spans = collector.spans_of(run.trim()).await;
    let mut expected = expected_lines(&collector, &spans).await;
    expected.insert("run ended", expected["in the handler"].clone());
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (message, ids) in &expected {
        let found: Vec<_> = lines.iter().filter(|line| line["message"] == *message).collect();
        assert!(!found.is_empty(), "no `{message}` in:\n{log}");
        for line in found {
            assert_eq!((line["trace_id"].as_str(), line["span_id"].as_str()), (Some(&*ids.0), Some(&*ids.1)), "{line}");
        }
    }
    let outside = lines.iter().find(|line| line["message"] == "outside of runs").expect("a line");
    assert_eq!((outside.get("trace_id"), outside.get("span_id")), (None, None));
}
