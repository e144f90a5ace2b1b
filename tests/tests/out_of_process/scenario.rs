//! What happens to the functions of another process: registered, changed, removed, unreachable, and
//! slow to answer.

use std::time::Duration;

use libtest_mimic::Trial;
use stepladder_core::function::RetryConfig;
use stepladder_core::{ErrorCode, FunctionConfig, Status};
use stepladder_engine::REFRESH_AFTER;
use stepladder_testkit::conformance::TestedAdapter;

use crate::program::{CHARGE, POLL};
use crate::stage::{Program, Stage, attempts, function, output};

const MINUTE: Duration = Duration::from_secs(60);

/// The tests on one store.
pub(crate) fn trials<F>(store: &str, adapter: impl Fn() -> F + Clone + Send + 'static) -> Vec<Trial>
where
    F: Future<Output = TestedAdapter>,
{
    let trial = |name: &str, test: fn(Stage) -> futures::future::LocalBoxFuture<'static, ()>| {
        let adapter = adapter.clone();
        Trial::test(format!("{store}::{name}"), move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(async { test(Stage::new(adapter().await)).await });
            Ok(())
        })
    };
    vec![
        trial("functions_are_registered_changed_and_removed_while_runs_are_in_progress", |stage| {
            Box::pin(registered_changed_and_removed(stage))
        }),
        trial("a_program_that_is_unreachable_for_a_while_uses_no_retry_up", |stage| Box::pin(unreachable(stage))),
        trial("a_step_that_starts_at_most_once_fails_if_its_answer_is_lost", |stage| Box::pin(lost(stage))),
        trial("a_program_that_answers_late_is_timed_out_or_asked_again", |stage| Box::pin(slow(stage))),
    ]
}

