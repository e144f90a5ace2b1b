//! The ids of events, runs and steps.
//!
//! The id of a run is a ULID. Its time is that of the event, and its random part is a hash of what
//! makes the run unique. So two processes that start the same run use the same id, and only one of
//! them creates the run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::Timestamp;

/// The id of a step within its run: the name of the step, followed by `:1`, `:2`… if the name
/// repeats.
pub type StepId = Arc<str>;

/// A whole run, or one of its steps: the owner of a ticket or a timer.
///
/// The stored form is a string: the id of the step, or the empty string for the run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "StepId", into = "StepId")]
pub enum RunOrStep {
    /// The whole run.
    Run,
    /// One step of the run.
    Step(StepId),
}

impl RunOrStep {
    /// Returns the step; `None` for the whole run.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Run => None,
            Self::Step(step) => Some(step),
        }
    }

    /// Returns the stored form, which [`From<StepId>`] converts back.
    pub fn as_stored(&self) -> &str {
        self.step().map_or("", |step| step)
    }
}

impl From<StepId> for RunOrStep {
    fn from(stored: StepId) -> Self {
        if stored.is_empty() { Self::Run } else { Self::Step(stored) }
    }
}

impl From<RunOrStep> for StepId {
    fn from(of: RunOrStep) -> Self {
        match of {
            RunOrStep::Run => "".into(),
            RunOrStep::Step(step) => step,
        }
    }
}

macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// Creates an id from a time and 80 random bits. Higher bits of `random` are ignored.
            pub fn new(at: Timestamp, random: u128) -> Self {
                Self(Ulid::from_parts(u64::try_from(at.as_millis()).unwrap_or(0), random))
            }

            /// Returns the time that the id contains.
            pub fn time(self) -> Timestamp {
                Timestamp::from_millis(i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX))
            }

            /// Returns the id as 16 bytes. The bytes have the same order as the id's text.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }

            /// Creates an id from its 16 bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Ulid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0.array_to_str(&mut [0; ulid::ULID_LEN]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Ulid::from_string(text).map(Self).map_err(|_| InvalidId)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.0.array_to_str(&mut [0; ulid::ULID_LEN]))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct IdVisitor;
                impl serde::de::Visitor<'_> for IdVisitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a ULID of 26 characters")
                    }
                    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<$name, E> {
                        v.parse().map_err(E::custom)
                    }
                }
                d.deserialize_str(IdVisitor)
            }
        }
    };
}

ulid_id! {
    /// The id of an accepted event.
    EventId
}
ulid_id! {
    /// The id of a run.
    RunId
}

/// The error for a string that is not a ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: a ULID of 26 characters is expected")]
pub struct InvalidId;

impl EventId {
    /// Returns the next id of the same millisecond. The events of one request get consecutive ids,
    /// which keep their order.
    pub fn next(self) -> Self {
        Self(self.0.increment().unwrap_or_else(|wrapped| wrapped))
    }

    /// Returns the 80 random bits of the id.
    pub fn random(self) -> u128 {
        self.0.random()
    }

    /// Returns whether both ids belong to one sequence of consecutive ids. This is true for the
    /// events of one request, and for the ids that one process assigns in one millisecond. Only
    /// within a sequence does the order of the ids say which event came first.
    pub fn is_in_same_sequence(self, other: Self) -> bool {
        self.time() == other.time() && self.random().abs_diff(other.random()) < SEQUENCE_IDS
    }
}

/// The maximum distance between two ids of one sequence. A request has at most 5,000 events.
const SEQUENCE_IDS: u128 = 1 << 16;

impl RunId {
    /// Returns the id of the run of `function` that `event` starts.
    pub fn started_by(event: EventId, function: &str) -> Self {
        Self::new(event.time(), hash(&[b"event", &event.to_bytes(), function.as_bytes()]))
    }

    /// Returns the id of the run that the step `step` of this run calls. `at` is the time at which
    /// the call was recorded.
    pub fn invoked_by(self, step: &str, at: Timestamp) -> Self {
        Self::new(at, hash(&[b"invoke", &self.to_bytes(), step.as_bytes()]))
    }

    /// Returns the id of the run that handles this run's failure.
    pub fn on_failure_of(self, at: Timestamp) -> Self {
        Self::new(at, hash(&[b"on-failure", &self.to_bytes()]))
    }

    /// Returns the id of a rerun of this run. Each rerun needs a different `nonce`.
    pub fn rerun_of(self, at: Timestamp, nonce: u128) -> Self {
        Self::new(at, hash(&[b"rerun", &self.to_bytes(), &nonce.to_be_bytes()]))
    }
}

/// Returns the first 80 bits of the SHA-256 hash over these parts, each prefixed with its length.
pub fn hash(parts: &[&[u8]]) -> u128 {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    let digest = sha.finalize();
    digest.iter().take(10).fold(0, |acc, byte| acc << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_event_and_function_give_the_same_run() {
        let event = EventId::new(Timestamp::from_millis(1_700_000_000_000), 7);
        assert_eq!(RunId::started_by(event, "hello"), RunId::started_by(event, "hello"));
        assert_ne!(RunId::started_by(event, "hello"), RunId::started_by(event, "other"));
        assert_ne!(RunId::started_by(event, "hello"), RunId::started_by(event.next(), "hello"));
        assert_eq!(RunId::started_by(event, "hello").time(), event.time());
    }

    #[test]
    fn parts_of_other_lengths_have_another_hash() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }

    #[test]
    fn text_and_bytes_round_trip() {
        let id = RunId::new(Timestamp::from_millis(1_700_000_000_000), u128::MAX);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(RunId::from_bytes(id.to_bytes()), id);
        assert_eq!("nonsense".parse::<RunId>(), Err(InvalidId));
    }

    #[test]
    fn ids_of_one_sequence_are_recognised_by_their_distance() {
        let first = EventId::new(Timestamp::from_millis(5), 41);
        let last = (0..5_000).fold(first, |id, _| id.next());
        assert!(first.is_in_same_sequence(last) && last.is_in_same_sequence(first));
        assert!(!first.is_in_same_sequence(EventId::new(Timestamp::from_millis(5), 41 + SEQUENCE_IDS)));
        assert!(!first.is_in_same_sequence(EventId::new(Timestamp::from_millis(6), 41)));
    }

    #[test]
    fn events_of_one_request_sort_as_they_came() {
        let first = EventId::new(Timestamp::from_millis(5), 41);
        assert!(first.to_string() < first.next().to_string());
    }
}
