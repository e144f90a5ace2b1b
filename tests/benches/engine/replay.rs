//! Measures a replay in this process: from the JSON of a journal with 1,000 steps to the next step.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use stepladder::prelude::*;
use stepladder::{Json, RunId, Timestamp};
use stepladder_core::journal::{Entry, Fact, NewRun, Record, RunOrigin};
use stepladder_core::{AttemptReport, EventId, RunState, json};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{PollResult, RunView};

use crate::marks::percentile;

const STEPS: usize = 1_000;

/// The median times of the three parts of a replay.
#[derive(Clone, Debug)]
pub(crate) struct ReplayTimes {
    /// The size of each step's outcome, in bytes.
    pub(crate) bytes: usize,
    /// The time to parse the journal's JSON.
    pub(crate) read: Duration,
    /// The time to fold the journal's entries into the run's state.
    pub(crate) fold: Duration,
    /// The time to run the function up to the next step, including the decoding of outcomes.
    pub(crate) run: Duration,
}

#[derive(Deserialize)]
struct ThousandStepsEvent {}

impl EventData for ThousandStepsEvent {
    const NAME: &'static str = "bench/thousand";
}

async fn thousand_steps(ctx: Context, _: Event<ThousandStepsEvent>) -> Result<usize> {
    let mut bytes = 0;
    for _ in 0..STEPS {
        bytes += ctx.step("page", async || Ok(String::new())).await?.len();
    }
    ctx.step("last", async || Ok(bytes)).await
}

/// Replays a journal `times` times. Each outcome in the journal has `bytes` bytes.
pub(crate) fn measure(bytes: usize, times: usize) -> ReplayTimes {
    let function = compiled();
    let run = RunId::new(Timestamp::from_millis(0), 7);
    let text = serde_json::to_string(&records(bytes)).expect("records are JSON");
    let (mut read, mut fold, mut ran) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        let begun = Instant::now();
        let records: Vec<Record> = serde_json::from_str(&text).expect("they were written just now");
        read.push(begun.elapsed());
        let begun = Instant::now();
        let state = RunState::fold(run, &records).expect("the records follow each other");
        fold.push(begun.elapsed());
        let begun = Instant::now();
        assert_eq!(next_step(&function, &state), "last");
        ran.push(begun.elapsed());
    }
    ReplayTimes {
        bytes,
        read: percentile(&mut read, 50),
        fold: percentile(&mut fold, 50),
        run: percentile(&mut ran, 50),
    }
}

fn compiled() -> RegisteredFunction {
    let compiled = stepladder_sdk::runtime::compile(Function::new("thousand", thousand_steps), &Default::default());
    compiled.expect("a function without expressions").remove(0)
}

/// Returns the step that the function requests after all recorded outcomes.
fn next_step(function: &RegisteredFunction, state: &RunState) -> String {
    let opened = block_on(function.executor.open(RunView { attempt: 1, ..RunView::of(state) }, Timestamp::MAX));
    let mut execution = opened.expect("the event is what the function takes");
    match block_on(execution.poll(state.outcomes.clone())).expect("a function of this process").result {
        PollResult::Wanted(wants) if wants.len() == 1 => wants[0].step.to_string(),
        other => panic!("one step is wanted after a replay: {other:?}"),
    }
}

/// Returns records as the engine writes them within a time budget: each contains an outcome and the
/// start of the next step.
fn records(bytes: usize) -> Vec<Record> {
    let output = json::to_json(&"x".repeat(bytes.saturating_sub(2))).expect("text is JSON");
    let mut records = vec![record(0, vec![Fact::RunCreated(Box::new(created())), started(0)])];
    for step in 0..STEPS {
        let mut facts = vec![Fact::StepSucceeded {
            step: name(step).into(),
            attempt: 1,
            output: output.clone(),
            report: AttemptReport::default(),
        }];
        if step + 1 < STEPS {
            facts.push(started(step + 1));
        }
        records.push(record(2 + 2 * step as u64, facts));
    }
    records
}

fn started(step: usize) -> Fact {
    let lease_until = Timestamp::from_millis(120_000);
    Fact::StepStarted { step: name(step).into(), attempt: 1, lease_until, worker: "bench".into(), at_most_once: false }
}

fn record(seq: u64, facts: Vec<Fact>) -> Record {
    let at = Timestamp::from_millis(1);
    let entries: Vec<Entry> = facts.into_iter().map(|fact| fact.into_entry(at)).collect();
    Record { seq, token: u128::from(seq), code: "1".into(), entries }
}

fn name(step: usize) -> String {
    if step == 0 { "page".into() } else { format!("page:{step}") }
}

fn created() -> NewRun {
    let now = Timestamp::from_millis(0);
    let data: Json = json::empty_object();
    let event = stepladder_core::Event {
        id: EventId::new(now, 1),
        name: ThousandStepsEvent::NAME.into(),
        data,
        ts: now,
        user: None,
        external_id: None,
        received_at: now,
        trace: None,
    };
    NewRun::new("thousand".into(), event, RunOrigin::Event)
}
