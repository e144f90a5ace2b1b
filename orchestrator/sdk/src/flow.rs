//! Flow control as a function asks for it: how many at a time, how many in a period, which of many events, and until when.

use std::time::Duration;

use stepladder_core::expr::Expr;
use stepladder_core::flow::{self, Flow, Same, Second};
use stepladder_core::spec::{self, Counted};

use crate::EventData;

/// At most so many steps of a function execute at a time; with a [`key`](Self::key), so many for each of its values.
#[derive(Clone, Debug)]
pub struct Concurrency {
    limit: u32,
    key: Option<String>,
    of: Counted,
    shared: Option<String>,
}

impl Concurrency {
    /// At most `n` at a time; at least 1.
    pub fn limit(n: u32) -> Self {
        Self { limit: n, key: None, of: Counted::Steps, shared: None }
    }

    /// At most `n` runs at a time, each from its first step to its end, also while it sleeps or waits.
    pub fn runs(n: u32) -> Self {
        Self { of: Counted::Runs, ..Self::limit(n) }
    }

    /// For each value of a CEL expression over the `event`: `event.data.clientId`.
    #[must_use]
    pub fn key(mut self, cel: impl Into<String>) -> Self {
        self.key = Some(cel.into());
        self
    }

    /// Shared, under this name, with all functions that name it so: an API's limit, say. They all give the same number;
    /// the app does not start otherwise. The name may hold no `/`.
    #[must_use]
    pub fn shared(mut self, name: impl Into<String>) -> Self {
        self.shared = Some(name.into());
        self
    }

    pub(crate) fn compiled(self, compile: &Compile<'_>) -> Result<spec::Concurrency, String> {
        let key = self.key.map(|cel| compile("concurrency key", &cel)).transpose()?;
        Ok(spec::Concurrency { limit: self.limit, key, of: self.of, shared: self.shared.map(Into::into) })
    }
}

/// So many starts of runs in a period. As a [throttle](crate::Function::throttle) it puts the others off, as a
/// [rate limit](crate::Function::rate_limit) it skips them.
#[derive(Clone, Debug)]
pub struct Rate {
    limit: u32,
    period: Duration,
    burst: Option<u32>,
    key: Option<String>,
}

impl Rate {
    /// At most `limit` starts in each `period` (31 days at most).
    pub fn new(limit: u32, period: Duration) -> Self {
        Self { limit, period, burst: None, key: None }
    }

    /// How many may start at once after a quiet time, of those whose time has not come. 1 for a throttle, which then
    /// starts runs evenly; all of the limit for a rate limit.
    #[must_use]
    pub fn burst(mut self, n: u32) -> Self {
        self.burst = Some(n);
        self
    }

    /// Each value of a CEL expression over the `event` is counted by itself.
    #[must_use]
    pub fn key(mut self, cel: impl Into<String>) -> Self {
        self.key = Some(cel.into());
        self
    }

    fn compiled(self, what: &str, burst: u32, compile: &Compile<'_>) -> Result<flow::Rate, String> {
        let key = self.key.map(|cel| compile(what, &cel)).transpose()?;
        Ok(flow::Rate { limit: self.limit, period: self.period, burst: self.burst.unwrap_or(burst), key })
    }
}

/// Of events that come close together, the last starts a run, once none has come for a while.
#[derive(Clone, Debug)]
pub struct Debounce {
    period: Duration,
    longest: Option<Duration>,
    key: Option<String>,
}

impl Debounce {
    /// The run starts when no event has come for `period` (31 days at most).
    pub fn new(period: Duration) -> Self {
        Self { period, longest: None, key: None }
    }

    /// And so long after the first event at the latest, however many come.
    #[must_use]
    pub fn at_the_latest(mut self, longest: Duration) -> Self {
        self.longest = Some(longest);
        self
    }

    /// Each value of a CEL expression over the `event` has a run of its own.
    #[must_use]
    pub fn key(mut self, cel: impl Into<String>) -> Self {
        self.key = Some(cel.into());
        self
    }
}

/// Events are collected, and start one run together.
#[derive(Clone, Debug)]
pub struct Batch {
    size: u32,
    timeout: Duration,
    key: Option<String>,
}

impl Batch {
    /// A run starts with `size` events (1,000 at most), or with those that there are `timeout` after the first (31 days at
    /// most).
    pub fn new(size: u32, timeout: Duration) -> Self {
        Self { size, timeout, key: None }
    }

    /// Each value of a CEL expression over the `event` has a run of its own.
    #[must_use]
    pub fn key(mut self, cel: impl Into<String>) -> Self {
        self.key = Some(cel.into());
        self
    }
}

