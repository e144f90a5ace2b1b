//! The context of a run: what a function creates steps with.

mod calls;
mod random;
mod waits;

use std::panic::Location;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stepladder_core::decide::{Operation, StepOptions};
use stepladder_core::limits::{NAME_CHARS, step_name_problem};
use stepladder_core::{Json, RunId, Timestamp, json};
use uuid::Uuid;

use crate::compensation::{Compensating, Compensation};
use crate::error::ErrorCode;
use crate::ledger::ReplayLedger;
use crate::step::{Body, Decode, Recorded, UntypedStep};
use crate::{Error, Log, Map, PollUntil, Result, SharedData, Step};

/// The run that a function works on. It creates steps, and has the run's time, randomness and log.
///
/// Code between steps runs again at every replay. Put it in a [`step`](Self::step) if it has an
/// effect, takes long, or may return something else the second time. For time and randomness use
/// [`now`](Self::now), [`uuid`](Self::uuid) and [`random`](Self::random), which return the same at
/// every replay.
///
/// A context is not `Clone`: its steps belong to the function's own future, not to other tasks.
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
    data: SharedData,
    attempt: u32,
    /// Seals the tokens of signals.
    secret: u128,
}

/// What a [`Context`] is created from.
pub(crate) struct ContextParts {
    pub(crate) ledger: Arc<ReplayLedger>,
    pub(crate) data: SharedData,
    pub(crate) attempt: u32,
    pub(crate) secret: u128,
}

impl Context {
    pub(crate) fn new(parts: ContextParts) -> Self {
        let ContextParts { ledger, data, attempt, secret } = parts;
        Self { ledger, data, attempt, secret }
    }

    /// Creates a step with a body. The body's value is recorded as JSON, and a replay returns the
    /// record.
    ///
    /// If a name is used again it is numbered in the order in which the steps are created: `name`,
    /// `name:1`, `name:2`. A name has at most 255 characters and must not end in `:` and digits.
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
        let body: Body<'a> = Box::new(move || {
            let running = body();
            Box::pin(async move { encode(&running.await?) })
        });
        Step::new(self.create(name.into(), Operation::Run(StepOptions::default()), Some(body), decode))
    }

    /// Creates one step for each item, all with this name. At most [`limit`](Map::limit) of them
    /// are active.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn fetch(page: u32) -> Result<String> { Ok(page.to_string()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let pages: Vec<String> = ctx.map("fetch", 1..=20, fetch).limit(4).await?;
    /// # Ok(()) }
    /// ```
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
        Map::new(steps)
    }

    /// Repeats a check until it returns a value: a report that another service renders, a payment
    /// that settles.
    ///
    /// `Ok(None)` means that there is no value yet; it uses no retry. Nothing runs between checks.
    /// An error is retried like the error of any step.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn report(id: &str) -> Result<Option<String>> { Ok(Some(id.into())) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let minute = Duration::from_secs(60);
    /// let polled = ctx.poll_until("rendered", || report("r-7"));
    /// let report = polled.every(minute).timeout(60 * minute).await?;
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

    /// Registers how something is undone if the run fails for good from now on.
    ///
    /// Unlike [`Step::undo`] it does not depend on a step that succeeded. Use it for a step that
    /// may have its effect although it fails. The body runs as the step `undo <name>`, and must
    /// accept that there is nothing to undo. Call this from the function, not from the body of a
    /// step.
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
        let compensate = Box::new(move || -> Compensating { Box::pin(undo()) });
        // a name that a step could not have must not keep the compensation from running
        let name: String = name.as_ref().chars().filter(|c| !c.is_control()).take(NAME_CHARS).collect();
        self.ledger.add_compensation(Compensation { name: name.into(), at: Location::caller(), compensate });
    }

    /// Adds a line to the run's log, once and not at every replay. The line is text, or a [`Log`]
    /// with a level and fields.
    ///
    /// It is recorded with the next write of the run, and goes to the process's own log (`tracing`,
    /// target `stepladder::log`). A line of a step's body belongs to the attempt, and is recorded
    /// with its outcome.
    ///
    /// A line has at most 4 KiB, a run at most 1,000 lines and 256 KiB. A function's line is
    /// identified by the number of outcomes before it, and of lines since. If code between steps is
    /// not deterministic, lines may appear twice or not at all.
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

    /// Returns the value of this type that all functions share: a client, a pool, settings.
    /// `App::data` adds it.
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
    /// Terminal with code `missing-data` if no value of the type was added.
    pub fn data<T: Send + Sync + 'static>(&self) -> Result<&T> {
        self.data.get()
    }

    /// Returns when the last outcome that the function has received was recorded, or when the run
    /// was created. It is the same at every replay.
    pub fn now(&self) -> Timestamp {
        self.ledger.now()
    }

    /// Returns a random (version 4) UUID, the same at every replay. It is derived from the run's
    /// id, so it is not a secret. Within a step's body it is the same for every attempt, which
    /// makes it an idempotency key.
    pub fn uuid(&self) -> Uuid {
        random::uuid(&self.ledger)
    }

    /// Returns a random number, the same at every replay. It is derived from the run's id, so it is
    /// not a secret.
    pub fn random(&self) -> u64 {
        random::number(&self.ledger)
    }

    /// Returns the run's id.
    pub fn run_id(&self) -> RunId {
        self.ledger.run()
    }

    /// Returns the function's attempt, from 1. This number counts errors that the function
    /// returned, not those of its steps.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    #[track_caller]
    fn create<'a, T>(
        &'a self,
        name: String,
        ask: Operation,
        body: Option<Body<'a>>,
        decode: Decode<T>,
    ) -> Recorded<'a, T> {
        let at = Location::caller();
        let name_error = step_name_problem(&name).map(|fault| {
            Error::terminal(format!("the step name `{name}` ({at}) {fault}")).with_code(ErrorCode::BadStepName)
        });
        let id = self.ledger.assign_id(name);
        let mut step = UntypedStep::new(self.ledger.clone(), id, ask, body, at);
        if let Some(error) = name_error {
            step.fail_with(error);
        }
        Recorded::new(step, decode)
    }
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
