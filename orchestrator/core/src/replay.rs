//! The bookkeeping of a replay, for executors of every kind: which steps a function has requested,
//! which it still waits for, and which recorded outcomes it has seen.
//!
//! An executor gives the recorded outcomes to a [`Ledger`] and runs the function. Each step that
//! the function requests is entered. When the function waits, the executor reveals the next
//! outcome and runs the function again (rule 7). Once no outcome is left, the wanted steps are the
//! answer of the poll.
//!
//! What is deliberately not here: tasks, wakers, threads, bodies and their results.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::decide::Want;
use crate::state::RevealedOutcome;
use crate::{StepId, Timestamp};

/// The bookkeeping of one replay. Steps have indexes, in the order in which they were entered.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// How often each step name was used.
    name_counts: HashMap<String, u32>,
    steps: Vec<LedgerStep>,
    index: HashMap<StepId, usize>,
    /// Steps that wait for the engine. Kept up to date one by one: a join of a thousand steps must
    /// not be listed a thousand times.
    wanted: BTreeSet<usize>,
    /// The number of steps whose body is running, or has ended without a revealed outcome.
    active: usize,
    /// The recorded outcomes that were not revealed yet.
    recorded: VecDeque<RevealedOutcome>,
    /// The outcomes that were revealed before a step requested them.
    unclaimed: HashMap<StepId, RevealedOutcome>,
    dropped: Vec<StepId>,
    /// Whether the set of wanted steps has changed since it was last listed.
    changed: bool,
    /// When the latest revealed outcome was written.
    now: Timestamp,
}

/// A step that the function has requested.
#[derive(Clone, Debug)]
struct LedgerStep {
    want: Want,
    state: RequestState,
}

#[derive(Clone, Debug)]
enum RequestState {
    /// Waits for the engine.
    Wanted,
    /// Its body runs.
    Running,
    /// The body of the step has ended. The engine decides whether another attempt follows.
    BodyEnded,
    /// The step has not taken its outcome yet.
    Revealed(RevealedOutcome),
    /// The step has taken its outcome, or the function has dropped it.
    Closed,
}

/// What a requested step does next.
#[derive(Clone, Debug)]
pub enum StepProgress {
    /// It waits for the engine.
    Waiting,
    /// Its body runs.
    Running,
    /// Its body has ended or was stopped, and has no outcome yet.
    BodyEnded,
    /// It ends with this outcome, which is returned once.
    Outcome(RevealedOutcome),
    /// It has returned its outcome before, or was dropped.
    Closed,
}

/// What was revealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reveal {
    /// The outcome of a step that waits for it, by the step's index.
    Step(usize),
    /// The outcome of a step that the function has not requested yet, or has dropped.
    Other,
}

impl Ledger {
    /// Creates the ledger of a run that was created at this time.
    pub fn new(created_at: Timestamp) -> Self {
        Self {
            name_counts: HashMap::new(),
            steps: Vec::new(),
            index: HashMap::new(),
            wanted: BTreeSet::new(),
            active: 0,
            recorded: VecDeque::new(),
            unclaimed: HashMap::new(),
            dropped: Vec::new(),
            changed: false,
            now: created_at,
        }
    }

    /// Returns when the latest revealed outcome was written; before the first, when the run was
    /// created.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the id of a new step: its name, plus `:1`, `:2`… if the name repeats.
    pub fn assign_id(&mut self, name: String) -> StepId {
        match self.name_counts.get_mut(&name) {
            None => {
                let id = StepId::from(name.as_str());
                self.name_counts.insert(name, 1);
                id
            }
            Some(uses) => {
                let id = format!("{name}:{uses}").into();
                *uses += 1;
                id
            }
        }
    }

    /// Adds a recorded outcome, after all earlier ones.
    pub fn push(&mut self, outcome: RevealedOutcome) {
        self.recorded.push_back(outcome);
    }

    /// Enters a step that the function requests. Returns its index.
    pub fn enter(&mut self, want: Want) -> usize {
        let at = self.steps.len();
        self.index.insert(want.step.clone(), at);
        let state = match self.unclaimed.remove(&want.step) {
            Some(revealed) => RequestState::Revealed(revealed),
            None => {
                self.wanted.insert(at);
                self.changed = true;
                RequestState::Wanted
            }
        };
        self.steps.push(LedgerStep { want, state });
        at
    }

    /// Returns what an entered step wants.
    pub fn want(&self, at: usize) -> &Want {
        &self.steps[at].want
    }

