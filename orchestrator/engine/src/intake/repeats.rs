//! Recognizes a large request that its sender repeats after the first attempt died, even if the
//! events have no ids. A flow state is stored under the hash of the request's body. It contains the
//! first event id of the attempt, and the time at which the attempt ends (rule 31). The repetition
//! uses the same event ids.
//!
//! A request of at most [`PIECE`](super::PIECE) events has no such flow state, because it would
//! cost two writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::{EventId, Timestamp};

use crate::intake::IdSeed;
use crate::intake::Intake;
use crate::intake::starts::flow_state_key;
use crate::ports::{FlowStateChange, StoreError};
use crate::retries::RepeatedCall;

/// How long after its deadline an attempt may be repeated. After this time, a request with the same
/// body counts as new.
const REPEATABLE_FOR: Duration = Duration::from_secs(120);

/// An attempt of a request, as its flow state describes it.
pub(crate) struct RequestAttempt {
    key: Arc<str>,
    text: Arc<str>,
    first: EventId,
}

impl Intake {
    /// Records an attempt of the request with this body. Returns the seed of the attempt that this
    /// one repeats, or else `own`. If another process is working on a request with the same body,
    /// returns `own` and no attempt, because this is then a separate request.
    pub(crate) async fn record_attempt(
        &self,
        body: u128,
        own: IdSeed,
        deadline: Timestamp,
    ) -> Result<(IdSeed, Option<RequestAttempt>), StoreError> {
        let (now, key) = (self.runtime.now(), flow_state_key("request", "", &format!("{body:032x}")));
        let seen = self.runtime.backend.read_flow_state(vec![key.clone()]).await?.pop().flatten();
        let first = match seen.as_deref().and_then(parse) {
            Some((_, RequestAttemptState::Running { until })) if now < until => return Ok((own, None)),
            Some((
                first,
                RequestAttemptState::Running { until: ended } | RequestAttemptState::Failed { at: ended },
            )) if now < ended + REPEATABLE_FOR => first,
            Some(_) | None => EventId::new(own.at, own.random),
        };
        let text: Arc<str> = format!("{first} {}", RequestAttemptState::Running { until: deadline }).into();
        let note =
            FlowStateChange { key: key.clone(), seen, becomes: Some(text.clone()), until: deadline + REPEATABLE_FOR };
        match self.runtime.backend.change_flow_state(vec![note]).await?[..] {
            [true] => {
                Ok((IdSeed { at: first.time(), random: first.random() }, Some(RequestAttempt { key, text, first })))
            }
            _ => Ok((own, None)),
        }
    }

    /// Ends the attempt. After a failed attempt, the request may be repeated immediately. After a
    /// successful attempt, a request with the same body counts as new.
    pub(crate) async fn end_attempt(&self, attempt: RequestAttempt, failed: bool) -> Result<(), StoreError> {
        let RequestAttempt { key, text, first } = attempt;
        let now = self.runtime.now();
        let becomes = failed.then(|| format!("{first} {}", RequestAttemptState::Failed { at: now }).into());
        let note = FlowStateChange { key, seen: Some(text), becomes, until: now + REPEATABLE_FOR };
        // a lost reply does not mean that the write failed; without a retry here, the sender would
        // get an error and repeat a request that has succeeded
        self.runtime
            .again(RepeatedCall::FlowStateChange, None, || self.runtime.backend.change_flow_state(vec![note.clone()]))
            .await
            .map(drop)
    }
}

/// The state of a request's attempt, according to its flow state.
enum RequestAttemptState {
    /// The attempt may still be in progress until its deadline.
    Running { until: Timestamp },
    /// The attempt failed. This is recorded explicitly, because the clock of the next process may
    /// be slow.
    Failed { at: Timestamp },
}

impl fmt::Display for RequestAttemptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { until } => write!(f, "running {}", until.as_millis()),
            Self::Failed { at } => write!(f, "failed {}", at.as_millis()),
        }
    }
}

fn parse(text: &str) -> Option<(EventId, RequestAttemptState)> {
    let mut words = text.split(' ');
    let (first, state, at) = (words.next()?, words.next()?, words.next()?);
    let at = Timestamp::from_millis(at.parse().ok()?);
    let state = match state {
        "running" => RequestAttemptState::Running { until: at },
        "failed" => RequestAttemptState::Failed { at },
        _ => return None,
    };
    Some((first.parse().ok()?, state))
}
