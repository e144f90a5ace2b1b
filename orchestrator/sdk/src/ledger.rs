//! The replay ledger: the state that a handler and its steps share with their execution.
//!
//! A step adds its request to the ledger when it is first polled, and later finds its outcome
//! there. The execution reveals recorded outcomes one at a time (rule 7), and collects the results
//! of bodies. The ledger itself polls nothing and waits for nothing.

mod ending;
mod reports;
mod scope;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use stepladder_core::decide::Want;
use stepladder_core::replay::{Ledger, Reveal, StepProgress};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{Failure, Json, Label, RunId, StepId, Timestamp};
use stepladder_engine::executor::{AdvisedFailure, Attempt};
use stepladder_engine::telemetry::BodyScope;

use crate::compensation::Compensation;
use crate::duration::format_duration;
use crate::error::ErrorCode;
use ending::HandlerEnd;
use reports::{BodyReport, HandlerLog};
pub(crate) use scope::Scope;

/// The approximate memory of a step in the ledger, in bytes.
const STEP_BYTES: usize = 512;

/// The state of one replay.
pub(crate) struct ReplayLedger {
    run: RunId,
    inner: Mutex<Inner>,
}

struct Inner {
    scope: Scope,
    replay: Ledger,
    /// The state of each step in the replay, by the step's index.
    steps: Vec<StepEntry>,
    finished: Vec<FinishedStep>,
    /// The size of all outcomes that were added. The handler may still hold their values.
    outcome_bytes: usize,
    /// The number of random values that the handler has drawn.
    draws: u64,
    /// The compensations, in the order in which their steps succeeded.
    compensations: Vec<Compensation>,
    end: HandlerEnd,
    log: HandlerLog,
    /// The labels of the run, and how many of them the execution has taken.
    labels: Vec<Label>,
    taken_labels: usize,
}

/// The state of a step that the handler has polled.
#[derive(Default)]
struct StepEntry {
    waker: Option<Waker>,
    /// The number of random values that the body has drawn.
    draws: u64,
    /// For a poll: the state that the check receives.
    poll_state: Option<Json>,
    /// The scope of the attempt that executes, if runs are traced.
    scope: Option<Arc<dyn BodyScope>>,
    report: BodyReport,
}

/// What a step must do after it was polled.
pub(crate) enum Instruction {
    Wait,
    /// Drop the body, because it was stopped.
    StopBody,
    /// Poll the body, within the scope of its attempt if runs are traced.
    PollBody(Option<Arc<dyn BodyScope>>),
    Complete(RevealedOutcome),
    /// Fail with this reason, because no step may be polled here.
    Refuse(String),
}

/// A step with a body that has ended.
pub(crate) struct FinishedStep {
    pub(crate) step: StepId,
    pub(crate) result: Result<Json, AdvisedFailure>,
}

