//! Properties of hops under random inputs: concurrent writers, failing storage, occupied slots, and
//! a function with several steps.

use std::collections::BTreeSet;

use proptest::prelude::*;
use stepladder_core::decide::{Operation, Want};
use stepladder_core::hop::{
    AttemptError, Effect, Finished, Input, LateWrite, PollResult, SlotAnswer, StepResult, WriteResult,
};
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::slot::Holder;
use stepladder_core::state::StepState;
use stepladder_core::{AttemptReport, StepId, WakeCause, json};

use crate::world::{HopFixture, HopSetup, PROCESS, START, body, failure, polled, seconds, unreachable, want};

const STEPS: [&str; 4] = ["a", "b", "c", "d"];

/// A hop that gets random inputs, and what it has done so far.
struct RandomHop {
    world: HopFixture,
    choices: std::vec::IntoIter<u8>,
    /// Slots that the hop has acquired and not released.
    held: BTreeSet<Holder>,
    /// Slots that a later hop must release.
    deferred: BTreeSet<Holder>,
    executing: Vec<(StepId, u32)>,
    /// The results that were passed to the hop: the steps and their attempts.
    results: Vec<(StepId, u32)>,
    acknowledged: bool,
}

impl RandomHop {
    fn choose(&mut self, below: u8) -> u8 {
        self.choices.next().map_or(0, |choice| choice % below)
    }

    /// Makes one transition. Returns `false` once the hop is done.
    fn go_on(&mut self) -> bool {
        if self.world.is_done() {
            return false;
        }
        self.world.now = self.world.now + seconds(u64::from(self.choose(3)));
        let input = match self.world.open_question().clone() {
            // the storage fails occasionally, but not permanently
            question if is_of_storage(&question) && self.choose(12) == 11 => {
                if let Effect::Acquire(request) = question
                    && self.choose(2) == 1
                {
                    // the slot is acquired although the reply is lost
                    self.held.insert(request.holder);
                }
                Input::StoreFailed(stepladder_core::hop::StoreFault::Unavailable("throttled".into()))
            }
            Effect::Write(write) => self.write(&write),
            Effect::Acquire(request) if self.choose(3) > 0 => {
                self.held.insert(request.holder);
                Input::Slots(SlotAnswer::Acquired)
            }
            Effect::Acquire(_) => Input::Slots(SlotAnswer::Queued { key: "k".into(), joined: true, is_new: true }),
            Effect::Poll(_) | Effect::Open(_) if self.choose(12) == 11 => Input::Unreachable(unreachable()),
            Effect::Poll(_) => self.poll(),
            Effect::AwaitAttempts(until) => self.await_attempts(until),
            _ => {
                self.world.answer();
                self.check();
                return true;
            }
        };
        self.world.on(input);
        self.check();
        true
    }

    /// Carries out a write, or lets another writer append first, which is a conflict.
    fn write(&mut self, write: &stepladder_core::hop::Write) -> Input {
        if !write.entries.is_empty() && self.choose(6) == 5 {
            let entries = self.other_entries();
            if !entries.is_empty() {
                let record = self.world.append(entries);
                return Input::Written(WriteResult::Conflict(vec![record]));
            }
        }
        if write.acknowledges {
            self.acknowledged = true;
        }
        for after in &write.after {
            if let LateWrite::Release { holder, .. } = after {
                self.held.remove(holder);
            }
        }
        if write.entries.is_empty() {
            return Input::Written(WriteResult::Done(None));
        }
        let state = self.world.state();
        assert!(state.admits_all(&write.entries).is_ok(), "a hop writes only what its journal admits");
        let record = self.world.append(write.entries.clone());
        Input::Written(WriteResult::Done(Some(record)))
    }

    /// Returns entries that another process could append.
    fn other_entries(&mut self) -> Vec<Entry> {
        let (now, step) = (self.world.now, STEPS[usize::from(self.choose(4))]);
        let state = self.world.state();
        let attempt = state.steps.get(step).map_or(0, |step| step.attempt);
        let fact = match self.choose(4) {
            0 => Fact::RunCancelled { reason: "a user".into() },
            1 => Fact::AttemptInterrupted { step: step.into(), attempt },
            2 => crate::world::started(step, attempt + 1, now + seconds(30)),
            _ => crate::world::succeeded(step, attempt),
        };
        Some(fact.into_entry(now)).into_iter().filter(|entry| state.admits(entry).is_ok()).collect()
    }

