//! A wake as a message: its body, its group, its delay.

use stepladder_core::limits::QUEUE_DELAY_SECONDS;
use stepladder_core::{Timestamp, Wake};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::layout::digest;

/// Characters of a `MessageGroupId` at most (Amazon SQS quotas).
const GROUP_CHARS: usize = 128;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) body: String,
    pub(crate) group: String,
    pub(crate) delay: i32,
}

pub(crate) fn envelope(wake: &Wake, due: Timestamp, now: Timestamp) -> StoreResult<Envelope> {
    let body = serde_json::to_string(wake).map_err(|e| StoreError::Unreadable(format!("a wake is no JSON: {e}")))?;
    Ok(Envelope { body, group: group(&wake.group), delay: delay(due, now) })
}

/// A wake from a message's body.
///
/// # Errors
/// When it is something else; says what.
pub fn decode(body: &str) -> Result<Wake, String> {
    serde_json::from_str(body).map_err(|e| format!("not a wake of Stepladder: {e}"))
}

/// The group that makes the queue fair. Keys of limits may hold anything and be long; a group id may not.
pub(crate) fn group(of: &str) -> String {
    let fits = of.len() <= GROUP_CHARS && of.bytes().all(|byte| byte.is_ascii_graphic());
    if fits && !of.is_empty() { of.to_owned() } else { digest(&[of.as_bytes()]) }
}

/// Whole seconds, rounded up: a wake never comes before its time. Never more than SQS takes; whoever wants to wait
/// longer sets a timer, and a hop that comes too early looks again.
fn delay(due: Timestamp, now: Timestamp) -> i32 {
    let seconds = due.since(now).as_millis().div_ceil(1_000);
    let most = i32::try_from(QUEUE_DELAY_SECONDS).unwrap_or(900);
    i32::try_from(seconds).map_or(most, |seconds| seconds.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_delay_is_rounded_up_and_never_more_than_sqs_takes() {
        let delays = [0, 1, 1_000, 1_001, 899_999, 900_000, 900_001, 9_000_000].map(|ms| delay(at(ms), at(0)));
        assert_eq!(delays, [0, 1, 1, 2, 900, 900, 900, 900]);
        assert_eq!(delay(at(5), at(9)), 0);
        assert_eq!(delay(Timestamp::MAX, at(0)), 900);
    }

    #[test]
    fn a_group_is_what_sqs_takes() {
        assert_eq!(group("hello-world"), "hello-world");
        for odd in ["", "größe", "a b", &"x".repeat(129), "f/0/\n"] {
            let group = group(odd);
            assert!(group.len() == 32 && group.bytes().all(|byte| byte.is_ascii_hexdigit()), "{odd:?}");
        }
    }

    #[test]
    fn what_is_no_wake_is_told() {
        assert!(decode("{}").unwrap_err().starts_with("not a wake of Stepladder"));
    }
}
