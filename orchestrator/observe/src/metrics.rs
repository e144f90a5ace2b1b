//! CloudWatch metrics that are written as part of log lines, without a call to CloudWatch.
//!
//! The format is AWS's [embedded metric format][emf] (EMF): a line with the member `_aws` is both a
//! log event and a metric. A line becomes a metric by its field `activity`, the name of an
//! [`ActivityKind`]. The sentence of the line does not matter.
//!
//! | activity | metrics |
//! | --- | --- |
//! | `run_started` | `RunsStarted` |
//! | `run_ended` | by `status`: `RunsCompleted`, `RunsFailed`, `RunsCancelled` or `RunsSkipped`; `RunDuration` from `ms` |
//! | `step_succeeded` | `StepsSucceeded`; `StepDuration` from `ms` |
//! | `step_failed` | `AttemptsFailed`; `StepDuration` from `ms` |
//! | `step_interrupted` | `AttemptsInterrupted` |
//! | `step_enqueued` | `StepsWaiting` |
//! | `sweep_completed` | `SweepTimers` from `timers`, `SweepWatched` from `watched` |
//! | `permanent_error` | `PermanentErrors` |
//!
//! Other lines carry no metric. CloudWatch processes a line at least once, so it may count one
//! twice.
//!
//! # Costs
//!
//! CloudWatch bills each combination of a metric name and dimension values as one custom metric.
//! Therefore the only dimensions are the stack, and the stack with the function. A stack has at
//! most eleven metrics for itself and for each function, two for the sweep, and one for permanent
//! errors. Run ids, step names and other fields with many values are properties of the line, never
//! dimensions. CloudWatch Logs Insights finds them there.
//!
//! # Limits
//!
//! The [specification][emf] allows 100 metrics per directive, 30 dimensions per set and 1 MB per
//! line. A [dimension's value][Dimension] has 1 to 1,024 characters of printable ASCII. Values are
//! changed to fit, and lines end at [`LINE_BYTES`](crate::logs::LINE_BYTES).
//!
//! [emf]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
//! [Dimension]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html

use jiff::Timestamp;
use serde_json::{Value, json};
use stepladder_core::Status;
use stepladder_core::activity::{ACTIVITY_FIELD, ActivityKind, RUN_TARGET};

use crate::logs::LineFields;

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Stepladder";

/// The maximum number of characters in the value of a dimension.
const DIMENSION_CHARS: usize = 1024;

/// The value of the dimension `Stack` for a stack without a name, because the value must not be
/// empty.
const UNNAMED: &str = "unnamed";

/// A CloudWatch metric of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The number of runs that executed their handler for the first time.
    RunsStarted,
    /// The number of runs that returned a value.
    RunsCompleted,
    /// The number of runs that failed.
    RunsFailed,
    /// The number of runs that were cancelled.
    RunsCancelled,
    /// The number of runs that flow control skipped before they started.
    RunsSkipped,
    /// The time from the creation of a run to its end, including waits and sleeps.
    RunDuration,
    /// The number of steps that returned a value.
    StepsSucceeded,
    /// The number of attempts with a body that failed, whether or not they are retried.
    AttemptsFailed,
    /// The number of attempts that were interrupted because the worker died.
    AttemptsInterrupted,
    /// The number of steps that found no free slot and were enqueued.
    StepsWaiting,
    /// The execution time of the body of an attempt.
    StepDuration,
    /// The number of timers that a sweep fired.
    SweepTimers,
    /// The number of runs that a sweep checked because their watchdog was due.
    SweepWatched,
    /// The number of operations that failed with an error that no retry can fix.
    PermanentErrors,
}

/// The unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricUnit {
    /// A number of occurrences.
    Count,
    /// A duration in milliseconds.
    Milliseconds,
}

impl Metric {
    /// All metrics, for checks of alarms and dashboards.
    pub const ALL: [Self; 14] = [
        Self::RunsStarted,
        Self::RunsCompleted,
        Self::RunsFailed,
        Self::RunsCancelled,
        Self::RunsSkipped,
        Self::RunDuration,
        Self::StepsSucceeded,
        Self::AttemptsFailed,
        Self::AttemptsInterrupted,
        Self::StepsWaiting,
        Self::StepDuration,
        Self::SweepTimers,
        Self::SweepWatched,
        Self::PermanentErrors,
    ];

    /// Returns the name of the metric in CloudWatch, which is also the name of the log member with
    /// the value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RunsStarted => "RunsStarted",
            Self::RunsCompleted => "RunsCompleted",
            Self::RunsFailed => "RunsFailed",
            Self::RunsCancelled => "RunsCancelled",
            Self::RunsSkipped => "RunsSkipped",
            Self::RunDuration => "RunDuration",
            Self::StepsSucceeded => "StepsSucceeded",
            Self::AttemptsFailed => "AttemptsFailed",
            Self::AttemptsInterrupted => "AttemptsInterrupted",
            Self::StepsWaiting => "StepsWaiting",
            Self::StepDuration => "StepDuration",
            Self::SweepTimers => "SweepTimers",
            Self::SweepWatched => "SweepWatched",
            Self::PermanentErrors => "PermanentErrors",
        }
    }

    /// Returns the unit of the metric's values.
    #[must_use]
    pub fn unit(self) -> MetricUnit {
        match self {
            Self::RunDuration | Self::StepDuration => MetricUnit::Milliseconds,
            Self::RunsStarted
            | Self::RunsCompleted
            | Self::RunsFailed
            | Self::RunsCancelled
            | Self::RunsSkipped
            | Self::StepsSucceeded
            | Self::AttemptsFailed
            | Self::AttemptsInterrupted
            | Self::StepsWaiting
            | Self::SweepTimers
            | Self::SweepWatched
            | Self::PermanentErrors => MetricUnit::Count,
        }
    }
}