impl ReplayLedger {
    pub(crate) fn new(run: RunId, created_at: Timestamp, labels: Vec<Label>) -> Self {
        let inner = Inner {
            scope: Scope::Outside,
            replay: Ledger::new(created_at),
            steps: Vec::new(),
            finished: Vec::new(),
            outcome_bytes: 0,
            draws: 0,
            compensations: Vec::new(),
            end: HandlerEnd::Open,
            log: HandlerLog::default(),
            taken_labels: labels.len(),
            labels,
        };
        Self { run, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.lock().replay.now()
    }

    /// Sets the scope of the code that is executed from here on. Returns the previous scope.
    pub(crate) fn enter(&self, scope: Scope) -> Scope {
        std::mem::replace(&mut self.lock().scope, scope)
    }

    /// Assigns the id of a new step. Names are numbered when steps are created, not when they are
    /// polled. A body must not create steps, so nothing is counted there; otherwise a replay, which
    /// does not run the body, would count differently.
    pub(crate) fn assign_id(&self, name: String) -> StepId {
        let mut inner = self.lock();
        if matches!(inner.scope, Scope::Body(..)) {
            return name.into();
        }
        inner.replay.assign_id(name)
    }

    /// Takes back ids that were assigned one after the other to this name, and that no step has.
    pub(crate) fn take_back_ids(&self, name: &str, ids: &[StepId]) {
        let mut inner = self.lock();
        if !matches!(inner.scope, Scope::Body(..)) {
            inner.replay.take_back_ids(name, ids);
        }
    }

    /// Counts a random draw, and returns its number. Within a body, also returns the step of the
    /// body: a replay does not run the body, so the body must not change the count of the handler.
    /// Elsewhere, `count_in_item` counts the draw if the code belongs to an item of a map.
    pub(crate) fn count_draw(&self, count_in_item: impl FnOnce() -> Option<u64>) -> (Option<StepId>, u64) {
        let mut inner = self.lock();
        match inner.scope {
            Scope::Body(_, at) => {
                inner.steps[at].draws += 1;
                (Some(inner.replay.want(at).step.clone()), inner.steps[at].draws)
            }
            Scope::Outside | Scope::Handler(_) => {
                let number = count_in_item().unwrap_or_else(|| {
                    inner.draws += 1;
                    inner.draws
                });
                (None, number)
            }
        }
    }

    /// Adds a step that is polled later, and returns its index.
    ///
    /// # Errors
    /// Why no step may be added here.
    pub(crate) fn request(&self, want: impl Fn() -> Want) -> Result<usize, String> {
        let mut inner = self.lock();
        match inner.refusal(&want) {
            Some(reason) => Err(reason),
            None => Ok(inner.add(want())),
        }
    }

    /// Handles the poll of a step. The first poll adds the step to the ledger and sets `at`.
    pub(crate) fn poll(&self, at: &mut Option<usize>, want: impl Fn() -> Want, waker: &Waker) -> Instruction {
        let mut inner = self.lock();
        if let Some(reason) = inner.refusal(&want) {
            return Instruction::Refuse(reason);
        }
        let at = *at.get_or_insert_with(|| inner.add(want()));
        let waker = inner.steps[at].waker.replace(waker.clone());
        let instruction = match inner.replay.poll(at) {
            StepProgress::Waiting => Instruction::Wait,
            StepProgress::Running => Instruction::PollBody(inner.steps[at].scope.clone()),
            StepProgress::BodyEnded => Instruction::StopBody,
            StepProgress::Outcome(revealed) => Instruction::Complete(revealed),
            StepProgress::Closed => {
                let want = inner.replay.want(at);
                Instruction::Refuse(format!("{want} was polled after it had returned its outcome"))
            }
        };
        drop(inner);
        drop(waker); // not under the lock: a waker may own futures that contain steps
        instruction
    }

    /// Records that the body of a step has ended.
    pub(crate) fn finish_body(&self, at: usize, result: Result<Json, AdvisedFailure>) {
        let mut inner = self.lock();
        if inner.replay.end_body(at) {
            let step = inner.replay.want(at).step.clone();
            inner.finished.push(FinishedStep { step, result });
        }
    }

    /// Records that the handler dropped a step after polling it.
    pub(crate) fn drop_step(&self, at: usize) {
        let mut inner = self.lock();
        inner.replay.drop_step(at);
        let waker = inner.steps[at].waker.take();
        drop(inner);
        drop(waker);
    }

    /// Reveals the next recorded outcome. Returns false if there is none.
    pub(crate) fn reveal_next(&self) -> bool {
        let mut inner = self.lock();
        let Some(revealed) = inner.replay.reveal_next() else { return false };
        inner.log.count_outcome();
        if let Reveal::Step(at) = revealed {
            wake(inner, at);
        }
        true
    }

    /// Adds an outcome that was recorded just now.
    pub(crate) fn push_outcome(&self, outcome: RevealedOutcome) {
        let mut inner = self.lock();
        inner.outcome_bytes += outcome.bytes();
        inner.replay.push(outcome);
    }

    /// Returns the approximate memory of the ledger and of the outcomes that the handler has seen;
    /// `None` if a body is active or has ended without an outcome.
    pub(crate) fn bytes_if_idle(&self) -> Option<usize> {
        let inner = self.lock();
        let is_idle = !inner.replay.is_active() && inner.finished.is_empty();
        is_idle.then_some(inner.outcome_bytes + inner.steps.len() * STEP_BYTES)
    }

    /// Returns the steps that wait for the engine, and whether bodies are active.
    pub(crate) fn wanted(&self) -> (Vec<Want>, bool) {
        let mut inner = self.lock();
        let wants = inner.replay.wanted();
        (wants, inner.replay.is_active() || !inner.finished.is_empty())
    }

    /// Takes the state of the poll with the body that is executing.
    pub(crate) fn take_poll_state(&self) -> Option<Json> {
        let mut inner = self.lock();
        match inner.scope {
            Scope::Body(_, at) => inner.steps[at].poll_state.take(),
            Scope::Outside | Scope::Handler(_) => None,
        }
    }

    /// Lets the body of a step run. If the step is not waiting for this, it fails, so that the
    /// engine gets a result.
    pub(crate) fn start_body(&self, attempt: Attempt) {
        let Attempt { step, poll_state, trace, .. } = &attempt;
        let mut inner = self.lock();
        let Some(at) = inner.replay.start_body(step) else {
            let failure = Failure::new(format!("step `{step}` does not wait for its body to run"));
            let fault = AdvisedFailure { failure, retry: RetryAdvice::Default };
            inner.finished.push(FinishedStep { step: step.clone(), result: Err(fault) });
            return;
        };
        inner.steps[at].poll_state = poll_state.clone();
        inner.steps[at].scope = trace.as_ref().map(|trace| trace.scope.clone());
        wake(inner, at);
    }

    /// Stops a body that exceeded its timeout.
    pub(crate) fn time_out_body(&self, step: &StepId, timeout: Duration) {
        let mut inner = self.lock();
        let Some(at) = inner.replay.index_of(step) else { return };
        if inner.replay.end_body(at) {
            inner.finished.push(timed_out(step, timeout));
            wake(inner, at); // the next poll drops the body
        }
    }

    /// Returns the bodies that have ended since the last call.
    pub(crate) fn take_finished(&self) -> Vec<FinishedStep> {
        std::mem::take(&mut self.lock().finished)
    }

    /// Returns the steps that were dropped since the last call while their bodies were running.
    pub(crate) fn take_dropped(&self) -> Vec<StepId> {
        self.lock().replay.take_dropped()
    }

    /// Whether the set of steps for which the handler waits has changed since it was last reported.
    pub(crate) fn has_changed(&self) -> bool {
        self.lock().replay.has_changed()
    }

    /// Returns the recorded outcomes that the handler never requested, sorted by id.
    pub(crate) fn orphans(&self) -> Vec<StepId> {
        self.lock().replay.orphans()
    }
}

impl Inner {
    fn add(&mut self, want: Want) -> usize {
        self.steps.push(StepEntry::default());
        self.replay.enter(want)
    }

