//! What is told of runs, for logs and metrics.

mod support;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stepladder_core::decide::StepOptions;
use stepladder_core::journal::Fact;
use stepladder_core::retry::Backoff;
use stepladder_core::slot::{Holder, Limit};
use stepladder_core::spec::Concurrency;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::clock::{Clock, VirtualClock};
use stepladder_engine::ports::Slots;
use support::World;
use support::script::{Script, fault};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Everything that was told, one line each: the message, then the fields but for the run's id.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.0 = format!("{value:?}{}", self.0),
            "run" => {}
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "stepladder::run"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A step that takes 70 ms and fails once; the next attempt is 30 s later.
fn slow_step(clock: Arc<Mutex<Option<Arc<VirtualClock>>>>) -> Script {
    let options = StepOptions { backoff: Some(Backoff::Fixed(Duration::from_secs(30))), ..StepOptions::default() };
    let script = Script::new("f").spec(|spec| spec.concurrency.push(Concurrency::steps(1)));
    script.body_with("a", &[], options, move |n| {
        let clock = clock.lock().unwrap().clone().unwrap();
        async move {
            clock.advance(Duration::from_millis(70));
            if n == 1 { Err(fault("once")) } else { Ok(()) }
        }
    })
}

#[tokio::test]
async fn what_a_run_does_is_told_with_times() {
    let told = Told::default();
    let _guard = tracing::subscriber::set_default(told.clone());
    let clock = Arc::default();
    let mut world = World::new(vec![slow_step(Arc::clone(&clock)).program()]);
    *clock.lock().unwrap() = Some(world.clock.clone());
    let slow = support::slow::Slow::new(world.memory.clone(), world.clock.clone(), |fact| {
        matches!(fact, Fact::StepStarted { attempt: 1, .. }).then_some(Duration::from_secs(300))
    });
    let engine = world.engine_on(slow);
    let begun = world.clock.now();
    // the only slot is another's for ten seconds
    let other = Holder { run: RunId::new(begun, 1), step: "a".into(), attempt: 1, hop: 0 };
    let limit = Limit { key: "f/0".into(), slots: 1 };
    world.memory.take(&limit, &other, begun + Duration::from_secs(10), begun).await.unwrap();
    world.go(&engine).await;
    world.settle(&engine).await;
    let took = world.clock.now().since(begun).as_millis();
    let retry_at = Timestamp::from_millis(world.clock.now().as_millis() - 70);
    assert_eq!(
        *told.0.lock().unwrap(),
        [
            "run started function=f".to_owned(),
            "step waits function=f step=a attempt=1 key=f/0".into(),
            "run started function=f".into(),
            "step interrupted function=f step=a attempt=1".into(),
            "step started function=f step=a attempt=2".into(),
            format!("step failed function=f step=a attempt=2 ms=70 error=\"once\" retry_at={retry_at}"),
            "step started function=f step=a attempt=3".into(),
            "step succeeded function=f step=a attempt=3 ms=70".into(),
            format!("run ended function=f status=Completed ms={took}"),
        ]
    );
}
