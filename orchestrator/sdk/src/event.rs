//! Events as functions receive them: typed data, and what the engine adds.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stepladder_core::system::FUNCTION_FAILED;
use stepladder_core::{EventId, Failure, Json, NewEvent, RunId, Timestamp, json};

use crate::error::ErrorCode;
use crate::{Error, Result};

/// The data of an event, with the event's name. A function that takes this type is started by
/// events with this name.
///
/// Use [`derive(Event)`](derive@crate::Event) to implement this trait:
///
/// ```
/// use stepladder::prelude::*;
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "test/hello.world")]
/// struct Hello { name: String }
/// ```
///
/// Without the macro:
///
/// ```
/// use stepladder::prelude::*;
///
/// #[derive(Serialize, Deserialize)]
/// struct Hello { name: String }
///
/// impl EventData for Hello { const NAME: &'static str = "test/hello.world"; }
/// ```
///
/// A type for several events sets [`NAMES`](Self::NAMES) and [`decode`](Self::decode). For an enum,
/// the derive macro does this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the data of an event",
    note = "add `#[derive(Event)]` and `#[event(name = \"area/thing.happened\")]` to `{Self}`"
)]
pub trait EventData: DeserializeOwned + Send + Sync + 'static {
    /// The event's name.
    const NAME: &'static str;

    /// The names of all events that start a function with this event type.
    const NAMES: &'static [&'static str] = &[Self::NAME];

    /// Decodes the data of an event with this name.
    ///
    /// # Errors
    /// The data does not match this type. The run then fails without a retry.
    fn decode(name: &str, data: &RawValue) -> serde_json::Result<Self> {
        let _ = name;
        serde_json::from_str(data.get())
    }
}

/// The event data of a run that a cron schedule started.
///
/// ```
/// # use stepladder::prelude::*;
/// use stepladder::Tick;
///
/// async fn report(ctx: Context, tick: Event<Tick>) -> Result<String> {
///     Ok(format!("the report of {}", tick.data.at))
/// }
///
/// let function = Function::new("daily-report", report).cron("0 9 * * MON-FRI");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tick {
    /// The minute of the tick according to the schedule. The run is created a moment later, or up
    /// to the [jitter](crate::Function::jitter) later.
    pub at: Timestamp,
}

impl EventData for Tick {
    const NAME: &'static str = "stepladder/cron.tick";
    const NAMES: &'static [&'static str] = &[];
}

/// The event that started a run.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "user/signed.up")]
/// # struct SignedUp { email: String }
/// async fn welcome(ctx: Context, event: Event<SignedUp>) -> Result<String> {
///     ctx.log(format!("event {} of {}", event.id, event.ts));
///     Ok(event.data.email)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event<T> {
    /// The id that the engine gave to the event.
    pub id: EventId,
    /// The event's name.
    pub name: String,
    /// The event's data.
    pub data: T,
    /// When the event happened. If the sender gave no time, this is the time at which the event was
    /// received.
    pub ts: Timestamp,
    /// When the event was accepted.
    pub received_at: Timestamp,
    /// The user that the event is about, if the sender named one: a JSON object.
    pub user: Option<Json>,
    /// The id given by the sender, if any.
    pub external_id: Option<String>,
}

/// Returns the name of a type without the paths of modules.
fn short_type_name(name: &str) -> String {
    name.split_inclusive(['<', '>', ',', ' ', '(', ')', '&']).filter_map(|part| part.rsplit("::").next()).collect()
}

impl<T: EventData> Event<T> {
    /// Decodes an event for a function.
    ///
    /// # Errors
    /// A failure with the code `bad-event`. The message names the event, the type, and what does
    /// not match.
    pub(crate) fn decode(event: &stepladder_core::Event) -> Result<Self, Failure> {
        let data = T::decode(&event.name, &event.data).map_err(|error| {
            // the sender's line and column are not those of the stored data
            let why = error.to_string();
            let why = why.rsplit_once(" at line ").map_or(&why[..], |(why, _)| why);
            let expected = short_type_name(std::any::type_name::<T>());
            Failure::with_code(
                format!("invalid data of event `{}`: {why} (expected {expected})", event.name),
                ErrorCode::BadEvent,
            )
        })?;
        Ok(Self {
            id: event.id,
            name: event.name.to_string(),
            data,
            ts: event.ts,
            received_at: event.received_at,
            user: event.user.clone(),
            external_id: event.external_id.as_deref().map(str::to_owned),
        })
    }
}

/// A value that can be sent as an event: the data of an event, or a [`NewEvent`] with any name.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "order/paid")]
/// # struct Paid { order: String }
/// # async fn example(ctx: Context) -> Result<()> {
/// let paid = Paid { order: "o-7".into() };
/// // a second event with the same id, within 24 hours, is the same event
/// ctx.send_event("announce", paid.to_event()?.with_id("paid-o-7")).await?;
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as an event",
    note = "`{Self}` needs `derive(Event)` and `derive(Serialize)`; or send a `NewEvent`"
)]
pub trait ToEvent {
    /// Converts the value to an event.
    ///
    /// # Errors
    /// The data cannot be written as JSON.
    fn to_event(&self) -> serde_json::Result<NewEvent>;
}

impl<T: EventData + Serialize> ToEvent for T {
    fn to_event(&self) -> serde_json::Result<NewEvent> {
        Ok(NewEvent::new(T::NAME, json::to_json(self)?))
    }
}

impl ToEvent for NewEvent {
    fn to_event(&self) -> serde_json::Result<NewEvent> {
        Ok(self.clone())
    }
}

/// Converts a value to an event.
///
/// # Errors
/// Returns a terminal error if the data cannot be written as JSON.
pub(crate) fn encode_event(event: &impl ToEvent) -> Result<NewEvent> {
    event.to_event().map_err(|error| Error::terminal(format!("the event is not JSON: {error}")))
}

/// The data of the event that a failure handler receives.
///
/// A function that takes `Event<FunctionFailed>` is started by every failure of every function. A
/// filter selects some of them: `.filter("event.data.functionId == 'sync-client'")`. If a run that
/// was started by such an event fails, no further event is sent.
///
/// ```
/// # use stepladder::prelude::*;
/// async fn alert(ctx: Context, event: Event<FunctionFailed>) -> Result<()> {
///     let FunctionFailed { function_id, error, .. } = event.data;
///     ctx.log(Log::error(format!("{function_id} failed: {}", error.message)));
///     Ok(())
/// }
///
/// let function = Function::new("alert", alert).filter("event.data.functionId != 'clean-up'");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FunctionFailed {
    /// The id of the failed run's function.
    pub function_id: String,
    /// The run that failed.
    pub run_id: RunId,
    /// The failure of the run.
    pub error: Failure,
    /// The event that started the failed run, as JSON.
    pub event: serde_json::Value,
    /// The fields that were left out because this event would be too large, such as `event.data`.
    /// The failed run still contains them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
}

impl EventData for FunctionFailed {
    const NAME: &'static str = FUNCTION_FAILED;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_without_modules() {
        assert_eq!(short_type_name("shop::orders::Placed"), "Placed");
        assert_eq!(short_type_name("alloc::vec::Vec<(shop::a::B, &core::str)>"), "Vec<(B, &str)>");
    }
}
