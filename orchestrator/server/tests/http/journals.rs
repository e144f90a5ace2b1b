//! Runs with journals that are written by hand: many steps, long waits, failures.

use std::sync::Arc;

use serde_json::json;
use stepladder_core::journal::{Failure, NewRun, RunOrigin};
use stepladder_core::report::{AttemptReport, Usage};
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{
    Event, EventId, Fact, OwnStep, Record, RunId, RunRow, Status, StepId, Timer, Timestamp, Wake, WakeCause,
    json::to_json,
};
use stepladder_engine::ports::RunStart;

use crate::world::ServerFixture;

/// A journal, with the time of each fact in milliseconds since the start of the run.
#[derive(Default)]
pub(crate) struct Journal {
    facts: Vec<(i64, Fact)>,
}

impl Journal {
    /// Adds an attempt that succeeds.
    pub(crate) fn done(self, step: &str, from: i64, to: i64) -> Self {
        self.attempt(step, 1, from, to, None, None)
    }

    /// Adds an attempt that fails, and is retried at this time.
    pub(crate) fn failed(
        self,
        step: &str,
        attempt: u32,
        (from, to): (i64, i64),
        error: &str,
        retry: Option<i64>,
    ) -> Self {
        self.attempt(step, attempt, from, to, Some(error), retry)
    }

    /// Adds an attempt that does not end.
    pub(crate) fn started(mut self, step: &str, attempt: u32, at: i64) -> Self {
        let lease_until = Timestamp::from_millis(i64::MAX / 4);
        let fact =
            Fact::StepStarted { step: step.into(), attempt, lease_until, worker: "w".into(), at_most_once: false };
        self.facts.push((at, fact));
        self
    }

    fn attempt(self, step: &str, attempt: u32, from: i64, to: i64, error: Option<&str>, retry: Option<i64>) -> Self {
        let step_id: StepId = step.into();
        let mut journal = self.started(step, attempt, from);
        let report = AttemptReport::default();
        let fact = match error {
            None => {
                let output = to_json(&json!({"of": step})).unwrap();
                Fact::StepSucceeded { step: step_id, attempt, output, report }
            }
            Some(error) => {
                let retry_at = retry.map(|ms| START + std::time::Duration::from_millis(ms.unsigned_abs()));
                Fact::StepFailed { step: step_id, attempt, error: Failure::new(error), retry_at, report }
            }
        };
        journal.facts.push((to, fact));
        journal
    }

    /// Adds a step of a language model, with its usage and its answer.
    pub(crate) fn asked(self, step: &str, from: i64, to: i64, answer: &str) -> Self {
        let mut journal = self.started(step, 1, from);
        let usage = vec![Usage::new("gpt-5-mini").input_tokens(1_200).output_tokens(340).micro_dollars(980)];
        let report = AttemptReport { usage, ..AttemptReport::default() };
        let output = to_json(&json!({"choices": [{"message": {"role": "assistant", "content": answer}}]})).unwrap();
        journal.facts.push((to, Fact::StepSucceeded { step: step.into(), attempt: 1, output, report }));
        journal
    }

    /// Adds the step that records why the run is compensating.
    pub(crate) fn compensates(mut self, at: i64, error: &str) -> Self {
        let step = OwnStep::Compensation.id();
        self = self.started(&step, 1, at);
        let output = to_json(&Failure::new(error)).unwrap();
        self.facts.push((at, Fact::StepSucceeded { step, attempt: 1, output, report: AttemptReport::default() }));
        self
    }

    /// Adds any fact.
    pub(crate) fn fact(mut self, at: i64, fact: Fact) -> Self {
        self.facts.push((at, fact));
        self
    }

    pub(crate) fn ends_with_error(self, at: i64, error: &str) -> Self {
        self.fact(at, Fact::RunFailed { error: Failure::new(error) })
    }

    pub(crate) fn ends(self, at: i64) -> Self {
        self.fact(at, Fact::RunCompleted { output: to_json(&json!({"done": true})).unwrap() })
    }

    /// Stores the journal as a run of `echo`, and returns the run's id.
    pub(crate) async fn store(self, world: &ServerFixture) -> String {
        let function: Arc<str> = "echo".into();
        let id = EventId::new(START, u128::from(self.facts.len() as u64) + u128::from(rand_of(&self.facts)));
        let data = to_json(&json!({"clientId": "c1"})).unwrap();
        let event = Event {
            id,
            name: "test/echo".into(),
            data,
            ts: START,
            user: None,
            external_id: None,
            received_at: START,
            trace: None,
        };
        let run = RunId::started_by(id, &function);
        let created = Fact::RunCreated(Box::new(NewRun::new(function.clone(), event.clone(), RunOrigin::Event)));
        let ended = self.facts.last().and_then(|(at, fact)| Some((at_ms(*at), status_of(fact)?)));
        let facts = std::iter::once((0, created)).chain(self.facts);
        let entries = facts.map(|(at, fact)| fact.into_entry(at_ms(at))).collect();
        let start = RunStart {
            row: RunRow { run, function: function.clone(), event: id, created_at: START, ended },
            record: Record { seq: 0, token: 1, code: "1".into(), entries },
            watchdog: Timer { due: START, run, group: function.clone(), purpose: TimerPurpose::Watchdog },
            wake: Wake { run, cause: WakeCause::Created, group: function },
            tickets: Vec::new(),
            flow_state: Vec::new(),
        };
        world.store_run(event, start).await;
        run.to_string()
    }
}

/// The time at which the runs start: that of the fixture's clock.
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn at_ms(ms: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + ms)
}

/// Returns a number that differs between journals, so that their runs have different ids.
fn rand_of(facts: &[(i64, Fact)]) -> u64 {
    facts.iter().fold(7, |number: u64, (at, fact)| {
        let name: u64 = fact.step().map_or(0, |step| step.bytes().map(u64::from).sum());
        number.wrapping_mul(31).wrapping_add(at.unsigned_abs()).wrapping_add(name) >> 1
    })
}

fn status_of(fact: &Fact) -> Option<Status> {
    match fact {
        Fact::RunCompleted { .. } => Some(Status::Completed),
        Fact::RunFailed { .. } => Some(Status::Failed),
        _ => None,
    }
}

/// Returns the journal of a run that fails after five retries with growing waits.
pub(crate) fn backoff() -> Journal {
    let mut journal = Journal::default();
    let mut at = 200;
    for (n, wait) in (1..).zip([15_000, 32_000, 60_000, 120_000, 300_000]) {
        journal = journal.failed("call", n, (at, at + 20), "503 from openai", Some(at + 20 + wait));
        at += 20 + wait;
    }
    journal.failed("call", 6, (at, at + 48), "503 from openai", None).ends_with_error(at + 60, "503 from openai")
}

/// Returns the journal of a run with this many steps of 7 ms each, one of which failed.
pub(crate) fn many_steps(steps: i64) -> Journal {
    many_steps_so_far(steps).ends(steps * 10 + 70)
}

/// Returns the same journal without the end of the run.
pub(crate) fn many_steps_so_far(steps: i64) -> Journal {
    let mut journal = Journal::default();
    for n in 0..steps {
        let name = format!("process-row-{n}");
        journal = match n == steps / 2 {
            true => journal.failed(&name, 1, (n * 10, n * 10 + 7), "bad row", None),
            false => journal.done(&name, n * 10, n * 10 + if n == 5 { 60 } else { 7 }),
        };
    }
    journal
}
