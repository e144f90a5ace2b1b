//! The trace of a run, span by span.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use stepladder_tests::collector::{Collector, ReceivedSpan};
use stepladder_tests::database::DatabaseStub;
use stepladder_tests::openai::OpenAiStub;
use stepladder_tests::wait_for;

use super::{exporting_to, hello, only, run_of, with_services};

/// Returns whether a span lies within another one.
fn is_within(inner: &ReceivedSpan, outer: &ReceivedSpan) -> bool {
    outer.start <= inner.start && inner.start <= inner.end && inner.end <= outer.end
}

#[tokio::test]
async fn a_run_with_a_retry_is_one_trace() {
    let (ai, database, collector) =
        (OpenAiStub::start().await, DatabaseStub::start().await, Collector::over_http().await);
    ai.fail_first(1);
    let mut server = with_services(exporting_to(collector.url()), &ai, &database)
        .variable("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "x-test=a%20secret");
    server.start().await;
    let data = json!({"clientId": "c1", "clientName": "Acme", "clientDomain": "acme.example"});
    let event = json!({"name": "client/enhance.requested", "data": data});
    let (run, spans) = run_of(&server, &collector, &event).await;

    // the trace has the id of the run
    let id = &spans[0].trace;
    assert!(spans.iter().all(|span| span.trace == *id), "{spans:#?}");
    let root = only(&spans, "enhance-client-with-ai", "");
    assert_eq!((root.parent.as_str(), root.kind, &root.error), ("", SpanKind::Consumer, &None));
    assert_eq!(root.attribute("stepladder.run.status"), "completed");
    assert_eq!(root.attribute("stepladder.event.name"), "client/enhance.requested");
    assert_eq!(root.attribute("stepladder.run.origin"), "event");
    let queue = spans.iter().filter(|span| span.name == "queue" && span.parent == root.id).collect::<Vec<_>>();
    assert_eq!(queue.len(), 1, "{spans:#?}");
    assert_eq!(queue[0].start, root.start);

    // the steps, in their order
    let mut steps: Vec<_> = spans.iter().filter(|span| span.attributes.contains_key("stepladder.step.kind")).collect();
    steps.sort_by_key(|step| step.start);
    let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["call-openai", "process-data", "update-client", "upsert-competitors"]);
    for (step, next) in steps.iter().zip(steps.iter().skip(1)) {
        assert!(step.end <= next.start, "{step:#?} ends before {next:#?}");
    }
    for step in &steps {
        assert_eq!((&step.parent, step.kind, &step.error), (&root.id, SpanKind::Internal, &None), "{step:#?}");
        assert_eq!(
            (step.attribute("stepladder.step.kind"), step.attribute("stepladder.step.outcome")),
            ("run", "succeeded")
        );
        assert!(is_within(step, root), "{step:#?} in {root:#?}");
    }

    // the attempts of each step
    let attempts_of = |step: &ReceivedSpan| {
        let mut attempts: Vec<_> =
            spans.iter().filter(|span| span.name == "attempt" && span.parent == step.id).cloned().collect();
        attempts.sort_by_key(|attempt| attempt.start);
        attempts
    };
    for step in &steps[1..] {
        let attempts = attempts_of(step);
        assert_eq!(attempts.len(), 1, "{attempts:#?}");
        assert_eq!(attempts[0].attribute("stepladder.attempt.outcome"), "succeeded");
        assert!(is_within(&attempts[0], step));
    }
    let asked = steps[0];
    let attempts = attempts_of(asked);
    let [first, second] = &attempts[..] else { panic!("{attempts:#?}") };
    assert_eq!(
        (first.attribute("stepladder.attempt.number"), second.attribute("stepladder.attempt.number")),
        ("1", "2")
    );
    assert!(first.error.as_deref().is_some_and(|message| message.contains("503")), "{first:#?}");
    assert_eq!(first.attribute("stepladder.attempt.outcome"), "failed");
    assert_eq!(first.attribute("stepladder.attempt.retried"), "true");
    assert_eq!(first.events[0].0, "exception");
    assert!(first.events[0].1["exception.message"].contains("503"), "{first:#?}");
    assert_eq!((&second.error, second.attribute("stepladder.attempt.outcome")), (&None, "succeeded"));
    assert!(is_within(first, asked) && is_within(second, asked) && first.end <= second.start);
    // the delay of the retry lies between them
    let wait = only(&spans, "wait", "call-openai");
    assert_eq!((&wait.parent, wait.start), (&asked.id, first.end));
    assert!(wait.end <= second.start && wait.end - wait.start >= 20_000_000, "{wait:#?}");

    // the usage of the model
    assert_eq!(second.attribute("gen_ai.request.model"), "gpt-5-mini");
    assert_eq!(second.attribute("gen_ai.usage.input_tokens"), "10");
    assert_eq!(second.attribute("gen_ai.usage.output_tokens"), "20");
    assert_eq!(second.attribute("stepladder.usage.micro_dollars"), "43");
    assert_eq!(first.attribute("gen_ai.usage.input_tokens"), "");

    // the spans of user code are children of the attempts
    let of_user = wait_for("the spans of user code", async || {
        let spans = collector.received().spans;
        let chats: Vec<_> = spans.into_iter().filter(|span| span.name == "chat").collect();
        (chats.len() == 2).then_some(chats)
    })
    .await;
    for (chat, attempt) in of_user.iter().zip(&attempts) {
        assert_eq!((&chat.trace, &chat.parent, chat.kind), (id, &attempt.id, SpanKind::Client), "{chat:#?}");
        assert_eq!(chat.attribute("gen_ai.operation.name"), "chat");
    }

    let received = collector.received();
    assert_eq!(received.header.as_deref(), Some("a secret"));
    assert_eq!(received.resource["service.name"], "stepladder");
    assert_eq!(received.resource["deployment.environment.name"], "test");
    assert_eq!(received.resource["telemetry.sdk.language"], "rust");
    assert!(spans.iter().all(|span| span.attribute("stepladder.run.id") == run));
    server.assert_no_error_logged();
}

