//! Every kind of line against the embedded metric format: the schema (see `emf-schema.md`), and what no schema can say.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};
use stepladder_observe::logs::{self, LINE_BYTES, Options};
use stepladder_observe::metrics::Metric;
use tracing::{error, info, info_span};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
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

fn lines(stack: &str, say: impl FnOnce()) -> Vec<Value> {
    let out = Shared::default();
    let options =
        Options { role: "worker".into(), stack: stack.into(), code: "42".into(), filter: Some("info".into()) };
    tracing::subscriber::with_default(logs::subscriber(options, out.clone()), say);
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One of each kind that is a metric.
fn metrics() -> Vec<Value> {
    lines("prod", || {
        let _hop = info_span!("hop", run = "01KAVZ9Y3M0000000000000001", function = "enhance").entered();
        info!(target: "stepladder::run", "run started");
        for status in ["Completed", "Failed", "Cancelled", "Skipped"] {
            info!(target: "stepladder::run", %status, ms = 90_000_u64, "run ended");
        }
        info!(target: "stepladder::run", step = "call", attempt = 1, ms = 812_u128, "step succeeded");
        info!(target: "stepladder::run", step = "call", attempt = 1, ms = 0.5, error = "503", "step failed");
        info!(target: "stepladder::run", step = "call", attempt = 1, "step interrupted");
        info!(target: "stepladder::run", step = "call", "step waits");
        info!(target: "stepladder::sweep", timers = 3, watched = 0, "swept");
        error!(target: "stepladder::permanent", doing = "move a run", error = "AccessDenied", "permanent error");
    })
}

fn names(line: &Value) -> Vec<String> {
    let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
    metrics.iter().map(|metric| metric["Name"].as_str().unwrap().to_owned()).collect()
}

fn dimensions(line: &Value) -> &Value {
    &line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
}

/// What the specification asks of target members: they are there, and of the right type.
fn refers_to_members(line: &Value) {
    for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
        for name in names(line) {
            assert!(line[&name].is_number(), "{name} in {line}");
        }
        for key in directive["Dimensions"].as_array().unwrap().iter().flat_map(|set| set.as_array().unwrap()) {
            let value = line[key.as_str().unwrap()].as_str().unwrap_or_else(|| panic!("{key} in {line}"));
            assert!((1..=1024).contains(&value.chars().count()), "{key} in {line}");
        }
    }
}

#[test]
fn every_kind_of_metric_is_as_cloudwatch_reads_it() {
    let (schema, metrics) = (schema(), metrics());
    for line in &metrics {
        let faults: Vec<_> = schema.iter_errors(line).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?} in {line}");
        refers_to_members(line);
        let at: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(line["_aws"]["Timestamp"], at.as_millisecond());
    }
    let said: BTreeSet<_> = metrics.iter().flat_map(names).collect();
    let known: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.name().to_owned()).collect();
    assert_eq!(said, known);
}

#[test]
fn each_thing_said_becomes_its_metrics() {
    let told: Vec<_> = metrics().iter().map(|line| names(line).join(" ")).collect();
    assert_eq!(
        told,
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
    let lines = metrics();
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
    let metrics = metrics();
    let (runs, others) = metrics.split_at(metrics.len() - 2);
    for line in runs {
        assert_eq!(*dimensions(line), json!([["Stack"], ["Stack", "Function"]]));
        assert_eq!((&line["Stack"], &line["Function"]), (&json!("prod"), &json!("enhance")));
        assert_eq!(line["run"], "01KAVZ9Y3M0000000000000001");
    }
    for line in others {
        assert_eq!(*dimensions(line), json!([["Stack"]]));
        assert!(line.get("Function").is_none());
    }
}

#[test]
fn other_lines_are_no_metrics() {
    let lines = lines("prod", || {
        info!(target: "stepladder::run", step = "call", "step started");
        info!(target: "stepladder::run", step = "call", ms = 3, "step waited");
        info!(target: "stepladder::run", status = "Unheard", ms = 3, "run ended");
        info!(target: "stepladder::run::more", "run started");
        info!("run started");
        info!(target: "stepladder::sweep", timers = "many", "swept");
    });
    assert_eq!(lines.len(), 6);
    for line in lines {
        assert!(line.get("_aws").is_none() && line.get("Stack").is_none(), "{line}");
    }
}

#[test]
fn what_is_missing_or_strange_costs_no_metric_that_can_be_had() {
    let schema = schema();
    let long = "ü".repeat(5_000);
    let lines = [
        lines("", || info!(target: "stepladder::run", step = "call", ms = -1, "step succeeded")),
        lines(" ", || info!(target: "stepladder::run", function = "", ms = f64::NAN, "step failed")),
        lines(&long, || info!(target: "stepladder::run", function = long, RunsStarted = "no", "run started")),
    ];
    for line in lines.iter().flatten() {
        assert!(schema.is_valid(line), "{line}");
        refers_to_members(line);
    }
    assert_eq!(names(&lines[0][0]), ["StepsSucceeded"]);
    assert_eq!((dimensions(&lines[1][0]), &lines[1][0]["Stack"]), (&json!([["Stack"]]), &json!("unnamed")));
    assert_eq!(lines[2][0]["Function"].as_str().unwrap().len(), 1_024);
    assert_eq!(lines[2][0]["RunsStarted"], 1);
}

#[test]
fn the_largest_line_is_a_metric_too() {
    let huge = "\u{1}".repeat(300_000);
    let lines = lines(&huge, || {
        info!(target: "stepladder::run", function = huge, a = huge, b = huge, c = huge, d = huge, "step failed");
    });
    assert!(schema().is_valid(&lines[0]));
    refers_to_members(&lines[0]);
    assert!(lines[0].to_string().len() <= LINE_BYTES);
}

#[test]
fn the_schema_refuses_what_cloudwatch_would() {
    let schema = schema();
    let good = metrics().swap_remove(1);
    assert!(schema.is_valid(&good));
    let spoilt = |spoil: &dyn Fn(&mut Value)| {
        let mut line = good.clone();
        spoil(&mut line);
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
        assert!(!spoilt(&|line| *line.pointer_mut(at).unwrap() = bad.clone()), "{at} {bad}");
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
        assert!(!spoilt(&remove), "without {at}/{missing}");
    }
    for at in ["/_aws", directive, metric] {
        assert!(!spoilt(&|line| line.pointer_mut(at).unwrap()["Own"] = json!(1)), "{at} with a member of its own");
    }
}
