//! What a front end registers: a function's description as plain data, which [`compile`] turns into
//! a [`Spec`].
//!
//! A [`FunctionConfig`] is what is sent and stored. CEL expressions and cron schedules are texts,
//! durations are texts such as `1h 30m`. Only [`compile`] parses them, for every front end.
//!
//! A config that is sent must not have unknown fields: a misspelt limit would not limit anything.
//! [`FunctionConfig::decode`] refuses them by name. A config that is stored may come from a newer
//! version of the program. [`FunctionConfig::decode_stored`] therefore ignores unknown fields, and
//! names them, so that the reader can report them.
//!
//! What is deliberately not here: the code of the function, and how it is executed.
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
    /// Its id: `enhance-client-with-ai`. At most 255 characters.
    pub id: Arc<str>,
    /// Its name for people. By default, its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Its version: a number, a date, `1.10`. A started run continues under its version while that
    /// version is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// The events that start it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<TriggerConfig>,
    /// Its cron schedules.
    #[serde(default, skip_serializing_if = "CronConfig::is_empty")]
    pub cron: CronConfig,
    /// The retries of its steps and of its handler.
    #[serde(default)]
    pub retry: RetryConfig,
    /// The timeout of its steps. By default, 60 s.
    #[serde(default = "default_timeout", with = "duration")]
    pub timeout: Duration,
    /// Limits on its executing steps or its live runs. All of them apply.
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
    /// Events for which this CEL expression returns the same text start one run in 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<String>,
    /// A CEL expression: the seconds by which a run moves forward in a wait queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Events that cancel a run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancel_on: Vec<CancelOnConfig>,
    /// When late runs are cancelled.
    #[serde(default, skip_serializing_if = "TimeoutsConfig::is_empty")]
    pub timeouts: TimeoutsConfig,
    /// The id of the function that starts when a run of this one fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Arc<str>>,
    /// An example event that starts it, for people who try it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<ExampleConfig>,
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
    /// Cron expressions: `0 9 * * MON-FRI`. A minute that several of them name is one tick.
    #[serde(default)]
    pub schedules: Vec<String>,
    /// An IANA time zone: `Europe/Berlin`. By default, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The maximum delay of a tick, at most 10 minutes. By default, ticks are not delayed.
    #[serde(default, with = "duration", skip_serializing_if = "Duration::is_zero")]
    pub jitter: Duration,
    /// What happens to ticks that did not start in time. By default, the latest starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_ticks: Option<MissedTicks>,
}

impl CronConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How often a step or a handler is retried, and after which waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryConfig {
    /// The maximum number of retries after the first attempt. By default, 4.
    #[serde(default = "default_retries")]
    pub retries: u32,
    /// The waits between attempts.
    #[serde(default)]
    pub backoff: BackoffConfig,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { retries: DEFAULT_RETRIES, backoff: BackoffConfig::default() }
    }
}

/// The waits between attempts, as [`Backoff`] has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackoffConfig {
    /// [`Backoff::Default`].
    #[default]
    Default,
    /// [`Backoff::Fixed`].
    Fixed(#[serde(with = "duration")] Duration),
    /// [`Backoff::Exponential`].
    Exponential {
        /// The wait before the first retry.
        #[serde(with = "duration")]
        first: Duration,
        /// The longest wait, without jitter.
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

/// An example event, with the fields that a sender writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExampleConfig {
    /// The event's name.
    pub name: Arc<str>,
    /// The payload: a JSON object. By default, it is empty.
    #[serde(default = "json::empty_object")]
    pub data: Json,
    /// The sender's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// When the event happened, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<i64>,
    /// The user whom the event is about: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Json>,
}

impl PartialEq for ExampleConfig {
    /// Compares `data` and `user` by their values.
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
    fn from(NewEvent { name, data, id, ts, user }: NewEvent) -> Self {
        Self { name, data, id, ts: ts.map(Timestamp::as_millis), user }
    }
}

impl From<ExampleConfig> for NewEvent {
    fn from(ExampleConfig { name, data, id, ts, user }: ExampleConfig) -> Self {
        Self { name, data, id, ts: ts.map(Timestamp::from_millis), user }
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
        }
    }
}

fn default_timeout() -> Duration {
    STEP_TIMEOUT
}

fn default_retries() -> u32 {
    DEFAULT_RETRIES
}
