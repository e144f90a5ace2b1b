//! Alerts: on the page, and once per change to a sink.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use stepladder_server::{AlertBoard, AlertMonitor, AlertSink, DiskSpace, ServerOptions};

use crate::world::ServerFixture;

/// A sink that keeps what it receives, or refuses it.
#[derive(Clone, Default)]
struct RecordingSink {
    received: Arc<Mutex<Vec<String>>>,
    refuses: Arc<AtomicBool>,
    /// The number of messages that were sent, whether taken or refused.
    asked: Arc<AtomicU64>,
}

#[async_trait]
impl AlertSink for RecordingSink {
    async fn send(&self, text: &str) -> Result<(), String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.refuses.load(Ordering::Relaxed) {
            return Err("no answer".into());
        }
        self.received.lock().unwrap().push(text.to_owned());
        Ok(())
    }
}

impl RecordingSink {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

/// A server with a monitor. The disk has this number of free GiB, of 100.
struct AlertFixture {
    world: ServerFixture,
    sink: RecordingSink,
    free: Arc<AtomicU64>,
    monitor: AlertMonitor,
}

impl AlertFixture {
    fn new() -> Self {
        let board = Arc::new(AlertBoard::default());
        let options = ServerOptions { loopback: true, alerts: board.clone(), ..ServerOptions::default() };
        let world = ServerFixture::with_options(options);
        let (sink, free) = (RecordingSink::default(), Arc::new(AtomicU64::new(50)));
        let probe = free.clone();
        let disk = move || Some(DiskSpace { free: probe.load(Ordering::Relaxed) << 30, all: 100 << 30 });
        let monitor = AlertMonitor::new(world.engine(), board, Some(Box::new(sink.clone())), Box::new(disk));
        Self { world, sink, free, monitor }
    }

    /// Moves the time and checks. Returns what the sink received.
    async fn check_after(&mut self, seconds: u64) -> Vec<String> {
        self.world.pass_time(Duration::from_secs(seconds));
        self.monitor.check().await.unwrap();
        self.sink.take()
    }
}

#[tokio::test]
async fn a_high_failure_rate_is_an_alert_until_the_hour_is_over() {
    let mut alerts = AlertFixture::new();
    for n in 0..6 {
        alerts.world.run(json!({"name": "test/echo", "data": {"fail": "no", "n": n}})).await;
    }
    let sentence = "6 of 6 runs of echo failed within an hour";
    assert_eq!(alerts.check_after(1).await, [format!("Alert: {sentence}")]);
    for path in ["/", "/functions", "/health/page"] {
        let page = alerts.world.get(path).await.text;
        assert!(page.contains(sentence) && page.contains("class=\"notice bad alert\""), "{path}: {page}");
    }
    assert_eq!(alerts.check_after(30).await, [""; 0], "once for each change");
    let resolved = alerts.check_after(3_900).await;
    assert_eq!(resolved, [format!("Resolved after 1 h 5 m: {sentence}")]);
    assert!(!alerts.world.get("/").await.text.contains(sentence));
}

#[tokio::test]
async fn a_full_disk_is_told_again_if_the_sink_was_away() {
    let mut alerts = AlertFixture::new();
    alerts.free.store(0, Ordering::Relaxed);
    alerts.sink.refuses.store(true, Ordering::Relaxed);
    assert_eq!(alerts.check_after(1).await, [""; 0]);
    assert!(alerts.world.log().contains("an alert could not be sent"));
    alerts.sink.refuses.store(false, Ordering::Relaxed);
    assert_eq!(alerts.check_after(30).await, ["Alert: the disk with the data file has only 0 B left"]);
    alerts.free.store(2, Ordering::Relaxed);
    assert_eq!(alerts.check_after(30).await, ["Resolved after 1 m: the disk with the data file has only 0 B left"]);
}

#[tokio::test]
async fn a_run_that_waits_long_and_a_queue_that_stands_still_are_alerts() {
    let mut alerts = AlertFixture::new();
    // the wake of this run is never processed
    let sent = alerts.world.post("/e/key", json!({"name": "test/echo"}).to_string()).await;
    assert_eq!(sent.status, 200);
    assert_eq!(alerts.check_after(1).await, [""; 0]);
    let stalled = "1 wakes are due, and none was processed for a minute";
    assert_eq!(alerts.check_after(61).await, [format!("Alert: {stalled}")]);
    let waiting = alerts.check_after(600).await;
    assert_eq!(waiting, ["Alert: 1 run of echo waits to start, the oldest for 11 m 2 s"]);
    alerts.world.settle().await;
    assert_eq!(alerts.check_after(1).await.len(), 2, "both are resolved");
    assert!(!alerts.world.get("/").await.text.contains("alert\""));
}

#[tokio::test]
async fn a_paused_function_and_a_planned_start_are_no_alerts() {
    let mut alerts = AlertFixture::new();
    alerts.world.post("/v1/functions/echo/pause", "").await;
    alerts.world.send(json!({"name": "test/echo"})).await;
    let later = alerts.world.now().as_millis() + 7_200_000;
    alerts.world.send(json!({"name": "test/nap", "data": {"long": true}, "ts": later})).await;
    assert_eq!(alerts.check_after(3_600).await, [""; 0]);
}

/// A webhook that fails for a day, while an alert is raised and resolved every minute: it is asked
/// about once an hour, and what waits for it is bounded.
#[tokio::test]
async fn a_webhook_that_fails_is_asked_seldom_and_gets_the_newest_messages_later() {
    let mut alerts = AlertFixture::new();
    alerts.sink.refuses.store(true, Ordering::Relaxed);
    for check in 0..2 * 60 * 24 {
        alerts.free.store(check % 2, Ordering::Relaxed);
        assert_eq!(alerts.check_after(30).await, [""; 0]);
    }
    let asked = alerts.sink.asked.load(Ordering::Relaxed);
    assert!((24..=32).contains(&asked), "{asked} requests in a day");
    alerts.sink.refuses.store(false, Ordering::Relaxed);
    let mut received = Vec::new();
    for _ in 0..2 * 60 {
        received.extend(alerts.check_after(30).await);
    }
    assert_eq!(received.len(), 50, "the newest");
    assert!(received[49].starts_with("Resolved after") || received[49].starts_with("Alert:"), "{received:?}");
    alerts.free.store(50, Ordering::Relaxed);
    assert!(alerts.check_after(30).await.len() <= 1, "at once again");
}
