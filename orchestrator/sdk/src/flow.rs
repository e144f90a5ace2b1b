//! Flow control as a function asks for it: how many at a time, how many in a period, which of many events, and until when.

use std::time::Duration;

use stepladder_core::expr::{Expr, Names};
use stepladder_core::flow::{self, Flow, Same, Second};
use stepladder_core::spec::{self, Counted};
use stepladder_core::waiting::field_path;

use crate::EventData;
use crate::once::Once;

/// At most so many steps of a function execute at a time; with a [`key`](Self::key), so many for each of its values.
#[derive(Clone, Debug)]
pub struct Concurrency {
    limit: u32,
    key: Option<String>,
    of: Counted,
    shared: Option<String>,
    once: Once,
}

impl Concurrency {
    /// At most `n` at a time; at least 1.
    pub fn limit(n: u32) -> Self {
        Self { limit: n, key: None, of: Counted::Steps, shared: None, once: Once::default() }
    }

    /// At most `n` runs at a time, each from its first step to its end, also while it sleeps or waits.
    pub fn runs(n: u32) -> Self {
        Self { of: Counted::Runs, ..Self::limit(n) }
    }

    /// For each value of a CEL expression over the `event`: `event.data.clientId`.
    #[must_use]
    pub fn key(mut self, cel: impl Into<String>) -> Self {
        self.once.note("key");
        self.key = Some(cel.into());
        self
    }

    /// Shared, under this name, with all functions that name it so: an API's limit, say. They all give the same number;
    /// the app does not start otherwise. The name may hold no `/`.
    #[must_use]
    pub fn shared(mut self, name: impl Into<String>) -> Self {
        self.once.note("shared");
        self.shared = Some(name.into());
        self
    }

    pub(crate) fn compiled(self, compile: &Compile<'_>) -> Result<spec::Concurrency, String> {
        compile.once("a concurrency limit", &self.once)?;
        let key = self.key.map(|cel| compile.expr("concurrency key", &cel)).transpose()?;
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
    once: Once,
}

impl Rate {
    /// At most `limit` starts in each `period` (31 days at most).
    pub fn new(limit: u32, period: Duration) -> Self {
        Self { limit, period, burst: None, key: None, once: Once::default() }
    }

    /// How many may start at once after a quiet time, of those whose time has not come. 1 for a throttle, which then
    /// starts runs evenly; all of the limit for a rate limit.
    #[must_use]
    pub fn burst(mut self, n: u32) -> Self {
        self.once.note("burst");
        self.burst = Some(n);
        self
    }

    /// Each value of a CEL expression over the `event` is counted by itself.
    #[must_use]
    pub fn key(mut self, cel: impl Into<String>) -> Self {
        self.once.note("key");
        self.key = Some(cel.into());
        self
    }

    fn compiled(self, what: &str, burst: u32, compile: &Compile<'_>) -> Result<flow::Rate, String> {
        compile.once(&format!("the {what}"), &self.once)?;
        let key = self.key.map(|cel| compile.expr(&format!("{what}'s key"), &cel)).transpose()?;
        Ok(flow::Rate { limit: self.limit, period: self.period, burst: self.burst.unwrap_or(burst), key })
    }
}

/// Of events that come close together, the last starts a run, once none has come for a while.
#[derive(Clone, Debug)]
pub struct Debounce {
    period: Duration,
    longest: Option<Duration>,
    key: Option<String>,
    once: Once,
}

impl Debounce {
    /// The run starts when no event has come for `period` (31 days at most).
    pub fn new(period: Duration) -> Self {
        Self { period, longest: None, key: None, once: Once::default() }
    }

    /// And so long after the first event at the latest, however many come.
    #[must_use]
    pub fn at_the_latest(mut self, longest: Duration) -> Self {
        self.once.note("at_the_latest");
        self.longest = Some(longest);
        self
    }

    /// Each value of a CEL expression over the `event` has a run of its own.
    #[must_use]
    pub fn key(mut self, cel: impl Into<String>) -> Self {
        self.once.note("key");
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
    once: Once,
}

impl Batch {
    /// A run starts with `size` events (1,000 at most), or with those that there are `timeout` after the first (31 days at
    /// most).
    pub fn new(size: u32, timeout: Duration) -> Self {
        Self { size, timeout, key: None, once: Once::default() }
    }

    /// Each value of a CEL expression over the `event` has a run of its own.
    #[must_use]
    pub fn key(mut self, cel: impl Into<String>) -> Self {
        self.once.note("key");
        self.key = Some(cel.into());
        self
    }
}

/// At most one live run of a function; with a [`key`](Self::key), one for each value.
#[derive(Clone, Debug)]
pub struct Singleton {
    second: Second,
    key: Option<String>,
    once: Once,
}

impl Singleton {
    /// While a run lives, further ones are skipped.
    pub fn skip() -> Self {
        Self { second: Second::Skip, key: None, once: Once::default() }
    }

