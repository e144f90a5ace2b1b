//! What a function does durable things with.

mod chance;
mod moment;

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stepladder_core::decide::{Ask, StepOptions};
use stepladder_core::event::{data_fault, fault_of_all};
use stepladder_core::limits::{NAME_CHARS, step_name_fault};
use stepladder_core::signal::Token;
use stepladder_core::waiting::{Match, Wait};
use stepladder_core::{EventId, Json, NewEvent, RunId, Timestamp, json};
use uuid::Uuid;

use crate::board::Board;
use crate::event::{ToEvent, written};
use crate::step::{Body, RawStep};
use crate::undo::{Undo, Undoing};
use crate::wait::{self, WAIT};
use crate::{Error, EventData, Log, Map, PollUntil, Result, States, Step, WaitForEvent, WaitForSignal};

pub use moment::Moment;

/// Runs of a [`Context::map_runs`] that are under way at a time unless it says otherwise.
const RUNS_AT_ONCE: usize = 100;

/// The run that a function moves. Not `Clone`: its steps belong to the function's own future, not to other tasks.
///
/// Code between steps runs again at every replay. What has an effect, takes long or gives another answer the second
/// time belongs into a [`step`](Self::step); for time and chance there are [`now`](Self::now), [`uuid`](Self::uuid)
/// and [`random`](Self::random), which give the same at every replay.
pub struct Context {
    board: Arc<Board>,
    states: States,
    attempt: u32,
    /// What the tokens of signals are sealed with.
    secret: u128,
}

impl Context {
    pub(crate) fn new(board: Arc<Board>, states: States, (attempt, secret): (u32, u128)) -> Self {
        Self { board, states, attempt, secret }
    }