/// At most one live run of a function; with a [`key`](Self::key), one for each value.
#[derive(Clone, Debug)]
pub struct Singleton {
    second: Second,
    key: Option<String>,
}

impl Singleton {
    /// While a run lives, further ones are skipped.
    pub fn skip() -> Self {
        Self { second: Second::Skip, key: None }
    }

    /// A further run takes the place of the one that lives, which is cancelled.
    pub fn replace() -> Self {
        Self { second: Second::Replace, key: None }
    }

    /// One for each value of a CEL expression over the `event`.
    #[must_use]
    pub fn key(mut self, cel: impl Into<String>) -> Self {
        self.key = Some(cel.into());
        self
    }
}

/// An event that cancels a function's runs: all that live, unless it says which.
#[derive(Clone, Debug)]
pub struct CancelOn {
    event: String,
    matching: Matching,
    within: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Matching {
    Any,
    Field(String),
    When(String),
}

impl CancelOn {
    /// Events of this type.
    pub fn event<T: EventData>() -> Self {
        Self::named(T::NAME)
    }

    /// Events of this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { event: name.into(), matching: Matching::Any, within: None }
    }

    /// Only runs whose own event has the same value in this field of its `data` (`clientId`, or `client.id`): a text, a
    /// number, a boolean or null. They are found by index, however many live. A run whose event has no such field is not
    /// cancelled.
    #[must_use]
    pub fn field(mut self, path: impl Into<String>) -> Self {
        self.matching = Matching::Field(path.into());
        self
    }

    /// Only runs for which this CEL expression is true: `event` started the run, `async` is the one that arrives. Looked
    /// at one by one.
    #[must_use]
    pub fn when(mut self, cel: impl Into<String>) -> Self {
        self.matching = Matching::When(cel.into());
        self
    }

    /// Only for so long after a run's creation.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }
}

/// What a function asks for, its expressions not compiled yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) throttle: Option<Rate>,
    pub(crate) rate_limit: Option<Rate>,
    pub(crate) debounce: Option<Debounce>,
    pub(crate) batch: Option<Batch>,
    pub(crate) singleton: Option<Singleton>,
    pub(crate) idempotency: Option<String>,
    pub(crate) priority: Option<String>,
    pub(crate) cancel_on: Vec<CancelOn>,
    pub(crate) start_within: Option<Duration>,
    pub(crate) finish_within: Option<Duration>,
}

/// Compiles an expression, or says of which function it is, and what it is there.
pub(crate) type Compile<'a> = dyn Fn(&str, &str) -> Result<Expr, String> + 'a;

impl Asked {
    pub(crate) fn compiled(self, compile: &Compile<'_>) -> Result<Flow, String> {
        let key = |what: &str, cel: Option<String>| cel.map(|cel| compile(what, &cel)).transpose();
        let throttle = self.throttle.map(|rate| rate.compiled("throttle's key", 1, compile)).transpose()?;
        let rate_limit = self.rate_limit.map(|rate| {
            let all = rate.limit;
            rate.compiled("rate limit's key", all, compile)
        });
        let debounce = self.debounce.map(|Debounce { period, longest, key: cel }| {
            Ok::<_, String>(flow::Debounce { period, longest, key: key("debounce's key", cel)? })
        });
        let batch = self.batch.map(|Batch { size, timeout, key: cel }| {
            Ok::<_, String>(flow::Batch { size, timeout, key: key("batch's key", cel)? })
        });
        let singleton = self.singleton.map(|Singleton { second, key: cel }| {
            Ok::<_, String>(flow::Singleton { second, key: key("singleton's key", cel)? })
        });
        let cancel_on = self.cancel_on.into_iter().map(|CancelOn { event, matching, within }| {
            let matching = match matching {
                Matching::Any => Same::Any,
                Matching::Field(path) => Same::Field(path.into()),
                Matching::When(cel) => Same::When(compile("condition for being cancelled", &cel)?),
            };
            Ok::<_, String>(flow::CancelOn { event: event.into(), matching, within })
        });
        Ok(Flow {
            throttle,
            rate_limit: rate_limit.transpose()?,
            debounce: debounce.transpose()?,
            batch: batch.transpose()?,
            singleton: singleton.transpose()?,
            idempotency: key("idempotency key", self.idempotency)?,
            priority: key("priority", self.priority)?,
            cancel_on: cancel_on.collect::<Result<_, _>>()?,
            start_within: self.start_within,
            finish_within: self.finish_within,
        })
    }
}
