//! Finds out that a function has ended although steps of it are open, as after `Promise.race`.
//!
//! In place of its end, the TypeScript SDK lists the steps that have no outcome. The same list
//! comes from a function that waits for these steps. A second call tells them apart: the open steps
//! have a state there, so the SDK does not list them. It answers if the function has ended, and
//! never answers if the function waits. Without an answer in time, the function counts as waiting.

use std::collections::HashSet;
use std::time::Duration;

use futures::stream::StreamExt;
use stepladder_engine::executor::{PollResult, Polled};

use crate::answer::CallAnswer;
use crate::call::{CallAttempt, WHOLE};
use crate::execution::AppExecution;
use crate::operation::Requested;
use crate::transport::AppAnswer;

/// How long a second call may take. Until then the run does not continue, unless an attempt ends.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

impl AppAnswer {
    /// Returns whether an SDK has answered that does not list steps with a state. An SDK that
    /// streams its answer would go on with it after the connection has ended.
    pub(crate) fn lists_no_known_steps(&self) -> bool {
        let is_streamed = self.status == reqwest::StatusCode::CREATED;
        !is_streamed && self.header(&crate::transport::SDK).is_some_and(|sdk| sdk.starts_with("inngest-js:"))
    }
}

impl AppExecution {
    /// Returns whether a function may have ended that lists these steps: it has seen an outcome,
    /// and lists nothing new.
    pub(crate) fn may_have_ended(&self, polled: &Polled) -> bool {
        let PollResult::Wanted(wants) = &polled.result else { return false };
        let open: HashSet<_> = self.prepared.open.iter().collect();
        self.run.has_outcomes()
            && polled.executed.is_empty()
            && !open.is_empty()
            && wants.iter().all(|want| open.contains(&want.step))
    }

    /// Calls the function without the open steps. Returns its end, if it has ended, or else the
    /// result of the poll.
    pub(crate) async fn end_if_it_has_ended(&mut self, polled: Polled) -> Polled {
        let attempt = CallAttempt { executes: false, checkpoints: None, ..self.handler };
        let Ok(Some(body)) = self.run.body_without(&self.prepared.open, attempt) else { return polled };
        let clock = self.caller.transport.clock.clone();
        let limit = self.prepared.due.into_iter().chain([clock.now() + ANSWER_WITHIN]).min().unwrap_or_default();
        let caller = self.caller.clone();
        let answer = async {
            let answer = caller.call(WHOLE, attempt, body).await.ok().filter(AppAnswer::lists_no_known_steps)?;
            caller.read(answer).ok()
        };
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            Some(result) = self.attempts.next() => {
                self.ended.extend(result);
                None
            }
            () = clock.sleep_until(limit) => None,
        };
        let result = match answer {
            Some(CallAnswer::Completed(value)) => Ok(value),
            Some(CallAnswer::Failed(failed)) => Err(failed),
            Some(CallAnswer::Operations { operations, .. }) => {
                let completed = operations.iter().find_map(|operation| match operation.requested() {
                    Ok(Requested::Completed(value)) => Some(value),
                    _ => None,
                });
                match completed {
                    Some(value) => Ok(value),
                    None => return polled,
                }
            }
            None => return polled,
        };
        Polled { has_checkpoints: polled.has_checkpoints, ..self.end(result) }
    }
}