    /// A step with a body. The body's value is recorded as JSON; a replay is served the record instead of running it
    /// again. Its failures are retried as the error, the step and the function say.
    ///
    /// A name that is used again is numbered: `name`, `name:1`, `name:2`, in the order in which the steps are made. A
    /// name has at most 255 characters and may not end in `:` and digits.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # async fn fetch(id: u32) -> Result<String> { Ok(id.to_string()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let page = ctx.step("fetch", || fetch(7)).retries(5).timeout(Duration::from_secs(30)).await?;
    /// let words = ctx.step("count", async || Ok(page.split(' ').count())).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn step<'a, T, F, Fut>(&'a self, name: impl Into<String>, body: F) -> Step<'a, T>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut + Send + 'a,
        Fut: Future<Output = Result<T>> + Send + 'a,
    {
        let body: Body<'a> = Box::new(move || {
            let running = body();
            Box::pin(async move { encode(&running.await?) })
        });
        self.make(name.into(), Ask::Run(StepOptions::default()), Some(body), decode)
    }

    /// One step for each item, all with this name, at most [`limit`](Map::limit) of them at a time.
    #[track_caller]
    pub fn map<'a, I, T, F, Fut>(&'a self, name: impl Into<String>, items: I, f: F) -> Map<'a, T>
    where
        I: IntoIterator,
        I::Item: Send + 'a,
        T: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> Fut + Send + Sync + 'a,
        Fut: Future<Output = Result<T>> + Send + 'a,
    {
        let (name, f) = (name.into(), Arc::new(f));
        let mut steps = Vec::new();
        for item in items {
            let f = f.clone();
            steps.push(self.step(name.clone(), move || f(item)));
        }
        Map::new(steps, usize::MAX)
    }

    /// Says how something is undone when the run fails for good, from now on: [`Step::undo`] for what is to be undone
    /// whether or not a step is seen to succeed, such as one that may have had its effect though it failed. The body runs
    /// as the step `undo <name>`, and must put up with there being nothing to undo. To be called from the function, not from
    /// a step's body.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # async fn upload(path: &str) -> Result<()> { Ok(()) }
    /// # async fn delete_if_there(path: String) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let path = format!("reports/{}", ctx.uuid());
    /// let copy = path.clone();
    /// ctx.undo("upload", move || delete_if_there(copy));
    /// ctx.step("upload", || upload(&path)).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn undo<F, Fut>(&self, name: impl AsRef<str>, undo: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let undo = Box::new(move || -> Undoing { Box::pin(undo()) });
        // a name that a step could not have must not keep the body from being run
        let what: String = name.as_ref().chars().filter(|c| !c.is_control()).take(NAME_CHARS).collect();
        self.board.register(Undo { what: what.into(), at: Location::caller(), undo });
    }

    /// A check that is made again and again until it gives a value: a report that is rendered elsewhere, a payment that
    /// settles. `Ok(None)` means "not yet": no failure, and no retry is used. Nothing runs between checks. An error is
    /// retried as that of any step.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # async fn report(id: &str) -> Result<Option<String>> { Ok(Some(id.into())) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let minute = Duration::from_secs(60);
    /// let report = ctx.poll_until("rendered", || report("r-7")).every(minute).timeout(60 * minute).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn poll_until<'a, T, F, Fut>(&'a self, name: impl Into<String>, check: F) -> PollUntil<'a, T>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut + Send + 'a,
        Fut: Future<Output = Result<Option<T>>> + Send + 'a,
    {
        PollUntil::new(self.step(name, move || {
            let checking = check();
            async move { checking.await?.ok_or_else(Error::not_yet) }
        }))
    }

    /// Waits this long, from when the step is first asked for. Nothing runs meanwhile; it may be months.
    #[track_caller]
    pub fn sleep(&self, name: impl Into<String>, wait: Duration) -> Step<'_, ()> {
        self.make(name.into(), Ask::SleepFor(wait), None, nothing)
    }

    /// Waits until a moment; not at all when it has passed. A moment outside of the years 0 to 9999 fails the step for
    /// good.
    #[track_caller]
    pub fn sleep_until(&self, name: impl Into<String>, moment: impl Moment) -> Step<'_, ()> {
        self.make(name.into(), Ask::SleepUntil(moment.timestamp()), None, nothing)
    }

    /// Sends an event, once, and gives its id. Functions that it triggers run by themselves.
    #[track_caller]
    pub fn send_event(&self, name: impl Into<String>, event: impl ToEvent) -> Step<'_, EventId> {
        self.send(name.into(), written(&event).map(|event| vec![event]), only)
    }

    /// Sends several events, once, and gives their ids in order: at most 5,000 and 64 MiB, each within the limits of any
    /// event (3 MiB, 100 levels, no NUL).
    #[track_caller]
    pub fn send_events<E: ToEvent>(
        &self,
        name: impl Into<String>,
        events: impl IntoIterator<Item = E>,
    ) -> Step<'_, Vec<EventId>> {
        self.send(name.into(), events.into_iter().map(|event| written(&event)).collect(), decode)
    }

    /// Runs another function and waits for what it returns. `input` is the data of its event: a JSON object
    /// within the limits of any event (3 MiB, 100 levels, no NUL).
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
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
    ) -> Step<'_, O> {
        let (name, function) = (name.into(), function.into());
        let (input, fault) = match object(input) {
            Ok(input) => (input, None),
            Err(error) => (json::empty_object(), Some(prefixed(&name, error))),
        };
        self.make_faulty(name, Ask::Invoke { function, input, bound: false }, None, decode, fault)
    }

    /// Waits for an event of this type that arrives from now on: whichever comes first, unless
    /// [`matching`](WaitForEvent::matching) or [`when`](WaitForEvent::when) say which. Gives `None` when none comes within
    /// 7 days, or [`timeout`](WaitForEvent::timeout).
    ///
    /// An event enters a run once, and fulfils all waits that are open then; the one that started the run fulfils none.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Approved { brief_id: String, by: String }
    /// # impl EventData for Approved { const NAME: &'static str = "brief/approved"; }
    /// # async fn example(ctx: Context, id: String) -> Result<()> {
    /// let approval = ctx.wait_for_event::<Approved>("approval").matching("brief_id", &id).await?;
    /// let by = approval.map(|event| event.data.by).unwrap_or_else(|| "nobody, in 7 days".into());
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn wait_for_event<T: EventData>(&self, name: impl Into<String>) -> WaitForEvent<'_, T> {
        let wait = Wait { events: T::NAMES.iter().map(|name| (*name).into()).collect(), matching: Match::Any };
        let ask = Ask::WaitForEvent { wait: Arc::new(wait), timeout: WAIT };
        WaitForEvent::new(self.make(name.into(), ask, None, wait::event))
    }

    /// Waits for somebody to post to its [`token`](WaitForSignal::token), which the function hands out before. Gives
    /// `None` when nobody does within 7 days, or [`timeout`](WaitForSignal::timeout); what is posted before it is waited
    /// for is kept.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Paid { cents: u64 }
    /// # async fn order(back: &str) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let payment = ctx.wait_for_signal::<Paid>("payment").timeout(Duration::from_secs(3_600));
    /// let back = format!("https://example.com/v1/signals/{}", payment.token());
    /// ctx.step("ask for payment", || order(&back)).await?;
    /// let Some(paid) = payment.await? else { return Err(Error::terminal("not paid within an hour")) };
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn wait_for_signal<T: DeserializeOwned>(&self, name: impl Into<String>) -> WaitForSignal<'_, T> {
        let step = self.make(name.into(), Ask::WaitForSignal { timeout: WAIT }, None, wait::signal);
        let token = Token::new(self.run_id(), self.secret, step.id()).to_string();
        WaitForSignal::new(step, token)
    }

    /// One run of another function for each item, at most [`limit`](Map::limit) of them at a time, 100 unless told
    /// otherwise. Each item is the data of its run's event: a JSON object. A run of its own has retries, limits and a
    /// journal of its own, and may take months.
    ///
    /// Every run that ends wakes this one, which replays what came before: the work of a map grows with the square of its
    /// items. For tens of thousands, map over lists of items, and map over the items in the function that is called.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let clients: Vec<_> = (0..200).map(|n| json!({ "clientId": n })).collect();
    /// let reports: Vec<String> = ctx.map_runs("report", "write-report", clients).limit(20).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn map_runs<O: DeserializeOwned, I: Serialize>(
        &self,
        name: impl Into<String>,
        function: impl Into<Arc<str>>,
        items: impl IntoIterator<Item = I>,
    ) -> Map<'_, O> {
        let (name, function) = (name.into(), function.into());
        let mut steps = Vec::new();
        for item in items {
            steps.push(self.invoke(name.clone(), function.clone(), &item));
        }
        Map::new(steps, RUNS_AT_ONCE)
    }

    /// Says something for people to read: a line in the run's log, said once and not at every replay. A text, or a
    /// [`Log`] with a level and values.
    ///
    /// It is recorded with whatever the run writes next, shown with the run, and told to the process's own log
    /// (`tracing`, target `stepladder::log`). In a step's body it belongs to the attempt, and is recorded with its outcome.
    /// A line has at most 4 KiB, a run 1,000 lines and 256 KiB. A function's line is known by its place: how many outcomes
    /// it comes after, and how many lines since. Where code between steps does not do the same at every replay, lines may be said
    /// twice or left out.
    ///
    /// ```
    /// # use stepladder_sdk::prelude::*;
    /// # async fn rows() -> Result<u32> { Ok(7) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let rows = ctx.step("count", rows).await?;
    /// ctx.log(format!("{rows} rows"));
    /// ctx.log(Log::warn("fewer than usual").with("rows", rows));
    /// # Ok(()) }
    /// ```
    pub fn log(&self, line: impl Into<Log>) {
        self.board.say(line.into().line());
    }

    /// A value that all functions share, by its type: a client, a pool, settings.
    ///
    /// # Errors
    /// Terminal, naming the type, when it was not added with `App::state`.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<&T> {
        self.states.get()
    }

    /// The time of the latest recorded outcome that the function has seen; before the first, when the run was created.
    /// The same at every replay.
    pub fn now(&self) -> Timestamp {
        self.board.now()
    }

    /// A random (version 4) UUID, the same at every replay. Made from the run's id: not a secret. Within a step's body
    /// it is the same for every attempt, which makes it an idempotency key.
    pub fn uuid(&self) -> Uuid {
        chance::uuid(&self.board)
    }

    /// A random number, the same at every replay. Made from the run's id: not for secrets.
    pub fn random(&self) -> u64 {
        chance::number(&self.board)
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.board.run()
    }

    /// The number of the function's attempt, from 1. It counts errors that the function itself returned, not those of
    /// its steps.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    #[track_caller]
    fn send<'a, T>(&'a self, name: String, events: Result<Vec<NewEvent>>, decode: Decode<T>) -> Step<'a, T> {
        let fit = |events: Vec<NewEvent>| match fault_of_all(&events) {
            None => Ok(events),
            Some(fault) => Err(Error::terminal(format!("cannot send {fault}")).with_code("bad-event")),
        };
        let (events, fault) = match events.and_then(fit) {
            Ok(events) => (events, None),
            Err(error) => (Vec::new(), Some(prefixed(&name, error))),
        };
        self.make_faulty(name, Ask::Send(events), None, decode, fault)
    }

    #[track_caller]
    fn make<'a, T>(&'a self, name: String, ask: Ask, body: Option<Body<'a>>, decode: Decode<T>) -> Step<'a, T> {
        self.make_faulty(name, ask, body, decode, None)
    }

    #[track_caller]
    fn make_faulty<'a, T>(
        &'a self,
        name: String,
        ask: Ask,
        body: Option<Body<'a>>,
        decode: Decode<T>,
        fault: Option<Error>,
    ) -> Step<'a, T> {
        let at = Location::caller();
        let bad_name = step_name_fault(&name)
            .map(|fault| Error::terminal(format!("the step name `{name}` ({at}) {fault}")).with_code("bad-step-name"));
        let id = self.board.number(name);
        let raw = RawStep::new(self.board.clone(), id, ask, body, at).faulty(bad_name.or(fault));
        Step::new(raw, decode)
    }
}

