//! Describes flow control in phrases, such as "throttle: 10 in 60s, 3 at once, for each
//! event.data.client".

use std::fmt;
use std::time::Duration;

use super::{Batch, CancelMatch, CancelOn, Debounce, FlowControl, Rate, Singleton, SingletonMode};
use crate::expr::Expr;
use crate::spec::{Concurrency, CountedUnit};

impl FlowControl {
    /// Returns each flow control setting of a function as a phrase.
    pub fn describe(&self) -> Vec<String> {
        let rate = |what: &str, rate: &Rate| {
            format!("{what}: {rate}, {} at once{}", rate.burst, describe_key(rate.key.as_ref()))
        };
        let debounce = |Debounce { period, longest, key }: &Debounce| {
            let longest = longest.map_or_else(String::new, |longest| format!(", {longest:?} at the latest"));
            format!("debounce: {period:?}{longest}{}", describe_key(key.as_ref()))
        };
        let batch = |Batch { size, timeout, key }: &Batch| {
            format!("batch: {size} events or {timeout:?}{}", describe_key(key.as_ref()))
        };
        let singleton = |Singleton { key, mode: second }: &Singleton| {
            let second = match second {
                SingletonMode::Skip => "further ones are skipped",
                SingletonMode::Replace => "a further one replaces it",
            };
            format!("singleton: {second}{}", describe_key(key.as_ref()))
        };
        let within = |what: &str, time: Duration| format!("is to {what} within {time:?}");
        let words = [
            self.throttle.as_ref().map(|of| rate("throttle", of)),
            self.rate_limit.as_ref().map(|of| rate("rate limit", of)),
            self.debounce.as_ref().map(debounce),
            self.batch.as_ref().map(batch),
            self.singleton.as_ref().map(singleton),
            self.idempotency.as_ref().map(|key| format!("idempotency: {}", key.source())),
            self.priority.as_ref().map(|seconds| format!("priority: {}", seconds.source())),
            self.start_within.map(|time| within("start", time)),
            self.finish_within.map(|time| within("finish", time)),
        ];
        words.into_iter().flatten().chain(self.cancel_on.iter().map(ToString::to_string)).collect()
    }
}

fn describe_key(key: Option<&Expr>) -> String {
    key.map_or_else(String::new, |key| format!(", for each {}", key.source()))
}

impl fmt::Display for Rate {
    /// Writes a phrase such as "10 in 60s".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}", self.limit, self.period)
    }
}

impl fmt::Display for CancelOn {
    /// Writes a phrase such as "cancelled by job/stopped with the same client".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cancelled by {}", self.event)?;
        self.matching.fmt(f)?;
        self.within.map_or(Ok(()), |time| write!(f, " within {time:?}"))
    }
}

impl fmt::Display for CancelMatch {
    /// Writes a phrase such as " with the same client if async.data.all".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CancelMatch::Any => Ok(()),
            CancelMatch::Field(path) => write!(f, " with the same {path}"),
            CancelMatch::When(expr) => write!(f, " if {}", expr.source()),
            CancelMatch::All(each) => each.iter().try_for_each(|one| one.fmt(f)),
        }
    }
}

impl fmt::Display for Concurrency {
    /// Writes a phrase such as "3 runs at once, for each event.data.client, shared as api".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.of {
            CountedUnit::Steps => "",
            CountedUnit::Runs => " runs",
        };
        write!(f, "{}{of} at once{}", self.limit, describe_key(self.key.as_ref()))?;
        self.shared.as_ref().map_or(Ok(()), |name| write!(f, ", shared as {name}"))
    }
}
