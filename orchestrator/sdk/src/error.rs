//! The error type of functions and steps: opaque, and explicit about retries.
//!
//! [`Error`] does not implement `std::error::Error`, so that `?` converts every type that does. A
//! journal only keeps the [`Failure`] of an error.

mod data;
pub mod http;
mod panic;

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::limits::FAILURE_BYTES;
use stepladder_core::retry::RetryAdvice;
use stepladder_core::sentence::truncated;
use stepladder_core::{Failure, Json};
use stepladder_engine::executor::AdvisedFailure;

pub(crate) use panic::panic_error;
pub use stepladder_core::ErrorCode;

/// The result of steps and functions.
///
/// ```
/// use stepladder::Result;
///
/// fn port(text: &str) -> Result<u16> {
///     Ok(text.parse()?) // `?` converts every `std::error::Error`
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

type ErrorSource = Box<dyn StdError + Send + Sync + 'static>;

/// Why a step or a function failed, whether it is retried, and a code to branch on.
///
/// By default, an error is retried. There are two exceptions: an [`Error::terminal`], and an error
/// with a cause that is known to fail the same way again, such as an HTTP 400 or a missing
/// environment variable.
///
/// ```
/// # use stepladder::prelude::*;
/// fn refuse(balance: i64) -> Result<()> {
///     match balance {
///         ..0 => Err(Error::terminal("the account is overdrawn").with_code("overdrawn")),
///         0 => Err(Error::retry_after(Duration::from_secs(600), "the account is empty")),
///         _ => Ok(()),
///     }
/// }
/// assert!(refuse(-1).unwrap_err().is_terminal());
/// ```
pub struct Error(Box<ErrorParts>);

struct ErrorParts {
    source: ErrorSource,
    retry: RetryAdvice,
    code: Option<ErrorCode>,
    name: Option<Arc<str>>,
    /// The stack trace and the data of a recorded failure, which another front end may have added.
    stack: Option<Arc<str>>,
    data: Option<Json>,
}

impl Error {
    /// Creates an error that is retried, unless one of its causes is known to fail the same way
    /// again.
    pub fn new(error: impl Into<ErrorSource>) -> Self {
        let source = http::without_secrets(error.into());
        let retry = classify(&*source);
        Self::with_retry(source, retry)
    }

    /// Creates an error that is not retried.
    pub fn terminal(error: impl Into<ErrorSource>) -> Self {
        Self::with_retry(http::without_secrets(error.into()), RetryAdvice::Never)
    }

    /// Creates an error that is retried after `wait`, while retries are left.
    pub fn retry_after(wait: Duration, error: impl Into<ErrorSource>) -> Self {
        Self::with_retry(http::without_secrets(error.into()), RetryAdvice::After(wait))
    }

    fn with_retry(source: ErrorSource, retry: RetryAdvice) -> Self {
        Self(Box::new(ErrorParts { source, retry, code: None, name: None, stack: None, data: None }))
    }

    fn advised(mut self, retry: RetryAdvice) -> Self {
        self.0.retry = retry;
        self
    }

    /// Sets the code. Journals keep codes, but not error types: after a replay, failures can only
    /// be distinguished by their [`code`](Self::code). A second code replaces the first.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<ErrorCode>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// Returns the code of the error, if it has one.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_ref().map(ErrorCode::as_str)
    }

    /// Returns whether the error has this code.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// use stepladder::ErrorCode;
    ///
    /// # async fn render() -> Result<Option<String>> { Ok(None) }
    /// # async fn example(ctx: Context) -> Result<Option<String>> {
    /// match ctx.poll_until("rendered", render).await {
    ///     Ok(report) => Ok(Some(report)),
    ///     Err(error) if error.has_code(ErrorCode::PollTimeout) => Ok(None),
    ///     Err(error) => Err(error),
    /// }
    /// # }
    /// ```
    pub fn has_code(&self, code: ErrorCode) -> bool {
        self.0.code.as_ref() == Some(&code)
    }

    /// Sets the name of the error's type. Journals keep it. A function may list names that it does
    /// not retry ([`Function::non_retryable`](crate::Function::non_retryable)). A second name
    /// replaces the first.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// let error = Error::new("the card was declined").with_name("CardDeclined");
    /// assert_eq!(error.name(), Some("CardDeclined"));
    /// ```
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.0.name = Some(name.into());
        self
    }

    /// Returns the name of the error's type, if it has one. A step's error keeps the name that its
    /// body set.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Returns whether the error is never retried.
    pub fn is_terminal(&self) -> bool {
        self.0.retry == RetryAdvice::Never
    }

    /// Returns the delay before the next attempt, if the error sets one.
    pub fn retry_delay(&self) -> Option<Duration> {
        match self.0.retry {
            RetryAdvice::After(wait) => Some(wait),
            RetryAdvice::Default | RetryAdvice::Never => None,
        }
    }

    pub(crate) fn retry(&self) -> RetryAdvice {
        self.0.retry
    }

    /// Returns the error from which this one was created, if that is an `E`. The error of a step
    /// was read from the journal, so it only has a message, a code and a name.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.source.downcast_ref()
    }

    /// Converts a recorded failure to an error. The error is terminal for the function, because the
    /// step has no retries left.
    pub(crate) fn recorded(failure: Failure) -> Self {
        let Failure { message, code, name, stack, data } = failure;
        let source = http::without_secrets(message.into());
        Self(Box::new(ErrorParts { source, retry: RetryAdvice::Never, code, name, stack, data }))
    }

    /// Returns the result of a check that has no value yet. The engine does not treat it as a
    /// failure.
    pub(crate) fn not_yet() -> Self {
        Self::recorded(Failure::not_yet())
    }

    /// Returns the result of a check that has no value yet, with the state for the next check.
    pub(crate) fn not_yet_with(state: Json) -> Self {
        Failure::not_yet_with(state).map_or_else(Self::recorded, Self::recorded)
    }

    /// Adds the step's name to the start of the message, and makes the error terminal. The causes
    /// and the other parts are kept.
    pub(crate) fn in_step(self, name: &str) -> Self {
        let parts = *self.0;
        let message = format!("step `{name}`: {}", parts.source);
        let source = InvalidStepError { message, source: parts.source }.into();
        Self(Box::new(ErrorParts { source, retry: RetryAdvice::Never, ..parts }))
    }

    /// Converts the error to the form that the engine records.
    pub(crate) fn into_fault(self) -> AdvisedFailure {
        // the message may quote megabytes, so formatting stops where the journal would truncate it
        let message = truncated(format_args!("{self:#}"), FAILURE_BYTES);
        let ErrorParts { retry, code, name, stack, data, .. } = *self.0;
        AdvisedFailure { failure: Failure { message, code, name, stack, data }.bounded(), retry }
    }
}

