//! Metrics in log lines: what runs do becomes a metric in the line that says it, with no call to CloudWatch.
//!
//! The format is AWS's [Embedded metric format][emf] (EMF): a line that has `_aws` is a log event and a metric at once.
//!
//! | said (target `stepladder::run`) | metrics |
//! | --- | --- |
//! | `run started` | `RunsStarted` |
//! | `run ended`, by its `status` | `RunsCompleted`, `RunsFailed`, `RunsCancelled` or `RunsSkipped`; `RunDuration` from `ms` |
//! | `step succeeded` | `StepsSucceeded`; `StepDuration` from `ms` |
//! | `step failed` | `AttemptsFailed`; `StepDuration` from `ms` |
//! | `step interrupted` | `AttemptsInterrupted` |
//! | `step waits` | `StepsWaiting` |
//! | `swept` (target `stepladder::sweep`) | `SweepTimers` from `timers`, `SweepWatched` from `watched` |
//! | `permanent error` (target `stepladder::permanent`) | `PermanentErrors` |
//!
//! Everything else is a plain line. A line is read at least once, so a metric may be counted twice now and then.
//!
//! # What it costs
//!
//! CloudWatch bills each metric name with each combination of dimension values as one custom metric. So the dimensions
//! are the stack, and the stack with the function: at most eleven metrics for each stack and again for each of its
//! functions, two of the sweep, and the permanent errors. Run ids, step names and everything else that has many values are properties: they
//! stand in the line, where Logs Insights finds them, and are never dimensions.
//!
//! # Limits
//!
//! At most 100 metrics a directive, 30 dimensions a set, 1,024 characters a dimension's value, which is not empty and in
//! printable ASCII, and 1 MB a line ([specification][emf], [Dimension]). Metrics here are a handful by construction, the
//! values of dimensions are made to fit, and lines end at [`LINE_BYTES`](crate::logs::LINE_BYTES).
//!
//! [emf]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
//! [Dimension]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::logs::Fields;

/// The namespace of every metric.
pub const NAMESPACE: &str = "Stepladder";

/// Where the engine tells what runs do.
pub const RUN_TARGET: &str = "stepladder::run";

/// Where the engine tells what a sweep did.
pub const SWEEP_TARGET: &str = "stepladder::sweep";

/// Where every role tells of errors that no repetition can fix.
pub const PERMANENT_TARGET: &str = "stepladder::permanent";

/// The most characters of a dimension's value.
const DIMENSION_CHARS: usize = 1024;

/// Stands for a stack without a name, since a dimension's value may not be empty.
const UNNAMED: &str = "unnamed";

/// A metric, by what it counts or measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Runs whose handler was run for the first time.
    RunsStarted,
    /// Runs that returned a value.
    RunsCompleted,
    /// Runs that failed for good.
    RunsFailed,
    /// Runs that were cancelled.
    RunsCancelled,
    /// Runs that flow control dropped before they began.
    RunsSkipped,
    /// From the creation of a run to its end, waits and sleeps included.
    RunDuration,
    /// Steps that returned a value.
    StepsSucceeded,
    /// Attempts whose body failed, whether or not another follows.
    AttemptsFailed,
    /// Attempts whose worker died.
    AttemptsInterrupted,
    /// Steps that found no free slot and joined a line.
    StepsWaiting,
    /// What one attempt's body took.
    StepDuration,
    /// Timers that a sweep fired.
    SweepTimers,
    /// Quiet runs that a sweep woke again.
    SweepWatched,
    /// Attempts of anything that failed by an error that no repetition can fix.
    PermanentErrors,
}

/// What a metric's values are, in CloudWatch's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// How many.
    Count,
    /// Thousandths of a second.
    Milliseconds,
}

impl Metric {
    /// Every metric that there is, for whoever checks alarms and dashboards against them.
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

    /// The name in CloudWatch, which is the member of the line that holds the value.
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

    /// What its values are.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::RunDuration | Self::StepDuration => Unit::Milliseconds,
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
            | Self::PermanentErrors => Unit::Count,
        }
    }
}

impl Unit {
    /// The word in CloudWatch.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
        }
    }
}

/// What was said, where, and when.
pub(crate) struct Said<'a> {
    pub(crate) target: &'a str,
    pub(crate) message: &'a str,
    pub(crate) stack: &'a str,
    pub(crate) at: Timestamp,
}

