//! Steps that repeat a check until it has a value.

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepladder_core::json;

use super::Context;
use crate::error::ErrorCode;
use crate::{Check, Error, PollUntil, Result};

impl Context {
    /// Repeats a check until it returns a value. Use this to wait, for example, until another
    /// service has rendered a report or a payment has settled.
    ///
    /// `Ok(None)` means that there is no value yet; this uses no retry. Nothing runs between
    /// checks. An error is retried like the error of any step.
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

    /// Like [`poll_until`](Self::poll_until), with a state that each check passes to the next one.
    ///
    /// The first check receives `initial`. A check that returns [`Check::NotYet`] sets the state of
    /// the next one. A check that fails does not change it. The journal keeps the state of each
    /// check, so it may have at most 16 KiB as JSON.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # struct Page { lines: Vec<String>, cursor: u64, is_last: bool }
    /// # async fn read_log(cursor: u64) -> Result<Page> {
    /// #     Ok(Page { lines: vec!["error: disk".into()], cursor: cursor + 1, is_last: cursor == 2 })
    /// # }
    /// # async fn example(ctx: Context) -> Result<()> {
    /// // each check continues where the last one has stopped
    /// let check = async |(cursor, errors): (u64, u32)| {
    ///     let page = read_log(cursor).await?;
    ///     let errors = errors + page.lines.iter().filter(|line| line.contains("error")).count() as u32;
    ///     Ok(if page.is_last { Check::Ready(errors) } else { Check::NotYet((page.cursor, errors)) })
    /// };
    /// let minute = Duration::from_secs(60);
    /// let errors: u32 = ctx.poll_with_state("build log", (0, 0), check).every(minute).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`PollUntil`], and these terminal errors of a check:
    ///
    /// - `too-large`: the state exceeds 16 KiB.
    /// - `unencodable`: the state cannot be written as JSON.
    /// - `undecodable-memo`: the recorded state does not fit the type of the code.
    #[track_caller]
    pub fn poll_with_state<'a, T, S, F, Fut>(
        &'a self,
        name: impl Into<String>,
        initial: S,
        check: F,
    ) -> PollUntil<'a, T>
    where
        T: Serialize + DeserializeOwned,
        S: Serialize + DeserializeOwned + Send + 'a,
        F: FnOnce(S) -> Fut + Send + 'a,
        Fut: Future<Output = Result<Check<T, S>>> + Send + 'a,
    {
        PollUntil::new(self.step(name, move || {
            let state = match self.ledger.take_poll_state() {
                Some(state) => serde_json::from_str(state.get()).map_err(undecodable_state::<S>),
                None => Ok(initial),
            };
            let checking = state.map(check);
            async move {
                match checking?.await? {
                    Check::Ready(value) => Ok(value),
                    Check::NotYet(state) => Err(match json::to_json(&state) {
                        Ok(state) => Error::not_yet_with(state),
                        Err(error) => Error::terminal(format!("the state for the next check: {error}"))
                            .with_code(ErrorCode::Unencodable),
                    }),
                }
            }
        }))
    }
}

fn undecodable_state<S>(error: serde_json::Error) -> Error {
    let wanted = std::any::type_name::<S>();
    Error::terminal(format!(
        "the recorded state of the poll does not fit its type {wanted}: {error}; give the poll another name, or let the \
         type read what was recorded"
    ))
    .with_code(ErrorCode::Undecodable)
}
