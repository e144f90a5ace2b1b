//! The engine limits the size of everything that enters a journal, for every front end, even if two
//! workers write at the same time.

mod support;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::journal::Fact;
use stepladder_core::limits::{OUTCOME_BYTES, RUN_BYTES};
use stepladder_core::{Json, NewEvent, Status};
use stepladder_engine::ports::Listings;
use stepladder_engine::view::StepStatus;
use stepladder_engine::{Engine, Pace};
use support::EngineFixture;
use support::script::ScriptedFunction;

const PACES: [Pace; 2] = [Pace::StepPerInvocation, Pace::WithinBudget];

fn raw_json(text: String) -> Json {
    serde_json::value::RawValue::from_string(text).unwrap().into()
}

/// Returns values that are not valid as the data of an event.
fn invalid_event_data() -> [Json; 4] {
    [
        raw_json(format!(r#"{{"a":"{}"}}"#, "x".repeat(3 << 20))),
        raw_json(format!(r#"{{"a":{}1{}}}"#, "[".repeat(99), "]".repeat(99))),
        raw_json(r#"{"a":"\u0000"}"#.into()),
        raw_json(r#"{"a":"\udc00"}"#.into()),
    ]
}

#[tokio::test]
async fn a_send_or_call_with_invalid_event_data_fails_its_step_and_starts_nothing() {
    for data in invalid_event_data() {
        let send = Operation::Send(vec![NewEvent::new("told", data.clone())]);
        let call = Operation::Invoke {
            function: "called".into(),
            input: data.clone(),
            bound: false,
            timeout: None,
            user: None,
        };
        for (ask, word) in [(send, "cannot send"), (call, "cannot call")] {
            let called = ScriptedFunction::new("called").spec(|spec| spec.triggers.clear()).step("a", &[]);
            let mut world = EngineFixture::new(vec![
                ScriptedFunction::new("f").request("ask", &[], ask).function(),
                called.function(),
            ]);
            let engine = world.engine();
            let event = world.send_event(&engine).await;
            world.settle(&engine).await;
            let run = world.runs(&engine, event).await.remove(0);
            let step = &run.steps[0];
            assert_eq!((run.summary.status, step.status), (Status::Failed, StepStatus::Failed));
            let error = step.error.as_ref().unwrap();
            assert!(error.message.contains(word) && error.code() == Some("bad-event"), "{error:?}");
            assert_eq!(world.memory.events(None, 10).await.unwrap().len(), 1);
            assert_eq!(engine.query().runs(Default::default()).await.unwrap().runs.len(), 1);
        }
    }
}

#[tokio::test]
async fn an_outcome_larger_than_allowed_is_refused_from_any_front_end() {
    for pace in PACES {
        let script = ScriptedFunction::new("f").large_step("a", &[], OUTCOME_BYTES + 1, || async {});
        let mut world = EngineFixture::new(vec![script.function()]).pace(pace);
        let engine = world.engine();
        let event = world.send_event(&engine).await;
        world.settle(&engine).await;
        let run = world.runs(&engine, event).await.remove(0);
        let error = run.steps[0].error.clone().unwrap();
        assert_eq!((run.steps[0].attempts.len(), error.code()), (1, Some("too-large")), "{error:?}");
    }
}

#[tokio::test]
async fn simultaneous_outcomes_of_two_workers_keep_within_the_limit_of_a_run() {
    for pace in PACES {
        // while one worker executes `one`, another worker executes `other` and writes that outcome
        // first
        let second: Arc<OnceLock<(Arc<stepladder_testkit::memory::Memory>, Arc<Engine>)>> = Arc::default();
        let known = second.clone();
        let meanwhile = move || {
            let known = known.clone();
            async move {
                let (memory, engine) = known.get().unwrap();
                support::hop_all(memory, engine).await;
            }
        };
        let mut script = ScriptedFunction::new("f");
        let names: Vec<String> = (0..7).map(|n| format!("large {n}")).collect();
        for (n, name) in names.iter().enumerate() {
            let after = if n == 0 { vec![] } else { vec![&*names[n - 1]] };
            script = script.large_step(name, &after, OUTCOME_BYTES, || async {});
        }
        let script = script.large_step("one", &["large 6"], OUTCOME_BYTES - 1, meanwhile);
        let script = script.large_step("other", &["large 6"], OUTCOME_BYTES - 1, || async {});
        let mut world = EngineFixture::new(vec![script.function()]).pace(pace).config(|config| config.side_by_side = 1);
        let (first, other) = (world.engine(), world.engine());
        second.set((world.memory.clone(), other)).ok().unwrap();
        let event = world.send_event(&first).await;
        world.settle_within(&first, Duration::from_secs(60)).await;
        let run = world.runs(&first, event).await.remove(0);
        let status = |id: &str| run.steps.iter().find(|step| &*step.id == id).unwrap().status;
        let statuses = [status("one"), status("other")];
        assert!(
            statuses.contains(&StepStatus::Failed) && statuses.contains(&StepStatus::Completed),
            "{pace:?}: {statuses:?}"
        );
        let journal = world.journal(&first, run.summary.run).await;
        let of = |fact: &Fact| if let Fact::StepSucceeded { output, .. } = fact { output.get().len() } else { 0 };
        let kept: usize = journal.iter().map(|entry| of(&entry.fact)).sum();
        assert!(kept <= RUN_BYTES && kept > RUN_BYTES - OUTCOME_BYTES, "{pace:?}: {kept} bytes");
    }
}

#[tokio::test]
async fn a_step_with_an_invalid_name_fails_the_run() {
    let name = "x".repeat(100_000);
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step(&name, &[]).function()]);
    let engine = world.engine();
    let event = world.send_event(&engine).await;
    world.settle(&engine).await;
    let run = world.runs(&engine, event).await.remove(0);
    let error = run.summary.error.unwrap();
    assert_eq!((run.summary.status, error.code()), (Status::Failed, Some("bad-step-name")));
    assert!(run.steps.is_empty() && error.message.len() < 2_000);
}

#[tokio::test]
async fn a_callback_has_the_limits_of_json_from_outside() {
    let ask = Operation::WaitForSignal { timeout: Duration::from_secs(60), heartbeat: None, name: None };
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").request("payment", &[], ask).function()]);
    let engine = world.engine();
    let event = world.send_event(&engine).await;
    world.hop_once(&engine).await;
    let run = engine.query().runs_of_event(&event.to_string()).await.unwrap()[0].run;
    let token = engine.subscriptions().callback_token(run, "payment").await.unwrap();
    for unfit in [r#"["\u0000"]"#.to_owned(), format!("{}{}", "[".repeat(101), "]".repeat(101)), r#""\ud800""#.into()] {
        let refused = engine.subscriptions().signal(&token, raw_json(unfit)).await.unwrap_err().to_string();
        assert!(refused.starts_with("the signal "), "{refused}");
    }
    engine.subscriptions().signal(&token, raw_json("7".into())).await.unwrap();
    world.settle(&engine).await;
    assert_eq!(world.status(&engine, event).await, Status::Completed);
}
