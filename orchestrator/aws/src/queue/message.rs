//! The SQS message of a wake: its body, its group and its delay.

use stepladder_core::{Timestamp, Wake};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::layout::digest;

/// The maximum number of characters in a `MessageGroupId` (Amazon SQS quotas).
const MAX_GROUP_CHARS: usize = 128;

/// The longest delay of a message in seconds (Amazon SQS, `DelaySeconds`).
pub(crate) const MAX_DELAY_SECONDS: u16 = 900;

/// The parameters of a message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageParameters {
    pub(crate) body: String,
    pub(crate) group: String,
    pub(crate) delay: i32,
}

pub(crate) fn envelope(wake: &Wake, due: Timestamp, now: Timestamp) -> StoreResult<MessageParameters> {
    let body = serde_json::to_string(wake)
        .map_err(|e| StoreError::Unreadable(format!("a wake cannot be written as JSON: {e}").into()).because(e))?;
    Ok(MessageParameters { body, group: group_id(&wake.group), delay: delay(due, now) })
}

/// Parses a wake from the body of a message.
///
/// # Errors
/// A sentence, if the body is not a wake.
pub fn decode(body: &str) -> Result<Wake, String> {
    serde_json::from_str(body).map_err(|e| format!("not a wake of Stepladder: {e}"))
}

/// Converts a group to a valid group id. The key of a limit may be longer than a group id may be,
/// and may contain characters that a group id may not contain.
pub(crate) fn group_id(group: &str) -> String {
    let is_valid = group.len() <= MAX_GROUP_CHARS && group.bytes().all(|byte| byte.is_ascii_graphic());
    if is_valid && !group.is_empty() { group.to_owned() } else { digest(&[group.as_bytes()]) }
}

/// Returns the delay in whole seconds. It is rounded up, so that a wake never arrives before its
/// time, and is at most the maximum of SQS. Longer waits use a timer, and a hop that is too early
/// waits again.
fn delay(due: Timestamp, now: Timestamp) -> i32 {
    let seconds = due.since(now).as_millis().div_ceil(1_000);
    let most = i32::from(MAX_DELAY_SECONDS);
    i32::try_from(seconds).map_or(most, |seconds| seconds.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_delay_is_rounded_up_and_at_most_what_sqs_accepts() {
        let delays = [0, 1, 1_000, 1_001, 899_999, 900_000, 900_001, 9_000_000].map(|ms| delay(at(ms), at(0)));
        assert_eq!(delays, [0, 1, 1, 2, 900, 900, 900, 900]);
        assert_eq!(delay(at(5), at(9)), 0);
        assert_eq!(delay(Timestamp::MAX, at(0)), 900);
    }

    #[test]
    fn a_group_id_is_valid_for_sqs() {
        assert_eq!(group_id("hello-world"), "hello-world");
        for odd in ["", "größe", "a b", &"x".repeat(129), "f/0/\n"] {
            let id = group_id(odd);
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{odd:?}");
        }
    }

    #[test]
    fn a_body_that_is_not_a_wake_is_reported() {
        assert!(decode("{}").unwrap_err().starts_with("not a wake of Stepladder"));
    }
}
