//! Injects each fault into each port call. Every run must end as expected, and a body with a
//! recorded outcome must not be executed again.

mod support;

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::{Operation, StepOptions};
use stepladder_core::journal::Fact;
use stepladder_core::retry::Backoff;
use stepladder_core::spec::Concurrency;
use stepladder_core::waiting::{EventField, EventMatch, EventWait};
use stepladder_core::{NewEvent, Status, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::view::StepStatus;
use stepladder_engine::{Engine, Pace};
use support::execution_log::ExecutionLog;
use support::faults::{FAULTS, FaultyBackend, InjectedFault};
use support::script::{ScriptedFunction, retryable_failure};
use support::{EngineFixture, count_facts, have_ended};

const HOUR: Duration = Duration::from_secs(3_600);

/// Returns a function with every kind of step (parallel steps of unequal length, a retry, a sleep,
/// events, a call, waits), and the function that it calls.
fn functions_with_every_step(limited: bool) -> (ScriptedFunction, ScriptedFunction) {
    let retry = StepOptions { backoff: Some(Backoff::Fixed(Duration::from_secs(7))), ..StepOptions::default() };
    let main = ScriptedFunction::new("main")
        .spec(|spec| {
            if limited {
                spec.concurrency.push(Concurrency::steps(1));
            }
        })
        .step("first", &[])
        .step("left", &["first"])
        .body_with("right", &["first"], retry, |n| async move {
            if n == 1 { Err(retryable_failure("once")) } else { Ok(()) }
        })
        .request("nap", &["left"], Operation::SleepFor(Duration::from_secs(5)))
        .request("told", &["nap"], Operation::Send(vec![NewEvent::new("told", json::empty_object())]))
        .request(
            "asked",
            &["right"],
            Operation::Invoke {
                function: "helper".into(),
                input: json::empty_object(),
                bound: false,
                timeout: None,
                user: None,
            },
        )
        .request("word", &["told"], wait_for_event())
        .request("payment", &["asked"], Operation::WaitForSignal { timeout: HOUR, heartbeat: None, name: None })
        .step("last", &["word", "payment"]);
    let helper = ScriptedFunction::new("helper").spec(|spec| spec.triggers.clear()).step("help", &[]);
    (main, helper)
}

fn wait_for_event() -> Operation {
    let field = EventField::new("of", "main").expect("a field");
    let wait = EventWait { events: vec!["word".into()], matching: EventMatch::Field(field) };
    Operation::WaitForEvent { wait: Arc::new(wait), timeout: HOUR }
}

/// The clients. They repeat each request until it succeeds.
#[derive(Default)]
struct OutsideClients {
    event: bool,
    signal: bool,
}

impl OutsideClients {
    /// Posts the callback, even before the run waits for it. Sends the event once the run waits for
    /// it or has ended.
    async fn send_open_requests(&mut self, engine: &Engine, onlooker: &Engine) {
        let Ok(runs) = onlooker.query().runs_of_event("once").await else { return };
        let Some(run) = runs.first().map(|run| run.run) else { return };
        if !self.signal {
            let token = onlooker.subscriptions().callback_token(run, "payment").await.unwrap();
            self.signal = engine.subscriptions().signal(&token, json::null()).await.is_ok();
        }
        let detail = onlooker.query().run(run).await.unwrap();
        let waits = detail.steps.iter().any(|step| &*step.id == "word" && step.status == StepStatus::Awaiting);
        if !self.event && (waits || detail.summary.status.is_end()) {
            let data = json::to_json(&serde_json::json!({"of": "main"})).unwrap();
            let event = NewEvent::new("word", data).with_id("word");
            self.event = engine.intake().ingest(vec![event], None).await.is_ok();
        }
    }
}

/// Works until every run has ended. If the fault kills the process, another process continues.
/// Returns whether the fault occurred.
async fn ends_well(pace: Pace, limited: bool, fault: InjectedFault, at: u32) -> bool {
    let (main, helper) = functions_with_every_step(limited);
    let (main_done, helper_done) = (main.executed(), helper.executed());
    let mut world = EngineFixture::new(vec![main.function(), helper.function()]).pace(pace);
    let faulty = FaultyBackend::new(world.memory.clone(), fault, at);
    let engine = world.engine_on(faulty.clone());
    let event = NewEvent::new("go", json::empty_object()).with_id("once");

    // the onlooker reads without faults
    let onlooker = world.engine();
    let mut engine = engine;
    let mut ingested = false;
    let mut clients = OutsideClients::default();
    let mut last_sweep = world.clock.now();
    for _ in 0..400 {
        // the client repeats its request until it succeeds
        let life = async {
            if !ingested {
                ingested = engine.intake().ingest(vec![event.clone()], None).await.is_ok();
            }
            clients.send_open_requests(&engine, &onlooker).await;
            if world.clock.now() >= last_sweep + Duration::from_secs(60) {
                last_sweep = world.clock.now();
                engine.sweep().await.ok();
            }
            world.hop_visible(&engine).await
        };
        let alive = tokio::select! {
            biased;
            () = faulty.death.notified() => None,
            more = life => Some(more),
        };
        match alive {
            None => engine = world.engine(), // the process died; the next process has no fault
            Some(true) => {}
            Some(false) if ingested && have_ended(&onlooker).await => break,
            Some(false) => {
                let minute = world.clock.now() + Duration::from_secs(60);
                world.clock.set(world.memory.next_due().unwrap_or(minute).clamp(world.clock.now(), minute));
            }
        }
    }
    let engine = world.engine();
    let place = format!("{pace:?}, limited {limited}, {fault:?} at call {at}");
    let runs = engine.query().runs_of_event("once").await.unwrap();
    assert_eq!(runs.len(), 1, "{place}");
    let detail = engine.query().run(runs[0].run).await.unwrap();
    assert_eq!(detail.summary.status, Status::Completed, "{place}: {detail:#?}");
    check_run(&world, &engine, runs[0].run, &main_done, &place).await;
    let journal = world.journal(&engine, runs[0].run).await;
    let came = |f: &Fact| matches!(f, Fact::EventDelivered { .. } | Fact::SignalReceived { .. });
    assert_eq!(count_facts(&journal, came), 2, "{place}: an event and a signal, once each: {journal:#?}");
    if fault == InjectedFault::LoseReply {
        let conflicts = world.memory.counts().conflicts;
        assert_eq!(conflicts, 0, "{place}: a write was not recognized by its token (rule 1)");
    }
    for step in &detail.steps {
        if let Some(child) = step.child {
            check_run(&world, &engine, child, &helper_done, &place).await;
        }
    }
    faulty.has_happened()
}

/// Checks that each body was executed only after the `StepStarted` of its attempt, and that each
/// step has one outcome.
async fn check_run(
    world: &EngineFixture,
    engine: &Engine,
    run: stepladder_core::RunId,
    executed: &ExecutionLog,
    place: &str,
) {
    let journal = world.journal(engine, run).await;
    for entry in &journal {
        let Fact::StepSucceeded { step, .. } = &entry.fact else { continue };
        let started = count_facts(&journal, |f| matches!(f, Fact::StepStarted { step: s, .. } if s == step));
        let succeeded = count_facts(&journal, |f| matches!(f, Fact::StepSucceeded { step: s, .. } if s == step));
        assert_eq!(succeeded, 1, "{place}: {step}");
        assert!(executed.count_of(step) as usize <= started, "{place}: {step} executed without a start");
    }
}

async fn at_every_call(pace: Pace, limited: bool) {
    for fault in FAULTS {
        let mut at = 1;
        while ends_well(pace, limited, fault, at).await {
            at += 1;
        }
        assert!(at > 20, "only {at} calls: the fault happened too rarely");
    }
}

#[tokio::test]
async fn one_step_an_invocation_survives_every_fault_at_every_call() {
    at_every_call(Pace::StepPerInvocation, false).await;
}

#[tokio::test]
async fn within_budget_survives_every_fault_at_every_call() {
    at_every_call(Pace::WithinBudget, false).await;
}

#[tokio::test]
async fn a_limit_of_one_survives_every_fault_at_every_call() {
    at_every_call(Pace::StepPerInvocation, true).await;
    at_every_call(Pace::WithinBudget, true).await;
}
