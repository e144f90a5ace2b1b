//! Events that announce the end of a run. Each is sent exactly once, whatever fault occurs at
//! whatever call.

mod support;

use std::time::Duration;

use stepladder_core::spec::Trigger;
use stepladder_core::system::ENDS;
use stepladder_core::{NewEvent, Status, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::Listings;
use stepladder_engine::{Pace, RunFilter};
use support::faults::{FAULTS, FaultyBackend, InjectedFault};
use support::script::{ScriptedFunction, terminal_failure};
use support::{EngineFixture, have_ended};

fn listener(name: &'static str) -> ScriptedFunction {
    let trigger = Trigger { event: name.into(), condition: None };
    ScriptedFunction::new(&format!("on {name}")).spec(|spec| spec.triggers = vec![trigger]).step("hear", &[])
}

/// Works until every run has ended. If the fault kills the process, another process continues.
/// Returns whether the fault occurred.
async fn ends_well(pace: Pace, fault: InjectedFault, at: u32) -> bool {
    let main = ScriptedFunction::new("main").body("fails", &[], |_| async { Err(terminal_failure("no")) });
    let functions = ENDS.into_iter().map(|name| listener(name).function()).chain([main.function()]);
    let mut world = EngineFixture::new(functions.collect()).pace(pace);
    let faulty = FaultyBackend::new(world.memory.clone(), fault, at);
    let mut engine = world.engine_on(faulty.clone());
    let onlooker = world.engine();
    let event = NewEvent::new("go", json::empty_object()).with_id("once");
    let mut ingested = false;
    for _ in 0..200 {
        let life = async {
            if !ingested {
                ingested = engine.intake().ingest(vec![event.clone()], None).await.is_ok();
            }
            engine.sweep().await.ok();
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
            Some(false) if ingested && world.memory.wakes() == 0 && have_ended(&onlooker).await => break,
            Some(false) => {
                let minute = world.clock.now() + Duration::from_secs(60);
                world.clock.set(world.memory.next_due().unwrap_or(minute).clamp(world.clock.now(), minute));
            }
        }
    }
    let place = format!("{pace:?}, {fault:?} at call {at}");
    let runs = onlooker.query().runs(RunFilter::default()).await.unwrap().runs;
    let of =
        |function: &str| runs.iter().filter(|run| *run.function == *function).map(|run| run.status).collect::<Vec<_>>();
    assert_eq!(of("main"), [Status::Failed], "{place}");
    for name in ENDS {
        let expected: &[Status] = if name.ends_with("cancelled") { &[] } else { &[Status::Completed] };
        assert_eq!(of(&format!("on {name}")), expected, "{place}: {name}");
    }
    assert_eq!(world.memory.events(None, 10).await.unwrap().len(), 4, "{place}: `go`, and each end once");
    faulty.has_happened()
}

#[tokio::test]
async fn an_end_is_announced_once_after_each_fault_at_each_call() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        for fault in FAULTS {
            let mut at = 1;
            while ends_well(pace, fault, at).await {
                at += 1;
            }
            assert!(at > 15, "only {at} calls: the fault happened too rarely");
        }
    }
}

#[tokio::test]
async fn the_cancellation_of_a_run_of_an_unregistered_function_is_announced() {
    let sleep = stepladder_core::decide::Operation::SleepFor(Duration::from_secs(60));
    let main = ScriptedFunction::new("main").request("sleep", &[], sleep);
    let heard = || listener("inngest/function.cancelled").function();
    let mut world = EngineFixture::new(vec![main.function(), heard()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    // this worker has another version of the code, which lacks the function
    world.functions = vec![heard()];
    let engine = world.engine();
    let run = engine.query().runs(RunFilter::default()).await.unwrap().runs[0].run;
    engine.control().cancel(run, "by hand").await.unwrap();
    world.settle(&engine).await;
    let runs = engine.query().runs(RunFilter::default()).await.unwrap().runs;
    let heard = runs.iter().filter(|run| run.function.starts_with("on ")).count();
    assert_eq!((runs.len(), heard), (2, 1));
}
