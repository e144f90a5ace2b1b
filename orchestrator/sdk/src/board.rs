//! The board between a handler and its session: what the handler asks for, and what it has been shown.
//!
//! Steps put their wishes up when they are first polled and look for their outcomes here; the session reveals
//! recorded outcomes one at a time (rule 7) and collects what bodies gave. Nothing here polls or waits.

mod place;
mod reporting;
mod undoing;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use stepladder_core::decide::{Ask, Want};
use stepladder_core::retry::Retry;
use stepladder_core::state::Revealed;
use stepladder_core::{Failure, Json, RunId, StepId, Timestamp};
use stepladder_engine::program::{Fault, Finished};

use crate::undo::Undo;
pub(crate) use place::Place;
use reporting::{Reporting, Saying};
use undoing::GivenUp;

/// What one session's handler and steps share.
pub(crate) struct Board {
    run: RunId,
    inner: Mutex<Inner>,
}

struct Inner {
    place: Place,
    /// How often each name was used.
    names: HashMap<String, u32>,
    ops: Vec<Op>,
    index: HashMap<StepId, usize>,
    /// Steps that wait for the engine, in the order in which they were first asked for. Kept up to date one by one: a
    /// join of a thousand must not be listed a thousand times.
    wanted: BTreeSet<usize>,
    /// Live steps whose body runs, or has ended without an outcome shown yet.
    busy: usize,
    /// Recorded outcomes whose turn has not come.
    queue: VecDeque<Revealed>,
    /// Outcomes that nobody asked for at their turn.
    aside: HashMap<StepId, Revealed>,
    finished: Vec<Finished>,
    dropped: Vec<StepId>,
    /// Whether the handler's wishes changed since they were last listed.
    changed: bool,
    /// When the latest revealed outcome was written.
    now: Timestamp,
    draws: u64,
    /// What is to be undone if the run fails for good, in the order in which it was done.
    undos: Vec<Undo>,
    /// Whether the handler is given up, and why.
    given_up: GivenUp,
    /// What the handler says.
    saying: Saying,
}

/// A step that the handler has polled.
struct Op {
    want: Want,
    standing: Standing,
    waker: Option<Waker>,
    /// Random draws made within the body.
    draws: u64,
    /// What the body reports.
    report: Reporting,
}

enum Standing {
    /// Waits for the engine.
    Wanted,
    /// Its body runs.
    Running,
    /// Its body has ended; the outcome, or another attempt elsewhere, is the engine's.
    Spent,
    /// Its turn has come; the step takes the outcome at its next poll.
    Shown(Revealed),
    /// The step has its outcome, or the handler dropped it.
    Gone,
}

/// What a polled step is to do.
pub(crate) enum Answer {
    /// Nothing yet.
    Wait,
    /// Give up its body, if one is left: it was stopped.
    Stop,
    /// Poll its body.
    Run,
    /// Take its outcome.
    Outcome(Revealed),
    /// It was polled where no step may be; says why.
    Misplaced(String),
}

