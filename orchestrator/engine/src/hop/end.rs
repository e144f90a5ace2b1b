//! The handler returned: the run's end, or the handler's next attempt.

use stepladder_core::journal::{Entry, Fact, Failure};
use stepladder_core::limits::OUTCOME_BYTES;
use stepladder_core::state::RunEnd;
use stepladder_core::{ErrorCode, Json, WakeCause};

use super::{Ack, Hop, Next};
use crate::ports::StoreError;
use crate::program::{AdvisedFailure, Session};
use crate::runs::Appended;

impl Hop<'_> {
    pub(crate) async fn end(
        &mut self,
        session: &mut dyn Session,
        result: Result<Json, AdvisedFailure>,
        mut entries: Vec<Entry>,
    ) -> Result<Next, StoreError> {
        let orphans = session.orphans();
        if !orphans.is_empty() {
            // rule 6
            tracing::warn!(run = %self.state.run, ?orphans, "recorded outcomes that the code does not ask for (any more)");
        }
        entries.push(self.last_fact(result).at(self.now()));
        let appended = match entries.last().and_then(RunEnd::from) {
            None => self.append(entries.clone(), Ack::Now).await?,
            Some(end) => {
                // if finishing takes more than this commit, the last commit marks the row as ended
                // and acknowledges the wake: the watchdog treats a run as finished once its row
                // shows the end
                let simple = self.limits.is_empty()
                    && self.run_limits.is_empty()
                    && self.state.bound_children().next().is_none()
                    && self.hops.failure_run(&self.state, &end).is_none()
                    && !self.hops.has_listener(&end);
                if simple {
                    self.hops.write_end(&self.state, &end, &mut self.commit);
                }
                let appended = self.append(entries.clone(), if simple { Ack::Now } else { Ack::Later }).await?;
                match appended {
                    Appended::Done if !simple => return Ok(Next::Again),
                    other => other,
                }
            }
        };
        match appended {
            Appended::Done => Ok(Next::Done),
            Appended::Conflict | Appended::Refused => self.keep_outcomes(session, entries).await,
        }
    }

    fn last_fact(&mut self, result: Result<Json, AdvisedFailure>) -> Fact {
        let AdvisedFailure { failure, retry } = match result {
            Ok(output) if output.get().len() > OUTCOME_BYTES => {
                let message = format!(
                    "the function returned {} bytes; at most {OUTCOME_BYTES} are allowed, return a reference to them",
                    output.get().len()
                );
                return Fact::RunFailed { error: Failure::with_code(message, ErrorCode::TooLarge) };
            }
            Ok(output) => return Fact::RunCompleted { output },
            Err(fault) => fault,
        };
        let attempt = self.state.handler_attempt();
        let seed = self.hops.runtime.entropy.bits() as u64;
        match self.spec().retry.next_delay(attempt, retry, seed) {
            None => Fact::RunFailed { error: failure.bounded() },
            Some(wait) => {
                let retry_at = self.now() + self.hops.runtime.retry_wait(wait);
                self.commit.before.push(self.hops.runtime.later(self.wake(WakeCause::Due), retry_at));
                Fact::HandlerFailed { attempt, error: failure.bounded(), retry_at }
            }
        }
    }
}