    /// Returns why no step may be polled in the current scope; `None` if a step may be polled.
    fn refusal(&self, want: impl Fn() -> Want) -> Option<String> {
        let here = std::thread::current().id();
        match self.scope {
            Scope::Handler(thread) if thread == here => None,
            Scope::Body(thread, outer) if thread == here => Some(format!(
                "{} was called inside the body of step `{}`; steps do not nest, call it from the function",
                want(),
                self.replay.want(outer).step
            )),
            Scope::Outside | Scope::Handler(_) | Scope::Body(..) => Some(format!(
                "{} was polled outside the function's own future; do not move it or the context into tokio::spawn, \
                     use join! or ctx.map",
                want()
            )),
        }
    }
}

/// Wakes the future of a step. The lock is released first, because a waker may own futures that
/// contain steps.
fn wake(mut inner: MutexGuard<'_, Inner>, at: usize) {
    let waker = inner.steps[at].waker.take();
    drop(inner);
    waker.into_iter().for_each(Waker::wake);
}

/// Returns the result of a body that was stopped at its timeout.
pub(crate) fn timed_out(step: &StepId, timeout: Duration) -> FinishedStep {
    let failure = Failure::with_code(
        format!("step `{step}` ran past its timeout of {}", format_duration(timeout)),
        ErrorCode::Timeout,
    );
    FinishedStep { step: step.clone(), result: Err(AdvisedFailure { failure, retry: RetryAdvice::Default }) }
}
