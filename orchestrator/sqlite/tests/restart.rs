//! What a process finds in a data file after an earlier process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::slot::{Holder, Limit, Ticket};
use stepladder_core::waiting::Subscription;
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{EventId, Fact, Record, RunId, RunOrStep, Timer, Timestamp, Wake, WakeCause};
use stepladder_engine::ports::{
    AcquireRequest, AcquireResult, Commit, Commits, Delivery, EarlyWrite, JournalAppend, Journals, OwnTickets, Queue,
    Slots, SnapshotParts, StoreError, SubscriptionIndex, Timers,
};
use stepladder_sqlite::{OpenError, Sqlite, SqliteOptions};
use stepladder_testkit::clock::VirtualClock;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const VISIBILITY: Duration = Duration::from_secs(150);

fn open_at(path: &Path, now: Timestamp) -> Result<Sqlite, OpenError> {
    Sqlite::open(path, SqliteOptions { clock: Arc::new(VirtualClock::new(now)) })
}

fn open(path: &Path) -> Sqlite {
    open_at(path, NOW).expect("a data file")
}

fn run(n: u64) -> RunId {
    RunId::new(NOW, u128::from(n))
}

fn wake(n: u64) -> Wake {
    Wake { run: run(n), cause: WakeCause::Next, group: "orders".into() }
}

/// Receives all wakes that are due now.
async fn receive_due(sqlite: &Sqlite) -> Vec<Delivery> {
    let receive = sqlite.receive(100, VISIBILITY);
    futures::pin_mut!(receive);
    match futures::poll!(receive) {
        std::task::Poll::Ready(received) => received.expect("a queue"),
        std::task::Poll::Pending => Vec::new(),
    }
}

async fn commit(sqlite: &Sqlite, commit: Commit) {
    sqlite.commit(commit).await.expect("a commit");
}

#[tokio::test]
async fn rule_30_a_second_opener_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    let first = open(&path);
    let refused = open_at(&path, NOW).expect_err("the file is in use");
    assert!(matches!(refused, OpenError::InUse { .. }));
    let sentence = refused.to_string();
    assert!(sentence.contains("`") && sentence.contains("dev.db") && sentence.contains("--db"), "{sentence}");
    assert!(sentence.contains("in use by another process") && !sentence.contains('\n'));
    drop(first);
    open(&path);
}

#[tokio::test]
async fn an_unacknowledged_wake_is_delivered_again_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    let sqlite = open(&path);
    commit(&sqlite, Commit { wakes: vec![wake(1), wake(2), wake(3)], ..Commit::default() }).await;
    let acks = receive_due(&sqlite).await.into_iter().filter(|d| d.wake.run == run(2)).map(|d| d.receipt).collect();
    commit(&sqlite, Commit { acks, ..Commit::default() }).await;
    drop(sqlite);
    let again: Vec<_> = receive_due(&open(&path)).await.into_iter().map(|d| (d.wake, d.receives)).collect();
    assert_eq!(again, [(wake(1), 1), (wake(3), 1)]);
}

#[tokio::test]
async fn a_delayed_wake_keeps_its_time_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    let due = NOW + Duration::from_secs(600);
    let sqlite = open(&path);
    commit(&sqlite, Commit { before: vec![EarlyWrite::Wake { wake: wake(1), due }], ..Commit::default() }).await;
    drop(sqlite);
    let sqlite = open_at(&path, due - Duration::from_millis(1)).expect("a data file");
    assert!(receive_due(&sqlite).await.is_empty());
    drop(sqlite);
    let sqlite = open_at(&path, due).expect("a data file");
    assert_eq!(receive_due(&sqlite).await.len(), 1);
}

#[tokio::test]
async fn slots_of_a_dead_process_are_free_and_as_many_tickets_are_woken() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    let two = Limit { key: "orders".into(), slots: 2 };
    let holder = |n| Holder::Attempt { run: run(n), step: "pay".into(), attempt: 1, hop: 0 };
    let lease_until = NOW + Duration::from_secs(3_600);
    let ticket = |n: u64, of| Ticket {
        queued_at: NOW + Duration::from_millis(n),
        event: EventId::new(NOW, u128::from(n)),
        run: run(n),
        of,
    };
    let (of_run, of_step) = (|n| ticket(n, RunOrStep::Run), |n| ticket(n, RunOrStep::Step("pay".into())));
    let sqlite = open(&path);
    let request = |holder: Holder, ticket| {
        let (limits, own, now) = (vec![two.clone()], OwnTickets::OfStep, NOW);
        AcquireRequest { limits, holder, lease_until, now, ticket, own }
    };
    let acquired = AcquireResult::Acquired { left: Vec::new() };
    for n in [1, 2] {
        assert_eq!(sqlite.acquire(request(holder(n), None)).await.expect("a slot"), acquired);
    }
    for ticket in [of_run(5), of_step(3), of_run(4)] {
        let waits = if ticket.of == RunOrStep::Run { Holder::Run(ticket.run) } else { holder(3) };
        let queued = sqlite.acquire(request(waits, Some(ticket))).await.expect("a ticket");
        assert!(matches!(queued, AcquireResult::Queued(_)), "{queued:?}");
    }
    let first =
        async |sqlite: &Sqlite| sqlite.snapshot(&two.key, SnapshotParts::first(9)).await.expect("a wait queue").first;
    drop(sqlite);
    let sqlite = open(&path);
    let held = sqlite.snapshot(&two.key, SnapshotParts::holders()).await.expect("holders").holders;
    assert!(held.is_empty());
    assert_eq!(first(&sqlite).await, [of_step(3), of_run(4), of_run(5)]);
    let mut woken: Vec<_> = receive_due(&sqlite).await.into_iter().map(|d| (d.wake.run, d.wake.cause)).collect();
    woken.sort_by_key(|(run, _)| *run);
    assert_eq!(woken, [(run(3), WakeCause::Step("pay".into())), (run(4), WakeCause::Slot)]);
    // a run that acquires a slot leaves the wait queue, also after a restart
    assert_eq!(sqlite.acquire(request(holder(3), None)).await.expect("a slot"), acquired);
    drop(sqlite);
    assert_eq!(first(&open(&path)).await, [of_run(4), of_run(5)]);
}