impl MetricUnit {
    /// Returns the name of the unit in CloudWatch.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
        }
    }
}

/// The process and the time of a log line.
pub(crate) struct LineOrigin<'a> {
    pub(crate) target: &'a str,
    pub(crate) stack: &'a str,
    pub(crate) at: Timestamp,
}

/// Returns the members that turn a log line into a metric. The result is empty if the line carries
/// no metric.
pub(crate) fn metric_members(origin: &LineOrigin<'_>, fields: &LineFields) -> Vec<(&'static str, Value)> {
    let values = activity_kind(origin, fields).map(|kind| metric_values(kind, fields)).unwrap_or_default();
    if values.is_empty() {
        return Vec::new();
    }
    let function = fields.get_text("function").and_then(dimension_value).filter(|_| origin.target == RUN_TARGET);
    let dimensions = if function.is_some() { json!([["Stack"], ["Stack", "Function"]]) } else { json!([["Stack"]]) };
    let metrics: Vec<_> =
        values.iter().map(|(metric, _)| json!({ "Name": metric.name(), "Unit": metric.unit().name() })).collect();
    let aws = json!({
        "Timestamp": origin.at.as_millisecond(),
        "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": metrics }],
    });
    let mut members =
        vec![("_aws", aws), ("Stack", dimension_value(origin.stack).unwrap_or_else(|| UNNAMED.into()).into())];
    members.extend(function.map(|function| ("Function", function.into())));
    members.extend(values.into_iter().map(|(metric, value)| (metric.name(), value)));
    members
}

/// Returns the kind of activity that a line reports. A line with another target than that of its
/// kind is ignored, because it is not from this program.
fn activity_kind(origin: &LineOrigin<'_>, fields: &LineFields) -> Option<ActivityKind> {
    let kind: ActivityKind = fields.get_text(ACTIVITY_FIELD)?.parse().ok()?;
    (kind.target() == origin.target).then_some(kind)
}

fn metric_values(kind: ActivityKind, fields: &LineFields) -> Vec<(Metric, Value)> {
    let one = |metric| Some((metric, Value::from(1)));
    let field = |metric, name| valid_number(fields.get(name)).map(|value| (metric, value));
    let (first, second) = match kind {
        ActivityKind::RunStarted => (one(Metric::RunsStarted), None),
        ActivityKind::RunEnded => match fields.get_text("status").and_then(metric_of_end) {
            Some(metric) => (one(metric), field(Metric::RunDuration, "ms")),
            None => (None, None),
        },
        ActivityKind::StepSucceeded => (one(Metric::StepsSucceeded), field(Metric::StepDuration, "ms")),
        ActivityKind::StepFailed => (one(Metric::AttemptsFailed), field(Metric::StepDuration, "ms")),
        ActivityKind::StepInterrupted => (one(Metric::AttemptsInterrupted), None),
        ActivityKind::StepEnqueued => (one(Metric::StepsWaiting), None),
        ActivityKind::SweepCompleted => (field(Metric::SweepTimers, "timers"), field(Metric::SweepWatched, "watched")),
        ActivityKind::PermanentError => (one(Metric::PermanentErrors), None),
        ActivityKind::StepStarted | ActivityKind::StepChecked => (None, None),
    };
    first.into_iter().chain(second).collect()
}

fn metric_of_end(status: &str) -> Option<Metric> {
    match status.parse().ok()? {
        Status::Completed => Some(Metric::RunsCompleted),
        Status::Failed => Some(Metric::RunsFailed),
        Status::Cancelled => Some(Metric::RunsCancelled),
        Status::Skipped => Some(Metric::RunsSkipped),
        Status::Scheduled | Status::Running => None,
    }
}

/// Returns the value if it is a number and not negative, as all counts and durations are.
fn valid_number(value: Option<&Value>) -> Option<Value> {
    value.filter(|value| value.as_f64().is_some_and(|value| value >= 0.0)).cloned()
}

/// Converts a string to a valid dimension value: printable ASCII, at most 1,024 characters, not
/// blank.
fn dimension_value(text: &str) -> Option<String> {
    let ascii = |char| if matches!(char, ' '..='~') { char } else { '_' };
    let value: String = text.trim().chars().take(DIMENSION_CHARS).map(ascii).collect();
    (!value.trim().is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimension_values_are_changed_to_fit_cloudwatch() {
        assert_eq!(dimension_value("prod").as_deref(), Some("prod"));
        assert_eq!(dimension_value(" höhle\n2 ").as_deref(), Some("h_hle_2"));
        assert_eq!(dimension_value(" \t"), None);
        assert_eq!(dimension_value(&"x".repeat(2_000)).map(|value| value.len()), Some(1_024));
    }

    #[test]
    fn metric_names_are_distinct() {
        let names: std::collections::HashSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
    }

    #[test]
    fn only_numbers_from_zero_are_values() {
        assert_eq!(valid_number(Some(&json!(0))), Some(json!(0)));
        assert_eq!(valid_number(Some(&json!(1.5))), Some(json!(1.5)));
        for bad in [json!(-1), json!("1"), json!(null), json!(true)] {
            assert_eq!(valid_number(Some(&bad)), None, "{bad}");
        }
        assert_eq!(valid_number(None), None);
    }
}
