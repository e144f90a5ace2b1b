//! Events as functions see them: typed data, and what the engine knows besides.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stepladder_core::system::FUNCTION_FAILED;
use stepladder_core::{EventId, Failure, Json, NewEvent, RunId, Timestamp, json};

use crate::{Error, Result};

/// The data of an event, and the name under which it comes: the trigger of the functions that take it.
///
/// ```
/// use stepladder_sdk::prelude::*;
///
/// #[derive(Serialize, Deserialize)]
/// struct Hello { name: String }
///
/// impl EventData for Hello { const NAME: &'static str = "test/hello.world"; }
/// ```
///
/// A type that stands for several events (an enum) sets [`NAMES`](Self::NAMES) and [`decode`](Self::decode).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the data of an event",
    note = "write `impl EventData for {Self} {{ const NAME: &'static str = \"area/thing.happened\"; }}`"
)]
pub trait EventData: DeserializeOwned + Send + Sync + 'static {
    /// The event's name.
    const NAME: &'static str;

    /// The names of all events that start a function of this type.
    const NAMES: &'static [&'static str] = &[Self::NAME];

    /// Reads the data of an event of this name.
    ///
    /// # Errors
    /// When the data has another shape. The run then fails without a retry.
    fn decode(name: &str, data: &RawValue) -> serde_json::Result<Self> {
        let _ = name;
        serde_json::from_str(data.get())
    }
}

/// The data of a function's run that a cron line started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The minute that the line names; the run begins a moment, or a jitter, later.
    pub at: Timestamp,
}

impl EventData for Tick {
    const NAME: &'static str = "stepladder/cron.tick";
    const NAMES: &'static [&'static str] = &[];
}

/// An event that started a run.
#[derive(Clone, Debug)]
pub struct Event<T> {
    /// The id that it was given when it was accepted.
    pub id: EventId,
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: T,
    /// When it happened: the sender's word, else when it was received.
    pub ts: Timestamp,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// Whom it is about, if the sender said.
    pub user: Option<Json>,
    /// The sender's own id, if it gave one.
    pub external_id: Option<String>,
}

impl<T: EventData> Event<T> {
    /// # Errors
    /// Says which event, which type and what does not fit. Code `bad-event`.
    pub(crate) fn read(event: &stepladder_core::Event) -> Result<Self, Failure> {
        let data = T::decode(&event.name, &event.data).map_err(|error| Failure {
            message: format!(
                "the data of event `{}` does not fit {}: {error}; send what the function takes",
                event.name,
                std::any::type_name::<T>()
            ),
            code: Some("bad-event".into()),
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

/// Something that can be sent: the data of an event, or a [`NewEvent`] of any name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as an event",
    note = "it needs `EventData` and `Serialize`; or send a `NewEvent`"
)]
pub trait ToEvent {
    /// The event.
    ///
    /// # Errors
    /// When the data cannot be written as JSON.
    fn to_event(&self) -> serde_json::Result<NewEvent>;
}

impl<T: EventData + Serialize> ToEvent for T {
    fn to_event(&self) -> serde_json::Result<NewEvent> {
        Ok(NewEvent::new(T::NAME, json::of(self)?))
    }
}

impl ToEvent for NewEvent {
    fn to_event(&self) -> serde_json::Result<NewEvent> {
        Ok(self.clone())
    }
}

/// An event as it is written.
pub(crate) fn written(event: &impl ToEvent) -> Result<NewEvent> {
    event.to_event().map_err(|error| Error::terminal(format!("the event is not JSON: {error}")))
}

/// An event that may be sent, or why it may not.
pub(crate) fn sendable(event: &impl ToEvent) -> Result<NewEvent> {
    let event = written(event)?;
    match event.fault() {
        None => Ok(event),
        Some(fault) => Err(Error::terminal(format!("the event `{}` cannot be sent: {fault}", event.name))),
    }
}

/// The data of the event that an on-failure handler gets: which run failed, of what, and what had started it.
///
/// A function of `Event<FunctionFailed>` hears of every failure: of all functions, or of those that a condition picks
/// (`.when("event.data.functionId == 'sync-client'")`). Runs that such events start are not announced in turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionFailed {
    /// The function whose run failed.
    pub function_id: String,
    /// The run.
    pub run_id: RunId,
    /// What it failed with.
    pub error: Failure,
    /// The event that had started it, as JSON.
    pub event: serde_json::Value,
    /// What was left out because the event would have passed a limit: `event.data`. Read it from the run then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
}

impl EventData for FunctionFailed {
    const NAME: &'static str = FUNCTION_FAILED;
}
