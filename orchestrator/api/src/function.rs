//! Functions, and the responses to requests that change them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepladder_core::spec::{self, CountedUnit};
use stepladder_core::{Spec, Timestamp};

use crate::Time;

/// A registered function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Function {
    /// The id of the function.
    pub id: Arc<str>,
    /// The events that start the function.
    pub triggers: Vec<Trigger>,
    /// The cron schedules that start the function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cron: Vec<CronSchedule>,
    /// The maximum number of retries of a failed step.
    pub retries: u32,
    /// The names of errors that are not retried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_retryable: Vec<Arc<str>>,
    /// The maximum time of one attempt of a step, in milliseconds.
    pub timeout_ms: u64,
    /// The concurrency limits of the function.
    pub concurrency: Vec<Concurrency>,
    /// The other flow control settings, each as a phrase.
    #[serde(default)]
    pub flow_control: Vec<String>,
    /// The function that handles failed runs of this function.
    pub on_failure: Option<Arc<str>>,
    /// When the function was paused; `None` if it is not paused.
    pub paused_since: Option<Time>,
}

impl Function {
    /// Describes a function. `paused_since` is the time at which it was paused.
    pub fn new(spec: &Spec, paused_since: Option<Timestamp>) -> Self {
        Self {
            id: spec.id.clone(),
            triggers: spec.triggers.iter().map(Trigger::from).collect(),
            cron: spec
                .schedule
                .lines
                .iter()
                .map(|cron| CronSchedule { line: cron.line().into(), time_zone: cron.zone().into() })
                .collect(),
            retries: spec.retry.retries,
            non_retryable: spec.retry.non_retryable.to_vec(),
            timeout_ms: u64::try_from(spec.timeout.as_millis()).unwrap_or(u64::MAX),
            concurrency: spec.concurrency.iter().map(Concurrency::from).collect(),
            flow_control: spec.describe_flow(),
            on_failure: spec.on_failure.clone(),
            paused_since: paused_since.map(Time),
        }
    }
}

/// An event that starts a function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trigger {
    /// The name of the event.
    pub event: Arc<str>,
    /// A CEL expression that must be true for the event.
    #[serde(rename = "if")]
    pub condition: Option<String>,
}

impl From<&spec::Trigger> for Trigger {
    fn from(trigger: &spec::Trigger) -> Self {
        let condition = trigger.condition.as_ref().map(|condition| condition.source().to_owned());
        Self { event: trigger.event.clone(), condition }
    }
}

/// A cron schedule that starts a function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CronSchedule {
    /// The cron expression, in the syntax of crontab.
    pub line: String,
    /// The IANA name of the schedule's time zone.
    pub time_zone: String,
}

/// A concurrency limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Concurrency {
    /// The number of slots.
    pub limit: u32,
    /// Whether steps or runs take the slots.
    pub of: LimitScope,
    /// A CEL expression. Each of its values has its own slots.
    pub key: Option<String>,
    /// The name under which several functions share the limit.
    #[serde(default)]
    pub shared: Option<Arc<str>>,
}

/// What a concurrency limit counts: steps or runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitScope {
    /// Executing steps.
    Steps,
    /// Live runs, from their first step to their end.
    Runs,
    /// A value that only a newer server knows.
    #[serde(other)]
    Unknown,
}

impl From<&spec::Concurrency> for Concurrency {
    fn from(concurrency: &spec::Concurrency) -> Self {
        Self {
            limit: concurrency.limit,
            of: match concurrency.of {
                CountedUnit::Steps => LimitScope::Steps,
                CountedUnit::Runs => LimitScope::Runs,
            },
            key: concurrency.key.as_ref().map(|key| key.source().to_owned()),
            shared: concurrency.shared.clone(),
        }
    }
}

/// The response to a pause.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FunctionPaused {
    /// The id of the function.
    pub function_id: String,
    /// When the function was paused, which may be before this request.
    pub paused_since: Option<Time>,
}

/// The response to a request that resumes a paused function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FunctionResumed {
    /// The id of the function.
    pub function_id: String,
    /// The number of runs that waited because the function was paused.
    pub woken: usize,
}
