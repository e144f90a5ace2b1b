//! A body that blocks its thread. The body's own timeout cannot fire, so the thread of the
//! supervisor ends the attempt.
//!
//! No function of the project does this, so the program under test is this executable.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use stepladder::prelude::{Backoff, Context, Deserialize, Event, EventData, Function, Result};

use crate::roles::LambdaRoles;
use crate::{assert_completed, repeated_steps};

/// The event that triggers the function with a body that blocks its thread.
#[derive(Deserialize)]
struct BlockEvent {}

impl EventData for BlockEvent {
    const NAME: &'static str = "test/block";
}

/// The environment variable with the path of a file. The first attempt creates the file when it
/// starts.
const BEGUN: &str = "STEPLADDER_TEST_BEGUN";

/// Not a test, but a program with one function. The function's first attempt blocks forever. The
/// other test starts this executable with only this test and with the environment variable set.
#[test]
fn a_program_whose_function_blocks_its_thread() {
    let Some(begun) = std::env::var_os(BEGUN).map(PathBuf::from) else { return };
    let function = Function::new("block", move |ctx: Context, _: Event<BlockEvent>| {
        let begun = begun.clone();
        async move { block_once(ctx, begun).await }
    });
    let _ended = stepladder::App::new().function(function.backoff(Backoff::Fixed(Duration::ZERO))).run();
}

async fn block_once(ctx: Context, begun: PathBuf) -> Result<String> {
    let body = async || {
        if std::fs::exists(&begun)? {
            return Ok("did not block".to_owned());
        }
        std::fs::write(&begun, "")?;
        loop {
            std::thread::park();
        }
    };
    ctx.step("block", body).timeout(Duration::from_secs(1)).await
}

#[tokio::test]
async fn the_supervisor_fails_a_blocked_body_and_ends_its_process() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let begun = folder.path().join("begun").to_string_lossy().into_owned();
    let this = std::env::current_exe().expect("a test knows its own path");
    let arguments = ["--exact", "blocked::a_program_whose_function_blocks_its_thread", "--nocapture"];
    let program = std::iter::once(this).chain(arguments.map(PathBuf::from)).collect();
    let world = LambdaRoles::with_program(program, &[(BEGUN, begun)]).await;
    let [run] = world.runs([json!({"name": "test/block", "id": "block", "data": {}})]).await;
    let mut blocked = world.worker();
    let pump = world.pump_steps();
    let status = tokio::select! {
        pumped = pump.pump() => panic!("the blocked process must not answer: {pumped:?}\n{}", blocked.log()),
        status = blocked.wait_for_exit() => status,
    };
    assert_eq!(status.code(), Some(1), "{}", blocked.log());
    assert!(blocked.log().contains("a step blocks its thread past its timeout"), "{}", blocked.log());
    let journal = world.journal(run).await;
    let (_, failure) = journal.facts().find(|(name, _)| *name == "StepFailed").expect("written before the end");
    assert_eq!(failure["error"]["code"], "timeout", "{failure}");

    let _other = world.worker();
    world.until_ended(&[run]).await;
    assert_completed(&world, run).await;
    assert_eq!(repeated_steps(&world.journal(run).await), [("block".to_owned(), 2)]);
}
