//! Log lines of runs. Each is recorded once, together with other entries, and is logged once, even
//! after conflicts.

mod support;

use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::journal::{Entry, Fact};
use stepladder_engine::Pace;
use support::logged::LogCollector;
use support::script::ScriptedFunction;
use support::{EngineFixture, only_run, spawn_hop, with_gated_step, write_conflicting_entry};

/// Collects the log lines of user code.
fn collect_lines() -> LogCollector {
    LogCollector::for_target("stepladder::log")
}

/// Returns the messages of the collected log lines, without their fields.
fn messages(collected: &LogCollector) -> Vec<String> {
    let message = |line: String| line.split_once(" function=").map_or(line.clone(), |(message, _)| message.to_owned());
    collected.lines().into_iter().map(message).collect()
}

/// Returns the log lines of each `LogWritten` entry in a journal.
fn lines_by_attempt(journal: &[Entry]) -> Vec<Vec<String>> {
    let of = |entry: &Entry| match &entry.fact {
        Fact::LogWritten { lines, .. } => Some(lines.iter().map(|placed| placed.line.message.to_string()).collect()),
        _ => None,
    };
    journal.iter().filter_map(of).collect()
}

fn numbered_lines(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("line {n}")).collect()
}

#[tokio::test]
async fn a_log_line_is_recorded_and_logged_once_although_the_run_is_replayed() {
    let collected = collect_lines();
    let _guard = tracing::subscriber::set_default(collected.clone());
    let script = ScriptedFunction::new("f").with_log_lines().step("a", &[]).step("b", &["a"]).step("c", &["b"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.settle(&engine).await;
    let run = only_run(&engine).await;
    assert_eq!(lines_by_attempt(&world.journal(&engine, run).await).concat(), numbered_lines(4));
    assert_eq!(messages(&collected), numbered_lines(4));
    let said: Vec<_> =
        engine.query().run(run).await.unwrap().logs.iter().map(|log| log.line.message.to_string()).collect();
    assert_eq!(said, numbered_lines(4));
}

#[tokio::test]
async fn log_lines_are_recorded_between_the_entries_around_them() {
    let script = ScriptedFunction::new("f").with_log_lines().step("a", &[]).step("b", &["a"]);
    let mut world = EngineFixture::new(vec![script.function()]).pace(Pace::WithinBudget);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.settle(&engine).await;
    let journal = world.journal(&engine, only_run(&engine).await).await;
    let kinds: String = journal
        .iter()
        .map(|entry| match entry.fact {
            Fact::RunCreated(_) => 'C',
            Fact::LogWritten { .. } => 'l',
            Fact::StepStarted { .. } => 's',
            Fact::StepSucceeded { .. } => 'o',
            Fact::RunCompleted { .. } => 'E',
            _ => '?',
        })
        .collect();
    assert_eq!(kinds, "ClsolsolE");
}

#[tokio::test]
async fn a_write_with_a_conflict_logs_nothing_and_the_replay_logs_once() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let collected = collect_lines();
        let _guard = tracing::subscriber::set_default(collected.clone());
        let (script, begun, open) = with_gated_step(ScriptedFunction::new("f").with_log_lines(), "a", &[]);
        let mut world = EngineFixture::new(vec![script.step("b", &["a"]).function()]).pace(pace);
        let engine = world.engine();
        world.send_event(&engine).await;
        let hop = spawn_hop(&world, &engine);
        begun.notified().await;
        write_conflicting_entry(&world, &engine).await;
        open.notify_one();
        hop.await.unwrap();
        world.settle(&engine).await;
        let run = only_run(&engine).await;
        assert_eq!(lines_by_attempt(&world.journal(&engine, run).await).concat(), numbered_lines(3), "{pace:?}");
        assert_eq!(messages(&collected), numbered_lines(3), "{pace:?}");
    }
}

#[tokio::test]
async fn a_log_line_without_another_entry_is_written_by_itself() {
    let signal = Operation::WaitForSignal { timeout: Duration::from_secs(7_200), heartbeat: None, name: None };
    let nap = Operation::SleepFor(Duration::from_secs(3_600));
    let script = ScriptedFunction::new("f").with_log_lines().request("word", &[], signal).request("nap", &[], nap);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    let run = only_run(&engine).await;
    let token =
        engine.query().run(run).await.unwrap().steps.iter().find_map(|step| step.token.clone()).expect("a token");
    engine.subscriptions().signal(&token, stepladder_core::json::null()).await.unwrap();
    for _ in 0..3 {
        world.hop_once(&engine).await;
    }
    assert_eq!(lines_by_attempt(&world.journal(&engine, run).await), [["line 0"], ["line 1"]], "the nap is not over");
    world.settle(&engine).await;
    assert_eq!(lines_by_attempt(&world.journal(&engine, run).await).concat(), numbered_lines(3));
}
