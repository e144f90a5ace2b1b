//! Reading request bodies: each within its limit, all of them together within a budget, so that a burst of large
//! requests is pushed back instead of filling the memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use futures::StreamExt;
use stepladder_core::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::Problem;

/// Bytes of all bodies that are being read or worked on at a time: 256 MiB.
const BUDGET_BYTES: usize = 256 * 1024 * 1024;
/// A body must be there within this time: one that trickles in would hold its share for ever.
const WITHIN: Duration = Duration::from_secs(120);
/// The budget is kept in units of so many bytes.
const UNIT: usize = 1024;

/// The memory that bodies may take together.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

/// A body, and its share of the budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Vec<u8>,
    /// Given back on drop.
    share: Option<OwnedSemaphorePermit>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(BUDGET_BYTES)
    }
}

impl Budget {
    fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// Reads a body of at most `limit` bytes.
    ///
    /// # Errors
    /// 413 past the limit; 429 while others take up the budget; 400 when the body breaks off; 408 when it takes more than
    /// two minutes.
    pub(crate) async fn read(&self, body: Body, limit: usize) -> Result<Whole, Problem> {
        let announced = body.size_hint().lower();
        if announced > limit as u64 {
            return Err(too_large(limit));
        }
        let announced = usize::try_from(announced).unwrap_or(0);
        let mut whole = Whole { bytes: Vec::new(), share: None };
        self.reserve(&mut whole, announced)?;
        whole.bytes.reserve_exact(announced);
        let mut chunks = body.into_data_stream();
        let until = Instant::now() + WITHIN;
        loop {
            let Ok(chunk) = timeout_at(until, chunks.next()).await else { return Err(too_slow()) };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|_| Problem::bad_request("the body broke off; send it again"))?;
            let length = whole.bytes.len() + chunk.len();
            if length > limit {
                return Err(too_large(limit));
            }
            self.reserve(&mut whole, length)?;
            whole.bytes.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    /// Grows the share to `bytes`.
    fn reserve(&self, whole: &mut Whole, bytes: usize) -> Result<(), Problem> {
        let has = whole.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let permit = u32::try_from(more).ok().and_then(|more| self.0.clone().try_acquire_many_owned(more).ok());
        let Some(permit) = permit else {
            let sentence = "the server is busy with other large requests; send this again after a moment";
            return Err(Problem::pushed_back(sentence, 1));
        };
        match &mut whole.share {
            Some(share) => share.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

/// Reads a body as JSON text; `None` when it is blank. `name` begins the sentence of an error.
///
/// # Errors
/// 400 with the place, for bytes that are not UTF-8 and for JSON that is too deep or that databases cannot store.
pub(crate) fn json_text<'a>(bytes: &'a [u8], name: &str) -> Result<Option<&'a str>, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Problem::bad_request(format!("{name} is not UTF-8 at byte {}", e.valid_up_to())))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    json::check(text).map_err(|unfit| Problem::bad_request(format!("{name} {unfit}")))?;
    Ok(Some(text))
}

fn too_slow() -> Problem {
    let sentence = format!("the body was not there after {} s; send less at a time", WITHIN.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, sentence)
}

fn too_large(limit: usize) -> Problem {
    let sentence = format!("the body has more than {limit} bytes; send less at a time");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(chunks: &[&'static str]) -> Body {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(*chunk)).collect();
        Body::from_stream(futures::stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_past_its_limit_is_too_large_however_it_comes() {
        let budget = Budget::default();
        for body in [Body::from("12345"), chunked(&["123", "45"])] {
            assert_eq!(budget.read(body, 4).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        }
        assert_eq!(budget.read(chunked(&["123", "45"]), 5).await.unwrap().bytes, b"12345");
    }

    #[tokio::test]
    async fn bodies_that_do_not_fit_beside_the_others_are_pushed_back() {
        let budget = Budget::of(3 * UNIT);
        let first = budget.read(Body::from("a".repeat(2 * UNIT)), 4 * UNIT).await.unwrap();
        let second = budget.read(Body::from("b".repeat(2 * UNIT)), 4 * UNIT).await.unwrap_err();
        assert_eq!(second.status, StatusCode::TOO_MANY_REQUESTS);
        drop(first);
        budget.read(Body::from("b".repeat(2 * UNIT)), 4 * UNIT).await.unwrap();
        assert_eq!(budget.0.available_permits(), 3, "a share that was dropped is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_in_is_given_up_and_frees_its_share() {
        let budget = Budget::of(3 * UNIT);
        let trickle = futures::stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>("a"), ()))
        });
        let problem = budget.read(Body::from_stream(trickle), 2 * UNIT).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(budget.0.available_permits(), 3);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_a_bad_request() {
        let broken = futures::stream::iter([Ok("12"), Err(std::io::Error::other("gone"))]);
        let problem = Budget::default().read(Body::from_stream(broken), 10).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
    }
}
