//! Runs that wait for events.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::journal::Fact;
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{EventId, NewEvent, RunId, Status, json};
use stepladder_engine::Engine;

use super::script::ScriptedFunction;
use super::{EngineFixture, count_facts, only_run};

pub const HOUR: Duration = Duration::from_secs(3_600);

/// Returns a wait of one hour for an event that satisfies `matching`.
pub fn wait_for(event: &str, matching: EventMatch) -> Operation {
    wait_at_most(HOUR, event, matching)
}

/// Returns a wait of one hour for any event of this name.
pub fn wait_for_any(event: &str) -> Operation {
    wait_for(event, EventMatch::Any)
}

pub fn wait_at_most(timeout: Duration, event: &str, matching: EventMatch) -> Operation {
    Operation::WaitForEvent { wait: Arc::new(EventWait { events: vec![event.into()], matching }), timeout }
}

pub fn event(name: &str, data: serde_json::Value) -> NewEvent {
    NewEvent::new(name, json::to_json(&data).unwrap())
}

/// Creates an event with an id, so that sending it again is a repetition.
pub fn event_named(name: &str, id: &str) -> NewEvent {
    event(name, serde_json::json!({})).with_id(id)
}

pub async fn send(engine: &Engine, event: NewEvent) -> EventId {
    engine.intake().ingest(vec![event], None).await.expect("accepted")[0]
}

/// Does everything that can be done without advancing the clock.
pub async fn work(world: &EngineFixture, engine: &Arc<Engine>) {
    world.settle_within(engine, Duration::ZERO).await;
}

pub async fn status(engine: &Engine, run: RunId) -> Status {
    engine.query().run(run).await.unwrap().summary.status
}

/// Returns the number of events that were delivered to a run.
pub async fn count_deliveries(world: &EngineFixture, engine: &Engine, run: RunId) -> usize {
    count_facts(&world.journal(engine, run).await, |fact| matches!(fact, Fact::EventDelivered { .. }))
}

/// Starts the only run of a script, and works until the run waits.
pub async fn waiting_run(script: ScriptedFunction) -> (EngineFixture, Arc<Engine>, RunId) {
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    (world, engine, run)
}
