//! Everything that is needed to write functions: [`Context`], [`Function`], [`Error`], and
//! [`testing`].
//!
//! A function is an ordinary async fn that takes a [`Context`]. Its named [steps](Context::step)
//! are recorded, so a run can be suspended and replayed at any step. Programs use this crate
//! through the crate `stepladder`.
//!
//! Storage, queues and the decision when a step runs are not part of this crate. They belong to the
//! engine, which sees functions only as
//! [`RegisteredFunction`](stepladder_engine::RegisteredFunction)s.

mod blocking;
mod codec;
mod compensation;
mod context;
mod duration;
#[cfg(feature = "encryption")]
mod encryption;
mod environment;
pub mod error;
mod event;
mod execution;
mod flow;
mod function;
mod ledger;
mod log;
mod map;
mod poll;
pub mod prelude;
pub mod runtime;
mod secrets;
mod shared_data;
mod single_calls;
mod step;
pub mod testing;
mod usage;
mod wait;

pub use blocking::blocking;
pub use codec::{EncodedPayload, PayloadCodec};
pub use context::Context;
#[cfg(feature = "encryption")]
pub use encryption::Encryption;
pub use environment::env;
pub use error::{Error, ErrorCode, Result, ResultExt};
pub use event::{Event, EventData, FunctionFailed, Tick, ToEvent};
pub use flow::{Batch, CancelOn, Concurrency, Debounce, Rate, Singleton, Timeouts};
pub use function::Function;
pub use log::Log;
pub use map::{
    FirstSuccess, ItemMap, ItemResult, ItemResults, ItemSettings, Map, MapItem, MapResults, MapRuns, MapSteps,
};
pub use poll::{Check, PollUntil};
pub use secrets::secret;
pub use serde_json::json;
pub use step::{Invoke, SendEvent, SendEvents, Sleep, StartedStep, Step};
/// The text of an event id sorts by time. `parse` converts it back to an id:
///
/// ```
/// use stepladder::EventId;
///
/// let id: EventId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
/// assert_eq!(id.to_string(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
/// assert_eq!(id.time().to_string(), "2016-07-30T23:54:10.259Z");
/// ```
pub use stepladder_core::EventId;
/// The recorded error of a run or a step. A failure handler receives it in [`FunctionFailed`]:
///
/// ```
/// use stepladder::Failure;
///
/// fn is_declined(failure: &Failure) -> bool {
///     failure.code() == Some("card-declined")
/// }
///
/// assert!(!is_declined(&Failure::new("the bank did not answer")));
/// ```
pub use stepladder_core::Failure;
/// A JSON document that keeps its text exactly as it was written. Decode it with serde:
///
/// ```
/// use stepladder::prelude::*;
/// use stepladder::Json;
///
/// #[derive(Deserialize)]
/// struct User { email: String }
///
/// fn email_of(user: &Json) -> Option<String> {
///     serde_json::from_str::<User>(user.get()).ok().map(|user| user.email)
/// }
/// ```
pub use stepladder_core::Json;
/// An event to send. [`ToEvent`] creates one from the data of an event, for example to give it an
/// id:
///
/// ```
/// use stepladder::prelude::*;
/// use stepladder::ToEvent;
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "order/paid")]
/// struct Paid { order: String }
///
/// # async fn example(ctx: Context) -> Result<()> {
/// let event = Paid { order: "o-7".into() }.to_event()?.with_id("payment-7");
/// ctx.send_event("announce", event).await?;
/// # Ok(()) }
/// ```
pub use stepladder_core::NewEvent;
/// The id of a run. It can be part of an idempotency key, because all retries of the run share it:
///
/// ```
/// use stepladder::prelude::*;
/// use stepladder::RunId;
///
/// # async fn charge(key: String) -> Result<u32> { Ok(7) }
/// # async fn example(ctx: Context) -> Result<()> {
/// let run: RunId = ctx.run_id();
/// let paid = ctx.step("charge", || charge(format!("{run}-charge"))).await?;
/// # Ok(()) }
/// ```
pub use stepladder_core::RunId;
/// A moment in time. It can be converted from and to `jiff::Timestamp` and `SystemTime`, and a
/// `Duration` can be added:
///
/// ```
/// use stepladder::prelude::*;
/// use stepladder::Timestamp;
///
/// # async fn example(ctx: Context) -> Result<()> {
/// let tomorrow: Timestamp = ctx.now() + Duration::from_secs(86_400);
/// ctx.sleep_until("tomorrow", tomorrow).await?;
/// # Ok(()) }
/// assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
/// ```
pub use stepladder_core::Timestamp;
/// The usage of a paid model. The body of a step records it with [`record_usage`]:
///
/// ```
/// use stepladder::prelude::*;
/// use stepladder::{Usage, record_usage};
///
/// # async fn example(ctx: Context) -> Result<()> {
/// let answer = ctx
///     .step("ask", async || {
///         record_usage(Usage::new("a-model").input_tokens(1_200).output_tokens(80).micro_dollars(640));
///         Ok("42".to_owned())
///     })
///     .await?;
/// # Ok(()) }
/// ```
pub use stepladder_core::Usage;
/// Where an encrypted value belongs. [`PayloadCodec`] explains it.
pub use stepladder_core::encrypted::{PayloadContext, PayloadPlace};
/// What happens to missed ticks of a cron schedule. Set this with [`Function::missed_ticks`]:
///
/// ```
/// use stepladder::prelude::*;
/// use stepladder::{MissedTicks, Tick};
///
/// async fn report(ctx: Context, tick: Event<Tick>) -> Result<()> {
///     ctx.step("send", async || Ok(())).await
/// }
///
/// let function = Function::new("daily-report", report).cron("0 9 * * MON-FRI").missed_ticks(MissedTicks::Skip);
/// ```
pub use stepladder_core::missed::MissedTicks;
/// The delays between attempts. Set them for a step, or for all steps of a function:
///
/// ```
/// use stepladder::prelude::*;
///
/// # async fn charge() -> Result<u32> { Ok(7) }
/// # async fn example(ctx: Context) -> Result<()> {
/// let second = Duration::from_secs(1);
/// let paid = ctx.step("charge", charge).backoff(Backoff::exponential(second, 60 * second)).await?;
/// let sent = ctx.step("send", async || Ok(paid)).backoff(Backoff::Fixed(10 * second)).await?;
/// # Ok(()) }
/// ```
pub use stepladder_core::retry::Backoff;
/// Implements `EventData` for a type.
///
/// On a struct, `#[event(name = "…")]` sets the event's name:
///
/// ```
/// use stepladder::prelude::*;
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "client/enhance.requested")]
/// struct EnhanceRequested { client_id: String }
///
/// assert_eq!(EnhanceRequested::NAME, "client/enhance.requested");
/// ```
///
/// On an enum, each variant contains the data of one event. The enum is a type for all these
/// events, and the name of an event selects the variant:
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "client/created")]
/// # struct Created { id: String }
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "client/deleted")]
/// # struct Deleted { id: String }
/// #[derive(Deserialize, Event)]
/// #[serde(untagged)]
/// enum Changed { Created(Created), Deleted(Deleted) }
///
/// async fn sync(ctx: Context, event: Event<Changed>) -> Result<()> {
///     match event.data {
///         Changed::Created(Created { id }) => ctx.step("add", async || Ok(drop(id))).await,
///         Changed::Deleted(Deleted { id }) => ctx.step("remove", async || Ok(drop(id))).await,
///     }
/// }
///
/// assert_eq!(Changed::NAMES, ["client/created", "client/deleted"]);
/// ```
///
/// `#[event(crate = "…")]` sets the path of the crate, if it is not `::stepladder`.
pub use stepladder_macros::Event;
pub use usage::record_usage;
pub use uuid::Uuid;
pub use wait::{WaitForEvent, WaitForSignal};

pub(crate) use shared_data::SharedData;

/// Items that the code generated by `derive(Event)` uses.
#[doc(hidden)]
pub mod __private {
    pub use serde_json::Error as DecodeError;
    pub use serde_json::value::RawValue;

    /// Returns the error for an event for which an enum has no variant.
    pub fn unknown_event(name: &str) -> DecodeError {
        serde::de::Error::custom(format_args!("no variant stands for the event `{name}`"))
    }
}