impl Board {
    pub(crate) fn new(run: RunId, created_at: Timestamp, outcomes: Vec<Revealed>) -> Self {
        let inner = Inner {
            place: Place::Outside,
            names: HashMap::new(),
            ops: Vec::new(),
            index: HashMap::new(),
            wanted: BTreeSet::new(),
            busy: 0,
            queue: outcomes.into(),
            aside: HashMap::new(),
            finished: Vec::new(),
            dropped: Vec::new(),
            changed: false,
            now: created_at,
            draws: 0,
            undos: Vec::new(),
            given_up: GivenUp::No,
            saying: Saying::default(),
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

    /// Says where the code runs from here on; gives where it ran.
    pub(crate) fn move_to(&self, place: Place) -> Place {
        std::mem::replace(&mut self.lock().place, place)
    }

    /// The id of a step that is being created. Names are numbered when steps are created, not when they are polled; in
    /// a body, where no step may be, nothing is counted, or replays would count differently.
    pub(crate) fn number(&self, name: String) -> StepId {
        let mut inner = self.lock();
        if matches!(inner.place, Place::Body(..)) {
            return name.into();
        }
        match inner.names.get_mut(&name) {
            None => {
                let id = StepId::from(name.as_str());
                inner.names.insert(name, 1);
                id
            }
            Some(uses) => {
                let id = format!("{name}:{uses}").into();
                *uses += 1;
                id
            }
        }
    }

    /// What the next random draw is made of: its number, and, within a body, the body's step. A body does not run in a
    /// replay and may not move the function's own count.
    pub(crate) fn draw(&self) -> (Option<StepId>, u64) {
        let mut inner = self.lock();
        match inner.place {
            Place::Body(_, at) => {
                let op = &mut inner.ops[at];
                op.draws += 1;
                (Some(op.want.step.clone()), op.draws)
            }
            Place::Outside | Place::Handler(_) => {
                inner.draws += 1;
                (None, inner.draws)
            }
        }
    }

    /// A step was polled: puts its wish up if it is new, and says what it is to do.
    pub(crate) fn poll(&self, at: &mut Option<usize>, want: impl Fn() -> Want, waker: &Waker) -> Answer {
        let mut inner = self.lock();
        if let Some(misplaced) = inner.misplaced(&want) {
            return Answer::Misplaced(misplaced);
        }
        let at = *at.get_or_insert_with(|| inner.put_up(want()));
        let op = &mut inner.ops[at];
        let waker = op.waker.replace(waker.clone());
        let answer = match std::mem::replace(&mut op.standing, Standing::Gone) {
            Standing::Shown(revealed) => Answer::Outcome(revealed),
            before => {
                let answer = match before {
                    Standing::Wanted => Answer::Wait,
                    Standing::Running => Answer::Run,
                    Standing::Spent => Answer::Stop,
                    Standing::Gone | Standing::Shown(_) => Answer::Misplaced(format!(
                        "step `{}` ({}) was polled again after it had its outcome",
                        op.want.step, op.want.at
                    )),
                };
                op.standing = before;
                answer
            }
        };
        drop(inner);
        drop(waker); // not under the lock: it may own futures with steps in them
        answer
    }

    /// The body of a step ended.
    pub(crate) fn finish(&self, at: usize, result: Result<Json, Fault>) {
        let mut inner = self.lock();
        let op = &mut inner.ops[at];
        if matches!(op.standing, Standing::Running) {
            op.standing = Standing::Spent;
            let step = op.want.step.clone();
            inner.finished.push(Finished { step, result });
        }
    }

    /// The handler dropped a step that it had polled.
    pub(crate) fn forget(&self, at: usize) {
        let mut inner = self.lock();
        let op = &mut inner.ops[at];
        let (before, waker) = (std::mem::replace(&mut op.standing, Standing::Gone), op.waker.take());
        match before {
            Standing::Wanted => {
                inner.wanted.remove(&at);
                inner.changed = true;
            }
            Standing::Running => {
                let step = inner.ops[at].want.step.clone();
                inner.dropped.push(step);
                inner.busy -= 1;
                inner.changed = true;
            }
            Standing::Spent => inner.busy -= 1,
            Standing::Shown(_) | Standing::Gone => {}
        }
        drop(inner);
        drop(waker);
    }

    /// Reveals the next recorded outcome; false when none is left.
    pub(crate) fn reveal_next(&self) -> bool {
        let mut inner = self.lock();
        let Some(revealed) = inner.queue.pop_front() else { return false };
        inner.now = inner.now.max(revealed.at);
        inner.saying.go_on();
        let Some(&at) = inner.index.get(&revealed.step) else {
            inner.aside.insert(revealed.step.clone(), revealed);
            return true;
        };
        match inner.ops[at].standing {
            Standing::Wanted => {
                inner.wanted.remove(&at);
            }
            Standing::Running | Standing::Spent => inner.busy -= 1,
            Standing::Shown(_) | Standing::Gone => return true, // dropped: the `select!` went another way
        }
        let op = &mut inner.ops[at];
        op.standing = Standing::Shown(revealed);
        let waker = op.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// An outcome that was just recorded.
    pub(crate) fn add(&self, outcome: Revealed) {
        self.lock().queue.push_back(outcome);
    }

    /// What the handler waits for, and whether bodies are under way.
    pub(crate) fn wishes(&self) -> (Vec<Want>, bool) {
        let mut inner = self.lock();
        inner.changed = false;
        let wants = inner.wanted.iter().map(|at| inner.ops[*at].want.clone()).collect();
        (wants, inner.busy > 0 || !inner.finished.is_empty())
    }

    /// Lets a body run. One that cannot is given back as failed, so that nobody waits for it.
    pub(crate) fn begin(&self, step: &StepId) {
        let mut inner = self.lock();
        let waiting = |at: &usize| matches!(inner.ops[*at].standing, Standing::Wanted);
        let Some(at) = inner.index.get(step).copied().filter(waiting) else {
            let failure = Failure::new(format!("step `{step}` does not wait for its body to run"));
            let fault = Fault { failure, retry: Retry::Default };
            inner.finished.push(Finished { step: step.clone(), result: Err(fault) });
            return;
        };
        inner.wanted.remove(&at);
        inner.busy += 1;
        let op = &mut inner.ops[at];
        op.standing = Standing::Running;
        let waker = op.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Stops a body whose time is up.
    pub(crate) fn expire(&self, step: &StepId, timeout: Duration) {
        let mut inner = self.lock();
        let running = |at: &usize| matches!(inner.ops[*at].standing, Standing::Running);
        let Some(at) = inner.index.get(step).copied().filter(running) else { return };
        let op = &mut inner.ops[at];
        op.standing = Standing::Spent;
        let waker = op.waker.take(); // polled once more, the step drops its body
        inner.finished.push(timed_out(step, timeout));
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Bodies that ended since the last call.
    pub(crate) fn take_finished(&self) -> Vec<Finished> {
        std::mem::take(&mut self.lock().finished)
    }

    /// Running bodies that were dropped since the last call.
    pub(crate) fn take_dropped(&self) -> Vec<StepId> {
        std::mem::take(&mut self.lock().dropped)
    }

    /// Whether the handler wants something else than what was last listed.
    pub(crate) fn has_changed(&self) -> bool {
        self.lock().changed
    }

    /// Recorded outcomes that the handler never asked for, by name.
    pub(crate) fn orphans(&self) -> Vec<StepId> {
        let inner = self.lock();
        let unasked = inner.queue.iter().map(|r| &r.step).filter(|step| !inner.index.contains_key(*step));
        let mut orphans: Vec<StepId> = inner.aside.keys().chain(unasked).cloned().collect();
        orphans.sort();
        orphans
    }
}

impl Inner {
    fn put_up(&mut self, want: Want) -> usize {
        let at = self.ops.len();
        self.index.insert(want.step.clone(), at);
        let standing = match self.aside.remove(&want.step) {
            Some(revealed) => Standing::Shown(revealed),
            None => {
                self.wanted.insert(at);
                self.changed = true;
                Standing::Wanted
            }
        };
        self.ops.push(Op { want, standing, waker: None, draws: 0, report: Reporting::default() });
        at
    }

    /// Why no step may be polled here; `None` where one may.
    fn misplaced(&self, want: impl Fn() -> Want) -> Option<String> {
        let here = std::thread::current().id();
        match self.place {
            Place::Handler(thread) if thread == here => None,
            Place::Body(thread, outer) if thread == here => {
                let Want { step, at, .. } = want();
                Some(format!(
                    "step `{step}` ({at}) was called inside the body of step `{}`; steps do not nest, call it from the \
                     function",
                    self.ops[outer].want.step
                ))
            }
            Place::Outside | Place::Handler(_) | Place::Body(..) => {
                let Want { step, at, .. } = want();
                Some(format!(
                    "step `{step}` ({at}) was polled outside the function's own future; do not move it or the context \
                     into tokio::spawn, use join! or ctx.map"
                ))
            }
        }
    }
}

/// A body that was stopped because its time was up.
pub(crate) fn timed_out(step: &StepId, timeout: Duration) -> Finished {
    let failure = Failure {
        message: format!("step `{step}` ran past its time-out of {timeout:?}"),
        code: Some("timeout".into()),
    };
    Finished { step: step.clone(), result: Err(Fault { failure, retry: Retry::Default }) }
}

/// A wish, as it is put up.
pub(crate) fn want(step: &StepId, ask: &Ask, at: &'static Location<'static>) -> Want {
    Want { step: step.clone(), ask: ask.clone(), at }
}
