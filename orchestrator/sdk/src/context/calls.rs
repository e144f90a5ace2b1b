//! Steps that reach other functions: they send events or call functions.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stepladder_core::decide::Operation;
use stepladder_core::event::{data_problem, problem_of_all};
use stepladder_core::{EventId, Json, NewEvent, json};

use super::{Context, decode};
use crate::codec::RunPayloads;
use crate::error::ErrorCode;
use crate::event::encode_event;
use crate::map::RunItem;
use crate::step::{DecodeFn, RecordedStep};
use crate::{Error, Invoke, ItemSettings, MapRuns, Result, SendEvent, SendEvents, ToEvent};

/// The default maximum number of live runs of a [`Context::map_runs`].
const MAX_LIVE_RUNS: usize = 100;

impl Context {
    /// Sends an event once, and returns the event's id. The functions that the event triggers run
    /// independently of this run.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # #[event(name = "order/paid")]
    /// # struct Paid { order: String }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// ctx.send_event("announce", Paid { order: "o-7".into() }).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn send_event(&self, name: impl Into<String>, event: impl ToEvent) -> SendEvent<'_> {
        SendEvent::new(self.send(name.into(), encode_event(&event).map(|event| vec![event]), decode_one))
    }

    /// Sends several events once, and returns their ids in order.
    ///
    /// A step sends at most 5,000 events and 64 MiB. The usual limits apply to each event: 3 MiB,
    /// 100 levels, no NUL characters.
    #[track_caller]
    pub fn send_events<E: ToEvent>(
        &self,
        name: impl Into<String>,
        events: impl IntoIterator<Item = E>,
    ) -> SendEvents<'_> {
        SendEvents::new(self.send(name.into(), events.into_iter().map(|event| encode_event(&event)).collect(), decode))
    }

    /// Calls another function and returns its output. `input` is the data of the event for the
    /// called run: a JSON object within the limits of an event (3 MiB, 100 levels, no NUL
    /// characters).
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let total: u64 = ctx.invoke("sum up", "add-numbers", &json!({"numbers": [1, 2]})).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn invoke<O: DeserializeOwned>(
        &self,
        name: impl Into<String>,
        function: impl Into<Arc<str>>,
        input: &(impl Serialize + ?Sized),
    ) -> Invoke<'_, O> {
        let (name, function) = (name.into(), function.into());
        let (input, error) = split_input(encode_input(input, &self.run.payloads, &function));
        let error = error.map(|error| error.in_step(&self.full_name(&name)));
        let mut step = self.create_step(
            name,
            Operation::Invoke { function, input, bound: false, timeout: None, user: None },
            None,
            decode,
        );
        if let Some(error) = error {
            step.fail_with(error);
        }
        Invoke::new(step)
    }

    /// Calls another function once for each item. At most [`limit`](crate::ItemMap::limit) of the
    /// called runs are live at the same time, by default 100.
    ///
    /// Each item is the data of the event for one called run: a JSON object. Each called run has
    /// its own retries, limits and journal, and may take months.
    ///
    /// Whenever called runs end, this run is woken. A process that has not kept the run in memory
    /// then reads and replays all of it. For tens of thousands of items, map over lists of items,
    /// and map over the items of one list in the other function.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let clients: Vec<_> = (0..200).map(|n| json!({ "clientId": n })).collect();
    /// let reports: Vec<String> = ctx.map_runs("report", "write-report", clients).limit(20).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn map_runs<'a, O, I>(
        &'a self,
        name: impl Into<String>,
        function: impl Into<Arc<str>>,
        items: impl IntoIterator<Item = I>,
    ) -> MapRuns<'a, I, O>
    where
        O: DeserializeOwned + Send + 'a,
        I: Serialize + Send + 'a,
    {
        let (function, items) = (function.into(), items.into_iter().collect::<Vec<I>>());
        let steps = self.item_steps(name.into(), items.len());
        let contexts = steps.contexts().clone();
        let run_item: RunItem<'a, I, O, _> =
            Box::new(move |settings: &ItemSettings<'a, Invoke<'a, O>>, place, item| {
                let (input, error) = split_input(encode_input(&item, &self.run.payloads, &function));
                let ask =
                    Operation::Invoke { function: function.clone(), input, bound: false, timeout: None, user: None };
                let mut step = self.create_item_step(&steps, &place, ask, None, decode);
                if let Some(error) = error {
                    let error = error.in_step(step.id());
                    step.fail_with(error);
                }
                Box::pin(settings.apply(Invoke::new(step)))
            });
        MapRuns::new(contexts, items, ItemSettings::new(), MAX_LIVE_RUNS, run_item)
    }

    #[track_caller]
    fn send<T>(&self, name: String, events: Result<Vec<NewEvent>>, decode: DecodeFn<T>) -> RecordedStep<'_, T> {
        let check = |events: Vec<NewEvent>| match problem_of_all(&events) {
            None => Ok(events),
            Some(fault) => Err(Error::terminal(format!("cannot send {fault}")).with_code(ErrorCode::BadEvent)),
        };
        // encoded events are larger, and not checked for depth and NUL characters
        let seal = |events: Vec<NewEvent>| match self.run.payloads.encodes() {
            true => check(events.into_iter().map(|event| self.run.payloads.seal_event(event)).collect::<Result<_>>()?),
            false => Ok(events),
        };
        let (events, error) = match events.and_then(check).and_then(seal) {
            Ok(events) => (events, None),
            Err(error) => (Vec::new(), Some(error.in_step(&self.full_name(&name)))),
        };
        let mut step = self.create_step(name, Operation::Send(events), None, decode);
        if let Some(error) = error {
            step.fail_with(error);
        }
        step
    }
}

fn decode_one(outcome: &RawValue) -> serde_json::Result<EventId> {
    let [id] = decode(outcome)?;
    Ok(id)
}

/// Returns the input of a call, and the error with which the call fails.
fn split_input(input: Result<Json>) -> (Json, Option<Error>) {
    match input {
        Ok(input) => (input, None),
        Err(error) => (json::empty_object(), Some(error)),
    }
}

fn encode_input(input: &(impl Serialize + ?Sized), payloads: &RunPayloads, function: &Arc<str>) -> Result<Json> {
    let input = json::to_json(input).map_err(|error| Error::terminal(format!("its input is not JSON: {error}")))?;
    let input = check_input(input)?;
    match payloads.encodes() {
        true => check_input(payloads.seal_input(function, input)?),
        false => Ok(input),
    }
}

fn check_input(input: Json) -> Result<Json> {
    match data_problem(&input) {
        None => Ok(input),
        Some(fault) => {
            Err(Error::terminal(format!("its input {fault} (it is the data of an event)"))
                .with_code(ErrorCode::BadEvent))
        }
    }
}
