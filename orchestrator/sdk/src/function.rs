//! A function: a handler with its id, triggers, retries and limits.

mod build;
mod program;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use stepladder_core::missed::MissedTicks;
use stepladder_core::retry::Backoff;
use stepladder_core::spec::Trigger;
use stepladder_core::{Failure, Json, NewEvent, Spec, json};
use stepladder_engine::program::History;

use crate::flow::{Asked, Batch, CancelOn, Concurrency, Debounce, Rate, Singleton};
use crate::once::Once;
use crate::{Context, Error, Event, EventData, FunctionFailed, Result, Tick, ToEvent};

/// A handler whose types have been put away: reads the event, or the events, gives the future.
type Handler = Arc<dyn Fn(Context, &History) -> Result<BoxFuture<'static, Result<Json>>, Failure> + Send + Sync>;

/// A function to register with `App::function`.
///
/// Methods that add something ([`when`](Self::when), [`concurrency`](Self::concurrency), [`cancel_on`](Self::cancel_on),
/// [`also_at`](Self::also_at)) may be called several times. Every other method may be called once: the app does not start
/// otherwise, and names the method.
///
/// ```
/// use stepladder_sdk::prelude::*;
///
/// #[derive(Serialize, Deserialize)]
/// struct Hello { name: String }
///
/// impl EventData for Hello { const NAME: &'static str = "test/hello.world"; }
///
/// async fn hello(ctx: Context, event: Event<Hello>) -> Result<String> {
///     ctx.step("greet", async || Ok(format!("Hello, {}!", event.data.name))).await
/// }
///
/// let function = Function::new("hello-world", hello).retries(2).concurrency(Concurrency::limit(3));
/// ```
pub struct Function {
    spec: Spec,
    version: Option<Arc<str>>,
    /// For events of this name, or of any.
    conditions: Vec<(Option<String>, String)>,
    example: Option<serde_json::Result<NewEvent>>,
    cron: CronLines,
    concurrency: Vec<Concurrency>,
    flow: Asked,
    handler: Handler,
    on_failure: Option<Handler>,
    once: Once,
}

/// Cron lines that have not been read yet.
#[derive(Default)]
struct CronLines {
    lines: Vec<String>,
    zone: Option<String>,
    missed: Option<MissedTicks>,
}

