//! Steps that send events.

use stepladder_core::EventId;

use super::{RecordedStep, delegate_future, startable};

/// A step that sends one event: see [`Context::send_event`](crate::Context::send_event). Await it,
/// or combine it with others like any future.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "order/paid")]
/// # struct Paid { order: String }
/// # async fn example(ctx: Context) -> Result<()> {
/// let id = ctx.send_event("announce", Paid { order: "o-7".into() }).await?;
/// ctx.log(format!("sent {id}"));
/// # Ok(()) }
/// ```
///
/// The engine sends the event itself, without a body, so there are no retries to set:
///
/// ```compile_fail,E0599
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "order/paid")]
/// # struct Paid { order: String }
/// # async fn example(ctx: Context) -> Result<()> {
/// ctx.send_event("announce", Paid { order: "o-7".into() }).retries(3).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// Terminal with the code `bad-event` if the event exceeds a limit or has a reserved name.
#[must_use = "an event is not sent until this is awaited"]
pub struct SendEvent<'a> {
    step: RecordedStep<'a, EventId>,
}

/// A step that sends several events: see [`Context::send_events`](crate::Context::send_events).
/// Await it, or combine it with others like any future.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "order/paid")]
/// # struct Paid { order: String }
/// # async fn example(ctx: Context, orders: Vec<String>) -> Result<()> {
/// let ids = ctx.send_events("announce", orders.into_iter().map(|order| Paid { order })).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// Terminal with the code `bad-event` if an event exceeds a limit or has a reserved name. Then no
/// event is sent.
#[must_use = "events are not sent until this is awaited"]
pub struct SendEvents<'a> {
    step: RecordedStep<'a, Vec<EventId>>,
}

impl<'a> SendEvent<'a> {
    pub(crate) fn new(step: RecordedStep<'a, EventId>) -> Self {
        Self { step }
    }
}

impl<'a> SendEvents<'a> {
    pub(crate) fn new(step: RecordedStep<'a, Vec<EventId>>) -> Self {
        Self { step }
    }
}

delegate_future! {
    SendEvent<'a> => EventId;
    SendEvents<'a> => Vec<EventId>;
}

startable! {
    /// Sends the event now, so that the function can do something else before it awaits the id. The
    /// event is not sent if the function ends first. See [`StartedStep`](crate::StartedStep).
    SendEvent<'a>
}

startable! {
    /// Sends the events now, so that the function can do something else before it awaits the ids.
    /// The events are not sent if the function ends first. See [`StartedStep`](crate::StartedStep).
    SendEvents<'a>
}
