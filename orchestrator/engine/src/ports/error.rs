//! Failures of the storage and the queue.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use stepladder_core::sentence::WithCauses;

/// A failure of the storage or the queue. No work is lost, because the wake is delivered again
/// soon. After a [permanent](StoreError::is_permanent) failure, the wake ends as a dead letter,
/// which can be redriven.
#[derive(Clone, Debug)]
pub enum StoreError {
    /// The store is throttled, unreachable or out of disk. A later retry may help.
    Unavailable(StoreErrorReason),
    /// The store returned data that cannot be read. A retry cannot help.
    Unreadable(StoreErrorReason),
    /// The store refuses the call for a lasting reason, for example a missing permission or a
    /// deleted queue. The message says what to do.
    Refused(StoreErrorReason),
}

/// Why a call failed: a sentence, and the error that caused it, if there is one.
#[derive(Clone, Debug)]
pub struct StoreErrorReason {
    sentence: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreErrorReason {
    /// Adds the error that caused the failure. Its text may repeat that of the sentence.
    #[must_use]
    pub fn because(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }
}

impl StoreErrorReason {
    /// Returns the sentence without the cause.
    pub fn as_str(&self) -> &str {
        &self.sentence
    }
}

impl<S: Into<String>> From<S> for StoreErrorReason {
    fn from(sentence: S) -> Self {
        Self { sentence: sentence.into(), source: None }
    }
}

impl fmt::Display for StoreErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl StoreError {
    /// Creates the failure for data that cannot be read or written. `error` is the cause.
    pub fn unreadable<E: Error + Send + Sync + 'static>(error: E) -> Self {
        Self::Unreadable(StoreErrorReason::from(error.to_string()).because(error))
    }

    /// Returns whether retries are useless until a person has fixed the cause (rule 34).
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unavailable(_) => false,
            Self::Unreadable(_) | Self::Refused(_) => true,
        }
    }

    /// Returns the sentence of the adapter, without the kind of failure.
    pub fn reason(&self) -> &str {
        self.details().as_str()
    }

    /// Returns the sentence of the adapter, followed by the texts of its causes, each only once.
    pub fn reason_with_causes(&self) -> String {
        WithCauses(self.details()).to_string()
    }

    /// Adds the error that caused the failure.
    #[must_use]
    pub fn because(self, source: impl Error + Send + Sync + 'static) -> Self {
        match self {
            Self::Unavailable(reason) => Self::Unavailable(reason.because(source)),
            Self::Unreadable(reason) => Self::Unreadable(reason.because(source)),
            Self::Refused(reason) => Self::Refused(reason.because(source)),
        }
    }

    fn details(&self) -> &StoreErrorReason {
        match self {
            Self::Unavailable(reason) | Self::Unreadable(reason) | Self::Refused(reason) => reason,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Unavailable(_) => "the store is unavailable",
            Self::Unreadable(_) => "the store holds something unreadable",
            Self::Refused(_) => "the store refuses this",
        };
        write!(f, "{kind}: {}", self.reason())
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.details().source()
    }
}

impl Error for StoreErrorReason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_source_and_shows_it_once() {
        let cause = serde_json::from_str::<u8>("x").expect_err("not a number");
        let text = cause.to_string();
        let error = StoreError::unreadable(cause);
        assert!(error.source().is_some_and(|source| source.is::<serde_json::Error>()));
        let shown = format!("the store holds something unreadable: {text}");
        assert_eq!((error.to_string(), WithCauses(&error).to_string()), (shown.clone(), shown));

        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let refused = StoreError::Refused(StoreErrorReason::from("give this user the right").because(denied));
        let shown = "the store refuses this: give this user the right: permission denied";
        assert_eq!(WithCauses(&refused).to_string(), shown);
    }
}
