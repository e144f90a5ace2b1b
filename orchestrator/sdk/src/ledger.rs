//! The replay ledger: what one handler and its steps share with their execution.
//!
//! A step enters its request when it is first polled, and finds its outcome here. The execution
//! reveals recorded outcomes one at a time (rule 7) and collects the results of bodies. Nothing
//! here polls or waits.

mod ending;
mod reports;
mod scope;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use stepladder_core::decide::Want;
use stepladder_core::retry::RetryAdvice;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{Failure, Json, RunId, StepId, Timestamp};
use stepladder_engine::executor::AdvisedFailure;

use crate::compensation::Compensation;
use crate::duration::friendly;
use crate::error::ErrorCode;
use ending::HandlerEnd;
use reports::{BodyReport, HandlerLog};
pub(crate) use scope::Scope;

/// The state of one replay.
pub(crate) struct ReplayLedger {
    run: RunId,
    inner: Mutex<Inner>,
}

struct Inner {
    scope: Scope,
    /// How often each name was used.
    name_counts: HashMap<String, u32>,
    steps: Vec<StepEntry>,
    index: HashMap<StepId, usize>,
    /// Steps that wait for the engine, in the order in which they were first polled. Kept up to
    /// date one by one: a join of a thousand steps must not be listed a thousand times.
    wanted: BTreeSet<usize>,
    /// Steps whose body runs, or has ended while its outcome is not revealed yet.
    active: usize,
    /// Recorded outcomes that are not revealed yet.
    recorded: VecDeque<RevealedOutcome>,
    /// Outcomes that were revealed before a step asked for them.
    unclaimed: HashMap<StepId, RevealedOutcome>,
    finished: Vec<FinishedStep>,
    dropped: Vec<StepId>,
    /// Whether the set of steps that the handler waits for has changed since it was last reported.
    changed: bool,
    /// When the last revealed outcome was written.
    now: Timestamp,
    /// Random draws of the handler.
    draws: u64,
    /// In the order in which the steps succeeded.
    compensations: Vec<Compensation>,
    end: HandlerEnd,
    log: HandlerLog,
}

/// A step that the handler has polled.
struct StepEntry {
    want: Want,
    state: StepState,
    waker: Option<Waker>,
    /// Random draws of the body.
    draws: u64,
    report: BodyReport,
}

enum StepState {
    /// Waits for the engine.
    Wanted,
    /// Its body runs.
    Running,
    /// Its body has ended. The engine decides whether another attempt follows.
    BodyEnded,
    /// The next poll of the step takes the outcome.
    Revealed(RevealedOutcome),
    /// The step has taken its outcome, or the handler has dropped the step.
    Closed,
}

/// What a polled step does next.
pub(crate) enum Instruction {
    Wait,
    /// Drop the body: it was stopped.
    StopBody,
    PollBody,
    Complete(RevealedOutcome),
    /// Fail: no step may be polled here. Carries the reason.
    Refuse(String),
}

/// A step whose body has ended.
pub(crate) struct FinishedStep {
    pub(crate) step: StepId,
    pub(crate) result: Result<Json, AdvisedFailure>,
}

