//! Ticks: the runs of cron schedules. The sweep sends each tick as a wake, ahead of its time. The
//! hop of the wake creates the run. The run's id derives from the function and the minute, so a
//! tick creates one run however often it is sent.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use stepladder_core::journal::{NewRun, Origin};
use stepladder_core::state::RunState;
use stepladder_core::{Event, EventId, RunId, Spec, Timestamp, Wake, WakeCause, id, json};

use crate::intake::Intake;
use crate::ports::{EarlyWrite, StoreError};

/// The name of the event that a tick's run starts with.
const TICK: &str = "stepladder/cron.tick";
/// The data of that event.
#[derive(Serialize)]
struct TickData {
    /// The minute that the cron schedule names, in milliseconds since 1970.
    at: Timestamp,
}

/// A function's tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    pub(crate) function: Arc<str>,
    /// The minute that its cron schedule names, counted from the epoch.
    pub(crate) minute: i64,
    pub(crate) due: Timestamp,
}

impl Tick {
    /// Returns its mark in the sweep's cursor.
    pub(crate) fn mark(&self) -> u64 {
        id::hash(&[b"tick", self.function.as_bytes(), &self.minute.to_be_bytes()]) as u64
    }

    /// Returns the wake that creates its run.
    pub(crate) fn wake(&self) -> EarlyWrite {
        let run = run_of(&self.function, self.minute);
        EarlyWrite::Wake {
            wake: Wake { run, cause: WakeCause::Tick(self.minute), group: self.function.clone() },
            due: self.due,
        }
    }
}

/// Returns the id of a tick's event.
fn event_of(function: &str, minute: i64) -> EventId {
    let random = id::hash(&[b"tick", function.as_bytes(), &minute.to_be_bytes()]);
    EventId::new(Timestamp::of_minute(minute), random)
}

fn run_of(function: &str, minute: i64) -> RunId {
    RunId::started_by(event_of(function, minute), function)
}

impl Intake {
    /// Returns the ticks to send for these minutes, by minute: all that are in time, and those
    /// missed ones that the function's policy allows.
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

    /// Returns why a tick's run must not start any more; `None` for every other run, and for an
    /// admitted one.
    pub(crate) fn missed_tick(&self, spec: &Spec, state: &RunState) -> Option<&'static str> {
        if state.created.origin != Origin::Cron || state.admitted {
            return None;
        }
        let minute = state.created.event.ts.minute();
        let due = spec.schedule.due(&spec.id, minute);
        spec.schedule.missed(&spec.id, minute, due.max(state.begins_at().unwrap_or(due)), self.runtime.now())
    }

    /// Creates the run of a tick.
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
