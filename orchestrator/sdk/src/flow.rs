//! Flow control of a function: how many runs are live at the same time and start per period, which
//! of many events start a run, and how long a run may take.

use std::time::Duration;

use stepladder_core::flow::SingletonMode;
use stepladder_core::function::{
    BatchConfig, CancelCondition, CancelOnConfig, ConcurrencyConfig, DebounceConfig, RateConfig, SingletonConfig,
    TimeoutsConfig,
};
use stepladder_core::spec::CountedUnit;

use crate::EventData;
use crate::single_calls::SingleCalls;

/// A limit on how many steps of a function execute, or how many of its runs are live, at the same
/// time.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "client/sync")]
/// # struct Sync { client_id: String }
/// # async fn sync(ctx: Context, event: Event<Sync>) -> Result<()> { Ok(()) }
/// let function = Function::new("sync-client", sync)
///     // at most 10 steps execute
///     .concurrency(Concurrency::limit(10))
///     // at most one live run for each client
///     .concurrency(Concurrency::runs(1).key("event.data.client_id"));
/// ```
#[derive(Clone, Debug)]
pub struct Concurrency {
    pub(crate) config: ConcurrencyConfig,
    pub(crate) calls: SingleCalls,
}

impl Concurrency {
    /// Limits the number of executing steps to `n`, which is at least 1.
    pub fn limit(n: u32) -> Self {
        Self::counting(n, CountedUnit::Steps)
    }

    /// Limits the number of live runs to `n`, which is at least 1. A run counts from its first step
    /// to its end, even while it sleeps.
    pub fn runs(n: u32) -> Self {
        Self::counting(n, CountedUnit::Runs)
    }

    fn counting(limit: u32, of: CountedUnit) -> Self {
        Self { config: ConcurrencyConfig { limit, of, key: None, shared: None }, calls: SingleCalls::default() }
    }

    /// Shares the limit with all functions that use this name, for example because they call the
    /// same API.
    ///
    /// All these functions must have the same limit; otherwise the app does not start. The name
    /// must not contain `/`.
    #[must_use]
    pub fn shared(mut self, name: impl Into<String>) -> Self {
        self.calls.record("shared");
        self.config.shared = Some(name.into().into());
        self
    }
}

/// A maximum number of starts per period. A [throttle](crate::Function::throttle) delays further
/// starts; a [rate limit](crate::Function::rate_limit) skips them.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "client/sync")]
/// # struct Sync { client_id: String }
/// # async fn sync(ctx: Context, event: Event<Sync>) -> Result<()> { Ok(()) }
/// let minute = Duration::from_secs(60);
/// let function = Function::new("sync-client", sync)
///     .throttle(Rate::new(100, minute).burst(10))
///     .rate_limit(Rate::new(1, minute).key("event.data.client_id"));
/// ```
#[derive(Clone, Debug)]
pub struct Rate {
    pub(crate) config: RateConfig,
    pub(crate) calls: SingleCalls,
}

impl Rate {
    /// Allows at most `limit` starts in each `period`, which is at most 31 days.
    pub fn new(limit: u32, period: Duration) -> Self {
        Self { config: RateConfig { limit, period, burst: None, key: None }, calls: SingleCalls::default() }
    }

    /// Sets how many runs may start at the same time after a quiet period. The default is 1 for a
    /// throttle, which then spaces starts evenly, and the whole limit for a rate limit.
    #[must_use]
    pub fn burst(mut self, n: u32) -> Self {
        self.calls.record("burst");
        self.config.burst = Some(n);
        self
    }
}

/// Starts one run for several events that arrive close together. The run gets the last of them.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "doc/edited")]
/// # struct Edited { doc: String }
/// # async fn index(ctx: Context, event: Event<Edited>) -> Result<()> { Ok(()) }
/// let second = Duration::from_secs(1);
/// let debounce = Debounce::new(10 * second).max_wait(120 * second).key("event.data.doc");
/// let function = Function::new("index-doc", index).debounce(debounce);
/// ```
#[derive(Clone, Debug)]
pub struct Debounce {
    pub(crate) config: DebounceConfig,
    pub(crate) calls: SingleCalls,
}

impl Debounce {
    /// Starts the run once no event has arrived for `period`, which is at most 31 days.
    pub fn new(period: Duration) -> Self {
        Self { config: DebounceConfig { period, max_wait: None, key: None }, calls: SingleCalls::default() }
    }

    /// Sets the maximum time from the first event to the start of the run, even if further events
    /// arrive. By default, there is no maximum.
    #[must_use]
    pub fn max_wait(mut self, limit: Duration) -> Self {
        self.calls.record("max_wait");
        self.config.max_wait = Some(limit);
        self
    }
}

/// Collects events that start one run together: see [`Function::batch`](crate::Function::batch).
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "page/clicked")]
/// # struct Clicked { page: String }
/// # async fn store(_: Context, clicks: Vec<Event<Clicked>>) -> Result<usize> { Ok(clicks.len()) }
/// let batch = Batch::new(100, Duration::from_secs(10)).key("event.data.page");
/// let function = Function::batch("store-clicks", batch, store);
/// ```
#[derive(Clone, Debug)]
pub struct Batch {
    pub(crate) config: BatchConfig,
    pub(crate) calls: SingleCalls,
}

