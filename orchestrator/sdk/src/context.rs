//! The context of a run, with which a function creates steps.

mod calls;
mod item;
mod polls;
mod random;
mod waits;

use std::panic::Location;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stepladder_core::decide::{Operation, StepOptions};
use stepladder_core::limits::{NAME_CHARS, name_problem, step_name_problem};
use stepladder_core::{Json, Label, RunId, StepId, Timestamp, json};
use uuid::Uuid;

use crate::codec::RunPayloads;
use crate::compensation::{Compensation, CompensationFuture};
use crate::error::ErrorCode;
use crate::ledger::ReplayLedger;
use crate::map::RunItem;
use crate::step::{DecodeFn, RecordedStep, StepBodyFn, UntypedStep};
use crate::{Error, ItemSettings, Log, Map, MapSteps, Result, SharedData, Step};
pub(crate) use item::ItemContexts;
use item::ItemScope;

/// The run that a function executes. The context creates steps, and provides the time, randomness
/// and log of the run.
///
/// Code between steps runs again in every replay. Put it into a [`step`](Self::step) if it has an
/// effect, takes long, or may return something else the second time. For time and randomness use
/// [`now`](Self::now), [`uuid`](Self::uuid) and [`random`](Self::random), which return the same in
/// every replay.
///
/// A context is not `Clone`, because its steps belong to the future of the function and must not
/// move to other tasks.
///
/// ```
/// # use stepladder::prelude::*;
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "user/signed.up")]
/// # struct SignedUp { email: String }
/// # async fn mail(to: &str, text: &str) -> Result<()> { Ok(()) }
/// async fn welcome(ctx: Context, event: Event<SignedUp>) -> Result<()> {
///     let to = &event.data.email;
///     ctx.step("welcome", || mail(to, "Welcome!")).await?;
///     ctx.sleep("three days", Duration::from_secs(3 * 86_400)).await?;
///     ctx.step("ask", || mail(to, "How is it going?")).await
/// }
/// ```
pub struct Context {
    ledger: Arc<ReplayLedger>,
    run: Arc<ContextParts>,
    /// The item of a map to which the context belongs; `None` for the context of the run.
    item: Option<ItemScope>,
}

/// What all contexts of a run share.
pub(crate) struct ContextParts {
    pub(crate) data: SharedData,
    /// Encodes what the run sends.
    pub(crate) payloads: RunPayloads,
    pub(crate) attempt: u32,
    /// The secret of the run, which seals callback tokens.
    pub(crate) secret: u128,
}

impl Context {
    pub(crate) fn new(ledger: Arc<ReplayLedger>, run: ContextParts) -> Self {
        Self { ledger, run: Arc::new(run), item: None }
    }