impl Function {
    /// A function with its id (at most 255 characters, unique in an app). The type of its event says what starts it.
    ///
    /// The handler is an `async fn` or a closure that gives a future. It gets 4 retries, 60 s for a step and no limits
    /// unless the methods say otherwise.
    pub fn new<T, O, H, Fut>(id: impl Into<Arc<str>>, handler: H) -> Self
    where
        T: EventData,
        O: Serialize,
        H: Fn(Context, Event<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O>> + Send + 'static,
    {
        Self::of::<T>(id.into(), erased(handler))
    }

    fn of<T: EventData>(id: Arc<str>, handler: Handler) -> Self {
        let mut spec = Spec::new(id);
        spec.triggers = T::NAMES.iter().map(|name| Trigger { event: (*name).into(), condition: None }).collect();
        Self {
            spec,
            version: None,
            conditions: Vec::new(),
            example: None,
            cron: CronLines::default(),
            concurrency: Vec::new(),
            flow: Asked::default(),
            handler,
            on_failure: None,
            once: Once::default(),
        }
    }

    /// A function that takes many events at a time: they are collected, and start one run together, in the order in which
    /// they came. An event that the type does not fit fails the run of all.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # #[derive(Deserialize)] struct Clicked { page: String }
    /// # impl EventData for Clicked { const NAME: &'static str = "page/clicked"; }
    /// # async fn store(ctx: Context, clicks: Vec<Event<Clicked>>) -> Result<usize> { Ok(clicks.len()) }
    /// let function = Function::batch("store-clicks", Batch::new(100, Duration::from_secs(10)), store);
    /// ```
    pub fn batch<T, O, H, Fut>(id: impl Into<Arc<str>>, batch: Batch, handler: H) -> Self
    where
        T: EventData,
        O: Serialize,
        H: Fn(Context, Vec<Event<T>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let handler: Handler = Arc::new(move |ctx, history| {
            let events = std::iter::once(&*history.event).chain(&history.joined);
            let events = events.map(Event::<T>::read).collect::<Result<Vec<_>, _>>()?;
            let handler = handler.clone();
            Ok(Box::pin(async move { written(handler(ctx, events).await?) }))
        });
        let mut function = Self::of::<T>(id.into(), handler);
        function.flow.batch = Some(batch);
        function
    }

    /// A function that starts by itself, at the minutes that a cron line names: `0 9 * * MON-FRI` is nine o'clock on
    /// weekdays. Five fields (minute, hour, day of the month, month, day of the week), or `@hourly`, `@daily`, `@weekly`,
    /// `@monthly`, `@yearly`. In UTC unless [`time_zone`](Self::time_zone) says otherwise.
    ///
    /// Each tick starts one run, within a second of its minute. A tick that has not started a minute after its time is
    /// missed: of missed ticks, the latest starts, unless [`missed_ticks`](Self::missed_ticks) says otherwise. See
    /// `docs/cron.md` for clocks that are put forward and back.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # use stepladder_sdk::Tick;
    /// # async fn report(ctx: Context, tick: Event<Tick>) -> Result<()> { Ok(()) }
    /// let function = Function::cron("daily-report", "0 9 * * MON-FRI", report)
    ///     .time_zone("Europe/Berlin")
    ///     .jitter(Duration::from_secs(120));
    /// ```
    pub fn cron<O, H, Fut>(id: impl Into<Arc<str>>, line: impl Into<String>, handler: H) -> Self
    where
        O: Serialize,
        H: Fn(Context, Event<Tick>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O>> + Send + 'static,
    {
        Self::new(id, handler).also_at(line)
    }

    /// One more cron line. A minute that several lines name is one tick.
    #[must_use]
    pub fn also_at(mut self, line: impl Into<String>) -> Self {
        self.cron.lines.push(line.into());
        self
    }

    /// The time zone of its cron lines: a name of the IANA data, as `Europe/Berlin`. UTC unless told otherwise.
    #[must_use]
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.once.note("time_zone");
        self.cron.zone = Some(name.into());
        self
    }

    /// Lets each tick come up to this much later (10 minutes at most), so that what starts at full hours does not start
    /// all at once. The same tick is always as late.
    #[must_use]
    pub fn jitter(mut self, most: Duration) -> Self {
        self.once.note("jitter");
        self.spec.schedule.jitter = most;
        self
    }

    /// What happens to ticks that did not start within a minute of their time, because the function was paused or no server
    /// was there. [`MissedTicks::RunOnce`] by default.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # use stepladder_sdk::Tick;
    /// # async fn report(ctx: Context, tick: Event<Tick>) -> Result<()> { Ok(()) }
    /// let function = Function::cron("daily-report", "0 9 * * MON-FRI", report).missed_ticks(MissedTicks::Skip);
    /// ```
    #[must_use]
    pub fn missed_ticks(mut self, policy: MissedTicks) -> Self {
        self.once.note("missed_ticks");
        self.cron.missed = Some(policy);
        self
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.spec.id
    }

    /// Its version: a number, a date, `1.10`. Register the function in several versions to let live runs go on under the
    /// code that they began with: a run takes the newest version when its first step begins, and stays with it while that is
    /// registered; then it goes on under the newest, and the log says so. Of the versions' triggers, cron lines and limits on
    /// starting, those of the newest count.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Order {}
    /// # impl EventData for Order { const NAME: &'static str = "shop/order.placed"; }
    /// # async fn ship(ctx: Context, event: Event<Order>) -> Result<()> { Ok(()) }
    /// # async fn ship_with_label(ctx: Context, event: Event<Order>) -> Result<()> { Ok(()) }
    /// let functions = [Function::new("ship", ship), Function::new("ship", ship_with_label).version("2")];
    /// ```
    #[must_use]
    pub fn version(mut self, version: impl Into<Arc<str>>) -> Self {
        self.once.note("version");
        self.version = Some(version.into());
        self
    }

    /// Repetitions after a first attempt: of each of its steps, and of the function itself when it returns an error. 4
    /// unless told otherwise; 0 tries once.
    #[must_use]
    pub fn retries(mut self, n: u32) -> Self {
        self.once.note("retries");
        self.spec.retry.retries = n;
        self
    }

    /// The waits between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.once.note("backoff");
        self.spec.retry.backoff = backoff;
        self
    }

