//! The one error of functions and steps: opaque, and clear about whether trying again makes sense.
//!
//! Not itself a `std::error::Error`, so that every one of those turns into it by `?`. What is not here: the engine's
//! view of it ([`Failure`]), which is all that survives the journal.

pub mod http;
mod panic;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use stepladder_core::Failure;
use stepladder_core::limits::FAILURE_BYTES;
use stepladder_core::retry::Retry;
use stepladder_core::sentence::cut;
use stepladder_engine::program::Fault;

pub(crate) use panic::panicked;

/// What steps and functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// Why a step or a function failed, whether trying again makes sense, and a code to branch on.
///
/// Everything is retried unless it says otherwise: [`Error::terminal`], or an error that is known to fail the same
/// way again (an HTTP 400, a missing environment variable).
pub struct Error(Box<Inner>);

struct Inner {
    source: Source,
    retry: Retry,
    code: Option<Cow<'static, str>>,
}

impl Error {
    /// An error that is retried, unless its causes say that this is no use.
    pub fn new(error: impl Into<Source>) -> Self {
        let source = http::without_secrets(error.into());
        let retry = classify(&*source);
        Self::with_retry(source, retry)
    }

    /// An error that is not retried: it would fail the same way.
    pub fn terminal(error: impl Into<Source>) -> Self {
        Self::with_retry(http::without_secrets(error.into()), Retry::Never)
    }

    /// An error that is retried after `wait` instead of the usual wait, while retries are left.
    pub fn retry_after(wait: Duration, error: impl Into<Source>) -> Self {
        Self::with_retry(http::without_secrets(error.into()), Retry::After(wait))
    }

    fn with_retry(source: Source, retry: Retry) -> Self {
        Self(Box::new(Inner { source, retry, code: None }))
    }

    /// The same error with a code. Error types do not survive the journal, codes do: after a replay,
    /// [`code`](Self::code) is what tells one failure from another. A second code replaces the first: where an error is
    /// passed on, it may get another.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// The code, if it has one.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What it says of trying again.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Whether it is never retried.
    pub fn is_terminal(&self) -> bool {
        self.0.retry == Retry::Never
    }

    /// The error that it was made from, if it was an `E`. Only where the error is made: what comes out of a step has
    /// been through the journal and keeps its message and its code.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.source.downcast_ref()
    }

    /// A memoized failure, as the handler sees it: terminal, since the step's retries are used up.
    pub(crate) fn memoized(failure: Failure) -> Self {
        let error = Self::terminal(failure.message);
        match failure.code {
            Some(code) => error.with_code(code),
            None => error,
        }
    }

    /// What a check says that is to be made again: no failure.
    pub(crate) fn not_yet() -> Self {
        Self::memoized(Failure::not_yet())
    }

    /// What the engine records of it.
    pub(crate) fn into_fault(self) -> Fault {
        // a message may quote megabytes; what no journal keeps is not even written out
        let message = cut(format_args!("{self:#}"), FAILURE_BYTES);
        let failure = Failure { message, code: self.0.code.map(Cow::into_owned) }.bounded();
        Fault { failure, retry: self.0.retry }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// Lets an [`Error`] go back into [`Error::terminal`], [`Error::retry_after`] and `Box<dyn Error>`.
impl From<Error> for Source {
    fn from(error: Error) -> Self {
        error.0.source
    }
}

/// `{}` is the error, `{:#}` the error and its causes, separated by colons.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.source.to_string();
        f.write_str(&said)?;
        if !f.alternate() {
            return Ok(());
        }
        let mut cause = self.0.source.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // many errors repeat their cause in their own text
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let retry = match self.0.retry {
            Retry::Default => "retryable",
            Retry::Never => "terminal",
            Retry::After(_) => "retryable later",
        };
        write!(f, "{self:#} ({retry}")?;
        match &self.0.code {
            Some(code) => write!(f, ", code {code})"),
            None => f.write_str(")"),
        }
    }
}

/// What an error's causes say of trying again.
fn classify(error: &(dyn StdError + 'static)) -> Retry {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<std::env::VarError>() {
            return Retry::Never;
        }
        if let Some(retry) = http::classify(error) {
            return retry;
        }
        cause = error.source();
    }
    Retry::Default
}

/// Says of any error what is to be done about it: `charge(card).await.terminal()?`.
pub trait ResultExt<T> {
    /// Not to be retried.
    ///
    /// # Errors
    /// The error, terminal.
    fn terminal(self) -> Result<T>;

    /// To be retried after `wait`, while retries are left.
    ///
    /// # Errors
    /// The error, with the wait.
    fn retry_after(self, wait: Duration) -> Result<T>;

    /// With a code to branch on.
    ///
    /// # Errors
    /// The error, with the code.
    fn code(self, code: impl Into<Cow<'static, str>>) -> Result<T>;
}

impl<T, E: Into<Source>> ResultExt<T> for std::result::Result<T, E> {
    fn terminal(self) -> Result<T> {
        self.map_err(Error::terminal)
    }

    fn retry_after(self, wait: Duration) -> Result<T> {
        self.map_err(|error| Error::retry_after(wait, error))
    }

    fn code(self, code: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|error| Error::new(error).with_code(code))
    }
}

#[cfg(test)]
mod tests;