    /// Polls the function, which wants all steps without an outcome, either together or one at a
    /// time.
    fn poll(&mut self) -> Input {
        let state = self.world.state();
        let is_open = |step: &&str| {
            !self.results.iter().any(|(of, _)| **of == **step)
                && !state.steps.get(*step).is_some_and(|s| matches!(s.state, StepState::Done))
        };
        let is_executing = |step: &&str| self.executing.iter().any(|(of, _)| **of == **step);
        let open: Vec<&str> = STEPS.iter().copied().filter(is_open).filter(|step| !is_executing(step)).collect();
        if open.is_empty() && self.executing.is_empty() {
            let result = match self.choose(3) {
                0 => Err(failure("boom")),
                _ => Ok(json::null()),
            };
            return polled(PollResult::Ended(result));
        }
        let most = usize::from(self.choose(4)) + 1;
        let sleeps = self.choose(4) == 3;
        let mut wants: Vec<Want> = open.into_iter().take(most).map(body).collect();
        if sleeps {
            wants.push(want("nap", Operation::SleepFor(seconds(5))));
        }
        polled(PollResult::Wanted(wants))
    }

    fn await_attempts(&mut self, until: stepladder_core::Timestamp) -> Input {
        if self.executing.is_empty() || self.choose(4) == 3 {
            self.world.now = self.world.now.max(until.min(self.world.now + seconds(200)));
            if self.executing.is_empty() || self.world.now >= until {
                return Input::TimeIs;
            }
        }
        let (step, attempt) = self.executing.remove(0);
        if self.choose(8) == 7 {
            let result = Err(AttemptError::Unreachable(unreachable()));
            let results = vec![StepResult { step, result, report: AttemptReport::default() }];
            return Input::Finished(Finished { results, dropped: Vec::new() });
        }
        self.results.push((step.clone(), attempt));
        let result = if self.choose(3) == 0 { Err(failure("boom").into()) } else { Ok(json::null()) };
        let results = vec![StepResult { step, result, report: AttemptReport::default() }];
        Input::Finished(Finished { results, dropped: Vec::new() })
    }

    /// Checks the effects of the latest transition.
    fn check(&mut self) {
        let questions = self.world.effects.iter().filter(|effect| effect.is_question()).count();
        assert_eq!(questions, usize::from(!self.world.is_done()), "{:?}", self.world.effects);
        for effect in self.world.effects.clone() {
            match effect {
                Effect::Run(attempts) => attempts.into_iter().for_each(|attempt| {
                    let (step, number) = (attempt.ready.step, attempt.ready.attempt);
                    let state = self.world.state();
                    let running = state.steps.get(&step).expect("no body without its start");
                    assert_eq!(running.attempt, number, "no body without its start");
                    assert!(matches!(&running.state, StepState::Running { worker, .. } if **worker == *PROCESS));
                    self.executing.push((step, number));
                }),
                Effect::Defer { releases, .. } => {
                    self.deferred.extend(releases.into_iter().map(|(_, holder)| holder));
                }
                Effect::Close => assert!(self.executing.is_empty(), "bodies are dropped: {:?}", self.executing),
                _ => {}
            }
        }
        if self.world.is_done() && self.acknowledged {
            let state = self.world.state();
            for (step, attempt) in &self.results {
                let entry = crate::world::succeeded(step, *attempt).into_entry(self.world.now);
                let is_open = state.admits(&entry).is_ok();
                assert!(!is_open, "the result of attempt {attempt} of `{step}` is lost");
            }
        }
    }
}

fn is_of_storage(effect: &Effect) -> bool {
    !matches!(effect, Effect::Poll(_) | Effect::AwaitAttempts(_) | Effect::Open(_))
}

fn causes() -> impl Strategy<Value = WakeCause> {
    prop_oneof![
        Just(WakeCause::Created),
        Just(WakeCause::Next),
        Just(WakeCause::Due),
        Just(WakeCause::Slot),
        Just(WakeCause::Watchdog),
        Just(WakeCause::Step("a".into())),
        Just(WakeCause::Fresh(None)),
        Just(WakeCause::Heartbeat { step: "a".into(), due: START }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_effect_before_its_cause_no_lost_outcome_and_no_slot_after_the_end(
        cause in causes(),
        receives in 1_u32..3,
        is_limited: bool,
        is_alone: bool,
        goes_on: bool,
        side_by_side in 1_usize..5,
        choices in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut setup = HopSetup { receives, ..HopSetup::new() }.woken(cause);
        if is_limited {
            setup = setup.one_at_a_time().spec(|spec| spec.concurrency[0].limit = 3);
        }
        (setup.worker.is_alone, setup.worker.goes_on, setup.worker.side_by_side) = (is_alone, goes_on, side_by_side);
        let mut random = RandomHop {
            world: setup.begin(),
            choices: choices.into_iter(),
            held: BTreeSet::new(),
            deferred: BTreeSet::new(),
            executing: Vec::new(),
            results: Vec::new(),
            acknowledged: false,
        };
        let mut transitions = 0;
        while random.go_on() {
            transitions += 1;
            prop_assert!(transitions < 5_000, "the hop does not end");
        }
        let left: Vec<&Holder> = random.held.difference(&random.deferred).collect();
        prop_assert!(left.is_empty(), "slots are held after the hop: {left:?}");
    }
}