#[tokio::test]
async fn the_trace_of_the_sender_is_continued() {
    let collector = Collector::over_http().await;
    let mut server = exporting_to(collector.url());
    server.start().await;
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let sent = |flags: &str| {
        let mut event = hello();
        event["traceparent"] = json!(format!("00-{trace}-{parent}-{flags}"));
        event["tracestate"] = json!("vendor=1");
        event
    };
    let (_, spans) = run_of(&server, &collector, &sent("01")).await;
    assert!(spans.iter().all(|span| span.trace == trace), "{spans:#?}");
    assert_eq!(only(&spans, "hello-world", "").parent, parent);
    // a sleep is a step without attempts
    let sleep = only(&spans, "a-short-sleep", "a-short-sleep");
    assert_eq!(sleep.attribute("stepladder.step.kind"), "sleep");
    assert!(sleep.end - sleep.start >= 1_000_000_000, "{sleep:#?}");

    // the sender's decision not to record the trace applies to its runs
    let ids = server.api().send(&sent("00")).await;
    let unrecorded = server.api().run_of(&ids[0]).await;
    server.api().wait_for_end(&unrecorded).await;
    let (_, spans) = run_of(&server, &collector, &hello()).await;
    assert_ne!(spans[0].trace, trace);
    let received = collector.received().spans;
    assert!(received.iter().all(|span| span.attribute("stepladder.run.id") != unrecorded), "{received:#?}");

    // the headers of the request are for events without a field of their own
    let answer = reqwest_post(&server, trace, parent).await;
    let run = server.api().run_of(&answer).await;
    let spans = collector.spans_of(&run).await;
    assert_eq!(only(&spans, "hello-world", "").parent, parent);
    server.assert_no_error_logged();
}

/// Sends an event with the header `traceparent`. Returns the id of the event.
async fn reqwest_post(server: &stepladder_tests::ServerProcess, trace: &str, parent: &str) -> String {
    let http = stepladder_tests::http_builder().build().expect("a client");
    let request = http
        .post(format!("{}/e/test", server.url()))
        .header("traceparent", format!("00-{trace}-{parent}-01"))
        .body(hello().to_string());
    let answer = request.send().await.expect("an answer").text().await.expect("a text");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    answer["ids"][0].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn two_processes_write_one_trace() {
    let collector = Collector::over_http().await;
    let mut server = exporting_to(collector.url());
    server.start().await;
    let ids = server.api().send(&hello()).await;
    let run = server.api().run_of(&ids[0]).await;
    // the first process has exported the first step, and is killed during the sleep
    wait_for("the first step", async || {
        collector.received().spans.iter().any(|span| span.name == "greet").then_some(())
    })
    .await;
    server.kill_and_restart().await;
    let spans = collector.spans_of(&run).await;
    let root = only(&spans, "hello-world", "");
    for step in ["greet", "a-short-sleep", "farewell"] {
        let step = only(&spans, step, step);
        assert_eq!((&step.trace, &step.parent), (&root.trace, &root.id));
    }
}
