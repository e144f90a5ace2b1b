//! Spans of workers on Lambda. Lambda freezes a process between invocations, so each invocation
//! must send its spans before it responds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use stepladder_core::Status;
use stepladder_tests::collector::{Collector, ReceivedSpan};
use stepladder_tests::lambda_api::InvocationOutcome;
use stepladder_tests::wait_calmly;

use crate::roles::LambdaRoles;

/// The variables of a process that exports to this collector, and sends by itself only once an
/// hour.
fn variables(collector: &Collector) -> [(&'static str, String); 3] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000".into()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "3600000".into()),
    ]
}

#[tokio::test]
async fn each_invocation_of_a_worker_sends_its_spans_before_it_ends() {
    let collector = Collector::over_http().await;
    let world = LambdaRoles::start(&variables(&collector)).await;
    let event = json!({"name": "test/hello.world", "id": "traced", "data": {"name": "Ada"}});
    let [run] = world.runs([event]).await;
    let mut pump = world.pump_steps();
    pump.batch_size = 1;
    let mut invocations = 0;
    wait_calmly("the end of the run", async || {
        // a worker of its own for each invocation: what it has not sent when it responds is lost
        let mut worker = world.worker();
        let Some(pumped) = pump.pump().await else {
            worker.kill().await;
            world.stack.advance(Duration::from_secs(1));
            return None;
        };
        let received = spans_of(&collector, &run.to_string());
        worker.kill().await;
        invocations += 1;
        assert!(matches!(pumped.outcome, InvocationOutcome::Response(_)), "{pumped:?}\n{}", worker.log());
        let has_span = |step: &&String| received.iter().any(|span| span.attribute("stepladder.step.id") == **step);
        let recorded: BTreeSet<String> =
            world.journal(run).await.steps_with_fact("StepSucceeded").into_iter().collect();
        let missing: Vec<_> = recorded.iter().filter(|step| !has_span(step)).collect();
        assert!(missing.is_empty(), "without a span after invocation {invocations}: {missing:?}\n{}", worker.log());
        world.run(run).await.ended_at.map(drop)
    })
    .await;
    assert!(invocations >= 3, "{invocations}: two steps and a sleep");
    assert_eq!(world.run(run).await.status, Status::Completed);

    let spans = spans_of(&collector, &run.to_string());
    let traces: BTreeSet<&str> = spans.iter().map(|span| &*span.trace).collect();
    assert_eq!(traces.len(), 1, "{spans:#?}");
    let by_id: BTreeMap<&str, &ReceivedSpan> = spans.iter().map(|span| (&*span.id, span)).collect();
    assert_eq!(by_id.len(), spans.len(), "each span is sent once: {spans:#?}");
    let whole: Vec<_> = spans.iter().filter(|span| span.attributes.contains_key("stepladder.run.status")).collect();
    assert_eq!(whole.len(), 1, "{spans:#?}");
    let greet = spans.iter().find(|span| span.name == "greet").expect("the span of the step");
    assert_eq!(greet.parent, whole[0].id);
    for span in spans.iter().filter(|span| span.id != whole[0].id) {
        assert!(by_id.contains_key(&*span.parent), "the parent of {span:#?}");
        assert!(span.start >= whole[0].start && span.end <= whole[0].end, "{span:#?} in {:#?}", whole[0]);
    }
    let received = collector.received();
    assert_eq!(received.resource["stepladder.role"], "worker");
    assert_eq!(received.resource["cloud.platform"], "aws_lambda");
    let started = received.metrics.keys().filter(|name| name.starts_with("stepladder.attempts.ended{"));
    assert!(started.count() > 0, "metrics are sent, too: {:#?}", received.metrics);
}

/// Returns the spans of a run that were received so far.
fn spans_of(collector: &Collector, run: &str) -> Vec<ReceivedSpan> {
    let spans = collector.received().spans.into_iter();
    spans.filter(|span| span.attribute("stepladder.run.id") == run).collect()
}

#[tokio::test]
async fn a_collector_that_does_not_answer_stops_no_run() {
    // it accepts connections, and answers none
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
    let world = LambdaRoles::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]).await;
    let event = json!({"name": "test/hello.world", "id": "silent", "data": {"name": "Ada"}});
    let [run] = world.runs([event]).await;
    let worker = world.worker();
    world.until_ended(&[run]).await;
    assert_eq!(world.run(run).await.status, Status::Completed, "{}", worker.log());
}
