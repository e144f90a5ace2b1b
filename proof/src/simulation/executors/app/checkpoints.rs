//! Checkpoints: an app saves steps that it has executed in a call, and goes on with the call.
//!
//! A checkpoint may be lost, lose its answer, or arrive late and more than once. Without an answer,
//! the app repeats it. A refused checkpoint ends the call.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, select};
use stepladder_core::hop::Checkpoint;
use stepladder_core::journal::Fact;
use stepladder_core::{Json, RunId, StepId};
use stepladder_engine::clock::Clock;
use stepladder_engine::executor::ExecutedStep;
use stepladder_engine::{CheckpointReceipt, EngineError};
use stepladder_testkit::memory::Memory;

use super::super::Shared;
use super::serving::SimulatedApp;
use crate::simulation::Simulation;
use crate::simulation::invariants::{Violation, journal};

/// How long an app waits for the answer to a checkpoint.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often an app sends a checkpoint without an answer.
const TRIES: u32 = 3;

type CheckpointReply = Result<CheckpointReceipt, EngineError>;

/// A checkpoint on its way to a server.
pub(in crate::simulation::executors) struct PostedCheckpoint {
    run: RunId,
    checkpoint: Checkpoint,
    reply: oneshot::Sender<CheckpointReply>,
}

/// What an app knows of its checkpoint.
pub(super) enum Posted {
    Saved {
        ends_call: bool,
    },
    /// The call is over.
    Refused,
    /// There was no answer. The steps may be saved.
    Unknown,
}

impl SimulatedApp {
    /// Saves these steps.
    pub(super) async fn post(&self, call: u32, steps: &[ExecutedStep]) -> Posted {
        let value = |done: &ExecutedStep| Some((done.want.step.clone(), done.result.as_ref().ok()?.clone()));
        let steps: Vec<(StepId, Json)> = steps.iter().filter_map(value).collect();
        for _ in 0..TRIES {
            let checkpoint = Checkpoint { call, steps: steps.clone() };
            let Some(reply) = self.shared.post(self.run.run, checkpoint) else {
                self.shared.clock.sleep_until(self.shared.now() + Duration::from_secs(1)).await;
                continue;
            };
            match select(reply, self.shared.clock.sleep_until(self.shared.now() + ANSWER_WITHIN)).await {
                Either::Left((Ok(Ok(receipt)), _)) => return Posted::Saved { ends_call: receipt.ends_call },
                Either::Left((Ok(Err(EngineError::TooLate(_) | EngineError::NotFound(_))), _)) => {
                    return Posted::Refused;
                }
                // The server could not write it, died or did not answer in time.
                Either::Left(_) | Either::Right(_) => {}
            }
        }
        Posted::Unknown
    }
}

impl Shared {
    /// Sends a checkpoint. Returns `None` if it is lost.
    fn post(self: &Arc<Self>, run: RunId, checkpoint: Checkpoint) -> Option<oneshot::Receiver<CheckpointReply>> {
        let (reply, receipt) = oneshot::channel();
        let is_faulty = {
            let mut left = self.lost_answers_left.lock().expect("no panic");
            let is_faulty = *left > 0 && self.dice.one_in(4);
            *left -= u64::from(is_faulty);
            is_faulty
        };
        let fate = if is_faulty { self.dice.below(4) } else { 4 };
        self.tell(|| format!("{checkpoint:?} of {run}: fate {fate}"));
        if fate < 4 {
            self.excuse(ANSWER_WITHIN);
        }
        match fate {
            0 => return None,
            // Its answer is lost.
            1 => self.post_now(run, checkpoint, oneshot::channel().0),
            // It arrives late.
            2 => self.post_later(run, checkpoint, reply),
            // It arrives again.
            3 => {
                self.post_later(run, checkpoint.clone(), oneshot::channel().0);
                self.post_now(run, checkpoint, reply);
            }
            _ => self.post_now(run, checkpoint, reply),
        }
        Some(receipt)
    }

    fn post_now(&self, run: RunId, checkpoint: Checkpoint, reply: oneshot::Sender<CheckpointReply>) {
        self.checkpoints.lock().expect("no panic").push(PostedCheckpoint { run, checkpoint, reply });
    }

    fn post_later(self: &Arc<Self>, run: RunId, checkpoint: Checkpoint, reply: oneshot::Sender<CheckpointReply>) {
        let (shared, late) = (self.clone(), Duration::from_millis(self.dice.below(200_000)));
        let post = async move {
            shared.clock.sleep_until(shared.now() + late).await;
            shared.post_now(run, checkpoint, reply);
        };
        self.tasks.lock().expect("no panic").push(post.boxed());
    }
}

impl Simulation {
    /// Delivers the checkpoints that apps have posted, each to a random worker.
    pub(in crate::simulation) fn deliver_checkpoints(&mut self) {
        for PostedCheckpoint { run, checkpoint, reply } in self.executors.take_checkpoints() {
            let at = self.random_worker();
            let (engine, memory) = (self.processes[at].engine.clone(), self.memory.clone());
            let executors = self.executors.clone();
            self.scheduler.spawn(at, async move {
                let receipt = engine.checkpoint(run, &checkpoint).await;
                executors.shared.tell(|| format!("{checkpoint:?} of {run} at worker {at}: {receipt:?}"));
                if receipt.is_ok()
                    && let Err(violation) = check_acknowledged(&memory, run, &checkpoint)
                {
                    executors.shared.report(violation);
                }
                drop(reply.send(receipt));
            });
        }
    }
}

/// Checks that each step of an acknowledged checkpoint is in the journal with this value, and was
/// written while the checkpoint's call was the one in progress.
fn check_acknowledged(memory: &Memory, run: RunId, checkpoint: &Checkpoint) -> Result<(), Violation> {
    let entries = journal(memory, run);
    for (step, value) in &checkpoint.steps {
        let mut open = None;
        let is_recorded = entries.iter().any(|entry| {
            match &entry.fact {
                Fact::CallStarted { call, .. } => open = Some(*call),
                Fact::CallEnded { .. } => open = None,
                _ => {}
            }
            let is_outcome = match &entry.fact {
                Fact::StepSucceeded { step: of, output, .. } => of == step && output.get() == value.get(),
                Fact::StepFailed { step: of, .. } | Fact::StepRefused { step: of, .. } => of == step,
                _ => false,
            };
            is_outcome && open == Some(checkpoint.call)
        });
        if !is_recorded {
            return Err(format!(
                "a checkpoint of call {} of {run} was acknowledged, and `{step}` is not in the journal with its value \
                 as a step of this call",
                checkpoint.call
            ));
        }
    }
    Ok(())
}