impl ReplayLedger {
    pub(crate) fn new(run: RunId, created_at: Timestamp) -> Self {
        let inner = Inner {
            scope: Scope::Outside,
            name_counts: HashMap::new(),
            steps: Vec::new(),
            index: HashMap::new(),
            wanted: BTreeSet::new(),
            active: 0,
            recorded: VecDeque::new(),
            unclaimed: HashMap::new(),
            finished: Vec::new(),
            dropped: Vec::new(),
            changed: false,
            now: created_at,
            draws: 0,
            compensations: Vec::new(),
            end: HandlerEnd::Open,
            log: HandlerLog::default(),
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
        self.lock().now
    }

    /// Sets the scope of the code that runs from here on. Returns the scope before.
    pub(crate) fn enter(&self, scope: Scope) -> Scope {
        std::mem::replace(&mut self.lock().scope, scope)
    }

    /// Assigns the id of a new step. Names are numbered when steps are created, not when they are
    /// polled. A body may not create steps, so nothing is counted there: a replay would count
    /// differently.
    pub(crate) fn assign_id(&self, name: String) -> StepId {
        let mut inner = self.lock();
        if matches!(inner.scope, Scope::Body(..)) {
            return name.into();
        }
        match inner.name_counts.get_mut(&name) {
            None => {
                let id = StepId::from(name.as_str());
                inner.name_counts.insert(name, 1);
                id
            }
            Some(uses) => {
                let id = format!("{name}:{uses}").into();
                *uses += 1;
                id
            }
        }
    }

    /// Counts a random draw. Returns its number and, within a body, the body's step: a replay does
    /// not run the body, so the body must not move the handler's count.
    pub(crate) fn count_draw(&self) -> (Option<StepId>, u64) {
        let mut inner = self.lock();
        match inner.scope {
            Scope::Body(_, at) => {
                let step = &mut inner.steps[at];
                step.draws += 1;
                (Some(step.want.step.clone()), step.draws)
            }
            Scope::Outside | Scope::Handler(_) => {
                inner.draws += 1;
                (None, inner.draws)
            }
        }
    }

    /// Handles the poll of a step. The first poll enters the step and sets `at`.
    pub(crate) fn poll(&self, at: &mut Option<usize>, want: impl Fn() -> Want, waker: &Waker) -> Instruction {
        let mut inner = self.lock();
        if let Some(reason) = inner.refusal(&want) {
            return Instruction::Refuse(reason);
        }
        let at = *at.get_or_insert_with(|| inner.add(want()));
        let step = &mut inner.steps[at];
        let waker = step.waker.replace(waker.clone());
        let instruction = match std::mem::replace(&mut step.state, StepState::Closed) {
            StepState::Revealed(revealed) => Instruction::Complete(revealed),
            before => {
                let instruction = match before {
                    StepState::Wanted => Instruction::Wait,
                    StepState::Running => Instruction::PollBody,
                    StepState::BodyEnded => Instruction::StopBody,
                    StepState::Closed | StepState::Revealed(_) => {
                        Instruction::Refuse(format!("{} was polled after it had returned its outcome", step.want))
                    }
                };
                step.state = before;
                instruction
            }
        };
        drop(inner);
        drop(waker); // not under the lock: a waker may own futures that contain steps
        instruction
    }

    /// Records that the body of a step ended.
    pub(crate) fn finish_body(&self, at: usize, result: Result<Json, AdvisedFailure>) {
        let mut inner = self.lock();
        let step = &mut inner.steps[at];
        if matches!(step.state, StepState::Running) {
            step.state = StepState::BodyEnded;
            let step = step.want.step.clone();
            inner.finished.push(FinishedStep { step, result });
        }
    }

    /// Records that the handler dropped a step that it had polled.
    pub(crate) fn drop_step(&self, at: usize) {
        let mut inner = self.lock();
        let step = &mut inner.steps[at];
        let (before, waker) = (std::mem::replace(&mut step.state, StepState::Closed), step.waker.take());
        match before {
            StepState::Wanted => {
                inner.wanted.remove(&at);
                inner.changed = true;
            }
            StepState::Running => {
                let step = inner.steps[at].want.step.clone();
                inner.dropped.push(step);
                inner.active -= 1;
                inner.changed = true;
            }
            StepState::BodyEnded => inner.active -= 1,
            StepState::Revealed(_) | StepState::Closed => {}
        }
        drop(inner);
        drop(waker);
    }

    /// Reveals the next recorded outcome. Returns false if none is left.
    pub(crate) fn reveal_next(&self) -> bool {
        let mut inner = self.lock();
        let Some(revealed) = inner.recorded.pop_front() else { return false };
        inner.now = inner.now.max(revealed.at);
        inner.log.count_outcome();
        let Some(&at) = inner.index.get(&revealed.step) else {
            inner.unclaimed.insert(revealed.step.clone(), revealed);
            return true;
        };
        match inner.steps[at].state {
            StepState::Wanted => {
                inner.wanted.remove(&at);
            }
            StepState::Running | StepState::BodyEnded => inner.active -= 1,
            // the handler has dropped the step: its `select!` took another branch
            StepState::Revealed(_) | StepState::Closed => return true,
        }
        let step = &mut inner.steps[at];
        step.state = StepState::Revealed(revealed);
        let waker = step.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Adds an outcome that was just recorded.
    pub(crate) fn push_outcome(&self, outcome: RevealedOutcome) {
        self.lock().recorded.push_back(outcome);
    }

    /// Returns the steps that wait for the engine, and whether bodies are active.
    pub(crate) fn wanted(&self) -> (Vec<Want>, bool) {
        let mut inner = self.lock();
        inner.changed = false;
        let wants = inner.wanted.iter().map(|at| inner.steps[*at].want.clone()).collect();
        (wants, inner.active > 0 || !inner.finished.is_empty())
    }

    /// Lets the body of a step run. If the step does not wait for that, it fails, so that the
    /// engine gets a result.
    pub(crate) fn start_body(&self, step: &StepId) {
        let mut inner = self.lock();
        let is_wanted = |at: &usize| matches!(inner.steps[*at].state, StepState::Wanted);
        let Some(at) = inner.index.get(step).copied().filter(is_wanted) else {
            let failure = Failure::new(format!("step `{step}` does not wait for its body to run"));
            let fault = AdvisedFailure { failure, retry: RetryAdvice::Default };
            inner.finished.push(FinishedStep { step: step.clone(), result: Err(fault) });
            return;
        };
        inner.wanted.remove(&at);
        inner.active += 1;
        let step = &mut inner.steps[at];
        step.state = StepState::Running;
        let waker = step.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Stops a body that ran past its timeout.
    pub(crate) fn time_out_body(&self, step: &StepId, timeout: Duration) {
        let mut inner = self.lock();
        let is_running = |at: &usize| matches!(inner.steps[*at].state, StepState::Running);
        let Some(at) = inner.index.get(step).copied().filter(is_running) else { return };
        let entry = &mut inner.steps[at];
        entry.state = StepState::BodyEnded;
        let waker = entry.waker.take(); // the next poll drops the body
        inner.finished.push(timed_out(step, timeout));
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Returns the bodies that ended since the last call.
    pub(crate) fn take_finished(&self) -> Vec<FinishedStep> {
        std::mem::take(&mut self.lock().finished)
    }

    /// Returns the steps that were dropped since the last call while their body ran.
    pub(crate) fn take_dropped(&self) -> Vec<StepId> {
        std::mem::take(&mut self.lock().dropped)
    }

    /// Whether the set of steps that the handler waits for has changed since it was last reported.
    pub(crate) fn has_changed(&self) -> bool {
        self.lock().changed
    }

    /// Returns the recorded outcomes that the handler never asked for, sorted by id.
    pub(crate) fn orphans(&self) -> Vec<StepId> {
        let inner = self.lock();
        let unknown = inner.recorded.iter().map(|r| &r.step).filter(|step| !inner.index.contains_key(*step));
        let mut orphans: Vec<StepId> = inner.unclaimed.keys().chain(unknown).cloned().collect();
        orphans.sort();
        orphans
    }
}

impl Inner {
    fn add(&mut self, want: Want) -> usize {
        let at = self.steps.len();
        self.index.insert(want.step.clone(), at);
        let state = match self.unclaimed.remove(&want.step) {
            Some(revealed) => StepState::Revealed(revealed),
            None => {
                self.wanted.insert(at);
                self.changed = true;
                StepState::Wanted
            }
        };
        self.steps.push(StepEntry { want, state, waker: None, draws: 0, report: BodyReport::default() });
        at
    }

    /// Returns why no step may be polled in the current scope; `None` if one may.
    fn refusal(&self, want: impl Fn() -> Want) -> Option<String> {
        let here = std::thread::current().id();
        match self.scope {
            Scope::Handler(thread) if thread == here => None,
            Scope::Body(thread, outer) if thread == here => Some(format!(
                "{} was called inside the body of step `{}`; steps do not nest, call it from the function",
                want(),
                self.steps[outer].want.step
            )),
            Scope::Outside | Scope::Handler(_) | Scope::Body(..) => Some(format!(
                "{} was polled outside the function's own future; do not move it or the context into tokio::spawn, \
                     use join! or ctx.map",
                want()
            )),
        }
    }
}

/// Returns the result of a body that was stopped at its timeout.
pub(crate) fn timed_out(step: &StepId, timeout: Duration) -> FinishedStep {
    let failure = Failure {
        message: format!("step `{step}` ran past its timeout of {}", friendly(timeout)),
        code: Some(ErrorCode::Timeout),
    };
    FinishedStep { step: step.clone(), result: Err(AdvisedFailure { failure, retry: RetryAdvice::Default }) }
}
