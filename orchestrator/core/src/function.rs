//! The description of a function as plain data. A front end registers it, and [`compile`] converts
//! it to a [`Spec`](crate::Spec).
//!
//! A [`FunctionConfig`] is what a front end sends and what the store keeps. CEL expressions, cron
//! schedules and durations (such as `1h 30m`) are strings. Only [`compile`] parses them, for every
//! front end.
//!
//! A config that a front end sends must not have unknown fields, because a misspelt limit would not
//! limit anything. [`FunctionConfig::decode`] refuses such fields and names them. A stored config
//! may come from a newer version of the program. Therefore [`FunctionConfig::decode_stored`]
//! ignores unknown fields and returns their names, so that the caller can report them.
//!
//! The code of the function, and how it is executed, are deliberately not part of the config.
//!
//! [`compile`]: FunctionConfig::compile

mod compile;
mod decode;
mod duration;
mod error;
mod flow;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::json::{self, Json};
use crate::missed::MissedTicks;
use crate::retry::{Backoff, DEFAULT_RETRIES};
use crate::spec::STEP_TIMEOUT;
use crate::{NewEvent, Timestamp};

pub use decode::StoredConfig;
pub use error::ConfigError;
pub use flow::{
    BatchConfig, CancelCondition, CancelOnConfig, ConcurrencyConfig, DebounceConfig, RateConfig, SingletonConfig,
    TimeoutsConfig,
};

/// The description of a function, as a front end registers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionConfig {
    /// The id of the function, such as `enhance-client-with-ai`. It has at most 255 characters.
    pub id: Arc<str>,
    /// The name of the function for people. The default is the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The version of the function: a number, a date, or a version such as `1.10`. A started run
    /// keeps its version while that version is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// The events that start the function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<TriggerConfig>,
    /// The cron schedules that start the function.
    #[serde(default, skip_serializing_if = "CronConfig::is_empty")]
    pub cron: CronConfig,
    /// The retries of the function's steps and of its handler.
    #[serde(default)]
    pub retry: RetryConfig,
    /// The timeout of the function's steps. The default is 60 s.
    #[serde(default = "default_timeout", with = "duration")]
    pub timeout: Duration,
    /// Limits on executing steps or on live runs of the function. All of them apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concurrency: Vec<ConcurrencyConfig>,
    /// Delays starts that exceed the rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<RateConfig>,
    /// Skips starts that exceed the rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateConfig>,
    /// Starts one run after the last of several close events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce: Option<DebounceConfig>,
    /// Collects events and starts one run with all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchConfig>,
    /// Allows at most one live run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub singleton: Option<SingletonConfig>,
    /// Events for which this CEL expression returns the same value start only one run in 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<String>,
    /// A CEL expression that returns the number of seconds by which a run moves forward in a wait
    /// queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Events that cancel a run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancel_on: Vec<CancelOnConfig>,
    /// When runs are cancelled because they start or end too late.
    #[serde(default, skip_serializing_if = "TimeoutsConfig::is_empty")]
    pub timeouts: TimeoutsConfig,
    /// The id of the function that starts if a run of this function fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Arc<str>>,
    /// An example event that starts the function, for people who want to try it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<ExampleConfig>,
    /// The labels of the function's runs, at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelConfig>,
}

/// A label of a function's runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelConfig {
    /// The key of the label: at most 64 letters, digits, `_`, `-` and `.`.
    pub key: Arc<str>,
    /// A CEL expression over `event` that returns the value, such as `event.data.clientId`.
    pub value: String,
}

/// An event that starts a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerConfig {
    /// The event's name.
    pub event: Arc<str>,
    /// CEL expressions over `event`, which must all be true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
}

impl TriggerConfig {
    /// Creates a trigger without conditions.
    pub fn new(event: impl Into<Arc<str>>) -> Self {
        Self { event: event.into(), conditions: Vec::new() }
    }
}

/// The cron schedules of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronConfig {
    /// Cron expressions such as `0 9 * * MON-FRI`. A minute that matches several of them is one
    /// tick.
    #[serde(default)]
    pub schedules: Vec<String>,
    /// The IANA name of the time zone, such as `Europe/Berlin`. The default is UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The maximum random delay of a tick, at most 10 minutes. By default, ticks are not delayed.
    #[serde(default, with = "duration", skip_serializing_if = "Duration::is_zero")]
    pub jitter: Duration,
    /// What happens to ticks that did not start a run in time. By default, the latest one starts a
    /// run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_ticks: Option<MissedTicks>,
}

