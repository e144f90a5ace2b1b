//! Ticks: the runs that cron lines start. The sweep sends each tick as a wake, ahead of its time; who takes the wake begins
//! the run, under an id that the function and the minute make, so that a tick starts one run however often it is sent.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use stepladder_core::journal::{Created, Origin};
use stepladder_core::{Cause, Event, EventId, RunId, Timestamp, Wake, id, json};

use super::Engine;
use crate::ports::{Later, StoreError};

/// The name of the event that a tick's run starts with.
const TICK: &str = "stepladder/cron.tick";
/// Minutes after which a tick that nobody swept is late: of those that are, each function gets the latest alone. A server
/// that was off for a week would otherwise start ten thousand runs of a function that comes every minute.
const LATE: i64 = 15;
/// Minutes within which a late tick is looked for: a week, and the longest month's end in it.
const FORGOTTEN: i64 = 32 * 24 * 60;

/// The data of that event.
#[derive(Serialize)]
struct TickData {
    /// The minute that the line names, in milliseconds since 1970.
    at: Timestamp,
}

/// A function's tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) function: Arc<str>,
    /// The minute that its line names, counted from the epoch.
    pub(super) minute: i64,
    pub(super) due: Timestamp,
}

impl Tick {
    /// Tells it from others in the sweep's cursor.
    pub(super) fn mark(&self) -> u64 {
        id::hash(&[b"tick", self.function.as_bytes(), &self.minute.to_be_bytes()]) as u64
    }

    /// What begins its run.
    pub(super) fn wake(&self) -> Later {
        let run = run_of(&self.function, self.minute);
        Later::Wake { wake: Wake { run, cause: Cause::Tick(self.minute), group: self.function.clone() }, due: self.due }
    }
}

/// The event of a tick, by its id.
fn event_of(function: &str, minute: i64) -> EventId {
    let random = id::hash(&[b"tick", function.as_bytes(), &minute.to_be_bytes()]);
    EventId::new(Timestamp::of_minute(minute), random)
}

fn run_of(function: &str, minute: i64) -> RunId {
    RunId::started_by(event_of(function, minute), function)
}

impl Engine {
    /// The ticks of these minutes, in their order: all that are not late, and of the late ones each function's latest.
    pub(super) fn ticks(&self, minutes: Range<i64>, now: Timestamp) -> HashMap<i64, Vec<Tick>> {
        let mut ticks: HashMap<i64, Vec<Tick>> = HashMap::new();
        for spec in self.specs().filter(|spec| !spec.schedule.lines.is_empty()) {
            let mut add = |minute: i64| {
                let due = spec.schedule.due(&spec.id, minute);
                ticks.entry(minute).or_default().push(Tick { function: spec.id.clone(), minute, due });
            };
            let late = now.minute() - LATE;
            let comes = |minute: &i64| spec.schedule.comes(*minute);
            let oldest = minutes.start.max(now.minute() - FORGOTTEN);
            (oldest..late.min(minutes.end)).rev().find(comes).into_iter().for_each(&mut add);
            (late.max(minutes.start)..minutes.end).filter(comes).for_each(add);
        }
        ticks
    }

    /// Begins the run of a tick.
    pub(super) async fn begin_tick(&self, wake: &Wake, minute: i64) -> Result<(), StoreError> {
        let function = &wake.group;
        if wake.run != run_of(function, minute) {
            tracing::warn!(run = %wake.run, %function, "a tick under another one's id is passed over");
            return Ok(());
        }
        let at = Timestamp::of_minute(minute);
        let event = Event {
            id: event_of(function, minute),
            name: TICK.into(),
            data: json::of(&TickData { at }).unwrap_or_else(|_| json::empty_object()),
            ts: at,
            user: None,
            external_id: None,
            received_at: self.now(),
        };
        let created = Created::new(function.clone(), event, Origin::Cron);
        self.start_runs(vec![(wake.run, created, Vec::new())]).await.map(drop)
    }
}
