//! What is exported where, and what happens if it cannot be.

use std::time::Duration;

use stepladder_tests::collector::Collector;
use stepladder_tests::{ServerProcess, wait_for};

use super::{exporting_to, hello, only, run_of};

#[tokio::test]
async fn traces_and_metrics_arrive_over_grpc() {
    let collector = Collector::over_grpc().await;
    let mut server = exporting_to(collector.url())
        .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "x-test=1")
        .variable("OTEL_SERVICE_NAME", "shop");
    server.start().await;
    let (_, spans) = run_of(&server, &collector, &hello()).await;
    assert_eq!(only(&spans, "greet", "greet").parent, only(&spans, "hello-world", "").id);
    let ended = "stepladder.runs.ended{function=hello-world,status=completed}";
    wait_for("the metrics", async || collector.received().metrics.get(ended).filter(|runs| **runs == 1.0).map(drop))
        .await;
    let received = collector.received();
    assert_eq!((received.header.as_deref(), &*received.resource["service.name"]), (Some("1"), "shop"));
    server.assert_no_error_logged();
}

#[tokio::test]
async fn metrics_count_runs_steps_and_attempts() {
    let collector = Collector::over_http().await;
    let mut server = exporting_to(collector.url());
    server.start().await;
    run_of(&server, &collector, &hello()).await;
    let metrics = wait_for("the metrics", async || {
        let metrics = collector.received().metrics;
        metrics.contains_key("stepladder.run.duration{function=hello-world}").then_some(metrics)
    })
    .await;
    for (name, value) in [
        ("stepladder.runs.started{function=hello-world}", 1.0),
        ("stepladder.runs.ended{function=hello-world,status=completed}", 1.0),
        ("stepladder.steps.ended{function=hello-world,outcome=succeeded}", 3.0),
        ("stepladder.attempts.ended{function=hello-world,outcome=succeeded}", 2.0),
        ("stepladder.attempt.duration{function=hello-world}", 2.0),
        ("stepladder.attempts.executing{}", 0.0),
    ] {
        assert_eq!(metrics.get(name), Some(&value), "{name} in {metrics:#?}");
    }
}

#[tokio::test]
async fn a_sampler_that_records_nothing_exports_nothing() {
    let collector = Collector::over_http().await;
    let mut server = exporting_to(collector.url()).variable("OTEL_TRACES_SAMPLER", "always_off");
    server.start().await;
    let ids = server.api().send(&hello()).await;
    let run = server.api().run_of(&ids[0]).await;
    assert_eq!(server.api().wait_for_end(&run).await["status"], "Completed");
    // the end of the process sends what is left
    server.interrupt().await;
    assert_eq!(collector.received().spans.len(), 0);
}

#[tokio::test]
async fn the_end_of_the_server_sends_what_is_left() {
    let collector = Collector::over_http().await;
    let mut server = exporting_to(collector.url()).variable("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    server.start().await;
    let ids = server.api().send(&hello()).await;
    let run = server.api().run_of(&ids[0]).await;
    server.api().wait_for_end(&run).await;
    assert_eq!(collector.received().spans.len(), 0);
    server.interrupt().await;
    only(&collector.received().spans, "hello-world", "");
}

#[tokio::test]
async fn a_collector_that_is_down_is_reported_once_and_affects_no_run() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    // nothing listens there from now on
    drop(listener);
    let mut server = exporting_to(format!("http://{address}"))
        .variable("OTEL_METRICS_EXPORTER", "none")
        .variable("OTEL_EXPORTER_OTLP_TIMEOUT", "50")
        .variable("OTEL_BSP_MAX_QUEUE_SIZE", "16")
        .variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4");
    server.start().await;
    let events: Vec<_> = (0..50).map(|_| hello()).collect();
    for id in server.api().send(&serde_json::json!(events)).await {
        let run = server.api().run_of(&id).await;
        assert_eq!(server.api().wait_for_end(&run).await["status"], "Completed");
    }
    let said = "the collector does not receive";
    wait_for("the report", async || server.log().contains(said).then_some(())).await;
    assert_eq!(server.log().matches(said).count(), 1, "{}", server.log());
    let ended = tokio::time::timeout(Duration::from_secs(30), server.interrupt()).await;
    assert!(ended.expect("the server ends").success());
}

#[tokio::test]
async fn a_bad_variable_stops_the_start() {
    let mut server = ServerProcess::new()
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .variable("OTEL_TRACES_SAMPLER", "sometimes");
    server.launch();
    assert!(!server.wait_for_exit().await.success());
    assert!(server.log().contains("OTEL_TRACES_SAMPLER is `sometimes`"), "{}", server.log());
}
