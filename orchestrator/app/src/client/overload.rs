//! Retries requests that an overloaded server refused with a 429. The server has stored nothing of
//! them, and its response says when to retry.

use std::time::Duration;

use stepladder_api::text::format_duration;

use super::ClientError;
use crate::terminal::{StopReason, print_remark};

/// The maximum total of all waits.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The minimum wait, even if the server asks for a shorter one.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// Sends a request. If the server is overloaded, retries it when the server says, for at most two
/// minutes.
///
/// # Errors
/// Any other error, or the server is still overloaded after two minutes.
pub(crate) async fn retry_while_overloaded<T>(
    send: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, StopReason> {
    retry_within(MAX_WAIT, send, tokio::time::sleep).await
}

async fn retry_within<T>(
    limit: Duration,
    mut send: impl AsyncFnMut() -> Result<T, ClientError>,
    mut sleep: impl AsyncFnMut(Duration),
) -> Result<T, StopReason> {
    let mut waited = Duration::ZERO;
    loop {
        let (message, after) = match send().await {
            Err(ClientError::PushedBack { message, after }) => (message, after.max(MIN_WAIT)),
            answer => return Ok(answer?),
        };
        if waited + after > limit {
            return Err(StopReason::problem(format!(
                "the server is overloaded: {message} (waited for {}); try again later",
                format_duration(waited)
            )));
        }
        print_remark(format_args!("the server is overloaded: {message}; retrying in {}", format_duration(after)))?;
        sleep(after).await;
        waited += after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    /// The result of several requests.
    struct RepeatedOutcome {
        times: usize,
        /// The total time that the client waited, in seconds.
        waited: u64,
        answer: Result<&'static str, StopReason>,
    }

    /// Sends a request to a server that refuses the first `pushes` attempts with this
    /// `Retry-After`. All retries together may take 10 seconds.
    async fn send_with_refusals(pushes: usize, after: Duration) -> RepeatedOutcome {
        let (mut times, mut waited) = (0, 0);
        let ask = async || {
            times += 1;
            if times > pushes { Ok("done") } else { Err(ClientError::PushedBack { message: "full".into(), after }) }
        };
        let answer = retry_within(Duration::from_secs(10), ask, async |wait| waited += wait.as_secs()).await;
        RepeatedOutcome { times, waited, answer }
    }

    #[tokio::test]
    async fn a_request_is_retried_when_the_server_says_until_there_is_room() {
        let outcome = send_with_refusals(3, Duration::from_secs(2)).await;
        assert!(matches!(outcome, RepeatedOutcome { times: 4, waited: 6, answer: Ok("done") }));
    }

    #[tokio::test]
    async fn retries_end_with_a_sentence() {
        for (after, most) in [(NOW, 10), (Duration::from_secs(4), 8), (Duration::from_secs(11), 0)] {
            let RepeatedOutcome { times, waited, answer } = send_with_refusals(1_000, after).await;
            let Err(StopReason::Problem(sentence)) = answer else { panic!("there was no room") };
            assert!(sentence.contains("full") && sentence.contains("try again later"), "{sentence}");
            assert_eq!(waited, most, "after {times} times");
        }
    }

    #[tokio::test]
    async fn another_refusal_is_not_retried() {
        let mut times = 0;
        let ask = async || -> Result<(), _> {
            times += 1;
            Err(ClientError::Unreachable("there".into()))
        };
        assert!(retry_within(MAX_WAIT, ask, async |_| panic!("it waits")).await.is_err());
        assert_eq!(times, 1);
    }
}
