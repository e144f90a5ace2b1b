//! The futures that wait for events and signals. They are `Unpin` and have options.

use std::sync::Arc;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stepladder_core::decide::Operation;
use stepladder_core::limits::HEARTBEAT_INTERVAL;
use stepladder_core::waiting::{EventField, EventMatch};

use crate::step::{RecordedStep, delegate_future, startable};
use crate::{Event, EventData, Result, StartedStep};

/// The default timeout of a wait: 7 days.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(7 * 86_400);

/// A wait for an event: see [`Context::wait_for_event`](crate::Context::wait_for_event). Await it,
/// or combine it with others like any future. If a `select!` drops it, the run continues without
/// the event.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "brief/approved")]
/// # struct Approved { brief: String }
/// # async fn example(ctx: Context, id: String) -> Result<()> {
/// let approval = ctx
///     .wait_for_event::<Approved>("approval")
///     .matching("brief", &id)
///     .filter("async.data.score >= 3")
///     .timeout(Duration::from_secs(86_400))
///     .await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// Terminal errors with these codes:
///
/// - `bad-wait`: a condition cannot be used.
/// - `undecodable-memo`: the data of the event does not match the type.
/// - `too-large`: the run would keep more than 32 MiB.
///
/// If an expression is not CEL, the run fails.
#[must_use = "a wait does nothing until it is awaited"]
pub struct WaitForEvent<'a, T> {
    step: RecordedStep<'a, Option<Event<T>>>,
}

impl<'a, T> WaitForEvent<'a, T> {
    pub(crate) fn new(step: RecordedStep<'a, Option<Event<T>>>) -> Self {
        Self { step }
    }

    /// Accepts only events with this value in this field of their `data`. The value is a string, a
    /// number, a boolean or null.
    ///
    /// `brief.id` is the field `id` of `brief`; a leading `data.` is ignored. An index finds the
    /// waits, so thousands of runs may wait for the same event, each for its own value. Field and
    /// value have at most 1 KiB. If there are several conditions, all of them must be true.
    pub fn matching(self, field: &str, value: &(impl Serialize + ?Sized)) -> Self {
        self.and(EventField::new(field, value).map(EventMatch::Field))
    }

    /// Accepts only events for which this CEL expression is true, for example `async.data.score >
    /// event.data.least`.
    ///
    /// `event` is the event that started the run, and `async` is the event that arrives. If the
    /// evaluation fails, for example because a field is missing, the expression is not true. The
    /// engine evaluates the expression for each waiting run, so prefer
    /// [`matching`](Self::matching). If there are several conditions, all of them must be true.
    pub fn filter(self, cel: impl Into<Arc<str>>) -> Self {
        self.and(Ok(EventMatch::When(cel.into())))
    }

    /// Sets how long to wait, from the first poll on. The default is 7 days.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.step.record_call("timeout");
        self.step.change_ask(|ask| set_timeout(ask, limit));
        self
    }

    fn and(mut self, condition: Result<EventMatch, String>) -> Self {
        self.step.change_ask(|ask| {
            let Operation::WaitForEvent { wait, .. } = ask else { return Ok(()) };
            let wait = Arc::make_mut(wait);
            let before = std::mem::replace(&mut wait.matching, EventMatch::Any);
            wait.matching = before.and(condition?);
            Ok(())
        });
        self
    }
}

/// A wait for a signal: see [`Context::wait_for_signal`](crate::Context::wait_for_signal). Await
/// it, or combine it with others like any future.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Deserialize)] struct Paid { cents: u64 }
/// # async fn order(token: &str) -> Result<()> { Ok(()) }
/// # async fn example(ctx: Context) -> Result<()> {
/// let payment = ctx.wait_for_signal::<Paid>("payment").timeout(Duration::from_secs(3_600));
/// ctx.step("order", || order(payment.token())).await?;
/// let paid: Option<Paid> = payment.await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// Terminal errors:
///
/// - The failure that the third party posted to `POST /v1/signals/{token}/fail`, with its message,
///   name, code and data. The wait is not retried.
/// - `heartbeat-timeout`: no [heartbeat](Self::heartbeat) came in time.
/// - `bad-wait`: the interval of the heartbeats is shorter than 10 seconds.
/// - `undecodable-memo`: the posted data does not match the type.
#[must_use = "a wait does nothing until it is awaited"]
pub struct WaitForSignal<'a, T> {
    step: RecordedStep<'a, Option<T>>,
    token: String,
}

impl<'a, T> WaitForSignal<'a, T> {
    pub(crate) fn new(step: RecordedStep<'a, Option<T>>, token: String) -> Self {
        Self { step, token }
    }

    /// Returns the callback token, for `POST /v1/signals/{token}` or `stepladder signal TOKEN`.
    ///
    /// The token belongs to this run and this step, and is the same in every replay. Anyone with
    /// the token can complete the signal, so keep it secret. The token contains the run's id and
    /// the step's name, in letters, digits, `.`, `-` and `_`.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Sets how long to wait, from the first poll on. The default is 7 days.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.step.record_call("timeout");
        self.step.change_ask(|ask| set_timeout(ask, limit));
        self
    }
}