    /// Creates a step with a body. The value that the body returns is recorded as JSON, and a
    /// replay returns the recorded value.
    ///
    /// If several steps have the same name, they are numbered in the order in which they are
    /// created: `name`, `name:1`, `name:2`. A name has at most 255 characters and must not end in
    /// `:` and digits.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn fetch(id: u32) -> Result<String> { Ok(id.to_string()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let limit = Duration::from_secs(30);
    /// let page = ctx.step("fetch", || fetch(7)).retries(5).timeout(limit).await?;
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
        let body = Some(encoded_body(body));
        Step::new(self.create_step(name.into(), Operation::Run(StepOptions::default()), body, decode))
    }

    /// Creates one step for each item. At most [`limit`](crate::ItemMap::limit) of them are active
    /// at the same time. All steps have this name, so they are numbered. With
    /// [`named`](crate::ItemMap::named), their ids contain the names of the items: `fetch/acme`.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn fetch(page: u32) -> Result<String> { Ok(page.to_string()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let pages: Vec<String> = ctx.map("fetch", 1..=20, fetch).limit(4).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn map<'a, I, T, F, Fut>(&'a self, name: impl Into<String>, items: I, f: F) -> Map<'a, I::Item, T>
    where
        I: IntoIterator,
        I::Item: Send + 'a,
        T: Serialize + DeserializeOwned + Send + 'a,
        F: Fn(I::Item) -> Fut + Send + Sync + 'a,
        Fut: Future<Output = Result<T>> + Send + 'a,
    {
        let (f, items) = (Arc::new(f), items.into_iter().collect::<Vec<_>>());
        let steps = self.item_steps(name.into(), items.len());
        let contexts = steps.contexts().clone();
        let run_item: RunItem<'a, I::Item, T, _> =
            Box::new(move |settings: &ItemSettings<'a, Step<'a, T>>, place, item| {
                let f = f.clone();
                let body = Some(encoded_body(move || f(item)));
                let step = self.create_item_step(&steps, &place, Operation::Run(StepOptions::default()), body, decode);
                Box::pin(settings.apply(Step::new(step)))
            });
        Map::new(contexts, items, ItemSettings::new(), usize::MAX, run_item)
    }

    /// Executes several steps, sleeps, waits and calls for each item. At most
    /// [`limit`](crate::ItemMap::limit) items are active at the same time.
    ///
    /// Each item gets a context of its own. The ids of its steps start with the names of the map
    /// and of the item, for example `enrich/acme/fetch`. The item's random values do not depend on
    /// other items. The name of an item is its number, or that which
    /// [`named`](crate::ItemMap::named) sets.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # struct Client { name: String }
    /// # async fn fetch(client: &Client) -> Result<String> { Ok(client.name.clone()) }
    /// # async fn store(page: &str) -> Result<usize> { Ok(page.len()) }
    /// # async fn example(ctx: Context, clients: Vec<Client>) -> Result<()> {
    /// let enriched = ctx.map_steps("enrich", clients, async |ctx: Context, client: Client| {
    ///     let page = ctx.step("fetch", || fetch(&client)).await?;
    ///     ctx.sleep("a minute", Duration::from_secs(60)).await?;
    ///     ctx.step("store", || store(&page)).await
    /// });
    /// let sizes: Vec<usize> = enriched.named(|client| client.name.clone()).limit(50).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn map_steps<'a, I, T, F, Fut>(&self, name: impl Into<String>, items: I, f: F) -> MapSteps<'a, I::Item, T>
    where
        I: IntoIterator,
        I::Item: Send + 'a,
        T: Send + 'a,
        F: Fn(Self, I::Item) -> Fut + Send + Sync + 'a,
        Fut: Future<Output = Result<T>> + Send + 'a,
    {
        let contexts = self.item_contexts(name.into());
        let of_items = contexts.clone();
        let run_item: RunItem<'a, I::Item, T, ()> =
            Box::new(move |(), place, item| Box::pin(f(of_items.create(place.name), item)));
        MapSteps::new(contexts, items.into_iter().collect(), (), usize::MAX, run_item)
    }

    /// Registers a compensation: `undo` runs if the run fails permanently from now on.
    ///
    /// Unlike [`Step::undo`], this does not depend on the success of a step. Use it for a step that
    /// may have had its effect although it failed. The compensation runs as the step `undo <name>`,
    /// and must work even if there is nothing to undo. Call this from the function, not from the
    /// body of a step.
    ///
    /// ```
    /// # use stepladder::prelude::*;
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
        let compensate = Box::new(move || -> CompensationFuture { Box::pin(undo()) });
        // an invalid name must not prevent the compensation, so it is corrected
        let name: String = self.full_name(name.as_ref()).chars().filter(|c| !c.is_control()).take(NAME_CHARS).collect();
        self.ledger.add_compensation(Compensation { name: name.into(), at: Location::caller(), compensate });
    }

    /// Adds a line to the run's log, once and not in every replay. The line is a string, or a
    /// [`Log`] with a level and fields.
    ///
    /// The line is recorded with the next write of the run. It also goes to the log of the process
    /// (`tracing`, target `stepladder::log`). A line from the body of a step belongs to the
    /// attempt, and is recorded with the outcome of the attempt.
    ///
    /// A line has at most 4 KiB, and a run at most 1,000 lines and 256 KiB. A line of a function is
    /// identified by the number of outcomes before it, and the number of lines since the last of
    /// them. If code between steps is not deterministic, lines may appear twice or not at all.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn rows() -> Result<u32> { Ok(7) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let rows = ctx.step("count", rows).await?;
    /// ctx.log(format!("{rows} rows"));
    /// ctx.log(Log::warn("fewer than usual").with("rows", rows));
    /// # Ok(()) }
    /// ```
    pub fn log(&self, line: impl Into<Log>) {
        self.ledger.log(line.into().into_line());
    }

    /// Adds a label to the run, by which people find it: in the dashboard, by `stepladder runs
    /// --label`, and over REST. `Function::label` adds labels from the event; this one may use the
    /// results of steps.
    ///
    /// The label is recorded with the next write of the run. Adding it again has no effect. A run
    /// has at most 8 labels. A key has at most 64 characters (letters, digits, `_`, `-`, `.`), a
    /// value at most 256 bytes.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn plan_of(client: &str) -> Result<String> { Ok("pro".into()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let plan = ctx.step("find plan", || plan_of("cust-42")).await?;
    /// ctx.label("plan", plan)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Terminal with the code `bad-label` if the key or the value is invalid, if the run has 8
    /// labels, if its label with this key has another value, or in the body of a step.
    pub fn label(&self, key: impl AsRef<str>, value: impl ToString) -> Result<()> {
        let label = Label::new(key.as_ref(), &value.to_string());
        label
            .and_then(|label| self.ledger.add_label(label))
            .map_err(|problem| Error::terminal(problem).with_code(ErrorCode::BadLabel))
    }

    /// Returns the value of this type that all functions share, for example a client, a pool or
    /// settings. `App::data` adds such a value.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # struct Mailer;
    /// # impl Mailer { async fn send(&self, to: &str) -> Result<()> { Ok(()) } }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// ctx.step("mail", async || ctx.data::<Mailer>()?.send("ada@example.com").await).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// Terminal with the code `missing-data` if no value of this type was added.
    pub fn data<T: Send + Sync + 'static>(&self) -> Result<&T> {
        self.run.data.get()
    }

    /// Returns the time at which the last outcome that the function has received was recorded, or
    /// at which the run was created. It is the same in every replay.
    pub fn now(&self) -> Timestamp {
        self.ledger.now()
    }

    /// Returns a random (version 4) UUID, which is the same in every replay. It is derived from the
    /// run's id, so it is not a secret. Within the body of a step, it is the same in every attempt,
    /// which makes it suitable as an idempotency key.
    pub fn uuid(&self) -> Uuid {
        random::uuid(self)
    }

    /// Returns a random number, which is the same in every replay. It is derived from the run's id,
    /// so it is not a secret.
    pub fn random(&self) -> u64 {
        random::draw_number(self)
    }

    /// Returns the run's id.
    pub fn run_id(&self) -> RunId {
        self.ledger.run()
    }

    /// Returns the number of the function's attempt, from 1. The number increases when the function
    /// itself returns an error, but not when a step fails.
    pub fn attempt(&self) -> u32 {
        self.run.attempt
    }

    #[track_caller]
    fn create_step<'a, T>(
        &'a self,
        name: String,
        ask: Operation,
        body: Option<StepBodyFn<'a>>,
        decode: DecodeFn<T>,
    ) -> RecordedStep<'a, T> {
        let at = Location::caller();
        let (name, fault) = self.check_name(name);
        let fault = fault.map(|fault| bad_step_name(&name, at, &fault));
        let place = StepPlace { id: self.ledger.assign_id(name), at, fault };
        self.create_step_at(place, ask, body, decode)
    }

    fn create_step_at<'a, T>(
        &'a self,
        place: StepPlace,
        ask: Operation,
        body: Option<StepBodyFn<'a>>,
        decode: DecodeFn<T>,
    ) -> RecordedStep<'a, T> {
        let mut step = UntypedStep::new(self.ledger.clone(), place.id, ask, body, place.at);
        if let Some(error) = place.fault {
            step.fail_with(error);
        }
        RecordedStep::new(step, decode)
    }

    /// Returns the name that a step has in the run: within an item, the item's prefix is added.
    fn full_name(&self, name: &str) -> String {
        match &self.item {
            None => name.to_owned(),
            Some(item) => format!("{}{name}", item.prefix()),
        }
    }

    /// Returns the name that a step has in the run, and why no step can have this name.
    fn check_name(&self, name: String) -> (String, Option<String>) {
        let fault = name_problem(&name);
        let name = if self.item.is_some() { self.full_name(&name) } else { name };
        let fault = fault.or_else(|| step_name_problem(&name));
        (name, fault)
    }
}

/// The id of a step, its place in the code, and why no step can have its name.
struct StepPlace {
    id: StepId,
    at: &'static Location<'static>,
    fault: Option<Error>,
}

fn bad_step_name(name: &str, at: &Location<'_>, fault: &str) -> Error {
    Error::terminal(format!("the step name `{name}` ({at}) {fault}")).with_code(ErrorCode::BadStepName)
}

/// Returns a body that encodes what `body` returns.
fn encoded_body<'a, T, F, Fut>(body: F) -> StepBodyFn<'a>
where
    T: Serialize,
    F: FnOnce() -> Fut + Send + 'a,
    Fut: Future<Output = Result<T>> + Send + 'a,
{
    Box::new(move || {
        let running = body();
        Box::pin(async move { encode(&running.await?) })
    })
}

fn encode<T: Serialize>(value: &T) -> Result<Json> {
    json::to_json(value).map_err(|error| {
        Error::terminal(format!("{} cannot be written as JSON: {error}", std::any::type_name::<T>()))
            .with_code(ErrorCode::Unencodable)
    })
}

fn decode<T: DeserializeOwned>(outcome: &RawValue) -> serde_json::Result<T> {
    serde_json::from_str(outcome.get())
}