type Decode<T> = fn(&RawValue) -> serde_json::Result<T>;

fn encode<T: Serialize>(value: &T) -> Result<Json> {
    json::of(value).map_err(|error| {
        Error::terminal(format!("{} cannot be written as JSON: {error}", std::any::type_name::<T>()))
            .with_code("unencodable")
    })
}

fn decode<T: DeserializeOwned>(outcome: &RawValue) -> serde_json::Result<T> {
    serde_json::from_str(outcome.get())
}

/// A sleep is over, whatever was recorded of it.
fn nothing(_: &RawValue) -> serde_json::Result<()> {
    Ok(())
}

fn only(outcome: &RawValue) -> serde_json::Result<EventId> {
    let [id] = decode(outcome)?;
    Ok(id)
}

fn object(input: &(impl Serialize + ?Sized)) -> Result<Json> {
    let input = json::of(input).map_err(|error| Error::terminal(format!("its input is not JSON: {error}")))?;
    match data_fault(&input) {
        None => Ok(input),
        Some(fault) => {
            Err(Error::terminal(format!("its input {fault} (it is the data of an event)")).with_code("bad-event"))
        }
    }
}

fn prefixed(name: &str, error: Error) -> Error {
    let prefixed = Error::terminal(format!("step `{name}`: {error}"));
    match error.into_fault().failure.code {
        Some(code) => prefixed.with_code(code),
        None => prefixed,
    }
}
