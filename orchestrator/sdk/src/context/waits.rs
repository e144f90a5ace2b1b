//! Steps that wait: sleeps, events and signals.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stepladder_core::Timestamp;
use stepladder_core::decide::Operation;
use stepladder_core::signal::CallbackToken;
use stepladder_core::waiting::{EventMatch, EventWait};

use super::Context;
use crate::wait::{self, TIMEOUT};
use crate::{EventData, Sleep, WaitForEvent, WaitForSignal};

impl Context {
    /// Sleeps for this long, from the first poll on. Nothing runs in the meantime. A sleep may take
    /// months.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn example(ctx: Context) -> Result<()> {
    /// ctx.sleep("a month", Duration::from_secs(30 * 86_400)).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn sleep(&self, name: impl Into<String>, duration: Duration) -> Sleep<'_> {
        Sleep::new(self.create_step(name.into(), Operation::SleepFor(duration), None, decode_nothing))
    }

    /// Sleeps until a time: a [`Timestamp`], a `jiff::Timestamp` or a `SystemTime`. If the time has
    /// passed, the step ends immediately. If the time is outside the years 0 to 9999, the step
    /// fails.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let tomorrow = ctx.now() + Duration::from_secs(86_400);
    /// ctx.sleep_until("tomorrow", tomorrow).await?;
    ///
    /// let launch: jiff::Timestamp = "2030-01-01T09:00:00Z".parse()?;
    /// ctx.sleep_until("launch", launch).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn sleep_until(&self, name: impl Into<String>, time: impl Into<Timestamp>) -> Sleep<'_> {
        Sleep::new(self.create_step(name.into(), Operation::SleepUntil(time.into()), None, decode_nothing))
    }

    /// Waits for the first event of this type that arrives from now on.
    /// [`matching`](WaitForEvent::matching) and [`filter`](WaitForEvent::filter) restrict which
    /// events count. Returns `None` if no event arrives within 7 days, or within the
    /// [`timeout`](WaitForEvent::timeout).
    ///
    /// An event is delivered to a run once. It completes all waits for it that are open at that
    /// time. The event that started the run completes no wait.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # #[derive(Serialize, Deserialize, Event)] #[event(name = "brief/approved")]
    /// # struct Approved { brief_id: String, by: String }
    /// # async fn example(ctx: Context, id: String) -> Result<()> {
    /// let approval = ctx.wait_for_event::<Approved>("approval").matching("brief_id", &id).await?;
    /// let approval = approval.ok_or_else(|| Error::terminal("not approved within 7 days"))?;
    /// ctx.log(format!("approved by {}", approval.data.by));
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn wait_for_event<T: EventData>(&self, name: impl Into<String>) -> WaitForEvent<'_, T> {
        let wait =
            EventWait { events: T::NAMES.iter().map(|name| (*name).into()).collect(), matching: EventMatch::Any };
        let ask = Operation::WaitForEvent { wait: Arc::new(wait), timeout: TIMEOUT };
        WaitForEvent::new(self.create_step(name.into(), ask, None, wait::decode_event))
    }

    /// Waits for a third party to post data to the [`token`](WaitForSignal::token) of this wait.
    /// The function must give the token to the third party first. Returns `None` if nothing is
    /// posted within 7 days, or within the [`timeout`](WaitForSignal::timeout).
    ///
    /// Data that is posted before the wait starts is kept until then. The third party may post a
    /// failure instead, which is then the error of this wait.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Paid { cents: u64 }
    /// # async fn order(callback: &str) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// let payment = ctx.wait_for_signal::<Paid>("payment").timeout(Duration::from_secs(3_600));
    /// let callback = format!("https://example.com/v1/signals/{}", payment.token());
    /// ctx.step("ask for payment", || order(&callback)).await?;
    /// let paid = payment.await?.ok_or_else(|| Error::terminal("not paid within an hour"))?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn wait_for_signal<T: DeserializeOwned>(&self, name: impl Into<String>) -> WaitForSignal<'_, T> {
        let step = self.create_step(
            name.into(),
            Operation::WaitForSignal { timeout: TIMEOUT, heartbeat: None, name: None },
            None,
            wait::decode_signal,
        );
        let token = CallbackToken::new(self.run_id(), self.run.secret, step.id()).to_string();
        WaitForSignal::new(step, token)
    }
}

/// Decodes the outcome of a sleep, which has no value, whatever its record contains.
fn decode_nothing(_: &RawValue) -> serde_json::Result<()> {
    Ok(())
}
