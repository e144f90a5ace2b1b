//! Limits on a function's starts, runs and steps.

use super::Function;
use crate::flow::{CancelOn, Concurrency, Debounce, Rate, Singleton, Timeouts};

impl Function {
    /// Limits how many steps execute, or how many runs are live, at the same time. If several
    /// limits are set, all of them apply.
    #[must_use]
    pub fn concurrency(mut self, limit: Concurrency) -> Self {
        self.record_calls("a concurrency limit", &limit.calls);
        self.config.concurrency.push(limit.config);
        self
    }

    /// Limits the number of starts per period. Further runs wait, and start in the order in which
    /// they were created.
    #[must_use]
    pub fn throttle(mut self, rate: Rate) -> Self {
        self.calls.record("throttle");
        self.record_calls("the throttle", &rate.calls);
        self.config.throttle = Some(rate.config);
        self
    }

    /// Limits the number of starts per period. Further runs are skipped.
    #[must_use]
    pub fn rate_limit(mut self, rate: Rate) -> Self {
        self.calls.record("rate_limit");
        self.record_calls("the rate limit", &rate.calls);
        self.config.rate_limit = Some(rate.config);
        self
    }

    /// Starts one run for several events that arrive close together. The run gets the last of them.
    #[must_use]
    pub fn debounce(mut self, debounce: Debounce) -> Self {
        self.calls.record("debounce");
        self.record_calls("the debounce", &debounce.calls);
        self.config.debounce = Some(debounce.config);
        self
    }

    /// Allows at most one live run.
    #[must_use]
    pub fn singleton(mut self, singleton: Singleton) -> Self {
        self.calls.record("singleton");
        self.record_calls("the singleton", &singleton.calls);
        self.config.singleton = Some(singleton.config);
        self
    }

    /// Starts only one run for all events with the same value of this CEL expression within 24
    /// hours, for example `event.data.orderId`. The run gets the first of these events.
    #[must_use]
    pub fn idempotency(mut self, cel: impl Into<String>) -> Self {
        self.calls.record("idempotency");
        self.config.idempotency = Some(cel.into());
        self
    }

    /// Moves a run forward in the wait queue by this many seconds, at most 600. A negative number
    /// moves the run back. The number is a CEL expression over the `event`, for example
    /// `event.data.plan == "pro" ? 120 : 0`.
    #[must_use]
    pub fn priority(mut self, cel: impl Into<String>) -> Self {
        self.calls.record("priority");
        self.config.priority = Some(cel.into());
        self
    }

    /// Cancels live runs when an event arrives.
    #[must_use]
    pub fn cancel_on(mut self, cancel: CancelOn) -> Self {
        let subject = format!("the event `{}` that cancels runs", cancel.config.event);
        self.record_calls(&subject, &cancel.calls);
        self.config.cancel_on.push(cancel.config);
        self
    }

    /// Cancels runs that start or end too late.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.calls.record("timeouts");
        self.record_calls("the timeouts", &timeouts.calls);
        self.config.timeouts = timeouts.config;
        self
    }
}
