//! Third parties that hold callback tokens: they post data, failures and heartbeats, early, in
//! time, late and again. Each answer that they get must agree with the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stepladder_core::journal::{Entry, Fact, Failure, Outcome};
use stepladder_core::signal::CallbackToken;
use stepladder_core::state::{StepState, WaitTarget};
use stepladder_core::{RunId, StepId, StepKind, Timestamp, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::{Engine, EngineError};

use super::Simulation;
use super::invariants::{Violation, journal, rows};
use super::tree::HEARTBEAT;
use crate::dice::SeededDice;

mod checks;

/// The code of the failures that are posted.
pub(super) const POSTED: &str = "posted";
/// What a handler makes of a wait that ended because a heartbeat was missed.
pub(super) const NO_HEARTBEAT: &str = "no heartbeat";

/// The callbacks that were posted.
pub(super) struct PostedCallbacks {
    /// A stream of its own, so that the other choices of a seed stay the same.
    dice: SeededDice,
    /// The ids of the waits for callbacks of each function.
    waits: Vec<(&'static str, Vec<StepId>)>,
    /// Answers since the last check.
    answered: Vec<(CallbackPost, PostAnswer)>,
    /// The steps with a post that was answered as the first one.
    completed: BTreeSet<(RunId, StepId)>,
    /// For each step that got a heartbeat, the time before which it needs no other.
    kept_open: BTreeMap<(RunId, StepId), Timestamp>,
    /// Posts without a response yet, and the worker of each; `None` if that worker died.
    unanswered: Vec<(CallbackPost, Option<usize>)>,
}

/// A post to a step's callback token.
#[derive(Clone, Debug, PartialEq)]
struct CallbackPost {
    run: RunId,
    step: StepId,
    what: Posted,
}

/// What is posted to a callback token.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Posted {
    Data(u64),
    Failure(u64),
    Heartbeat,
}

/// The answer to a post.
#[derive(Clone, Copy, Debug, PartialEq)]
enum PostAnswer {
    /// The data or failure counts. The flag says whether it had been posted before.
    Accepted {
        before: bool,
    },
    /// The heartbeat counts until this time.
    KeptOpen(Timestamp),
    /// The heartbeat does not count, because the wait asks for none now.
    Unneeded,
    TooLate,
}

impl PostedCallbacks {
    pub(super) fn new(dice: SeededDice, waits: Vec<(&'static str, Vec<StepId>)>) -> Self {
        let (answered, completed, kept_open, unanswered) = Default::default();
        Self { dice, waits, answered, completed, kept_open, unanswered }
    }

    /// Records that a worker died, so that its posts get no response.
    pub(super) fn forget_worker(&mut self, worker: usize) {
        self.unanswered.iter_mut().filter(|(_, at)| *at == Some(worker)).for_each(|(_, at)| *at = None);
    }

    fn random_outcome(&self) -> Posted {
        let n = self.dice.below(2);
        if self.dice.one_in(2) { Posted::Failure(n) } else { Posted::Data(n) }
    }
}

impl Simulation {
    /// Posts to a callback token: to a wait, before the wait starts, or after its end.
    pub(super) fn post_random_callback(&mut self) {
        let callbacks = self.callbacks.clone();
        let dice = callbacks.borrow().dice.clone();
        let steps = match dice.below(8) {
            0 => self.ended_waits(),
            1 => self.waits_that_have_not_started(),
            2..5 => self.waiting_steps(|what| matches!(what, WaitTarget::Signal(Some(_)))),
            _ => self.waiting_steps(|what| matches!(what, WaitTarget::Signal(_))),
        };
        if steps.is_empty() {
            return;
        }
        let (run, step) = steps[dice.below(steps.len() as u64) as usize].clone();
        let needs_heartbeats = self.state_of(run).is_some_and(|state| {
            state
                .steps
                .get(&step)
                .is_some_and(|step| matches!(step.state, StepState::Awaiting { what: WaitTarget::Signal(Some(_)), .. }))
        });
        if needs_heartbeats && !dice.one_in(4) {
            return self.hold_wait(run, step);
        }
        let what = if dice.one_in(6) { Posted::Heartbeat } else { callbacks.borrow().random_outcome() };
        self.post_callback(CallbackPost { run, step, what });
    }

    /// Returns the waits for callbacks that have an outcome.
    fn ended_waits(&self) -> Vec<(RunId, StepId)> {
        let states = rows(&self.memory).into_iter().filter_map(|row| self.state_of(row.run));
        let mut ended = Vec::new();
        for state in states {
            let is_ended = |known: &&StepId| {
                let step = &state.steps[*known];
                step.kind == StepKind::Signal && step.state.is_settled()
            };
            ended.extend(state.steps.keys().filter(is_ended).map(|step| (state.run, step.clone())));
        }
        ended.sort();
        ended
    }

    /// Returns the waits of live runs that the runs have not reached yet.
    fn waits_that_have_not_started(&self) -> Vec<(RunId, StepId)> {
        let live = rows(&self.memory).into_iter().filter(|row| row.ended.is_none());
        let mut early = Vec::new();
        for (row, state) in live.filter_map(|row| Some((self.state_of(row.run)?, row))).map(|(state, row)| (row, state))
        {
            for (_, waits) in self.callbacks.borrow().waits.iter().filter(|(function, _)| *row.function == **function) {
                let unknown = waits.iter().filter(|wait| !state.steps.contains_key(*wait));
                early.extend(unknown.map(|wait| (row.run, wait.clone())));
            }
        }
        early.sort();
        early
    }

    /// Starts a third party that posts some heartbeats to a wait, each in time or just at its
    /// deadline, and then data, a failure, or nothing.
    fn hold_wait(&mut self, run: RunId, step: StepId) {
        let Some(state) = self.state_of(run) else { return };
        let at = self.random_worker();
        self.add_to_story(format!("a third party at worker {at} holds `{step}` of {run}"));
        let token = CallbackToken::new(run, state.secret, &step).to_string();
        let (engine, callbacks, clock) =
            (self.processes[at].engine.clone(), self.callbacks.clone(), self.clock.clone());
        let (dice, memory) = (callbacks.borrow().dice.clone(), self.memory.clone());
        self.scheduler.spawn(at, async move {
            for _ in 0..dice.below(6) {
                let every = HEARTBEAT.as_millis() as u64;
                let soon = clock.now() + Duration::from_millis(every / 8 + dice.below(every * 7 / 8));
                let deadline = checks::deadline(&journal(&memory, run), &step);
                let just =
                    |deadline: Timestamp| Timestamp::from_millis(deadline.as_millis() - 1 + dice.below(3) as i64);
                let next = deadline.filter(|_| dice.one_in(3)).map_or(soon, just);
                clock.sleep_until(next).await;
                let post = CallbackPost { run, step: step.clone(), what: Posted::Heartbeat };
                // without an answer, the next one may still come in time
                if let Some(answer) = send_post(&engine, &token, Posted::Heartbeat).await {
                    callbacks.borrow_mut().answered.push((post, answer));
                    if answer == PostAnswer::TooLate {
                        return;
                    }
                }
            }
            if dice.one_in(3) {
                return;
            }
            let what = callbacks.borrow().random_outcome();
            if let Some(answer) = send_post(&engine, &token, what).await {
                callbacks.borrow_mut().answered.push((CallbackPost { run, step, what }, answer));
            }
        });
    }

    /// Repeats a post without a response. Returns whether there was one.
    pub(super) fn repeat_unanswered_callback(&mut self) -> bool {
        let lost = self.callbacks.borrow().unanswered.iter().position(|(_, at)| at.is_none());
        let Some(lost) = lost else { return false };
        let (post, _) = self.callbacks.borrow_mut().unanswered.remove(lost);
        self.post_callback(post);
        true
    }

    fn post_callback(&mut self, post: CallbackPost) {
        let Some(state) = self.state_of(post.run) else { return };
        let at = self.random_worker();
        self.callbacks.borrow_mut().unanswered.push((post.clone(), Some(at)));
        self.add_to_story(format!("{:?} is posted to `{}` of {}, at worker {at}", post.what, post.step, post.run));
        let token = CallbackToken::new(post.run, state.secret, &post.step).to_string();
        let (engine, callbacks) = (self.processes[at].engine.clone(), self.callbacks.clone());
        self.scheduler.spawn(at, async move {
            let answer = send_post(&engine, &token, post.what).await;
            let mut callbacks = callbacks.borrow_mut();
            callbacks.unanswered.retain(|(of, worker)| *of != post || *worker != Some(at));
            match answer {
                Some(answer) => callbacks.answered.push((post, answer)),
                None => callbacks.unanswered.push((post, None)),
            }
        });
    }
}

/// Posts to a token. Returns `None` if the store failed.
async fn send_post(engine: &Engine, token: &str, what: Posted) -> Option<PostAnswer> {
    let signals = engine.subscriptions();
    let answer = match what {
        Posted::Data(n) => signals.signal(token, json::to_json(&n).expect("JSON")).await.map(|receipt| receipt.before),
        Posted::Failure(n) => {
            let failure = Failure::with_code(format!("failure {n}"), POSTED);
            signals.fail_signal(token, failure).await.map(|receipt| receipt.before)
        }
        Posted::Heartbeat => match signals.heartbeat(token).await {
            Ok(receipt) => {
                return Some(receipt.effect.next_before().map_or(PostAnswer::Unneeded, PostAnswer::KeptOpen));
            }
            Err(error) => Err(error),
        },
    };
    match answer {
        Ok(before) => Some(PostAnswer::Accepted { before }),
        Err(EngineError::TooLate(_)) => Some(PostAnswer::TooLate),
        Err(EngineError::Store(_)) => None,
        Err(EngineError::NotFound(why) | EngineError::Invalid(why)) => panic!("a good token: {why}"),
    }
}