impl CronConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How often a step or a handler is retried, and after which delays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryConfig {
    /// The maximum number of retries after the first attempt. The default is 4.
    #[serde(default = "default_retries")]
    pub retries: u32,
    /// The delays between attempts.
    #[serde(default)]
    pub backoff: BackoffConfig,
    /// The names of errors that are never retried, such as `TypeError`. By default, the list is
    /// empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_retryable: Vec<Arc<str>>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { retries: DEFAULT_RETRIES, backoff: BackoffConfig::default(), non_retryable: Vec::new() }
    }
}

/// The delays between attempts, with the same variants as [`Backoff`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackoffConfig {
    /// The default delays ([`Backoff::Default`]).
    #[default]
    Default,
    /// The same delay each time ([`Backoff::Fixed`]).
    Fixed(#[serde(with = "duration")] Duration),
    /// A delay that doubles each time ([`Backoff::Exponential`]).
    Exponential {
        /// The delay before the first retry.
        #[serde(with = "duration")]
        first: Duration,
        /// The maximum delay, without jitter.
        #[serde(with = "duration")]
        max: Duration,
    },
}

impl From<Backoff> for BackoffConfig {
    fn from(backoff: Backoff) -> Self {
        match backoff {
            Backoff::Default => Self::Default,
            Backoff::Fixed(wait) => Self::Fixed(wait),
            Backoff::Exponential { first, max } => Self::Exponential { first, max },
        }
    }
}

impl From<BackoffConfig> for Backoff {
    fn from(backoff: BackoffConfig) -> Self {
        match backoff {
            BackoffConfig::Default => Self::Default,
            BackoffConfig::Fixed(wait) => Self::Fixed(wait),
            BackoffConfig::Exponential { first, max } => Self::exponential(first, max),
        }
    }
}

/// An example event, with the fields that a sender can set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExampleConfig {
    /// The event's name.
    pub name: Arc<str>,
    /// The payload: a JSON object. By default, it is empty.
    #[serde(default = "json::empty_object")]
    pub data: Json,
    /// The id given by the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// When the event happened, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<i64>,
    /// The user that the event is about: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Json>,
}

impl PartialEq for ExampleConfig {
    /// Compares `data` and `user` by their JSON values, not by their text.
    fn eq(&self, other: &Self) -> bool {
        let is_same_user = match (&self.user, &other.user) {
            (None, None) => true,
            (Some(user), Some(other)) => json::is_same(user, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        is_same_user
            && json::is_same(&self.data, &other.data)
            && (&self.name, &self.id, self.ts) == (&other.name, &other.id, other.ts)
    }
}

impl From<NewEvent> for ExampleConfig {
    fn from(NewEvent { name, data, id, ts, user, trace: _ }: NewEvent) -> Self {
        Self { name, data, id, ts: ts.map(Timestamp::as_millis), user }
    }
}

impl From<ExampleConfig> for NewEvent {
    fn from(ExampleConfig { name, data, id, ts, user }: ExampleConfig) -> Self {
        Self { name, data, id, ts: ts.map(Timestamp::from_millis), user, trace: None }
    }
}

impl FunctionConfig {
    /// Creates a config with the defaults: no triggers, 4 retries, 60 s per step, no limits.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            name: None,
            version: None,
            triggers: Vec::new(),
            cron: CronConfig::default(),
            retry: RetryConfig::default(),
            timeout: STEP_TIMEOUT,
            concurrency: Vec::new(),
            throttle: None,
            rate_limit: None,
            debounce: None,
            batch: None,
            singleton: None,
            idempotency: None,
            priority: None,
            cancel_on: Vec::new(),
            timeouts: TimeoutsConfig::default(),
            on_failure: None,
            example: None,
            labels: Vec::new(),
        }
    }
}

fn default_timeout() -> Duration {
    STEP_TIMEOUT
}

fn default_retries() -> u32 {
    DEFAULT_RETRIES
}
