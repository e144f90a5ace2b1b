//! Checks each kind of metric line against the embedded metric format: its schema
//! (`emf-schema.md`), and the rules that no schema can express.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};
use stepladder_core::activity::{ActivityKind, PERMANENT_TARGET, RUN_TARGET, SWEEP_TARGET};
use stepladder_observe::logs::{self, LINE_BYTES, LogOptions};
use stepladder_observe::metrics::Metric;
use tracing::{error, info, info_span};

#[derive(Clone, Default)]
struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn schema() -> Validator {
    jsonschema::validator_for(&serde_json::from_str(include_str!("emf-schema.json")).unwrap()).unwrap()
}

fn logged_lines(stack: &str, log: impl FnOnce()) -> Vec<Value> {
    let out = SharedBuffer::default();
    let options =
        LogOptions { role: "worker".into(), stack: stack.into(), code: "42".into(), filter: Some("info".into()) };
    tracing::subscriber::with_default(logs::subscriber(options, out.clone()), log);
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns one line per metric. The messages are not the engine's, because only the field
/// `activity` matters.
fn metric_lines() -> Vec<Value> {
    logged_lines("prod", || {
        let _hop = info_span!("hop", run = "01KAVZ9Y3M0000000000000001", function = "enhance").entered();
        info!(target: RUN_TARGET, activity = "run_started", "off we go");
        for status in ["Completed", "Failed", "Cancelled", "Skipped"] {
            info!(target: RUN_TARGET, activity = "run_ended", %status, ms = 90_000_u64, "over");
        }
        info!(target: RUN_TARGET, activity = "step_succeeded", step = "call", attempt = 1, ms = 812_u128, "done");
        info!(target: RUN_TARGET, activity = "step_failed", step = "call", attempt = 1, ms = 0.5, error = "503");
        info!(target: RUN_TARGET, activity = "step_interrupted", step = "call", attempt = 1, "gone");
        info!(target: RUN_TARGET, activity = "step_enqueued", step = "call", "in the queue");
        info!(target: SWEEP_TARGET, activity = "sweep_completed", timers = 3, watched = 0, "clean");
        error!(target: PERMANENT_TARGET, activity = "permanent_error", doing = "move a run", error = "AccessDenied", "!");
    })
}

fn metric_names(line: &Value) -> Vec<String> {
    let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
    metrics.iter().map(|metric| metric["Name"].as_str().unwrap().to_owned()).collect()
}

fn dimension_names(line: &Value) -> &Value {
    &line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
}

/// Checks that the members named in a line's directives exist and have the right type.
fn assert_references(line: &Value) {
    for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
        for name in metric_names(line) {
            assert!(line[&name].is_number(), "{name} in {line}");
        }
        for key in directive["Dimensions"].as_array().unwrap().iter().flat_map(|set| set.as_array().unwrap()) {
            let value = line[key.as_str().unwrap()].as_str().unwrap_or_else(|| panic!("{key} in {line}"));
            assert!((1..=1024).contains(&value.chars().count()), "{key} in {line}");
        }
    }
}

#[test]
fn each_metric_line_follows_the_format() {
    let (schema, metrics) = (schema(), metric_lines());
    for line in &metrics {
        let errors: Vec<_> = schema.iter_errors(line).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {line}");
        assert_references(line);
        let at: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(line["_aws"]["Timestamp"], at.as_millisecond());
    }
    let emitted: BTreeSet<_> = metrics.iter().flat_map(metric_names).collect();
    let known: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.name().to_owned()).collect();
    assert_eq!(emitted, known);
}

#[test]
fn each_activity_becomes_its_metrics_whatever_its_sentence() {
    let found: Vec<_> = metric_lines().iter().map(|line| metric_names(line).join(" ")).collect();
    assert_eq!(
        found,
        [
            "RunsStarted",
            "RunsCompleted RunDuration",
            "RunsFailed RunDuration",
            "RunsCancelled RunDuration",
            "RunsSkipped RunDuration",
            "StepsSucceeded StepDuration",
            "AttemptsFailed StepDuration",
            "AttemptsInterrupted",
            "StepsWaiting",
            "SweepTimers SweepWatched",
            "PermanentErrors",
        ]
    );
    let lines = metric_lines();
    assert_eq!((&lines[0]["RunsStarted"], &lines[5]["StepDuration"]), (&json!(1), &json!(812)));
    assert_eq!((&lines[9]["SweepTimers"], &lines[9]["SweepWatched"]), (&json!(3), &json!(0)));
    for line in &lines {
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap() {
            let duration = metric["Name"].as_str().unwrap().ends_with("Duration");
            assert_eq!(metric["Unit"], if duration { "Milliseconds" } else { "Count" });
        }
    }
}

#[test]
fn stack_and_function_are_the_only_dimensions() {
    let metrics = metric_lines();
    let (runs, others) = metrics.split_at(metrics.len() - 2);
    for line in runs {
        assert_eq!(*dimension_names(line), json!([["Stack"], ["Stack", "Function"]]));
        assert_eq!((&line["Stack"], &line["Function"]), (&json!("prod"), &json!("enhance")));
        assert_eq!(line["run"], "01KAVZ9Y3M0000000000000001");
    }
    for line in others {
        assert_eq!(*dimension_names(line), json!([["Stack"]]));
        assert!(line.get("Function").is_none());
    }
}

