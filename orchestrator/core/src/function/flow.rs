//! The configs of flow control: limits, which of many events start a run, and how long a run may
//! take.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use crate::flow::SingletonMode;
use crate::spec::CountedUnit;

/// A limit on executing steps or on live runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcurrencyConfig {
    /// The maximum number of steps or runs at the same time, at least 1.
    pub limit: u32,
    /// Whether the limit counts steps or runs. The default is executing steps.
    #[serde(default)]
    pub of: CountedUnit,
    /// A CEL expression over `event`. Each of its values has its own slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The name under which several functions share the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Arc<str>>,
}

/// A maximum number of starts per period, for a throttle or a rate limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateConfig {
    /// The number of starts per period.
    pub limit: u32,
    /// The period, at most 31 days.
    #[serde(with = "duration")]
    pub period: Duration,
    /// The number of runs that may start at the same time. The default is 1 for a throttle, and
    /// `limit` for a rate limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// A CEL expression over `event`. Starts are counted separately for each of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Starts a run after a quiet period without further events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebounceConfig {
    /// The quiet period, at most 31 days.
    #[serde(with = "duration")]
    pub period: Duration,
    /// The maximum delay after the first event. By default, there is no maximum.
    #[serde(default, with = "duration::optional", skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Duration>,
    /// A CEL expression over `event`. Each of its values is debounced separately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Starts a run with many events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchConfig {
    /// The number of events that starts the run immediately, at most 1,000.
    pub size: u32,
    /// The maximum time from the first event to the start, at most 31 days.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// A CEL expression over `event`. Each of its values has its own batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Allows at most one live run; with a key, one per value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SingletonConfig {
    /// What a further event does while a run is live.
    pub mode: SingletonMode,
    /// A CEL expression over `event`. At most one run is live for each of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// An event that cancels a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelOnConfig {
    /// The event's name.
    pub event: Arc<str>,
    /// Conditions that must all be true. Without conditions, every event with this name cancels the
    /// run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<CancelCondition>,
    /// How long after the run's creation the event can cancel it. By default, until the run ends.
    #[serde(default, with = "duration::optional", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// A condition for an event that cancels a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelCondition {
    /// The event has the same value in this field of its `data` as the run's own event.
    SameField(String),
    /// This CEL expression is true. `event` is the event that started the run, and `async` is the
    /// arriving event.
    Cel(String),
}

/// When runs are cancelled because they start or end too late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutsConfig {
    /// The maximum time from the creation of a run to its start.
    #[serde(default, with = "duration::optional", skip_serializing_if = "Option::is_none")]
    pub start: Option<Duration>,
    /// The maximum time from the start of a run to its end.
    #[serde(default, with = "duration::optional", skip_serializing_if = "Option::is_none")]
    pub finish: Option<Duration>,
}

impl TimeoutsConfig {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