    /// A further run takes the place of the one that lives, which is cancelled.
    pub fn replace() -> Self {
        Self { second: Second::Replace, ..Self::skip() }
    }

    /// One for each value of a CEL expression over the `event`.
    #[must_use]
    pub fn key(mut self, cel: impl Into<String>) -> Self {
        self.once.note("key");
        self.key = Some(cel.into());
        self
    }
}

/// An event that cancels a function's runs: all that live, unless it says which.
#[derive(Clone, Debug)]
pub struct CancelOn {
    event: String,
    /// All of which must hold.
    matching: Vec<Matching>,
    within: Option<Duration>,
    once: Once,
}

#[derive(Clone, Debug)]
enum Matching {
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
        Self { event: name.into(), matching: Vec::new(), within: None, once: Once::default() }
    }

    /// Only runs whose own event has the same value in this field of its `data` (`clientId`, or `client.id`): a text, a
    /// number, a boolean or null. They are found by index, however many live. A run whose event has no such field is not
    /// cancelled. Of several conditions all must hold. `data.clientId`, as Inngest writes it, is `clientId`.
    #[must_use]
    pub fn field(mut self, path: impl Into<String>) -> Self {
        self.matching.push(Matching::Field(path.into()));
        self
    }

    /// Only runs for which this CEL expression is true: `event` started the run, `async` is the one that arrives. Looked
    /// at one by one. Of several conditions all must hold.
    #[must_use]
    pub fn when(mut self, cel: impl Into<String>) -> Self {
        self.matching.push(Matching::When(cel.into()));
        self
    }

    /// Only for so long after a run's creation.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.once.note("within");
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

/// Checks what a function asks for: compiles expressions, and says of which function something is wrong.
pub(crate) struct Compile<'a> {
    pub(crate) function: &'a str,
}

impl Compile<'_> {
    /// An expression over `event`; `what` it is in the function.
    pub(crate) fn expr(&self, what: &str, cel: &str) -> Result<Expr, String> {
        self.over(what, cel, Names::Event)
    }

    fn over(&self, what: &str, cel: &str, names: Names) -> Result<Expr, String> {
        let function = self.function;
        Expr::compile_over(cel, names).map_err(|bad| format!("the {what} of function `{function}`: {bad}"))
    }

    /// Refuses a method that was called twice on a part of the function.
    fn once(&self, what: &str, once: &Once) -> Result<(), String> {
        once.check(&format!("{what} of function `{}`", self.function))
    }
}

impl Asked {
    pub(crate) fn compiled(self, compile: &Compile<'_>) -> Result<Flow, String> {
        let key = |what: &str, cel: Option<String>| cel.map(|cel| compile.expr(what, &cel)).transpose();
        let throttle = self.throttle.map(|rate| rate.compiled("throttle", 1, compile)).transpose()?;
        let rate_limit = self.rate_limit.map(|rate| {
            let all = rate.limit;
            rate.compiled("rate limit", all, compile)
        });
        let debounce = self.debounce.map(|Debounce { period, longest, key: cel, once }| {
            compile.once("the debounce", &once)?;
            Ok::<_, String>(flow::Debounce { period, longest, key: key("debounce's key", cel)? })
        });
        let batch = self.batch.map(|Batch { size, timeout, key: cel, once }| {
            compile.once("the batch", &once)?;
            Ok::<_, String>(flow::Batch { size, timeout, key: key("batch's key", cel)? })
        });
        let singleton = self.singleton.map(|Singleton { second, key: cel, once }| {
            compile.once("the singleton", &once)?;
            Ok::<_, String>(flow::Singleton { second, key: key("singleton's key", cel)? })
        });
        Ok(Flow {
            throttle,
            rate_limit: rate_limit.transpose()?,
            debounce: debounce.transpose()?,
            batch: batch.transpose()?,
            singleton: singleton.transpose()?,
            idempotency: key("idempotency key", self.idempotency)?,
            priority: key("priority", self.priority)?,
            cancel_on: self.cancel_on.into_iter().map(|cancel| cancel.compiled(compile)).collect::<Result<_, _>>()?,
            start_within: self.start_within,
            finish_within: self.finish_within,
        })
    }
}

impl CancelOn {
    fn compiled(self, compile: &Compile<'_>) -> Result<flow::CancelOn, String> {
        let Self { event, matching, within, once } = self;
        compile.once(&format!("the event `{event}` that cancels runs"), &once)?;
        let each = matching.into_iter().map(|matching| match matching {
            Matching::Field(path) => Ok(Same::Field(field_path(&path).into())),
            Matching::When(cel) => {
                Ok(Same::When(compile.over("condition for being cancelled", &cel, Names::EventAndAsync)?))
            }
        });
        let mut each = each.collect::<Result<Vec<_>, String>>()?;
        let matching = match each.len() {
            0 => Same::Any,
            1 => each.swap_remove(0),
            _ => Same::All(each),
        };
        Ok(flow::CancelOn { event: event.into(), matching, within })
    }
}