/// The members that make a metric of a line; none for lines that are not one.
pub(crate) fn members(said: &Said<'_>, fields: &Fields) -> Vec<(&'static str, Value)> {
    let values = values(said, fields);
    if values.is_empty() {
        return Vec::new();
    }
    let function = fields.text("function").and_then(dimension).filter(|_| said.target == RUN_TARGET);
    let dimensions = if function.is_some() { json!([["Stack"], ["Stack", "Function"]]) } else { json!([["Stack"]]) };
    let metrics: Vec<_> =
        values.iter().map(|(metric, _)| json!({ "Name": metric.name(), "Unit": metric.unit().name() })).collect();
    let aws = json!({
        "Timestamp": said.at.as_millisecond(),
        "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": metrics }],
    });
    let mut members = vec![("_aws", aws), ("Stack", dimension(said.stack).unwrap_or_else(|| UNNAMED.into()).into())];
    members.extend(function.map(|function| ("Function", function.into())));
    members.extend(values.into_iter().map(|(metric, value)| (metric.name(), value)));
    members
}

fn values(said: &Said<'_>, fields: &Fields) -> Vec<(Metric, Value)> {
    let one = |metric| Some((metric, Value::from(1)));
    let field = |metric, name| number(fields.get(name)).map(|value| (metric, value));
    let (first, second) = match (said.target, said.message) {
        (RUN_TARGET, "run started") => (one(Metric::RunsStarted), None),
        (RUN_TARGET, "run ended") => match fields.text("status").and_then(ending) {
            Some(metric) => (one(metric), field(Metric::RunDuration, "ms")),
            None => (None, None),
        },
        (RUN_TARGET, "step succeeded") => (one(Metric::StepsSucceeded), field(Metric::StepDuration, "ms")),
        (RUN_TARGET, "step failed") => (one(Metric::AttemptsFailed), field(Metric::StepDuration, "ms")),
        (RUN_TARGET, "step interrupted") => (one(Metric::AttemptsInterrupted), None),
        (RUN_TARGET, "step waits") => (one(Metric::StepsWaiting), None),
        (SWEEP_TARGET, "swept") => (field(Metric::SweepTimers, "timers"), field(Metric::SweepWatched, "watched")),
        (PERMANENT_TARGET, "permanent error") => (one(Metric::PermanentErrors), None),
        _ => (None, None),
    };
    first.into_iter().chain(second).collect()
}

fn ending(status: &str) -> Option<Metric> {
    match status {
        "Completed" => Some(Metric::RunsCompleted),
        "Failed" => Some(Metric::RunsFailed),
        "Cancelled" => Some(Metric::RunsCancelled),
        "Skipped" => Some(Metric::RunsSkipped),
        _ => None,
    }
}

/// A metric's value must be a number; nothing that is counted or timed here is negative.
fn number(value: Option<&Value>) -> Option<Value> {
    value.filter(|value| value.as_f64().is_some_and(|value| value >= 0.0)).cloned()
}

/// A value that CloudWatch takes for a dimension: printable ASCII, not blank, not too long.
fn dimension(text: &str) -> Option<String> {
    let ascii = |char| if matches!(char, ' '..='~') { char } else { '_' };
    let value: String = text.trim().chars().take(DIMENSION_CHARS).map(ascii).collect();
    (!value.trim().is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_take_what_cloudwatch_takes() {
        assert_eq!(dimension("prod").as_deref(), Some("prod"));
        assert_eq!(dimension(" höhe\n2 ").as_deref(), Some("h_he_2"));
        assert_eq!(dimension(" \t"), None);
        assert_eq!(dimension(&"x".repeat(2_000)).map(|value| value.len()), Some(1_024));
    }

    #[test]
    fn names_differ() {
        let names: std::collections::HashSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
    }

    #[test]
    fn only_numbers_from_zero_are_values() {
        assert_eq!(number(Some(&json!(0))), Some(json!(0)));
        assert_eq!(number(Some(&json!(1.5))), Some(json!(1.5)));
        for bad in [json!(-1), json!("1"), json!(null), json!(true)] {
            assert_eq!(number(Some(&bad)), None, "{bad}");
        }
        assert_eq!(number(None), None);
    }
}
