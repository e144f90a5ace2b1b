//! A data file with a run of many steps, which is written without executing them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::{Failure, NewRun, RunOrigin};
use stepladder_core::report::AttemptReport;
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{
    Event, EventId, Fact, Record, RunId, RunRow, Status, StepId, Timer, Timestamp, Wake, WakeCause, json,
};
use stepladder_engine::ports::{Events, RunCreation, RunStart};
use stepladder_sqlite::{Sqlite, SqliteOptions};

/// Creates a data file with one completed run of this many steps, one of which failed.
pub(crate) async fn write_long_run(file: &Path, steps: u64) {
    let sqlite = Sqlite::open(file, SqliteOptions::default()).expect("a data file");
    let function: Arc<str> = "hello-world".into();
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let start = now - Duration::from_secs(3_600);
    let id = EventId::new(start, 1);
    let data = json::to_json(&serde_json::json!({"rows": steps})).expect("JSON");
    let name = "test/hello.world".into();
    let event = Event { id, name, data, ts: start, user: None, external_id: None, received_at: start, trace: None };
    let run = RunId::started_by(id, &function);
    let created = NewRun::new(function.clone(), event.clone(), RunOrigin::Event);
    let mut entries = vec![Fact::RunCreated(Box::new(created)).into_entry(start)];
    let at = |n: u64, ms: u64| start + Duration::from_millis(n * 10 + ms);
    for n in 0..steps {
        let (step, lease_until): (StepId, _) = (format!("process-row-{n}").into(), at(n, 60_000));
        let started =
            Fact::StepStarted { step: step.clone(), attempt: 1, lease_until, worker: "w".into(), at_most_once: false };
        let report = AttemptReport::default();
        let ended = match n == steps / 2 {
            true => Fact::StepFailed { step, attempt: 1, error: Failure::new("a bad row"), retry_at: None, report },
            false => Fact::StepSucceeded { step, attempt: 1, output: json::to_json(&n).expect("JSON"), report },
        };
        entries.extend([started.into_entry(at(n, 0)), ended.into_entry(at(n, 7))]);
    }
    entries.push(Fact::RunCompleted { output: json::null() }.into_entry(at(steps, 0)));
    sqlite.accept(vec![event], now).await.expect("an event");
    let start = RunStart {
        row: RunRow {
            run,
            function: function.clone(),
            event: id,
            created_at: start,
            ended: Some((at(steps, 0), Status::Completed)),
        },
        record: Record { seq: 0, token: 1, code: "1".into(), entries },
        watchdog: Timer { due: start, run, group: function.clone(), purpose: TimerPurpose::Watchdog },
        wake: Wake { run, cause: WakeCause::Created, group: function },
        tickets: Vec::new(),
        flow_state: Vec::new(),
    };
    sqlite.create_runs(vec![start]).await.expect("a run");
}
