//! A function: a handler with its id, triggers, retries and limits.

mod build;
mod executor;
mod handler;
mod limits;
mod triggers;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use stepladder_core::function::TriggerConfig;
use stepladder_core::retry::Backoff;
use stepladder_core::{FunctionConfig, NewEvent};

use crate::flow::Batch;
use crate::single_calls::SingleCalls;
use crate::{Context, Event, EventData, FunctionFailed, Result};
use handler::{Handler, batch_handler, event_handler};
use triggers::TriggerFilter;

/// A function to register with `App::function`.
///
/// Some methods may be called several times: [`on`](Self::on), [`filter`](Self::filter),
/// [`cron`](Self::cron), [`concurrency`](Self::concurrency) and [`cancel_on`](Self::cancel_on).
/// Every other method may be called once. If one of them is called twice, the app does not start,
/// and the error names the method.
///
/// ```
/// use stepladder::prelude::*;
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "test/hello.world")]
/// struct Hello { name: String }
///
/// async fn hello(ctx: Context, event: Event<Hello>) -> Result<String> {
///     ctx.step("greet", async || Ok(format!("Hello, {}!", event.data.name))).await
/// }
///
/// let limit = Concurrency::limit(3);
/// let function = Function::new("hello-world", hello).retries(2).concurrency(limit);
/// ```
pub struct Function {
    config: FunctionConfig,
    /// The events that the latest call of `on` selected; `None` before the first call.
    selected: Option<&'static [&'static str]>,
    selections: Vec<&'static [&'static str]>,
    filters: Vec<TriggerFilter>,
    example: Option<serde_json::Result<NewEvent>>,
    /// Whether the handler's event type can be decoded from a tick.
    can_decode_tick: fn() -> bool,
    handler: Handler,
    on_failure: Option<Handler>,
    calls: SingleCalls,
    /// The first method that was called twice on a part of the function.
    repeated_call: Option<String>,
}