#[tokio::test]
async fn a_write_that_is_repeated_late_hides_no_later_entries() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    let append = |seq: u64| {
        let entries = vec![Fact::StepsWoken { steps: Vec::new(), together: false }.into_entry(NOW)];
        let record = Record { seq, token: u128::from(seq), code: "1".into(), entries };
        Some(JournalAppend { run: run(1), record }.into())
    };
    let sqlite = open(&path);
    for seq in 0..3 {
        commit(&sqlite, Commit { append: append(seq), ..Commit::default() }).await;
    }
    drop(sqlite);
    let sqlite = open(&path);
    commit(&sqlite, Commit { append: append(0), wakes: vec![wake(1)], ..Commit::default() }).await;
    assert_eq!(sqlite.read(run(1), 1).await.expect("a journal").len(), 2);
    // the first write had no wake, so its repetition sends none
    assert!(receive_due(&sqlite).await.is_empty());
}

#[tokio::test]
async fn numbers_of_wakes_are_never_reused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    for n in 1..=4 {
        let sqlite = open(&path);
        commit(&sqlite, Commit { wakes: vec![wake(n)], ..Commit::default() }).await;
        let received = receive_due(&sqlite).await;
        assert_eq!(received.len(), usize::try_from(n).expect("small"));
    }
}

#[tokio::test]
async fn a_file_of_the_first_version_is_migrated() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    commit(&open(&path), Commit { wakes: vec![wake(1)], ..Commit::default() }).await;
    let db = rusqlite::Connection::open(&path).expect("a database");
    db.execute_batch("DROP TABLE waiters; DROP TABLE offers; DROP TABLE notes; DROP TABLE links; DROP TABLE holders; DROP TABLE apps; DROP TABLE registrations; DROP TABLE labels; DROP TABLE deliveries; DROP TABLE trends; DROP TABLE run_costs; DROP INDEX runs_unstarted; ALTER TABLE runs DROP COLUMN started_at; PRAGMA user_version = 1").expect("the first version");
    drop(db);
    let subscription = Subscription { event: "a".into(), key: None, run: run(1), step: "w".into(), until: NOW };
    let before = vec![EarlyWrite::Subscribe(subscription.clone())];
    commit(&open(&path), Commit { before, ..Commit::default() }).await;
    let sqlite = open(&path);
    assert_eq!(sqlite.subscriptions("a", &None, None, 10).await.expect("subscriptions"), [subscription]);
    assert_eq!(receive_due(&sqlite).await.len(), 1, "the earlier wake is kept");
}

/// Rule 34: a timer may be unreadable, for example if an older version opens the file of a newer
/// version.
#[tokio::test]
async fn a_timer_that_cannot_be_read_keeps_no_other_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    let timer = |n| Timer { due: NOW, run: run(n), group: "orders".into(), purpose: TimerPurpose::Watchdog };
    open(&path).set(vec![timer(1), timer(2), timer(3)]).await.expect("timers");
    let db = rusqlite::Connection::open(&path).expect("a database");
    let broken = "UPDATE timers SET timer = '{\"due\":\"tomorrow\"}' WHERE run = ?1";
    assert_eq!(db.execute(broken, [run(2).to_bytes()]).expect("a row"), 1);
    drop(db);
    let timers = open(&path).bucket(NOW.minute(), 10).await.expect("a bucket");
    let (read, unread): (Vec<_>, Vec<_>) = timers.into_iter().partition(Result::is_ok);
    assert_eq!(read.into_iter().flatten().collect::<Vec<_>>(), [timer(1), timer(3)]);
    let errors: Vec<StoreError> = unread.into_iter().filter_map(Result::err).collect();
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert!(error.is_permanent() && error.reason().contains(&format!("run {}", run(2))), "{error}");
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    drop(open(&path));
    let db = rusqlite::Connection::open(&path).expect("a database");
    db.pragma_update(None, "user_version", 99).expect("a version");
    drop(db);
    let refused = open_at(&path, NOW).expect_err("a later version");
    assert!(refused.to_string().contains("has version 99, but this program reads versions up to "), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_refused_and_not_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notes.txt");
    let notes = "milk, eggs, bread\n".repeat(100);
    std::fs::write(&path, &notes).expect("a file");
    let refused = open_at(&path, NOW).expect_err("no database");
    assert!(refused.to_string().contains("notes.txt"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), notes);
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let refused = open_at(Path::new("/nowhere/at/all/dev.db"), NOW).expect_err("no folder");
    let refused = refused.to_string();
    assert!(refused.contains("`/nowhere/at/all/dev.db`") && refused.contains("create its folder"), "{refused}");
}

#[tokio::test]
async fn a_folder_is_refused_and_nothing_is_left_beside_it() {
    let outer = tempfile::tempdir().expect("a folder");
    let path = outer.path().join("data");
    std::fs::create_dir(&path).expect("a folder");
    let Err(refused) = Sqlite::open(&path, SqliteOptions::default()) else { panic!("it was opened") };
    let refused = refused.to_string();
    assert!(refused.contains("is a folder"), "{refused}");
    let left: Vec<_> = std::fs::read_dir(outer.path()).expect("a listing").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