    /// Returns the index of a step, if it was entered.
    pub fn index_of(&self, step: &str) -> Option<usize> {
        self.index.get(step).copied()
    }

    /// Returns what an entered step does next, and takes its outcome if it is revealed.
    pub fn poll(&mut self, at: usize) -> StepProgress {
        let state = &mut self.steps[at].state;
        match state {
            RequestState::Wanted => StepProgress::Waiting,
            RequestState::Running => StepProgress::Running,
            RequestState::BodyEnded => StepProgress::BodyEnded,
            RequestState::Closed => StepProgress::Closed,
            RequestState::Revealed(_) => match std::mem::replace(state, RequestState::Closed) {
                RequestState::Revealed(outcome) => StepProgress::Outcome(outcome),
                _ => StepProgress::Closed,
            },
        }
    }

    /// Lets the body of a wanted step run. Returns the step's index; `None` if the step is not
    /// wanted.
    pub fn start_body(&mut self, step: &str) -> Option<usize> {
        let at = self.index_of(step).filter(|at| matches!(self.steps[*at].state, RequestState::Wanted))?;
        self.wanted.remove(&at);
        self.active += 1;
        self.steps[at].state = RequestState::Running;
        Some(at)
    }

    /// Records that the body of a step has ended or was stopped. Returns whether it was running.
    pub fn end_body(&mut self, at: usize) -> bool {
        let is_running = matches!(self.steps[at].state, RequestState::Running);
        if is_running {
            self.steps[at].state = RequestState::BodyEnded;
        }
        is_running
    }

    /// Records that the function has dropped a step that it had requested.
    pub fn drop_step(&mut self, at: usize) {
        match std::mem::replace(&mut self.steps[at].state, RequestState::Closed) {
            RequestState::Wanted => {
                self.wanted.remove(&at);
                self.changed = true;
            }
            RequestState::Running => {
                self.dropped.push(self.steps[at].want.step.clone());
                self.active -= 1;
                self.changed = true;
            }
            RequestState::BodyEnded => self.active -= 1,
            RequestState::Revealed(_) | RequestState::Closed => {}
        }
    }

    /// Reveals the next recorded outcome; `None` if none is left.
    pub fn reveal_next(&mut self) -> Option<Reveal> {
        let revealed = self.recorded.pop_front()?;
        self.now = self.now.max(revealed.at);
        let Some(at) = self.index_of(&revealed.step) else {
            self.unclaimed.insert(revealed.step.clone(), revealed);
            return Some(Reveal::Other);
        };
        match self.steps[at].state {
            RequestState::Wanted => {
                self.wanted.remove(&at);
            }
            RequestState::Running | RequestState::BodyEnded => self.active -= 1,
            // the function has dropped the step: its `select!` took another branch
            RequestState::Revealed(_) | RequestState::Closed => return Some(Reveal::Other),
        }
        self.steps[at].state = RequestState::Revealed(revealed);
        Some(Reveal::Step(at))
    }

    /// Returns the steps that wait for the engine, in the order in which they were entered. From
    /// here on, [`has_changed`](Self::has_changed) is false until the set changes.
    pub fn wanted(&mut self) -> Vec<Want> {
        self.changed = false;
        self.wanted.iter().map(|at| self.steps[*at].want.clone()).collect()
    }

    /// Returns whether the set of wanted steps has changed since it was last listed.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Returns whether a body runs, or has ended without a revealed outcome.
    pub fn is_active(&self) -> bool {
        self.active > 0
    }

    /// Returns the steps that were dropped since the last call while their body ran.
    pub fn take_dropped(&mut self) -> Vec<StepId> {
        std::mem::take(&mut self.dropped)
    }

    /// Returns whether an outcome of this step is recorded that no step has asked for.
    pub fn has_unclaimed(&self, step: &str) -> bool {
        self.unclaimed.contains_key(step) || self.recorded.iter().any(|revealed| *revealed.step == *step)
    }

    /// Returns the steps with recorded outcomes that the function has not requested (rule 6), in
    /// order of their ids.
    pub fn orphans(&self) -> Vec<StepId> {
        let unknown = self.recorded.iter().map(|r| &r.step).filter(|step| !self.index.contains_key(*step));
        let mut orphans: Vec<StepId> = self.unclaimed.keys().chain(unknown).cloned().collect();
        orphans.sort();
        orphans
    }
}
