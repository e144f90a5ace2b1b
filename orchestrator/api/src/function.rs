//! Functions, and the responses to what is done with them.

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
    /// The events that start it.
    pub triggers: Vec<Trigger>,
    /// The schedules that start it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cron: Vec<CronSchedule>,
    /// How often a failed step is retried.
    pub retries: u32,
    /// How long an attempt at a step may take, in milliseconds.
    pub timeout_ms: u64,
    /// The concurrency limits of the function.
    pub concurrency: Vec<Concurrency>,
    /// Its other flow control, in words.
    #[serde(default)]
    pub flow_control: Vec<String>,
    /// The function that handles its failures.
    pub on_failure: Option<Arc<str>>,
    /// When it was paused; `None` while it is not paused.
    pub paused_since: Option<Time>,
}

impl Function {
    /// Describes a function; `paused_since` is when it was paused.
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
    /// A CEL expression that the event must fulfil.
    #[serde(rename = "if")]
    pub condition: Option<String>,
}

impl From<&spec::Trigger> for Trigger {
    fn from(trigger: &spec::Trigger) -> Self {
        let condition = trigger.condition.as_ref().map(|condition| condition.source().to_owned());
        Self { event: trigger.event.clone(), condition }
    }
}

/// A schedule that starts a function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CronSchedule {
    /// The schedule, in the syntax of crontab.
    pub line: String,
    /// The IANA name of its time zone.
    pub time_zone: String,
}

/// A concurrency limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Concurrency {
    /// The number of slots.
    pub limit: u32,
    /// What takes a slot.
    pub of: LimitScope,
    /// A CEL expression: each value of it has slots of its own.
    pub key: Option<String>,
    /// The name under which several functions share the limit.
    #[serde(default)]
    pub shared: Option<Arc<str>>,
}

/// What takes a slot of a concurrency limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitScope {
    /// Steps that execute.
    Steps,
    /// Runs, from their first step to their end.
    Runs,
    /// Something that a newer server knows.
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
    /// When it was paused, which may be earlier than this request.
    pub paused_since: Option<Time>,
}

/// The response to a resumption.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FunctionResumed {
    /// The id of the function.
    pub function_id: String,
    /// How many runs were waiting for it.
    pub woken: usize,
}