/// An error in the definition of a step, which prevents the step from starting.
#[derive(Debug)]
struct InvalidStepError {
    message: String,
    source: ErrorSource,
}

impl fmt::Display for InvalidStepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for InvalidStepError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// Converts an error back, for [`Error::terminal`], [`Error::retry_after`] and `Box<dyn Error>`.
/// The chain of sources is kept.
impl From<Error> for ErrorSource {
    fn from(error: Error) -> Self {
        error.0.source
    }
}

/// `{}` shows the error; `{:#}` shows the error and its causes, separated by colons.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.source.to_string();
        f.write_str(&shown)?;
        if !f.alternate() {
            return Ok(());
        }
        let mut cause = self.0.source.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // many errors already contain the text of their cause
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
                shown = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let retry = match self.0.retry {
            RetryAdvice::Default => "retryable",
            RetryAdvice::Never => "terminal",
            RetryAdvice::After(_) => "retryable later",
        };
        write!(f, "{self:#} ({retry}")?;
        for (part, text) in [("name", self.name()), ("code", self.code())] {
            if let Some(text) = text {
                write!(f, ", {part} {text}")?;
            }
        }
        f.write_str(")")
    }
}

/// Returns the retry advice of the first cause that has one.
fn classify(error: &(dyn StdError + 'static)) -> RetryAdvice {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<std::env::VarError>() {
            return RetryAdvice::Never;
        }
        if let Some(retry) = http::classify(error) {
            return retry;
        }
        cause = error.source();
    }
    RetryAdvice::Default
}

/// Sets retry advice or a code on the error of a result.
///
/// ```
/// # use stepladder::prelude::*;
/// fn parse(text: &str) -> Result<u32> {
///     text.parse::<u32>().terminal()
/// }
/// assert!(parse("x").unwrap_err().is_terminal());
///
/// let error = "x".parse::<u32>().with_code("not-a-number").unwrap_err();
/// assert_eq!(error.code(), Some("not-a-number"));
/// ```
pub trait ResultExt<T> {
    /// Makes the error terminal.
    ///
    /// # Errors
    /// The original error, but terminal.
    fn terminal(self) -> Result<T>;

    /// Makes the error retryable after `wait`, while retries are left.
    ///
    /// # Errors
    /// The original error, with this delay.
    fn retry_after(self, wait: Duration) -> Result<T>;

    /// Sets a code to branch on.
    ///
    /// # Errors
    /// The original error, with this code.
    fn with_code(self, code: impl Into<ErrorCode>) -> Result<T>;
}

impl<T, E: Into<ErrorSource> + 'static> ResultExt<T> for std::result::Result<T, E> {
    fn terminal(self) -> Result<T> {
        self.map_err(|error| converted(error).advised(RetryAdvice::Never))
    }

    fn retry_after(self, wait: Duration) -> Result<T> {
        self.map_err(|error| converted(error).advised(RetryAdvice::After(wait)))
    }

    fn with_code(self, code: impl Into<ErrorCode>) -> Result<T> {
        self.map_err(|error| converted(error).with_code(code))
    }
}

/// Converts any error to an [`Error`]. An [`Error`] is not changed and keeps its code and its retry
/// advice.
fn converted<E: Into<ErrorSource> + 'static>(error: E) -> Error {
    let mut error = Some(error);
    let own = (&mut error as &mut dyn Any).downcast_mut::<Option<Error>>().and_then(Option::take);
    match (own, error) {
        (Some(own), _) => own,
        (None, Some(other)) => Error::new(other),
        (None, None) => Error::new("an error without a cause"),
    }
}

#[cfg(test)]
mod tests;