    /// How long one attempt of a step may take, unless the step says otherwise. 60 s unless told otherwise. The app
    /// does not start when no worker has that long.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.once.note("timeout");
        self.spec.timeout = limit;
        self
    }

    /// A limit on how many of its steps execute, or of its runs live, at a time. Several limits hold all at once.
    #[must_use]
    pub fn concurrency(mut self, limit: Concurrency) -> Self {
        self.concurrency.push(limit);
        self
    }

    /// At most so many starts in a period: the others wait for their turn, in the order in which they came.
    #[must_use]
    pub fn throttle(mut self, rate: Rate) -> Self {
        self.once.note("throttle");
        self.flow.throttle = Some(rate);
        self
    }

    /// At most so many starts in a period: the others are skipped.
    #[must_use]
    pub fn rate_limit(mut self, rate: Rate) -> Self {
        self.once.note("rate_limit");
        self.flow.rate_limit = Some(rate);
        self
    }

    /// Of events that come close together, only the last starts a run.
    #[must_use]
    pub fn debounce(mut self, debounce: Debounce) -> Self {
        self.once.note("debounce");
        self.flow.debounce = Some(debounce);
        self
    }

    /// At most one live run.
    #[must_use]
    pub fn singleton(mut self, singleton: Singleton) -> Self {
        self.once.note("singleton");
        self.flow.singleton = Some(singleton);
        self
    }

    /// Events for which this CEL expression gives the same text within 24 hours lead to one run, the first one's:
    /// `event.data.orderId`.
    #[must_use]
    pub fn idempotency(mut self, cel: impl Into<String>) -> Self {
        self.once.note("idempotency");
        self.flow.idempotency = Some(cel.into());
        self
    }

    /// Where runs wait for a slot: by how many seconds (600 at most, either way) one stands earlier in line than it came,
    /// as a CEL expression over the `event`: `event.data.plan == "pro" ? 120 : 0`.
    #[must_use]
    pub fn priority(mut self, cel: impl Into<String>) -> Self {
        self.once.note("priority");
        self.flow.priority = Some(cel.into());
        self
    }

    /// An event that cancels runs of this function. There may be several.
    #[must_use]
    pub fn cancel_on(mut self, cancel: CancelOn) -> Self {
        self.flow.cancel_on.push(cancel);
        self
    }

    /// Cancels a run that has not begun so long after its creation: it waited for a slot, or for its throttle.
    #[must_use]
    pub fn start_within(mut self, time: Duration) -> Self {
        self.once.note("start_within");
        self.flow.start_within = Some(time);
        self
    }

    /// Cancels a run that has not ended so long after its first step began.
    #[must_use]
    pub fn finish_within(mut self, time: Duration) -> Self {
        self.once.note("finish_within");
        self.flow.finish_within = Some(time);
        self
    }

    /// Only events of which this CEL expression is true start it: `event.data.plan == "pro"`. Of several conditions all must
    /// hold. The app does not start with an expression that is not CEL, or that names what does not exist.
    #[must_use]
    pub fn when(mut self, cel: impl Into<String>) -> Self {
        self.conditions.push((None, cel.into()));
        self
    }

    /// The same for events of one name, where several start it; what [`when`](Self::when) says holds for the others. The app
    /// does not start where such events do not start the function.
    #[must_use]
    pub fn when_event(mut self, name: impl Into<String>, cel: impl Into<String>) -> Self {
        self.conditions.push((Some(name.into()), cel.into()));
        self
    }

    /// An event that starts it, for people who try it out: the dashboard's form begins with its data. The app does not start
    /// where such events do not start the function.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Hello { name: String }
    /// # impl EventData for Hello { const NAME: &'static str = "test/hello.world"; }
    /// # async fn hello(ctx: Context, event: Event<Hello>) -> Result<()> { Ok(()) }
    /// let function = Function::new("hello-world", hello).example(&Hello { name: "Ada".into() });
    /// ```
    #[must_use]
    pub fn example(mut self, event: &impl ToEvent) -> Self {
        self.once.note("example");
        self.example = Some(event.to_event());
        self
    }

    /// Runs when a run of this function has failed for good: a function of its own, with id `<id>/on-failure` and
    /// steps of its own.
    #[must_use]
    pub fn on_failure<O, H, Fut>(mut self, handler: H) -> Self
    where
        O: Serialize,
        H: Fn(Context, Event<FunctionFailed>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O>> + Send + 'static,
    {
        self.once.note("on_failure");
        self.on_failure = Some(erased(handler));
        self
    }
}

fn erased<T, O, H, Fut>(handler: H) -> Handler
where
    T: EventData,
    O: Serialize,
    H: Fn(Context, Event<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |ctx, history| {
        let (handler, event) = (handler.clone(), Event::<T>::read(&history.event)?);
        // called in there, where a panic is caught
        Ok(Box::pin(async move { written(handler(ctx, event).await?) }))
    })
}

fn written(output: impl Serialize) -> Result<Json> {
    json::of(&output).map_err(|error| {
        Error::terminal(format!("what the function returned cannot be written as JSON: {error}"))
            .with_code("unencodable")
    })
}