async fn registered_changed_and_removed(stage: Stage) {
    let program = Program::start();
    let (one, other) = (stage.process(), stage.process());
    assert!(one.register("shop", &program, &[function("order", "1")]).await);
    let first = other.send().await;
    assert_eq!(other.runs(first).await.len(), 1, "an event that meets no function looks for one");

    // a body is in progress while the apps change
    program.control("hold", "pack").await;
    let hop = stage.spawn_hop(&other).await;
    program.control("await", "pack").await;
    assert!(one.register("post", &program, &[function("mail", "1")]).await);
    assert!(one.register("shop", &program, &[function("order", "1"), function("order", "2")]).await);
    stage.advance(REFRESH_AFTER).await;
    let second = other.send().await;
    let functions: Vec<_> = other.runs(second).await.iter().map(|run| run.summary.function.clone()).collect();
    assert_eq!(functions[..], ["mail".into(), "order".into()], "another process knows them after two seconds");
    program.control("release", "").await;
    hop.await.expect("a hop");
    assert_eq!(stage.end_runs(&other, first).await.iter().map(output).collect::<Vec<_>>(), [r#"["pack 1","ship 1"]"#]);
    let outputs: Vec<_> = stage.end_runs(&one, second).await.iter().map(output).collect();
    assert_eq!(outputs, [r#"["send 1"]"#, r#"["pack 2","label 2"]"#], "a new run starts under the newest version");

    // removed: its runs wait, and the others go on
    let third = one.send().await;
    one.apps.remove("post").await.expect("removed");
    stage.advance(REFRESH_AFTER).await;
    let has_ended = async || other.runs(third).await[1].summary.status.is_end();
    assert!(stage.run_until(&other, 10 * MINUTE, has_ended).await);
    stage.run_until(&other, 5 * MINUTE, async || false).await;
    let statuses: Vec<_> = other.runs(third).await.iter().map(|run| run.summary.status).collect();
    assert_eq!(statuses, [Status::Scheduled, Status::Completed]);
    let fourth = other.send().await;
    assert_eq!(other.runs(fourth).await.len(), 1, "no event starts it");

    // registered again, by the other process
    assert!(other.register("post", &program, &[function("mail", "1")]).await);
    let runs = stage.end_runs(&one, third).await;
    assert_eq!(output(&runs[0]), r#"["send 1"]"#);
    let refused = one.apps.register("third", &program.address.to_string(), &[function("mail", "1")]).await;
    let sentence = refused.expect_err("a function of another app").to_string();
    assert!(sentence.contains("function `mail` of app `third` is registered by another app"), "{sentence}");
}

async fn unreachable(stage: Stage) {
    let program = Program::start();
    let process = stage.process();
    process.register("shop", &program, &[function("order", "1")]).await;

    // between two steps: the body of the first is executing when the program dies
    program.control("hold", "pack").await;
    let event = process.send().await;
    let hop = stage.spawn_hop(&process).await;
    program.control("await", "pack").await;
    let port = program.end();
    hop.await.expect("a hop");
    stage.run_until(&process, 10 * MINUTE, async || false).await;
    let runs = process.runs(event).await;
    assert!(!runs[0].summary.status.is_end(), "{runs:?}");

    let program = Program::start_again(port);
    let runs = stage.end_runs(&process, event).await;
    assert_eq!(output(&runs[0]), r#"["pack 1","ship 1"]"#, "it has no retries, so none was used");
    assert_eq!(program.control("bodies", "pack").await["n"], 1, "the new program has executed it once");
}

async fn lost(stage: Stage) {
    let program = Program::start();
    let process = stage.process();
    process.register("shop", &program, &[function("payment", "1")]).await;

    // the program dies while it executes the body: its effect is unknown
    program.control("hold", CHARGE).await;
    let event = process.send().await;
    let hop = stage.spawn_hop(&process).await;
    program.control("await", CHARGE).await;
    let port = program.end();
    hop.await.expect("a hop");
    let program = Program::start_again(port);
    let runs = stage.end_runs(&process, event).await;
    let error = runs[0].summary.error.as_ref().expect("a failure");
    assert_eq!((runs[0].summary.status, &error.code), (Status::Failed, &Some(ErrorCode::OutcomeUnknown)), "{runs:?}");
    assert!(error.message.contains("lost the connection to its executor"), "{error:?}");
    assert_eq!(program.control("bodies", CHARGE).await["n"], 0, "it is not executed again");

    // the program cannot be reached: nothing was executed, so the step starts later
    let port = program.end();
    let event = process.send().await;
    stage.run_until(&process, 10 * MINUTE, async || false).await;
    assert!(!process.runs(event).await[0].summary.status.is_end());
    let program = Program::start_again(port);
    let runs = stage.end_runs(&process, event).await;
    assert_eq!(output(&runs[0]), r#"["charge 1"]"#);
    assert_eq!(program.control("bodies", CHARGE).await["n"], 1);
}

async fn slow(stage: Stage) {
    let program = Program::start();
    let process = stage.process();
    let patient =
        FunctionConfig { retry: RetryConfig { retries: 1, ..RetryConfig::default() }, ..function("mail", "1") };
    process.register("post", &program, &[patient]).await;

    // a body that answers after its timeout: the attempt has failed, and its answer does not count
    program.control("hold", "send").await;
    let event = process.send().await;
    let hop = stage.spawn_hop(&process).await;
    program.control("await", "send").await;
    stage.advance(Duration::from_secs(21)).await;
    hop.await.expect("a hop");
    program.control("release", "").await;
    let runs = stage.end_runs(&process, event).await;
    assert_eq!((output(&runs[0]).as_str(), attempts(&runs[0])), (r#"["send 1"]"#, vec![("send", 2)]), "{runs:?}");
    let failure = runs[0].steps[0].attempts[0].error.as_ref().expect("the first attempt failed");
    assert!(failure.message.contains("ran past its time-out of 20s"), "{failure:?}");

    // a replay that is not answered before the worker's time is up: no attempt has failed
    program.control("hold", POLL).await;
    let event = process.send().await;
    let hop = stage.spawn_hop(&process).await;
    program.control("await", POLL).await;
    stage.advance(process.engine.config().worker_timeout).await;
    hop.await.expect("a hop");
    program.control("release", "").await;
    let runs = stage.end_runs(&process, event).await;
    assert_eq!((output(&runs[0]).as_str(), attempts(&runs[0])), (r#"["send 1"]"#, vec![("send", 1)]), "{runs:?}");
}
