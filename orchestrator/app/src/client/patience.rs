//! Coming again when a server has too much to do: it says when, and has kept nothing of what it refused.

use std::time::Duration;

use stepladder_api::text::duration;

use super::ClientError;
use crate::terminal::{Stop, remark};

/// Waits together, after which nobody waits on.
const LIMIT: Duration = Duration::from_secs(120);

/// Nobody asks more often, whatever is said.
const LEAST: Duration = Duration::from_secs(1);

/// Asks, and asks again at the times that the server names, for two minutes at most.
///
/// # Errors
/// What the server said, when it is something else; and when there is no end to it.
pub(crate) async fn patiently<T>(ask: impl AsyncFnMut() -> Result<T, ClientError>) -> Result<T, Stop> {
    within(LIMIT, ask, tokio::time::sleep).await
}

async fn within<T>(
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, ClientError>,
    mut sleep: impl AsyncFnMut(Duration),
) -> Result<T, Stop> {
    let mut waited = Duration::ZERO;
    loop {
        let (message, after) = match ask().await {
            Err(ClientError::PushedBack { message, after }) => (message, after.max(LEAST)),
            answer => return Ok(answer?),
        };
        if waited + after > limit {
            return Err(Stop::problem(format!(
                "the server has too much to do: {message} (waited for {} already); try again later",
                duration(waited)
            )));
        }
        remark(format_args!("the server has too much to do: {message}; trying again in {}", duration(after)))?;
        sleep(after).await;
        waited += after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    /// What came of asking.
    struct Asked {
        times: usize,
        /// In seconds.
        waited: u64,
        answer: Result<&'static str, Stop>,
    }

    /// Asks a server that pushes back so many times, each with this wait, and has 10 seconds.
    async fn asked(pushes: usize, after: Duration) -> Asked {
        let (mut times, mut waited) = (0, 0);
        let ask = async || {
            times += 1;
            if times > pushes { Ok("done") } else { Err(ClientError::PushedBack { message: "full".into(), after }) }
        };
        let answer = within(Duration::from_secs(10), ask, async |wait| waited += wait.as_secs()).await;
        Asked { times, waited, answer }
    }

    #[tokio::test]
    async fn who_is_pushed_back_comes_again_when_it_is_told_until_there_is_room() {
        let asked = asked(3, Duration::from_secs(2)).await;
        assert!(matches!(asked, Asked { times: 4, waited: 6, answer: Ok("done") }));
    }

    #[tokio::test]
    async fn there_is_an_end_to_it_with_a_sentence() {
        for (after, most) in [(NOW, 10), (Duration::from_secs(4), 8), (Duration::from_secs(11), 0)] {
            let Asked { times, waited, answer } = asked(1_000, after).await;
            let Err(Stop::Problem(sentence)) = answer else { panic!("it had no room") };
            assert!(sentence.contains("full") && sentence.contains("try again later"), "{sentence}");
            assert_eq!(waited, most, "after {times} times");
        }
    }

    #[tokio::test]
    async fn another_refusal_is_told_at_once() {
        let mut times = 0;
        let ask = async || -> Result<(), _> {
            times += 1;
            Err(ClientError::Unreachable("there".into()))
        };
        assert!(within(LIMIT, ask, async |_| panic!("it waits")).await.is_err());
        assert_eq!(times, 1);
    }
}
