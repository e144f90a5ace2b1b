//! Reads request bodies, each within its limit and all together within a memory budget. In a burst
//! of large requests, some get the status 429, so that the memory does not fill up.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use futures::StreamExt;
use stepladder_core::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::HttpProblem;

/// The maximum size of all bodies that are read or processed at the same time: 256 MiB.
const BUDGET_BYTES: usize = 256 * 1024 * 1024;
/// The maximum time for reading a body. Without it, a client that sends very slowly would use its
/// share of the budget forever.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);
/// The number of bytes in one unit of the budget.
const UNIT: usize = 1024;

/// The memory that all bodies together may use.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

/// The bytes of a body. They use a share of the budget until this is dropped.
#[derive(Debug)]
pub(crate) struct BodyBytes {
    pub(crate) bytes: Vec<u8>,
    /// The share of the budget, which is released on drop.
    share: Option<OwnedSemaphorePermit>,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self::new(BUDGET_BYTES)
    }
}

impl BodyBudget {
    fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// Reads a body of at most `limit` bytes.
    ///
    /// # Errors
    /// 413 if the body exceeds the limit; 429 if other bodies use up the budget; 400 if the body is
    /// incomplete; 408 after two minutes.
    pub(crate) async fn read(&self, stream: Body, limit: usize) -> Result<BodyBytes, HttpProblem> {
        let announced = stream.size_hint().lower();
        if announced > limit as u64 {
            return Err(too_large(limit));
        }
        let announced = usize::try_from(announced).unwrap_or(0);
        let mut body = BodyBytes { bytes: Vec::new(), share: None };
        self.reserve(&mut body, announced)?;
        body.bytes.reserve_exact(announced);
        let mut chunks = stream.into_data_stream();
        let until = Instant::now() + BODY_TIMEOUT;
        loop {
            let Ok(chunk) = timeout_at(until, chunks.next()).await else { return Err(too_slow()) };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|_| HttpProblem::bad_request("the body broke off; send it again"))?;
            let length = body.bytes.len() + chunk.len();
            if length > limit {
                return Err(too_large(limit));
            }
            self.reserve(&mut body, length)?;
            body.bytes.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Increases a body's share of the budget to `bytes`.
    fn reserve(&self, body: &mut BodyBytes, bytes: usize) -> Result<(), HttpProblem> {
        let has = body.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let permit = u32::try_from(more).ok().and_then(|more| self.0.clone().try_acquire_many_owned(more).ok());
        let Some(permit) = permit else {
            let sentence = "the server is busy with other large requests; send this again later";
            return Err(HttpProblem::too_many_requests(sentence, 1));
        };
        match &mut body.share {
            Some(share) => share.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

/// Checks that a body is JSON and returns it as text; `None` if the body is blank. `name` is the
/// start of the error sentence.
///
/// # Errors
/// 400 with the position of the problem: the bytes are not UTF-8, the JSON is nested too deep, or
/// the JSON contains something that databases cannot store.
pub(crate) fn json_text<'a>(bytes: &'a [u8], name: &str) -> Result<Option<&'a str>, HttpProblem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| HttpProblem::bad_request(format!("{name} is not UTF-8 at byte {}", e.valid_up_to())))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    json::check(text).map_err(|unfit| HttpProblem::bad_request(format!("{name} {unfit}")))?;
    Ok(Some(text))
}

fn too_slow() -> HttpProblem {
    let sentence = format!("the body was not complete after {} s; send less at a time", BODY_TIMEOUT.as_secs());
    HttpProblem::new(StatusCode::REQUEST_TIMEOUT, sentence)
}

fn too_large(limit: usize) -> HttpProblem {
    let sentence = format!("the body has more than {limit} bytes; send less at a time");
    HttpProblem::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(chunks: &[&'static str]) -> Body {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(*chunk)).collect();
        Body::from_stream(futures::stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_past_its_limit_is_too_large_with_or_without_a_length() {
        let budget = BodyBudget::default();
        for body in [Body::from("12345"), chunked(&["123", "45"])] {
            assert_eq!(budget.read(body, 4).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        }
        assert_eq!(budget.read(chunked(&["123", "45"]), 5).await.unwrap().bytes, b"12345");
    }

    #[tokio::test]
    async fn a_body_without_room_in_the_budget_gets_429() {
        let budget = BodyBudget::new(3 * UNIT);
        let first = budget.read(Body::from("a".repeat(2 * UNIT)), 4 * UNIT).await.unwrap();
        let second = budget.read(Body::from("b".repeat(2 * UNIT)), 4 * UNIT).await.unwrap_err();
        assert_eq!(second.status, StatusCode::TOO_MANY_REQUESTS);
        drop(first);
        budget.read(Body::from("b".repeat(2 * UNIT)), 4 * UNIT).await.unwrap();
        assert_eq!(budget.0.available_permits(), 3, "a share is released on drop");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_in_times_out_and_releases_its_share() {
        let budget = BodyBudget::new(3 * UNIT);
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
        let problem = BodyBudget::default().read(Body::from_stream(broken), 10).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
    }
}
