//! Retention: which runs and events are removed, and when.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::{NewRun, RunOrigin};
use stepladder_core::waiting::Subscription;
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{Event, EventId, Fact, Record, RunId, RunRow, Status, Timer, Timestamp, Wake, WakeCause, json};
use stepladder_engine::ports::{
    Commit, Commits, EarlyWrite, Events, Journals, LateWrite, Listings, PruneResult, Retention, RunCreation, RunQuery,
    RunStart, SubscriptionIndex,
};
use stepladder_sqlite::{Sqlite, SqliteOptions};
use stepladder_testkit::clock::VirtualClock;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn run(n: u64) -> RunId {
    RunId::new(NOW, u128::from(n))
}

fn event(n: u64) -> Event {
    Event {
        id: EventId::new(NOW, u128::from(n)),
        name: "a".into(),
        data: json::empty_object(),
        ts: NOW,
        user: None,
        external_id: None,
        trace: None,
        received_at: NOW,
    }
}

fn start(n: u64, event: &Event) -> RunStart {
    let row = RunRow { run: run(n), function: "f".into(), event: event.id, created_at: NOW, ended: None };
    let created = NewRun::new("f".into(), event.clone(), RunOrigin::Event);
    let entries = vec![Fact::RunCreated(Box::new(created)).into_entry(NOW)];
    RunStart {
        row,
        record: Record { seq: 0, token: u128::from(n), code: "1".into(), entries },
        watchdog: Timer { due: NOW, run: run(n), group: "f".into(), purpose: TimerPurpose::Watchdog },
        wake: Wake { run: run(n), cause: WakeCause::Created, group: "f".into() },
        tickets: Vec::new(),
        flow_state: Vec::new(),
    }
}

async fn end(sqlite: &Sqlite, n: u64, at: Timestamp) {
    let after = vec![LateWrite::MarkEnded { run: run(n), at, status: Status::Completed }];
    sqlite.commit(Commit { after, ..Commit::default() }).await.expect("a commit");
}

#[tokio::test]
async fn old_ended_runs_are_deleted_and_live_runs_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(VirtualClock::new(NOW));
    let sqlite = Sqlite::open(folder.path().join("dev.db"), SqliteOptions { clock }).expect("a data file");
    let events: Vec<_> = (0..250).map(event).collect();
    sqlite.accept(events.clone(), NOW).await.expect("events");
    // the first event has two runs, and one of them is live
    let mut starts: Vec<_> = events.iter().enumerate().map(|(n, event)| start(n as u64, event)).collect();
    starts.push(start(1_000, &events[0]));
    sqlite.create_runs(starts).await.expect("runs");
    let subscription = |n| Subscription { event: "b".into(), key: None, run: run(n), step: "w".into(), until: NOW };
    let before = [5, 249].map(|n| EarlyWrite::Subscribe(subscription(n))).into();
    sqlite.commit(Commit { before, ..Commit::default() }).await.expect("a commit");
    for n in 0..248 {
        end(&sqlite, n, NOW + DAY).await;
    }
    end(&sqlite, 248, NOW + DAY * 20).await;

    assert_eq!(sqlite.prune(NOW + DAY).await.expect("pruned"), PruneResult::default());
    let pruned = sqlite.prune(NOW + DAY * 10).await.expect("pruned");
    assert_eq!(pruned, PruneResult { runs: 248, events: 247 });

    let left = sqlite.runs(RunQuery { limit: 1_000, ..RunQuery::default() }).await.expect("a listing");
    assert_eq!(left.iter().map(|row| row.run).collect::<Vec<_>>(), [run(1_000), run(249), run(248)]);
    assert!(sqlite.read(run(5), 0).await.expect("a journal").is_empty());
    assert_eq!(sqlite.read(run(249), 0).await.expect("a journal").len(), 1);
    assert!(sqlite.event(events[5].id).await.expect("an event").is_none());
    assert!(sqlite.event(events[0].id).await.expect("an event").is_some());
    assert_eq!(sqlite.subscriptions("b", &None, None, 10).await.expect("subscriptions"), [subscription(249)]);
}
