//! Events sent to waiting runs. An accepted event must be delivered to each run that waited for it
//! the whole time.

use stepladder_core::state::{Step, StepState, WaitTarget};
use stepladder_core::waiting::ArrivingEvent;
use stepladder_core::{EventId, NewEvent, RunId, StepId, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::Events;
use stepladder_sdk::EventData;

use super::Simulation;
use super::functions::AwaitedEvent;
use super::invariants::{Violation, at_once, rows};
use super::requests::AcceptedEvents;

/// The steps that were waiting when an event was sent.
type WaitingSteps = Vec<(RunId, StepId)>;

/// The events that were sent.
#[derive(Default)]
pub(super) struct SentMessages {
    /// Events that were sent so far, accepted or not.
    sent: Vec<NewEvent>,
    /// Events that were accepted since the last check, and the steps that waited when they were
    /// sent.
    accepted: Vec<(EventId, WaitingSteps)>,
    /// Events without a response yet, and the worker of each; `None` if that worker died.
    unanswered: Vec<(NewEvent, Option<usize>)>,
}

impl SentMessages {
    /// Adds sent events, which may be sent again under the same ids.
    pub(super) fn add_unanswered_events(&mut self, more: impl Iterator<Item = NewEvent>) {
        self.sent.extend(more);
    }

    /// Records that a worker died, so that its events get no response.
    pub(super) fn forget_worker(&mut self, worker: usize) {
        self.unanswered.iter_mut().filter(|(_, at)| *at == Some(worker)).for_each(|(_, at)| *at = None);
    }
}

impl Simulation {
    /// Sends an event, for the first time or again, or posts to a callback token.
    pub(super) fn send_random_event(&mut self) {
        match self.dice.below(3) {
            0 => self.post_random_callback(),
            // An event is sent twice: senders repeat it if they get no response, and queues may
            // deliver twice.
            1 if !self.words.borrow().sent.is_empty() => {
                let n = self.dice.below(self.words.borrow().sent.len() as u64) as usize;
                let word = self.words.borrow().sent[n].clone();
                self.send_event(word);
            }
            _ if self.knobs.words > 0 => {
                self.knobs.words -= 1;
                let data = json::to_json(&AwaitedEvent { k: self.dice.below(2) }).expect("JSON");
                let id = format!("word-{}", self.knobs.words);
                let word = NewEvent::new(AwaitedEvent::NAME, data).with_id(id);
                self.words.borrow_mut().sent.push(word.clone());
                self.send_event(word);
            }
            _ => {}
        }
    }

    fn send_event(&mut self, word: NewEvent) {
        let at = self.random_worker();
        let waiting = self.waiting_steps(|what| matches!(what, WaitTarget::Event(_)));
        self.add_to_story(format!("{} is sent to worker {at}", word.id.as_deref().unwrap_or_default()));
        let (engine, words) = (self.processes[at].engine.clone(), self.words.clone());
        let (requests, live) = (self.requests.clone(), self.live_controlled_runs());
        words.borrow_mut().unanswered.push((word.clone(), Some(at)));
        self.scheduler.spawn(at, async move {
            let response = engine.intake().ingest(vec![word.clone()], None).await;
            words.borrow_mut().unanswered.retain(|(of, worker)| of.id != word.id || *worker != Some(at));
            if let Ok(ids) = response {
                words.borrow_mut().accepted.push((ids[0], waiting));
                requests.borrow_mut().accept(AcceptedEvents { events: vec![(ids[0], word)], live });
            }
        });
    }

    /// Repeats a post or an event without a response. Returns whether there was one.
    pub(super) fn repeat_unanswered_post(&mut self) -> bool {
        let lost = self.words.borrow().unanswered.iter().position(|(_, at)| at.is_none());
        if let Some(lost) = lost {
            let (word, _) = self.words.borrow_mut().unanswered.remove(lost);
            self.send_event(word);
            return true;
        }
        self.repeat_unanswered_callback()
    }

    /// Returns the steps of live runs that wait for this.
    pub(super) fn waiting_steps(&self, is: impl Fn(&WaitTarget) -> bool) -> WaitingSteps {
        let live = rows(&self.memory).into_iter().filter(|row| row.ended.is_none());
        let states = live.filter_map(|row| self.state_of(row.run)).filter(|state| state.end.is_none());
        let mut waiting: WaitingSteps = Vec::new();
        for state in states {
            for (step, known) in &state.steps {
                if matches!(&known.state, StepState::Awaiting { what, .. } if is(what)) {
                    waiting.push((state.run, step.clone()));
                }
            }
        }
        waiting.sort();
        waiting
    }

    /// Checks rule 17. A step may still be waiting after an event was accepted. If it was waiting
    /// when the event was sent, the event must not match it, or the run must have seen the event.
    pub(super) fn check_deliveries(&mut self) -> Result<(), Violation> {
        let accepted = std::mem::take(&mut self.words.borrow_mut().accepted);
        for (id, waiting) in accepted {
            let Some(event) = at_once(self.memory.event(id)) else {
                return Err(format!("word {id} was accepted and is not there"));
            };
            let arriving = ArrivingEvent::new(&event);
            for (run, step) in waiting {
                let Some(state) = self.state_of(run) else { continue };
                // The wait may have timed out by a fast clock.
                let now = self.clock.now() + std::time::Duration::from_millis(self.allowed.skew);
                let is_late = |known: &Step| matches!(known.state, StepState::Awaiting { until, .. } if until <= now);
                if state.end.is_some() || state.has_seen(id) || state.steps.get(&step).is_some_and(is_late) {
                    continue;
                }
                if state.fulfilled_by(&arriving, &self.exprs).contains(&step) {
                    return Err(format!("word {id} was accepted, and {run} waits for it in `{step}` all the same"));
                }
            }
        }
        Ok(())
    }
}
