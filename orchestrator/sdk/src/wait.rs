//! Waits as functions see them: plain, `Unpin` futures like steps, with options of their own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stepladder_core::decide::Ask;
use stepladder_core::waiting::{Field, Match};

use crate::{Event, EventData, Result, Step};

/// How long a wait lasts unless it says otherwise: 7 days.
pub(crate) const WAIT: Duration = Duration::from_secs(7 * 86_400);

/// A wait for an event: see [`Context::wait_for_event`](crate::Context::wait_for_event). Await it, or compose it as any
/// future: a `select!` that drops it goes on without the event.
///
/// # Errors
/// Terminal: `bad-wait` when it cannot be waited for so, `undecodable-memo` when the data of the event that came does not
/// fit the type, `too-large` when the run would keep more than 32 MiB with it. An expression that is not CEL fails the run.
#[must_use = "a wait does nothing until it is awaited"]
pub struct WaitForEvent<'a, T> {
    step: Step<'a, Option<Event<T>>>,
}

impl<'a, T> WaitForEvent<'a, T> {
    pub(crate) fn new(step: Step<'a, Option<Event<T>>>) -> Self {
        Self { step }
    }

    /// Only an event whose `data` has this value (a text, a number, a boolean or null) in this field; `brief.id` is `id` in
    /// `brief`, and so is `data.brief.id`, as Inngest writes it. Found through an index: thousands may wait for an event of
    /// one name, each for its own value. Field and value have at most 1 KiB. Of several conditions all must hold.
    pub fn matching(self, field: &str, value: &(impl Serialize + ?Sized)) -> Self {
        self.only(Field::new(field, value).map(Match::Field))
    }

    /// Only an event of which this CEL expression is true. `event` is the event that started the run, `async` the one that
    /// arrives: `async.data.score > event.data.least`. An expression that fails (on a field that is missing, say) is not
    /// true. Each event of the name is looked at for each run that waits so; where a field will do, prefer
    /// [`matching`](Self::matching). Of several conditions all must hold.
    pub fn when(self, cel: impl Into<Arc<str>>) -> Self {
        self.only(Ok(Match::When(cel.into())))
    }

    /// How long to wait, from when it is first awaited. 7 days unless told otherwise.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.step.once("timeout");
        self.step.asking(|ask| within(ask, limit));
        self
    }

    fn only(mut self, matching: Result<Match, String>) -> Self {
        self.step.asking(|ask| {
            let Ask::WaitForEvent { wait, .. } = ask else { return Ok(()) };
            let wait = Arc::make_mut(wait);
            let so_far = std::mem::replace(&mut wait.matching, Match::Any);
            wait.matching = so_far.and(matching?);
            Ok(())
        });
        self
    }
}

impl<T> Future for WaitForEvent<'_, T> {
    type Output = Result<Option<Event<T>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().step).poll(cx)
    }
}

/// A wait for a signal: see [`Context::wait_for_signal`](crate::Context::wait_for_signal). Await it, or compose it as any
/// future.
///
/// # Errors
/// Terminal, `undecodable-memo`, when what was posted does not fit the type.
#[must_use = "a wait does nothing until it is awaited"]
pub struct WaitForSignal<'a, T> {
    step: Step<'a, Option<T>>,
    token: String,
}

impl<'a, T> WaitForSignal<'a, T> {
    pub(crate) fn new(step: Step<'a, Option<T>>, token: String) -> Self {
        Self { step, token }
    }

    /// What to post to: `POST /v1/signals/{token}`, or `stepladder signal TOKEN`. The same at every replay, and for this
    /// run and step alone. Whoever has it can complete the signal, so hand it only to who may; it holds the run's id and
    /// the step's name, in letters, digits, `.`, `-` and `_`.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// How long to wait, from when it is first awaited. 7 days unless told otherwise.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.step.once("timeout");
        self.step.asking(|ask| within(ask, limit));
        self
    }
}

impl<T> Future for WaitForSignal<'_, T> {
    type Output = Result<Option<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().step).poll(cx)
    }
}

fn within(ask: &mut Ask, limit: Duration) -> Result<(), String> {
    match ask {
        Ask::WaitForEvent { timeout, .. } | Ask::WaitForSignal { timeout } => *timeout = limit,
        Ask::Run(_) | Ask::SleepFor(_) | Ask::SleepUntil(_) | Ask::Send(_) | Ask::Invoke { .. } => {}
    }
    Ok(())
}

/// The event that came, or `null` for none.
pub(crate) fn event<T: EventData>(outcome: &RawValue) -> serde_json::Result<Option<Event<T>>> {
    let event: Option<stepladder_core::Event> = serde_json::from_str(outcome.get())?;
    let read = |event| Event::read(&event).map_err(|failure| serde_json::Error::custom(failure.message));
    event.map(read).transpose()
}

/// What was posted, or `null` when nothing was.
pub(crate) fn signal<T: DeserializeOwned>(outcome: &RawValue) -> serde_json::Result<Option<T>> {
    #[derive(Deserialize)]
    struct Arrived<T> {
        data: T,
    }
    let arrived: Option<Arrived<T>> = serde_json::from_str(outcome.get())?;
    Ok(arrived.map(|arrived| arrived.data))
}
