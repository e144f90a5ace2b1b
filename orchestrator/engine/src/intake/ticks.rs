//! Creates the runs of cron schedules. The sweep sends a wake for each tick, ahead of its time. The
//! hop of this wake creates the run. The run's id is derived from the function and the minute, so a
//! tick creates only one run even if its wake is sent several times.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use stepladder_core::journal::{NewRun, RunOrigin};
use stepladder_core::{Event, EventId, RunId, Timestamp, Wake, WakeCause, id, json};

use crate::intake::Intake;
use crate::ports::{EarlyWrite, StoreError};

/// The name of the event with which the run of a tick starts.
const TICK: &str = "stepladder/cron.tick";
/// The data of the event with which the run of a tick starts.
#[derive(Serialize)]
struct TickData {
    /// The time of the tick according to the cron schedule, in milliseconds since 1970.
    at: Timestamp,
}

/// A tick: a time at which the cron schedule of a function starts a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    pub(crate) function: Arc<str>,
    /// The minute of the tick, counted from the epoch.
    pub(crate) minute: i64,
    pub(crate) due: Timestamp,
}

impl Tick {
    /// Returns the hash that represents this tick in the cursor of the sweep.
    pub(crate) fn cursor_hash(&self) -> u64 {
        id::hash(&[b"tick", self.function.as_bytes(), &self.minute.to_be_bytes()]) as u64
    }

    /// Returns the write of the wake that creates the run of this tick.
    pub(crate) fn to_wake_write(&self) -> EarlyWrite {
        let run = tick_run(&self.function, self.minute);
        EarlyWrite::Wake {
            wake: Wake { run, cause: WakeCause::Tick(self.minute), group: self.function.clone() },
            due: self.due,
        }
    }
}

/// Returns the id of a tick's event.
fn tick_event(function: &str, minute: i64) -> EventId {
    let random = id::hash(&[b"tick", function.as_bytes(), &minute.to_be_bytes()]);
    EventId::new(Timestamp::of_minute(minute), random)
}

fn tick_run(function: &str, minute: i64) -> RunId {
    RunId::started_by(tick_event(function, minute), function)
}

impl Intake {
    /// Returns the ticks to send in these minutes, by minute: all ticks in time, and the missed
    /// ticks that the function's policy allows.
    pub(crate) fn ticks(&self, minutes: Range<i64>, now: Timestamp) -> HashMap<i64, Vec<Tick>> {
        let mut ticks: HashMap<i64, Vec<Tick>> = HashMap::new();
        let catalog = self.runtime.snapshot();
        for spec in catalog.specs().filter(|spec| !spec.schedule.lines.is_empty()) {
            for minute in spec.schedule.ticks_to_send(&spec.id, minutes.clone(), now) {
                let due = spec.schedule.due(&spec.id, minute);
                ticks.entry(minute).or_default().push(Tick { function: spec.id.clone(), minute, due });
            }
        }
        ticks
    }

    /// Creates the run of a tick.
    pub(crate) async fn begin_tick(&self, wake: &Wake, minute: i64) -> Result<(), StoreError> {
        let function = &wake.group;
        if wake.run != tick_run(function, minute) {
            tracing::warn!(run = %wake.run, %function, "a tick with the run id of another tick is ignored");
            return Ok(());
        }
        let at = Timestamp::of_minute(minute);
        let event = Event {
            id: tick_event(function, minute),
            name: TICK.into(),
            data: json::to_json(&TickData { at }).unwrap_or_else(|_| json::empty_object()),
            ts: at,
            user: None,
            external_id: None,
            received_at: self.runtime.now(),
            trace: None,
        };
        let created = NewRun::new(function.clone(), event, RunOrigin::Cron);
        self.start_runs(vec![(wake.run, created, Vec::new())]).await.map(drop)
    }
}
