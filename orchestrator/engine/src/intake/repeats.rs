//! Large requests that are repeated after their process died. Their senders give neither ids nor a
//! seed. A flow state under the hash of the body holds the ids of an attempt and its expiry (rule
//! 31).
//!
//! A request of a few events has no such state, because it would cost two writes.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::{EventId, Timestamp};

use crate::intake::IdSeed;
use crate::intake::Intake;
use crate::intake::starts::note_key;
use crate::ports::{FlowStateChange, StoreError};

/// How long after its deadline an attempt may be repeated. Later, the same body is another request.
const WITHIN: Duration = Duration::from_secs(120);

/// The flow state of an attempt.
pub(crate) struct RequestAttempt {
    key: Arc<str>,
    text: Arc<str>,
    first: EventId,
}

impl Intake {
    /// Records an attempt at the request with this body. Returns the seed of the attempt that it
    /// repeats, or its own. Without a flow state, another process works on the same body: this is a
    /// separate request.
    pub(crate) async fn note_attempt(
        &self,
        body: u128,
        own: IdSeed,
        deadline: Timestamp,
    ) -> Result<(IdSeed, Option<RequestAttempt>), StoreError> {
        let (now, key) = (self.runtime.now(), note_key("request", "", &format!("{body:032x}")));
        let seen = self.runtime.backend.read_flow_state(vec![key.clone()]).await?.pop().flatten();
        let first = match seen.as_deref().and_then(read) {
            Some((_, until)) if now < until => return Ok((own, None)),
            Some((first, until)) if now < until + WITHIN => first,
            Some(_) | None => EventId::new(own.at, own.random),
        };
        let text: Arc<str> = format!("{first} {}", deadline.as_millis()).into();
        let note = FlowStateChange { key: key.clone(), seen, becomes: Some(text.clone()), until: deadline + WITHIN };
        match self.runtime.backend.change_flow_state(vec![note]).await?[..] {
            [true] => {
                Ok((IdSeed { at: first.time(), random: first.random() }, Some(RequestAttempt { key, text, first })))
            }
            _ => Ok((own, None)),
        }
    }

    /// Ends the attempt. A failed attempt may be repeated at once. After a successful one, the same
    /// body is another request.
    pub(crate) async fn end_attempt(&self, noted: RequestAttempt, failed: bool) -> Result<(), StoreError> {
        let RequestAttempt { key, text, first } = noted;
        let now = self.runtime.now();
        let becomes = failed.then(|| format!("{first} {}", now.as_millis()).into());
        let note = FlowStateChange { key, seen: Some(text), becomes, until: now + WITHIN };
        // if only the reply is lost, the state is written: an error would make the sender start
        // again
        crate::runs::again("note", || self.runtime.backend.change_flow_state(vec![note.clone()])).await.map(drop)
    }
}

fn read(text: &str) -> Option<(EventId, Timestamp)> {
    let (first, until) = text.split_once(' ')?;
    Some((first.parse().ok()?, Timestamp::from_millis(until.parse().ok()?)))
}
