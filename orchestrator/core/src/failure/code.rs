//! The code of an error.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::NAME_CHARS;

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal,)+) => {
        /// The code of an error: one that Stepladder defines, or one of the application.
        ///
        /// ```
        /// use stepladder_core::ErrorCode;
        ///
        /// assert_eq!(ErrorCode::from("poll-timeout"), ErrorCode::PollTimeout);
        /// assert_eq!(ErrorCode::from("declined").as_str(), "declined");
        /// ```
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])+ $name,)+
            /// The check of a poll returned no value yet. This is not an error.
            #[doc(hidden)]
            NotYet,
            /// A code that the application chose.
            Other(Arc<str>),
        }

        impl ErrorCode {
            /// Returns the code as journals, the API and the dashboard show it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)+
                    Self::NotYet => NOT_YET,
                    Self::Other(text) => text,
                }
            }

            fn own(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)+
                    NOT_YET => Some(Self::NotYet),
                    _ => None,
                }
            }
        }
    };
}

/// The string that journals store for [`ErrorCode::NotYet`].
const NOT_YET: &str = "stepladder/not-yet";

error_codes! {
    /// An event's data does not match the type that a function expects, or an event exceeds a
    /// limit.
    BadEvent = "bad-event",
    /// A label of a run is invalid, is one too many, or would change.
    BadLabel = "bad-label",
    /// Two items of a map have the same name, an item's name cannot be used, or a map has fewer
    /// items than must succeed.
    BadMap = "bad-map",
    /// A poll could make more than 2,000 checks.
    BadPoll = "bad-poll",
    /// A builder method of a step or a map was called twice.
    BadStep = "bad-step",
    /// A step's name is empty, too long or reserved.
    BadStepName = "bad-step-name",
    /// The condition of a wait cannot be used.
    BadWait = "bad-wait",
    /// A called run was cancelled.
    Cancelled = "cancelled",
    /// No heartbeat came in time for a wait for a callback.
    HeartbeatTimeout = "heartbeat-timeout",
    /// The worker died during ten attempts of a step in a row, perhaps out of memory or time.
    Interrupted = "interrupted",
    /// A called run did not end within the timeout of its call. The called run goes on.
    InvokeTimeout = "invoke-timeout",
    /// A step was polled inside the body of another step, or outside the function's own future.
    MisplacedStep = "misplaced-step",
    /// The app contains no shared data of the requested type (`ctx.data`).
    MissingData = "missing-data",
    /// An environment variable is not set.
    MissingVariable = "missing-variable",
    /// The end of a sleep lies outside the years 0 to 9999.
    NoMoment = "no-moment",
    /// The journal contains a step of another kind under the same id, one id is asked for twice at
    /// once, a finished step is reported as executed again, or a step that starts at most once is
    /// executed while its executor is polled.
    Nondeterminism = "nondeterminism",
    /// The function awaited something that is not a step for 10 s.
    NotAStep = "not-a-step",
    /// An attempt of a step that starts at most once left no outcome. Its body may have taken
    /// effect.
    OutcomeUnknown = "outcome-unknown",
    /// The code panicked.
    Panic = "panic",
    /// A poll had no value before its timeout.
    PollTimeout = "poll-timeout",
    /// A called run was skipped.
    Skipped = "skipped",
    /// The body of a step ran past its timeout.
    Timeout = "timeout",
    /// The timeout of a step is longer than its worker may run.
    TimeoutTooLong = "timeout-too-long",
    /// A value exceeds 4 MiB, or the values of a run exceed 32 MiB.
    TooLarge = "too-large",
    /// A recorded value does not match the type that the code expects.
    Undecodable = "undecodable-memo",
    /// A value cannot be written as JSON.
    Unencodable = "unencodable",
    /// A called function is not registered.
    UnknownFunction = "unknown-function",
}

impl ErrorCode {
    /// Returns whether Stepladder defines this code.
    pub fn is_own(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    pub(super) fn bounded(self) -> Self {
        match self {
            Self::Other(text) if text.contains('\0') || text.chars().nth(NAME_CHARS).is_some() => {
                let chars = text.chars().take(NAME_CHARS).map(|c| if c == '\0' { '\u{fffd}' } else { c });
                chars.collect::<String>().into()
            }
            code => code,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<&str> for ErrorCode {
    fn from(text: &str) -> Self {
        Self::own(text).unwrap_or_else(|| Self::Other(text.into()))
    }
}

impl From<String> for ErrorCode {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Cow<'_, str>> for ErrorCode {
    fn from(text: Cow<'_, str>) -> Self {
        (*text).into()
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer).map(Self::from)
    }
}