impl<'a, T> WaitForSignal<'a, T> {
    /// Requires heartbeats: the holder of the token must post one to
    /// `POST /v1/signals/{token}/heartbeat`, or by `stepladder signal TOKEN --heartbeat`, at least
    /// this often, from the start of the wait on. Otherwise the wait ends with an error that has
    /// the code
    /// [`HeartbeatTimeout`](crate::ErrorCode::HeartbeatTimeout), and is not retried.
    ///
    /// The interval is at least 10 seconds. If no heartbeat comes at all, the wait ends after one
    /// interval. Later it ends at most half an interval after the next heartbeat was due, because
    /// not each heartbeat is recorded: a wait records at most 10,000 of them. In a wait with a
    /// timeout of more than 5,000 intervals it may end later than that, by up to a 10,000th of the
    /// timeout.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// use stepladder::ErrorCode;
    ///
    /// # #[derive(Deserialize)] struct Video { url: String }
    /// # async fn render(token: &str) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Context) -> Result<Option<Video>> {
    /// let video = ctx.wait_for_signal::<Video>("video").heartbeat(Duration::from_secs(60));
    /// ctx.step("render", || render(video.token())).await?;
    /// match video.timeout(Duration::from_secs(6 * 3_600)).await {
    ///     Err(error) if error.has_code(ErrorCode::HeartbeatTimeout) => Ok(None), // the renderer died
    ///     rendered => rendered,
    /// }
    /// # }
    /// ```
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.step.record_call("heartbeat");
        self.step.change_ask(|ask| match ask {
            _ if every < HEARTBEAT_INTERVAL => {
                Err(format!("a heartbeat every {every:?}; at least {HEARTBEAT_INTERVAL:?} are needed between two"))
            }
            Operation::WaitForSignal { heartbeat, .. } => {
                *heartbeat = Some(every);
                Ok(())
            }
            Operation::Run(_)
            | Operation::SleepFor(_)
            | Operation::SleepUntil(_)
            | Operation::Send(_)
            | Operation::Invoke { .. }
            | Operation::WaitForEvent { .. } => Ok(()),
        });
        self
    }
}

delegate_future! {
    WaitForEvent<'a, T> => Option<Event<T>>;
    WaitForSignal<'a, T> => Option<T>;
}

startable! {
    /// Starts the wait now, to be awaited later. Events count from the next time at which the
    /// function awaits a step. So the function can cause the event after it has started the wait.
    /// See
    /// [`StartedStep`].
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # #[event(name = "order/paid")]
    /// # struct Paid { order: String }
    /// # async fn ask_for_payment(order: &str) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Context, order: String) -> Result<()> {
    /// let paid = ctx.wait_for_event::<Paid>("paid").matching("order", &order).start();
    /// ctx.step("ask", || ask_for_payment(&order)).await?;
    /// let paid: Option<Event<Paid>> = paid.await?; // also if it was paid during "ask"
    /// # Ok(()) }
    /// ```
    WaitForEvent<'a, T>
}

startable! {
    /// Starts the wait now, to be awaited later. Its timeout counts from the next time at which the
    /// function awaits a step. Posts are kept in any case. See [`StartedStep`].
    WaitForSignal<'a, T>
}

impl<T> StartedStep<WaitForSignal<'_, T>> {
    /// Returns the callback token: see [`WaitForSignal::token`].
    pub fn token(&self) -> &str {
        self.step().token()
    }
}

fn set_timeout(ask: &mut Operation, limit: Duration) -> Result<(), String> {
    match ask {
        Operation::WaitForEvent { timeout, .. } | Operation::WaitForSignal { timeout, .. } => *timeout = limit,
        Operation::Run(_)
        | Operation::SleepFor(_)
        | Operation::SleepUntil(_)
        | Operation::Send(_)
        | Operation::Invoke { .. } => {}
    }
    Ok(())
}

/// Decodes the event that ended the wait; `null` means that no event arrived.
pub(crate) fn decode_event<T: EventData>(outcome: &RawValue) -> serde_json::Result<Option<Event<T>>> {
    let event: Option<stepladder_core::Event> = serde_json::from_str(outcome.get())?;
    let decode = |event| Event::decode(&event).map_err(|failure| serde_json::Error::custom(failure.message));
    event.map(decode).transpose()
}

/// Decodes the data that was posted; `null` means that nothing was posted.
pub(crate) fn decode_signal<T: DeserializeOwned>(outcome: &RawValue) -> serde_json::Result<Option<T>> {
    #[derive(Deserialize)]
    struct PostedData<T> {
        data: T,
    }
    let posted: Option<PostedData<T>> = serde_json::from_str(outcome.get())?;
    Ok(posted.map(|posted| posted.data))
}
