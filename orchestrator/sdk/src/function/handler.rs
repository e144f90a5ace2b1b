//! Handlers of functions without their event and output types.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;
use stepladder_core::{Failure, Json, json};
use stepladder_engine::executor::RunView;

use crate::error::ErrorCode;
use crate::{Context, Error, Event, EventData, Result};

/// A handler without its types. It decodes the event or the events, and returns a future.
pub(super) type Handler = Arc<dyn Fn(Context, &RunView) -> Result<HandlerFuture, Failure> + Send + Sync>;

type HandlerFuture = BoxFuture<'static, Result<Json>>;

pub(super) fn event_handler<T, O, H, Fut>(handler: H) -> Handler
where
    T: EventData,
    O: Serialize,
    H: Fn(Context, Event<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |ctx, run| {
        let (handler, event) = (handler.clone(), Event::<T>::decode(&run.event)?);
        // the handler is called inside the future, because a panic is caught there
        Ok(Box::pin(async move { encode(handler(ctx, event).await?) }))
    })
}

pub(super) fn batch_handler<T, O, H, Fut>(handler: H) -> Handler
where
    T: EventData,
    O: Serialize,
    H: Fn(Context, Vec<Event<T>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |ctx, run| {
        let events = std::iter::once(&*run.event).chain(&run.joined);
        let events = events.map(Event::<T>::decode).collect::<Result<Vec<_>, _>>()?;
        let handler = handler.clone();
        Ok(Box::pin(async move { encode(handler(ctx, events).await?) }))
    })
}

fn encode(output: impl Serialize) -> Result<Json> {
    json::to_json(&output).map_err(|error| {
        Error::terminal(format!("the function's output cannot be written as JSON: {error}"))
            .with_code(ErrorCode::Unencodable)
    })
}
