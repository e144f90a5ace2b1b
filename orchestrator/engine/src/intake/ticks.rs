//! Ticks: the runs that cron lines start. The sweep sends each tick as a wake, ahead of its time; who takes the wake begins
//! the run, under an id that the function and the minute make, so that a tick starts one run however often it is sent.

use crate::intake::Intake;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use stepladder_core::journal::{NewRun, Origin};
use stepladder_core::state::RunState;
use stepladder_core::{Event, EventId, RunId, Spec, Timestamp, Wake, WakeCause, id, json};

use crate::ports::{EarlyWrite, StoreError};

/// The name of the event that a tick's run starts with.
const TICK: &str = "stepladder/cron.tick";
/// The data of that event.
#[derive(Serialize)]
struct TickData {
    /// The minute that the line names, in milliseconds since 1970.
    at: Timestamp,
}

/// A function's tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    pub(crate) function: Arc<str>,
    /// The minute that its line names, counted from the epoch.
    pub(crate) minute: i64,
    pub(crate) due: Timestamp,
}

impl Tick {
    /// Tells it from others in the sweep's cursor.
    pub(crate) fn mark(&self) -> u64 {
        id::hash(&[b"tick", self.function.as_bytes(), &self.minute.to_be_bytes()]) as u64
    }

    /// What begins its run.
    pub(crate) fn wake(&self) -> EarlyWrite {
        let run = run_of(&self.function, self.minute);
        EarlyWrite::Wake {
            wake: Wake { run, cause: WakeCause::Tick(self.minute), group: self.function.clone() },
            due: self.due,
        }
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

impl Intake {
    /// The ticks of these minutes that are to be sent, by minute: all that are in time, and of the missed ones those that
    /// the function's policy lets start.
    pub(crate) fn ticks(&self, minutes: Range<i64>, now: Timestamp) -> HashMap<i64, Vec<Tick>> {
        let mut ticks: HashMap<i64, Vec<Tick>> = HashMap::new();
        for spec in self.runtime.specs().filter(|spec| !spec.schedule.lines.is_empty()) {
            for minute in spec.schedule.ticks(&spec.id, minutes.clone(), now) {
                let due = spec.schedule.due(&spec.id, minute);
                ticks.entry(minute).or_default().push(Tick { function: spec.id.clone(), minute, due });
            }
        }
        ticks
    }

    /// Why the run of a tick must not start any more; `None` for every other run, and for one that was let go.
    pub(crate) fn missed_tick(&self, spec: &Spec, state: &RunState) -> Option<&'static str> {
        if state.created.origin != Origin::Cron || state.admitted {
            return None;
        }
        let minute = state.created.event.ts.minute();
        let due = spec.schedule.due(&spec.id, minute);
        spec.schedule.missed(&spec.id, minute, due.max(state.begins_at().unwrap_or(due)), self.runtime.now())
    }

    /// Begins the run of a tick.
    pub(crate) async fn begin_tick(&self, wake: &Wake, minute: i64) -> Result<(), StoreError> {
        let function = &wake.group;
        if wake.run != run_of(function, minute) {
            tracing::warn!(run = %wake.run, %function, "a tick under another one's id is passed over");
            return Ok(());
        }
        let at = Timestamp::of_minute(minute);
        let event = Event {
            id: event_of(function, minute),
            name: TICK.into(),
            data: json::to_json(&TickData { at }).unwrap_or_else(|_| json::empty_object()),
            ts: at,
            user: None,
            external_id: None,
            received_at: self.runtime.now(),
        };
        let created = NewRun::new(function.clone(), event, Origin::Cron);
        self.start_runs(vec![(wake.run, created, Vec::new())]).await.map(drop)
    }
}