#[test]
fn other_lines_carry_no_metric() {
    let lines = logged_lines("prod", || {
        info!(target: RUN_TARGET, activity = "step_started", step = "call", "step started");
        info!(target: RUN_TARGET, activity = "step_checked", step = "call", ms = 3, "step checked");
        info!(target: RUN_TARGET, activity = "step_waited", step = "call", ms = 3, "step waited");
        info!(target: RUN_TARGET, activity = "run_ended", status = "Unheard", ms = 3, "run ended");
        info!(target: RUN_TARGET, activity = "run_ended", status = "Running", ms = 3, "run ended");
        info!(target: RUN_TARGET, activity = "sweep_completed", timers = 3, watched = 0, "another's target");
        info!(target: RUN_TARGET, "run started");
        info!(target: "stepladder::run::more", activity = "run_started", "run started");
        info!(activity = "run_started", "run started");
        info!(target: SWEEP_TARGET, activity = "sweep_completed", timers = "many", "sweep completed");
    });
    assert_eq!(lines.len(), 10);
    for line in lines {
        assert!(line.get("_aws").is_none() && line.get("Stack").is_none(), "{line}");
    }
}

#[test]
fn a_missing_or_invalid_value_costs_only_its_own_metric() {
    let schema = schema();
    let long = "ü".repeat(5_000);
    let lines = [
        logged_lines("", || info!(target: RUN_TARGET, activity = "step_succeeded", step = "call", ms = -1)),
        logged_lines(" ", || info!(target: RUN_TARGET, activity = "step_failed", function = "", ms = f64::NAN)),
        logged_lines(
            &long,
            || info!(target: RUN_TARGET, activity = "run_started", function = long, RunsStarted = "no"),
        ),
    ];
    for line in lines.iter().flatten() {
        assert!(schema.is_valid(line), "{line}");
        assert_references(line);
    }
    assert_eq!(metric_names(&lines[0][0]), ["StepsSucceeded"]);
    assert_eq!((dimension_names(&lines[1][0]), &lines[1][0]["Stack"]), (&json!([["Stack"]]), &json!("unnamed")));
    assert_eq!(lines[2][0]["Function"].as_str().unwrap().len(), 1_024);
    assert_eq!(lines[2][0]["RunsStarted"], 1);
}

#[test]
fn the_largest_line_still_carries_its_metric() {
    let huge = "\u{1}".repeat(300_000);
    let lines = logged_lines(&huge, || {
        let activity = ActivityKind::StepFailed.name();
        info!(target: RUN_TARGET, activity, function = huge, a = huge, b = huge, c = huge, d = huge);
    });
    assert!(schema().is_valid(&lines[0]));
    assert_references(&lines[0]);
    assert!(lines[0].to_string().len() <= LINE_BYTES);
}

#[test]
fn the_schema_refuses_invalid_lines() {
    let schema = schema();
    let good = metric_lines().swap_remove(1);
    assert!(schema.is_valid(&good));
    let is_valid_after = |change: &dyn Fn(&mut Value)| {
        let mut line = good.clone();
        change(&mut line);
        assert_ne!(line, good);
        schema.is_valid(&line)
    };
    let metric = "/_aws/CloudWatchMetrics/0/Metrics/0";
    let directive = "/_aws/CloudWatchMetrics/0";
    let sets: [(&str, Value); 9] = [
        ("/_aws/Timestamp", json!("2026-01-01T00:00:00Z")),
        ("/_aws/Timestamp", json!(1.5)),
        ("/_aws/CloudWatchMetrics/0/Metrics/0/Unit", json!("ms")),
        ("/_aws/CloudWatchMetrics/0/Metrics/0/Unit", json!("count")),
        ("/_aws/CloudWatchMetrics/0/Metrics/0/Name", json!("")),
        ("/_aws/CloudWatchMetrics/0/Metrics", json!(vec![json!({"Name": "n"}); 101])),
        ("/_aws/CloudWatchMetrics/0/Dimensions", json!([])),
        ("/_aws/CloudWatchMetrics/0/Dimensions/0", json!(vec!["d"; 31])),
        ("/_aws/CloudWatchMetrics/0/Namespace", json!("n".repeat(1_025))),
    ];
    for (at, bad) in &sets {
        assert!(!is_valid_after(&|line| *line.pointer_mut(at).unwrap() = bad.clone()), "{at} {bad}");
    }
    for (at, missing) in [
        ("", "_aws"),
        ("/_aws", "Timestamp"),
        ("/_aws", "CloudWatchMetrics"),
        (directive, "Namespace"),
        (directive, "Dimensions"),
        (directive, "Metrics"),
        (metric, "Name"),
    ] {
        let remove = |line: &mut Value| drop(line.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(missing));
        assert!(!is_valid_after(&remove), "without {at}/{missing}");
    }
    for at in ["/_aws", directive, metric] {
        assert!(
            !is_valid_after(&|line| line.pointer_mut(at).unwrap()["Own"] = json!(1)),
            "{at} with a member of its own"
        );
    }
}
