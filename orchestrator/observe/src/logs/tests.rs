//! Tests of the log lines that tracing events produce.

use std::io;
use std::sync::Arc;

use serde_json::json;
use stepladder_core::activity::{RUN_TARGET, SWEEP_TARGET};
use tracing::{error, info, info_span, warn};

use super::*;

/// A writer with output that a test can read.
#[derive(Clone, Default)]
struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SharedBuffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn options(filter: &str) -> LogOptions {
    LogOptions { role: "worker".into(), stack: "prod".into(), code: "42".into(), filter: Some(filter.into()) }
}

fn write_with_filter(filter: &str, say: impl FnOnce()) -> SharedBuffer {
    let out = SharedBuffer::default();
    tracing::subscriber::with_default(subscriber(options(filter), out.clone()), say);
    out
}

/// Returns the log lines that `say` writes, with a fixed time in each.
fn write_at_fixed_time(say: impl FnOnce()) -> String {
    let out = SharedBuffer::default();
    let logs = LogLayer::new(options(""), out.clone(), || "2026-01-01T10:20:30.5Z".parse().unwrap());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(logs), say);
    out.text()
}

#[test]
fn the_documented_lines_are_those_that_are_written() {
    let text = write_at_fixed_time(|| {
        let _hop = info_span!("hop", run = "01KAVZ9Y3M0000000000000001", function = "enhance", request_id = "c6af9ac6")
            .entered();
        warn!(target: "stepladder_aws::queue", left_ms = 1_200, "the deadline is near");
        info!(target: RUN_TARGET, activity = "step_succeeded", step = "call", attempt = 2, ms = 812, "step succeeded");
    }) + &write_at_fixed_time(|| {
        info!(target: SWEEP_TARGET, activity = "sweep_completed", timers = 3, watched = 1, "sweep completed");
    });
    let json = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let documented = include_str!("../lib.rs").lines().filter_map(|line| line.strip_prefix("//! "));
    let documented: Vec<_> = documented.filter(|line| line.starts_with('{')).map(json).collect();
    let written: Vec<_> = text.lines().map(json).collect();
    assert_eq!(written.len(), 3);
    assert_eq!(documented, written);
}

#[test]
fn fields_of_the_event_hide_those_of_spans() {
    let out = write_with_filter("info", || {
        let outer = info_span!("outer", run = "r1", depth = 1, late = tracing::field::Empty);
        let _outer = outer.clone().entered();
        let _inner = info_span!("inner", depth = 2, attempt = 9).entered();
        outer.record("late", true);
        info!(attempt = 3, "hello");
    });
    let line = &out.lines()[0];
    assert_eq!((&line["attempt"], &line["depth"], &line["run"]), (&json!(3), &json!(2), &json!("r1")));
    assert_eq!(line["late"], true);
    let text = out.text();
    let order = ["timestamp", "level", "target", "message", "run", "attempt", "depth", "late", "role", "stack", "code"];
    let positions: Vec<_> = order.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(positions.is_sorted(), "{text}");
    assert_eq!(text.matches("\"attempt\"").count(), 1);
}

#[test]
fn values_keep_their_types() {
    let out = write_with_filter("info", || {
        let error = io::Error::other("disk full");
        info!(
            small = -1_i64,
            large = u64::MAX,
            half = 0.5,
            yes = true,
            took = 7_u128,
            beyond = u128::MAX,
            nan = f64::NAN,
            infinite = f64::INFINITY,
            none = None::<u64>,
            error = &error as &(dyn std::error::Error + 'static),
            shown = %"text",
            "hello {}",
            "world"
        );
    });
    let line = &out.lines()[0];
    assert_eq!(line["message"], "hello world");
    assert_eq!((&line["small"], &line["large"]), (&json!(-1), &json!(u64::MAX)));
    assert_eq!((&line["half"], &line["yes"], &line["took"]), (&json!(0.5), &json!(true), &json!(7)));
    assert_eq!(line["beyond"], u128::MAX.to_string());
    assert!(line["nan"].is_null() && line["infinite"].is_null() && line.get("none").is_none());
    assert!(out.text().contains("\"nan\":null"));
    assert_eq!((&line["error"], &line["shown"]), (&json!("disk full"), &json!("text")));
}

#[test]
fn every_line_is_one_json_object_whatever_its_text() {
    let hostile = "\0\u{1}\u{1b}[31m\"\\\n\r\n{\"level\":\"ERROR\"}\u{2028}\u{7f}";
    let out = write_with_filter("info", || {
        info!(run = hostile, error = %hostile, debug = ?hostile, "{hostile}");
        info!("");
        info!(run = "no message");
    });
    assert_eq!(out.text().lines().count(), 3);
    let line = &out.lines()[0];
    assert_eq!((&line["message"], &line["error"], &line["run"]), (&json!(hostile), &json!(hostile), &json!(hostile)));
    assert_eq!(line["level"], "INFO");
}

#[test]
fn a_huge_event_becomes_one_valid_line() {
    let huge = "\u{1}é\"".repeat(100_000);
    let out = write_with_filter("info", || {
        let _span = info_span!("hop", a = huge, b = huge, run = "r1").entered();
        error!(error = huge, c = %huge, d = %huge, "{huge}");
    });
    assert!(out.text().len() <= LINE_BYTES, "{}", out.text().len());
    let line = &out.lines()[0];
    assert!(line["message"].as_str().unwrap().ends_with("… [cut, 400000 bytes]"));
    assert!(line["error"].as_str().unwrap().len() > 20_000);
    assert_eq!((&line["run"], &line["role"]), (&json!("r1"), &json!("worker")));
    assert!(line["left_out"].as_u64().unwrap() >= 1);
}

#[test]
fn a_log_of_warnings_still_has_activities_and_the_run_of_a_warning() {
    let say = || {
        let _span = info_span!("hop", run = "r1").entered();
        info!(target: RUN_TARGET, function = "f", "run started");
        info!("chatter");
        warn!("trouble");
    };
    let messages = |out: SharedBuffer| out.lines().iter().map(|line| line["message"].clone()).collect::<Vec<_>>();
    let quiet = write_with_filter("warn", say);
    assert_eq!(quiet.lines()[1]["run"], "r1");
    assert_eq!(messages(quiet), ["run started", "trouble"]);
    assert_eq!(messages(write_with_filter("off", say)), ["run started"]);
    assert_eq!(messages(write_with_filter("warn,stepladder::run=off", say)), ["trouble"]);
    assert_eq!(messages(write_with_filter("  ", say)), ["run started", "chatter", "trouble"]);
}

#[test]
fn an_invalid_filter_is_reported_and_the_level_is_info() {
    let out = write_with_filter("stepladder=loud", || {
        tracing::debug!("not this");
        info!("but this");
    });
    let lines = out.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["level"], "WARN");
    let message = lines[0]["message"].as_str().unwrap();
    assert!(message.starts_with("RUST_LOG is `stepladder=loud`: ") && message.contains("write it like"), "{message}");
    assert_eq!(lines[1]["message"], "but this");
}

#[test]
fn a_line_that_cannot_be_written_is_dropped() {
    struct BrokenWriter;
    impl Write for BrokenWriter {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut continued = false;
    tracing::subscriber::with_default(subscriber(options("info"), BrokenWriter), || {
        info!("lost");
        continued = true;
    });
    assert!(continued);
}
