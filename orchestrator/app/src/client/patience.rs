//! Coming again when a server has too much to do: it says when, and has kept nothing of what it refused.

use std::time::Duration;

use super::ClientError;
use crate::terminal::text::duration;
use crate::terminal::{Stop, remark};

/// Waits together, after which nobody waits on.
const LIMIT: Duration = Duration::from_secs(120);

/// Asks, and asks again at the times that the server names, for two minutes at most.
///
/// # Errors
/// What the server said, when it is something else; and when there is no end to it.
pub(crate) async fn patiently<T>(ask: impl AsyncFnMut() -> Result<T, ClientError>) -> Result<T, Stop> {
    within(LIMIT, ask).await
}

async fn within<T>(limit: Duration, mut ask: impl AsyncFnMut() -> Result<T, ClientError>) -> Result<T, Stop> {
    let mut waited = Duration::ZERO;
    loop {
        let (message, after) = match ask().await {
            Err(ClientError::PushedBack { message, after }) => (message, after),
            answer => return Ok(answer?),
        };
        if waited + after > limit {
            return Err(Stop::problem(format!(
                "the server has too much to do: {message} (waited for {} already); try again later",
                duration(waited)
            )));
        }
        remark(format_args!("the server has too much to do: {message}; trying again in {}", duration(after)))?;
        tokio::time::sleep(after).await;
        // a server that names no wait is not asked for ever either
        waited += after.max(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    /// Asks a server that pushes back so many times, each with this wait; how often it was asked, and what came of it.
    async fn asked(times: usize, after: Duration) -> (usize, Result<&'static str, Stop>) {
        let mut asked = 0;
        let answer = within(Duration::from_secs(1), async || {
            asked += 1;
            if asked > times { Ok("done") } else { Err(ClientError::PushedBack { message: "full".into(), after }) }
        });
        let answer = answer.await;
        (asked, answer)
    }

    #[tokio::test]
    async fn who_is_pushed_back_comes_again_until_there_is_room() {
        assert!(matches!(asked(3, NOW).await, (4, Ok("done"))));
    }

    #[tokio::test]
    async fn there_is_an_end_to_it_with_a_sentence() {
        for (after, most) in [(NOW, 11), (Duration::from_secs(2), 1)] {
            let (times, answer) = asked(1_000, after).await;
            let Err(Stop::Problem(sentence)) = answer else { panic!("it had no room") };
            assert!(sentence.contains("full") && sentence.contains("try again later"), "{sentence}");
            assert_eq!(times, most);
        }
    }

    #[tokio::test]
    async fn another_refusal_is_told_at_once() {
        let mut asked = 0;
        let answer: Result<(), _> = within(LIMIT, async || {
            asked += 1;
            Err(ClientError::Unreachable("there".into()))
        })
        .await;
        assert!(answer.is_err());
        assert_eq!(asked, 1);
    }
}
