//! The end of a run: the work that follows its last entry. Every later wake of the run repeats it,
//! so a crash in the middle loses nothing.

use stepladder_core::journal::{NewRun, Origin};
use stepladder_core::slot::Limit;
use stepladder_core::state::{RunEnd, RunOutcome, RunState};
use stepladder_core::system::FUNCTION_FAILED;
use stepladder_core::{Event, EventId, RunId, Wake, WakeCause};

use crate::EngineError;
use crate::hop::Hops;
use crate::hop::announce::end_data;
use crate::ports::{Commit, LateWrite, Receipt, StoreError};

/// Where an ended run may still have a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueCheck {
    /// Only where the run's journal says.
    AtRun,
    /// Also at the head of the wait queue: the ticket was promoted, and the journal may not show
    /// it.
    InLine,
    /// Everywhere: a worker may have died during the finishing work, so all of it is repeated.
    Redo,
}

impl Hops {
    /// Adds the run's row and the wake of its caller to the last commit of an ended run. Every
    /// terminal status wakes the caller (rule 19).
    pub(crate) fn write_end(&self, state: &RunState, end: &RunEnd, commit: &mut Commit) {
        commit.after.push(LateWrite::MarkEnded { run: state.run, at: end.at, status: end.how.status() });
        if let Some(spec) = self.runtime.spec_of(&state.created) {
            let cancellers = spec.flow.cancel_subscriptions(state.run, &state.created.event, state.created_at);
            commit.after.extend(cancellers.into_iter().map(LateWrite::Unsubscribe));
        }
        if let Origin::Invoke { parent, .. } = &state.created.origin {
            commit.wakes.push(Wake {
                run: *parent,
                cause: WakeCause::ChildEnded,
                group: state.created.function.clone(),
            });
        }
    }

    /// Returns the run that handles this run's failure, if its function has a failure handler.
    pub(crate) fn failure_run(&self, state: &RunState, end: &RunEnd) -> Option<(RunId, NewRun)> {
        let RunOutcome::Failed(_) = &end.how else { return None };
        let chosen = self.runtime.program_of(state)?;
        let function = chosen.program.spec().on_failure.clone()?;
        let run = state.run.on_failure_of(end.at);
        let event = Event {
            id: EventId::from_bytes(run.to_bytes()),
            name: FUNCTION_FAILED.into(),
            data: end_data(FUNCTION_FAILED, state, end),
            ts: end.at,
            user: None,
            external_id: None,
            received_at: end.at,
        };
        Some((run, NewRun::new(function, event, Origin::Failure { of: state.run })))
    }

    /// Does the finishing work of an ended run, and acknowledges the wake. Every later wake repeats
    /// it (rules 22 and 28). Tickets are promoted only if a slot was freed, or may have been freed
    /// by a worker that died. Promotion at every repetition would multiply wakes without end.
    pub(crate) async fn finish(
        &self,
        state: &RunState,
        end: &RunEnd,
        limits: &[Limit],
        (receipt, look): (Receipt, QueueCheck),
    ) -> Result<(), StoreError> {
        for child in state.bound_children() {
            // a called run that has ended would wake this run, and this code would run again
            if self.runs.state(child).await?.is_none_or(|child| child.end.is_some()) {
                continue;
            }
            match self.runs.cancel(child, &format!("run {}, which called it, has ended", state.run)).await {
                // a called run that is created later finds that its caller has ended
                Ok(_) | Err(EngineError::NotFound(_) | EngineError::Invalid(_) | EngineError::TooLate(_)) => {}
                Err(EngineError::Store(error)) => return Err(error),
            }
        }
        if let Some((run, created)) = self.failure_run(state, end) {
            self.intake.start_runs(vec![(run, created, Vec::new())]).await?;
        }
        self.send_end_events(state, end).await?;
        let mut commit = Commit::default();
        if !limits.is_empty() {
            self.slots.release_settled(state, limits, &mut commit).await?;
            let mut frees = !commit.after.is_empty();
            for limit in limits {
                frees |= match look {
                    QueueCheck::InLine => {
                        let line = self.runtime.backend.tickets(limit, limit.slots as usize).await?;
                        line.iter().any(|place| place.run == state.run)
                    }
                    QueueCheck::AtRun | QueueCheck::Redo => false,
                } || self.runtime.backend.ticket(limit, state.run, None).await?.is_some();
            }
            if frees || look == QueueCheck::Redo {
                let leave = |limit: &Limit| LateWrite::Dequeue { limit: limit.clone(), run: state.run, of: None };
                commit.after.extend(limits.iter().map(leave));
                // slots and tickets are freed before waiting tickets are looked up
                self.runtime.carry_out(std::mem::take(&mut commit)).await?;
                self.slots.promote(limits).await?;
            }
        }
        self.write_end(state, end, &mut commit);
        commit.acks.push(receipt);
        self.runtime.carry_out(commit).await?;
        Ok(())
    }
}
