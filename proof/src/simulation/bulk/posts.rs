//! Bulk requests over HTTP, and their senders. A request is handled as `POST /e/{key}` handles it,
//! with a deadline. A sender repeats its request until it is accepted.

use std::time::Duration;

use futures::future::{Either, select};
use stepladder_core::{EventId, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::FlowStates;
use stepladder_engine::{EngineError, IdSeed};

use super::{RESERVE, RequestState, SendMethod};
use crate::simulation::Simulation;
use crate::simulation::invariants::at_once;

/// How long after the end of an attempt the sender may still repeat it.
const WITHIN: Duration = Duration::from_secs(120);
/// How long before the end of `WITHIN` a sender stops repeating its request.
const MARGIN: Duration = Duration::from_secs(10);

impl Simulation {
    /// Handles a sender that is due: it stops waiting for the response, or sends its request again.
    pub(super) fn post_due_requests(&mut self) -> bool {
        let now = self.clock.now();
        let due = self.bulk.borrow().requests.iter().position(|request| match request.state {
            RequestState::Unsent(at) | RequestState::Sent { until: at, .. } => at <= now,
            RequestState::Accepted | RequestState::GivenUp => false,
        });
        let Some(number) = due else { return false };
        let (way, state, first_end) = {
            let request = &self.bulk.borrow().requests[number];
            (request.way, request.state, request.first_end)
        };
        if let RequestState::Sent { .. } = state {
            self.add_to_story(format!("the sender of request {number} got no answer"));
            if way == SendMethod::Body && self.is_answered(number) {
                // the process died after its last write and before its response, so nothing
                // distinguishes a repetition from a new request
                self.add_to_story(format!("request {number} was served, and is not repeated"));
                self.bulk.borrow_mut().requests[number].state = RequestState::GivenUp;
                return true;
            }
        }
        let is_too_late = first_end.is_some_and(|end| now + MARGIN > end + WITHIN);
        if way == SendMethod::Body && is_too_late {
            self.add_to_story(format!("the sender of request {number} gives up"));
            self.bulk.borrow_mut().requests[number].state = RequestState::GivenUp;
            return true;
        }
        self.post_request(number);
        true
    }

    /// Returns whether an attempt at a request was completed: its events are stored, and its flow
    /// state is deleted.
    fn is_answered(&self, number: usize) -> bool {
        let key = format!("request//{:032x}", self.bulk.borrow().requests[number].body).into();
        let attempt = at_once(self.memory.read_flow_state(vec![key])).pop().flatten();
        attempt.is_none() && self.has_stored(number)
    }

    fn post_request(&mut self, number: usize) {
        let (workers, all) = (self.workers(), self.processes.len());
        let at = workers + self.dice.below((all - workers) as u64) as usize;
        let (engine, clock) = (self.processes[at].engine.clone(), self.processes[at].clock.clone());
        let time = Duration::from_millis(4_000 + self.dice.below(12_000));
        let (now, deadline) = (self.clock.now(), clock.now() + time);
        let until = now + time + RESERVE + Duration::from_millis(4 * self.allowed.skew);
        let mut bulk = self.bulk.borrow_mut();
        let (way, body, events) = {
            let request = &mut bulk.requests[number];
            request.attempts += 1;
            request.first_end.get_or_insert(now + time);
            request.state = RequestState::Sent { attempt: request.attempts, process: at, until };
            (request.way, request.body, request.events.clone())
        };
        let attempt = bulk.requests[number].attempts;
        let (seed, hash) = match way {
            SendMethod::Seed(seed) => (seed, None),
            SendMethod::Message | SendMethod::Ids | SendMethod::Body => {
                let before = bulk.unanswered.remove(&(at, body)).filter(|(since, _)| now.since(*since) < WITHIN);
                (before.map_or_else(|| engine.intake().seed(events.len()), |(_, seed)| seed), Some(body))
            }
        };
        // Until this attempt has a response, the next attempt at this process uses the same seed.
        bulk.unanswered.insert((at, body), (now, seed));
        drop(bulk);
        self.add_to_story(format!("request {number} is sent to worker {at}, attempt {attempt}, until {deadline}"));
        let (bulk, requests, mishaps) = (self.bulk.clone(), self.requests.clone(), self.disturbances_if_undisturbed());
        // A frozen process responds late, which is no violation.
        let mishaps = mishaps.filter(|_| self.processes[at].frozen_until <= now);
        let truth = self.clock.clone();
        self.scheduler.spawn(at, async move {
            let ingest = std::pin::pin!(engine.intake().ingest_by(events, seed, hash, deadline));
            let answer = match select(ingest, clock.sleep_until(deadline + RESERVE)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => return bulk.borrow_mut().overran.push(mishaps),
            };
            let mut bulk = bulk.borrow_mut();
            bulk.remember_seed(at, body, seed, &answer, truth.now());
            let is_heard =
                matches!(bulk.requests[number].state, RequestState::Sent { attempt: of, .. } if of == attempt);
            match answer {
                _ if !is_heard => {}
                Ok(ids) => {
                    bulk.requests[number].state = RequestState::Accepted;
                    requests.borrow_mut().accept_bulk(ids, &bulk.requests[number].events);
                }
                Err(error) => {
                    bulk.requests[number].state = RequestState::Unsent(truth.now() + Duration::from_secs(1));
                    bulk.refused = Some(error.to_string());
                }
            }
        });
    }
}

impl super::BulkRequests {
    /// Records what a server process remembers about an attempt that has ended.
    fn remember_seed(
        &mut self,
        process: usize,
        body: u128,
        seed: IdSeed,
        answer: &Result<Vec<EventId>, EngineError>,
        now: Timestamp,
    ) {
        match answer {
            Err(EngineError::Store(_)) => drop(self.unanswered.insert((process, body), (now, seed))),
            Ok(_) | Err(_) => drop(self.unanswered.remove(&(process, body))),
        }
    }
}
