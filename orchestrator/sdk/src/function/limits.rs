//! Limits on a function's starts, runs and steps.

use super::Function;
use crate::flow::{CancelOn, Concurrency, Debounce, Rate, Singleton, Timeouts};

impl Function {
    /// Limits how many steps execute, or how many runs are live, at the same time. If several
    /// limits are set, all of them apply.
    #[must_use]
    pub fn concurrency(mut self, limit: Concurrency) -> Self {
        self.concurrency.push(limit);
        self
    }

    /// Limits the starts in a period. Further runs wait, and start in the order in which they were
    /// created.
    #[must_use]
    pub fn throttle(mut self, rate: Rate) -> Self {
        self.calls.record("throttle");
        self.flow.throttle = Some(rate);
        self
    }

    /// Limits the starts in a period. Further runs are skipped.
    #[must_use]
    pub fn rate_limit(mut self, rate: Rate) -> Self {
        self.calls.record("rate_limit");
        self.flow.rate_limit = Some(rate);
        self
    }

    /// Starts one run for events that arrive close together, with the last of them.
    #[must_use]
    pub fn debounce(mut self, debounce: Debounce) -> Self {
        self.calls.record("debounce");
        self.flow.debounce = Some(debounce);
        self
    }

    /// Allows at most one live run.
    #[must_use]
    pub fn singleton(mut self, singleton: Singleton) -> Self {
        self.calls.record("singleton");
        self.flow.singleton = Some(singleton);
        self
    }

    /// Starts one run for all events with the same value of this CEL expression within 24 hours,
    /// that of the first: `event.data.orderId`.
    #[must_use]
    pub fn idempotency(mut self, cel: impl Into<String>) -> Self {
        self.calls.record("idempotency");
        self.flow.idempotency = Some(cel.into());
        self
    }

    /// Moves a run forward in the wait queue by this many seconds, at most 600, or back by a
    /// negative number. The number is a CEL expression over the `event`: `event.data.plan == "pro"
    /// ? 120 : 0`.
    #[must_use]
    pub fn priority(mut self, cel: impl Into<String>) -> Self {
        self.calls.record("priority");
        self.flow.priority = Some(cel.into());
        self
    }

    /// Cancels live runs when an event arrives.
    #[must_use]
    pub fn cancel_on(mut self, cancel: CancelOn) -> Self {
        self.flow.cancel_on.push(cancel);
        self
    }

    /// Cancels runs that start or finish late.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.calls.record("timeouts");
        self.flow.timeouts = timeouts;
        self
    }
}
