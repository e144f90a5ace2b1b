//! Workers of two versions side by side, as during a deployment.

mod support;

use stepladder_core::decide::Ask;
use stepladder_core::journal::Fact;
use stepladder_core::{Status, json};
use support::World;
use support::script::Script;

#[tokio::test]
async fn an_older_version_leaves_the_call_of_a_function_that_it_does_not_know_to_others() {
    let call = Ask::Invoke { function: "new".into(), input: json::empty_object() };
    let caller = Script::new("f").ask("call", &[], call).program();
    let called = Script::new("new").step("a", &[]).spec(|spec| spec.triggers.clear()).program();
    let mut world = World::new(vec![caller.clone(), called]);
    let engine = world.engine();
    let mut older = World::new(vec![caller]);
    (older.memory, older.clock) = (world.memory.clone(), world.clock.clone());
    let older = older.engine();
    // the newer one dies between the entry of the call and the beginning of the called run
    let dying = world.engine_on(support::slow::only_journal(world.memory.clone(), |fact| {
        matches!(fact, Fact::InvokeStarted { .. })
    }));
    let event = world.go(&engine).await;
    let hop = support::spawn_hop(&world, &dying);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    hop.abort();
    world.memory.redeliver();
    world.hop_once(&older).await;
    world.settle(&engine).await;
    assert_eq!(world.status(&engine, event).await, Status::Completed);
}
