//! The codes of errors that Stepladder itself makes.

use std::borrow::Cow;
use std::fmt;

use stepladder_core::Failure;

/// The code of an error that Stepladder makes. [`Error::has_code`](crate::Error::has_code) compares
/// it.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// `bad-event`: an event's data does not fit the type of a function, or an event exceeds a
    /// limit.
    BadEvent,
    /// `bad-poll`: a poll could make more than 2,000 checks.
    BadPoll,
    /// `bad-step`: a builder method of a step was called twice.
    BadStep,
    /// `bad-step-name`: a step's name is empty, too long or reserved.
    BadStepName,
    /// `bad-wait`: a wait has a condition that cannot be used.
    BadWait,
    /// `misplaced-step`: a step was polled inside the body of another step, or outside the
    /// function's own future.
    MisplacedStep,
    /// `missing-data`: no [shared data](crate::Context::data) has the type.
    MissingData,
    /// `missing-variable`: an [environment variable](crate::env()) is not set.
    MissingVariable,
    /// `nondeterminism`: the journal contains a step of another kind under the same id.
    Nondeterminism,
    /// `not-a-step`: the function awaited something that is not a step for 10 s.
    NotAStep,
    /// `panic`: the code panicked.
    Panic,
    /// `poll-timeout`: a poll had no value before its timeout.
    PollTimeout,
    /// `timeout`: the body of a step ran past its timeout.
    Timeout,
    /// `too-large`: a value exceeds 4 MiB, or the values of a run exceed 32 MiB.
    TooLarge,
    /// `undecodable-memo`: a recorded value does not fit the type of the code.
    Undecodable,
    /// `unencodable`: a value cannot be written as JSON.
    Unencodable,
}

impl ErrorCode {
    /// Returns the code as journals, the API and the dashboard show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadEvent => "bad-event",
            Self::BadPoll => "bad-poll",
            Self::BadStep => "bad-step",
            Self::BadStepName => "bad-step-name",
            Self::BadWait => "bad-wait",
            Self::MisplacedStep => "misplaced-step",
            Self::MissingData => "missing-data",
            Self::MissingVariable => "missing-variable",
            Self::Nondeterminism => "nondeterminism",
            Self::NotAStep => "not-a-step",
            Self::Panic => "panic",
            Self::PollTimeout => "poll-timeout",
            Self::Timeout => "timeout",
            Self::TooLarge => "too-large",
            Self::Undecodable => "undecodable-memo",
            Self::Unencodable => "unencodable",
        }
    }

    /// Whether a recorded failure has this code.
    pub(crate) fn is_of(self, failure: &Failure) -> bool {
        failure.code.as_deref() == Some(self.as_str())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<ErrorCode> for Cow<'static, str> {
    fn from(code: ErrorCode) -> Self {
        code.as_str().into()
    }
}
