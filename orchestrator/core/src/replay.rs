//! The bookkeeping of a replay, for executors of every kind: which steps a function has requested,
//! for which it still waits, and which recorded outcomes it has seen.
//!
//! An executor adds the recorded outcomes to a [`Ledger`] and runs the function. Each step that the
//! function requests is entered into the ledger. When the function waits, the executor reveals the
//! next outcome and runs the function again (rule 7). Once no outcome is left, the wanted steps are
//! the result of the poll.
//!
//! Tasks, wakers, threads, bodies and their results are deliberately not part of this module.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;

use crate::decide::Want;
use crate::state::RevealedOutcome;
use crate::{StepId, Timestamp};

/// The bookkeeping of one replay. Each step has an index, in the order in which steps were entered.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// How often each step name was used.
    name_counts: HashMap<String, u32>,
    steps: Vec<LedgerStep>,
    index: HashMap<StepId, usize>,
    /// The steps that wait for the engine. The set is updated step by step, because a join of a
    /// thousand steps must not be listed a thousand times.
    wanted: BTreeSet<usize>,
    /// The number of steps with a body that is running, or that has ended without a revealed
    /// outcome.
    active: usize,
    /// The recorded outcomes that were not revealed yet.
    recorded: VecDeque<RevealedOutcome>,
    /// The outcomes that were revealed before a step requested them.
    unclaimed: HashMap<StepId, RevealedOutcome>,
    dropped: Vec<StepId>,
    /// Whether the set of wanted steps has changed since it was last listed.
    changed: bool,
    /// When the latest revealed outcome was recorded.
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
    /// The step has taken its outcome, or the function has dropped the step.
    Closed,
}

/// What a requested step must do next.
#[derive(Clone, Debug)]
pub enum StepProgress {
    /// The step waits for the engine.
    Waiting,
    /// Its body runs.
    Running,
    /// The body of the step has ended or was stopped, but the step has no outcome yet.
    BodyEnded,
    /// The step ends with this outcome, which is returned only once.
    Outcome(RevealedOutcome),
    /// The step has already returned its outcome, or was dropped.
    Closed,
}

/// The result of revealing an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reveal {
    /// The outcome belongs to a step that waits for it. Contains the index of the step.
    Step(usize),
    /// The outcome belongs to a step that the function has not requested yet, or has dropped.
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

    /// Returns when the latest revealed outcome was recorded. Before the first outcome, returns
    /// when the run was created.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the id of a new step: its name, followed by `:1`, `:2`… if the name repeats.
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

    /// Takes back ids that were assigned one after the other to this name, and that no step has.
    /// The next steps of the name get them. Does nothing if a later id was assigned.
    pub fn take_back_ids(&mut self, name: &str, ids: &[StepId]) {
        let (Some(last), Some(uses)) = (ids.last(), self.name_counts.get(name).copied()) else { return };
        let is_latest = match uses {
            1 => **last == *name,
            _ => **last == *format!("{name}:{}", uses - 1),
        };
        if !is_latest {
            return;
        }
        match uses.saturating_sub(ids.len() as u32) {
            0 => drop(self.name_counts.remove(name)),
            left => drop(self.name_counts.insert(name.to_owned(), left)),
        }
    }

    /// Adds a recorded outcome after all earlier ones.
    pub fn push(&mut self, outcome: RevealedOutcome) {
        self.recorded.push_back(outcome);
    }

    /// Enters a step that the function requests, and returns its index.
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

    /// Returns the request of an entered step.
    pub fn want(&self, at: usize) -> &Want {
        &self.steps[at].want
    }

    /// Returns the index of a step, if it was entered.
    pub fn index_of(&self, step: &str) -> Option<usize> {
        self.index.get(step).copied()
    }

    /// Returns what an entered step must do next. If its outcome was revealed, takes the outcome.
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

    /// Lets the body of a wanted step run. Returns the index of the step; `None` if the step is not
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

    /// Records that the function has dropped a step after requesting it.
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

    /// Reveals the next recorded outcome. Returns `None` if there is none.
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
            // the function has dropped the step, because its `select!` took another branch
            RequestState::Revealed(_) | RequestState::Closed => return Some(Reveal::Other),
        }
        self.steps[at].state = RequestState::Revealed(revealed);
        Some(Reveal::Step(at))
    }

    /// Returns the steps that wait for the engine, in the order in which they were entered. After
    /// this call, [`has_changed`](Self::has_changed) is false until the set changes.
    pub fn wanted(&mut self) -> Vec<Want> {
        self.changed = false;
        self.wanted.iter().map(|at| self.steps[*at].want.clone()).collect()
    }

    /// Returns whether the set of wanted steps has changed since it was last listed.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Returns whether a body is running, or has ended without a revealed outcome.
    pub fn is_active(&self) -> bool {
        self.active > 0
    }

    /// Returns the steps that were dropped since the last call while their body ran.
    pub fn take_dropped(&mut self) -> Vec<StepId> {
        std::mem::take(&mut self.dropped)
    }

    /// Returns whether a recorded outcome of this step was revealed although no step has requested
    /// it.
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