impl Batch {
    /// Starts a run once `size` events have arrived (at most 1,000). If fewer arrive, the run
    /// starts `timeout` after the first event (at most 31 days).
    pub fn new(size: u32, timeout: Duration) -> Self {
        Self { config: BatchConfig { size, timeout, key: None }, calls: SingleCalls::default() }
    }
}

/// Allows at most one live run of a function, or one for each value of a [`key`](Self::key).
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "client/sync")]
/// # struct Sync { client_id: String }
/// # async fn sync(ctx: Context, event: Event<Sync>) -> Result<()> { Ok(()) }
/// let singleton = Singleton::skip().key("event.data.client_id");
/// let function = Function::new("sync-client", sync).singleton(singleton);
/// ```
#[derive(Clone, Debug)]
pub struct Singleton {
    pub(crate) config: SingletonConfig,
    pub(crate) calls: SingleCalls,
}

impl Singleton {
    /// Skips a new run while another one is live.
    pub fn skip() -> Self {
        Self::with_mode(SingletonMode::Skip)
    }

    /// Cancels the live run when a new one is created.
    pub fn replace() -> Self {
        Self::with_mode(SingletonMode::Replace)
    }

    fn with_mode(mode: SingletonMode) -> Self {
        Self { config: SingletonConfig { mode, key: None }, calls: SingleCalls::default() }
    }
}

/// Adds the option `key`, which every limit has.
macro_rules! keyed {
    ($($(#[$doc:meta])* $limit:ident;)*) => {$(
        impl $limit {
            $(#[$doc])*
            #[must_use]
            pub fn key(mut self, cel: impl Into<String>) -> Self {
                self.calls.record("key");
                self.config.key = Some(cel.into());
                self
            }
        }
    )*};
}

keyed! {
    /// Applies the limit separately to each value of a CEL expression over the `event`, such as
    /// `event.data.clientId`.
    Concurrency;
    /// Counts starts separately for each value of a CEL expression over the `event`.
    Rate;
    /// Debounces separately for each value of a CEL expression over the `event`.
    Debounce;
    /// Collects a separate batch for each value of a CEL expression over the `event`.
    Batch;
    /// Allows one live run for each value of a CEL expression over the `event`.
    Singleton;
}

/// Cancels runs that start or end too late: see [`Function::timeouts`](crate::Function::timeouts).
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "client/sync")]
/// # struct Sync { client_id: String }
/// # async fn sync(ctx: Context, event: Event<Sync>) -> Result<()> { Ok(()) }
/// let minute = Duration::from_secs(60);
/// let timeouts = Timeouts::new().start(minute).finish(60 * minute);
/// let function = Function::new("sync-client", sync).timeouts(timeouts);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Timeouts {
    pub(crate) config: TimeoutsConfig,
    pub(crate) calls: SingleCalls,
}

impl Timeouts {
    /// Sets no timeout.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels a run that has not started this long after it was created, for example because it is
    /// waiting for a slot or for its throttle.
    #[must_use]
    pub fn start(mut self, limit: Duration) -> Self {
        self.calls.record("start");
        self.config.start = Some(limit);
        self
    }

    /// Cancels a run that has not ended this long after its first step started.
    #[must_use]
    pub fn finish(mut self, limit: Duration) -> Self {
        self.calls.record("finish");
        self.config.finish = Some(limit);
        self
    }
}

/// Cancels live runs of a function when an event arrives. By default, all live runs are cancelled.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "client/sync")]
/// # struct Sync { client_id: String }
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "client/deleted")]
/// # struct Deleted { client_id: String }
/// # async fn sync(ctx: Context, event: Event<Sync>) -> Result<()> { Ok(()) }
/// let deleted = CancelOn::event::<Deleted>().matching("client_id");
/// let function = Function::new("sync-client", sync).cancel_on(deleted);
/// ```
#[derive(Clone, Debug)]
pub struct CancelOn {
    pub(crate) config: CancelOnConfig,
    pub(crate) calls: SingleCalls,
}

impl CancelOn {
    /// Cancels runs on events of this type.
    pub fn event<T: EventData>() -> Self {
        Self::named(T::NAME)
    }

    /// Cancels runs on events with this name.
    pub fn named(name: impl Into<String>) -> Self {
        let event = name.into().into();
        let config = CancelOnConfig { event, conditions: Vec::new(), timeout: None };
        Self { config, calls: SingleCalls::default() }
    }

    /// Cancels only runs with the same value in this field of their own event's `data`. The field
    /// is for example `clientId` or `client.id`; a leading `data.` is ignored.
    ///
    /// The value is a string, a number, a boolean or null. A run is not cancelled if its event does
    /// not have the field. The runs are found through an index. If there are several conditions,
    /// all of them must be true.
    #[must_use]
    pub fn matching(mut self, field: impl Into<String>) -> Self {
        self.config.conditions.push(CancelCondition::SameField(field.into()));
        self
    }

    /// Cancels only runs for which this CEL expression is true. `event` is the event that started
    /// the run, and `async` is the event that arrives.
    ///
    /// The expression is evaluated for each live run. If there are several conditions, all of them
    /// must be true.
    #[must_use]
    pub fn filter(mut self, cel: impl Into<String>) -> Self {
        self.config.conditions.push(CancelCondition::Cel(cel.into()));
        self
    }

    /// Sets how long after its creation a run can be cancelled by the event. By default, it can be
    /// cancelled until it ends.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.calls.record("timeout");
        self.config.timeout = Some(limit);
        self
    }
}