impl Function {
    /// Creates a function. The id has at most 255 characters and is unique within an app. Events of
    /// the handler's type start the function.
    ///
    /// The handler is an `async fn`, or a closure that returns a future. By default, the function
    /// has 4 retries, a timeout of 60 s for each step, and no limits.
    pub fn new<T, O, H, Fut>(id: impl Into<Arc<str>>, handler: H) -> Self
    where
        T: EventData,
        O: Serialize,
        H: Fn(Context, Event<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O>> + Send + 'static,
    {
        Self::with_handler::<T>(id.into(), event_handler(handler))
    }

    /// Creates a function that collects events. They start one run together, in the order in which
    /// they arrived. If the data of one event does not match the type, the run fails.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # #[derive(Deserialize, Event)]
    /// # #[event(name = "page/clicked")]
    /// # struct Clicked { page: String }
    /// # async fn store(_: Context, all: Vec<Event<Clicked>>) -> Result<usize> { Ok(all.len()) }
    /// let batch = Batch::new(100, Duration::from_secs(10));
    /// let function = Function::batch("store-clicks", batch, store);
    /// ```
    pub fn batch<T, O, H, Fut>(id: impl Into<Arc<str>>, batch: Batch, handler: H) -> Self
    where
        T: EventData,
        O: Serialize,
        H: Fn(Context, Vec<Event<T>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O>> + Send + 'static,
    {
        let mut function = Self::with_handler::<T>(id.into(), batch_handler(handler));
        function.record_calls("the batch", &batch.calls);
        function.config.batch = Some(batch.config);
        function
    }

    fn with_handler<T: EventData>(id: Arc<str>, handler: Handler) -> Self {
        let mut config = FunctionConfig::new(id);
        config.triggers = T::NAMES.iter().map(|name| TriggerConfig::new(*name)).collect();
        Self {
            config,
            selected: None,
            selections: Vec::new(),
            filters: Vec::new(),
            example: None,
            can_decode_tick: triggers::can_decode_tick::<T>,
            handler,
            on_failure: None,
            calls: SingleCalls::default(),
            repeated_call: None,
        }
    }

    /// Records a method that was called twice on a part of the function.
    fn record_calls(&mut self, subject: &str, calls: &SingleCalls) {
        let repeated = calls.check(&format!("{subject} of function `{}`", self.config.id)).err();
        self.repeated_call = self.repeated_call.take().or(repeated);
    }

    /// Returns the function's id.
    pub fn id(&self) -> &str {
        &self.config.id
    }

    /// Sets the version of the function: a number, a date, or a version such as `1.10`. If you
    /// register a function in several versions, live runs continue with the code with which they
    /// started.
    ///
    /// A run takes the newest version when its first step starts, and keeps it while that version
    /// is registered. Once the version is no longer registered, the run continues with the newest
    /// one, and its log says so. Triggers, cron schedules and limits on starts are those of the
    /// newest version.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # #[event(name = "shop/order.placed")]
    /// # struct Order {}
    /// # async fn ship(ctx: Context, event: Event<Order>) -> Result<()> { Ok(()) }
    /// # async fn ship_with_label(ctx: Context, event: Event<Order>) -> Result<()> { Ok(()) }
    /// let (old, new) = (Function::new("ship", ship), Function::new("ship", ship_with_label));
    /// let functions = [old, new.version("2")];
    /// ```
    #[must_use]
    pub fn version(mut self, version: impl Into<Arc<str>>) -> Self {
        self.calls.record("version");
        self.config.version = Some(version.into());
        self
    }

    /// Sets the maximum number of retries of each step. It also applies to the function itself if
    /// it returns an error. The default is 4. With 0, there is only one attempt.
    #[must_use]
    pub fn retries(mut self, n: u32) -> Self {
        self.calls.record("retries");
        self.config.retry.retries = n;
        self
    }

    /// Sets the delays between attempts. The default is [`Backoff::Default`].
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.calls.record("backoff");
        self.config.retry.backoff = backoff.into();
        self
    }

    /// Sets the names of errors that are not retried, neither in a step nor in the function itself.
    /// A name is set with [`Error::with_name`](crate::Error::with_name), or by a front end in
    /// another language.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn pay(ctx: Context) -> Result<()> { Ok(()) }
    /// let function = Function::new("pay", |ctx: Context, _: Event<Tick>| pay(ctx)).non_retryable(["CardDeclined"]);
    /// ```
    #[must_use]
    pub fn non_retryable(mut self, names: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.calls.record("non_retryable");
        self.config.retry.non_retryable = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the timeout of each attempt of a step. A step can override it. The default is 60 s. If
    /// the workers' time limit is shorter, the app does not start.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.calls.record("timeout");
        self.config.timeout = limit;
        self
    }

    /// Sets a handler that runs after a run of this function has failed permanently. The handler
    /// becomes a function with the id `<id>/on-failure` and its own steps.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # #[event(name = "shop/order.placed")]
    /// # struct Order {}
    /// # async fn ship(ctx: Context, event: Event<Order>) -> Result<()> { Ok(()) }
    /// # async fn tell_support(run: &str, error: &str) -> Result<()> { Ok(()) }
    /// async fn failed(ctx: Context, event: Event<FunctionFailed>) -> Result<()> {
    ///     let run = event.data.run_id.to_string();
    ///     ctx.step("tell support", || tell_support(&run, &event.data.error.message)).await
    /// }
    ///
    /// let function = Function::new("ship", ship).on_failure(failed);
    /// ```
    #[must_use]
    pub fn on_failure<O, H, Fut>(mut self, handler: H) -> Self
    where
        O: Serialize,
        H: Fn(Context, Event<FunctionFailed>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O>> + Send + 'static,
    {
        self.calls.record("on_failure");
        self.on_failure = Some(event_handler(handler));
        self
    }
}
