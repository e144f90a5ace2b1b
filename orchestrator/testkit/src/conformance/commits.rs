//! Commits: the append and what comes with it.

use stepladder_core::Status;

use super::Subject;
use super::given::{
    append, begin, event_id, holder, limit, place, record, run, seconds, start_of_next, text, timer, wake,
};
use super::timers::readable;
use stepladder_engine::ports::{AcquireResult, Commit, CommitResult, EarlyWrite, JournalAppend, LateWrite, Receipt};

pub(super) async fn conflicts(on: &Subject, commit: Commit) {
    assert_eq!(on.backend.commit(commit).await.expect("a commit"), CommitResult::Conflict);
}

/// The number is somebody else's.
pub async fn an_append_at_a_taken_number_conflicts(on: Subject) {
    on.done(append(run(1), record(0, 1, 1))).await;
    conflicts(&on, append(run(1), record(0, 2, 1))).await;
    assert_eq!(text(&on.backend.read(run(1), 0).await.expect("a read")), text(&[record(0, 1, 1)]));
    // another run has numbers of its own
    on.done(append(run(2), record(0, 2, 1))).await;
}

/// The reply was lost; the same write again has succeeded already.
pub async fn rule_1_ones_own_token_is_no_conflict(on: Subject) {
    on.done(append(run(1), record(0, 1, 1))).await;
    on.done(append(run(1), record(0, 1, 1))).await;
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 1);
}

/// Others may have written on meanwhile.
pub async fn rule_1_ones_own_token_is_found_below_later_records(on: Subject) {
    on.done(append(run(1), record(0, 1, 2))).await;
    on.done(append(run(1), record(2, 2, 1))).await;
    on.done(append(run(1), record(3, 3, 1))).await;
    on.done(append(run(1), record(0, 1, 2))).await;
    on.done(append(run(1), record(2, 2, 1))).await;
    conflicts(&on, append(run(1), record(2, 1, 1))).await;
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 3);
}

/// No row changes, no slot is freed, no place given up, no wake sent, no delivery acknowledged.
pub async fn nothing_after_the_append_happens_on_a_conflict(on: Subject) {
    let one = limit("orders", 1);
    on.backend.create_runs(vec![begin(1, "orders", event_id(1))]).await.expect("a start");
    let delivery = on.receive(1).await.pop().expect("the first wake");
    let lease = start_of_next(1);
    on.backend.acquire(&one, &holder(1, "pay", 1), lease, on.now()).await.expect("a slot");
    on.backend.enqueue(&one, place(2, "pay", 1)).await.expect("a place");
    let commit = Commit {
        after: vec![
            LateWrite::MarkEnded { run: run(1), at: on.now(), status: Status::Completed },
            LateWrite::Release { limit: one.clone(), holder: holder(1, "pay", 1) },
            LateWrite::Dequeue { limit: one.clone(), run: run(2), of: None },
        ],
        wakes: vec![wake(run(3))],
        acks: vec![delivery.receipt],
        ..append(run(1), record(0, 77, 1))
    };
    conflicts(&on, commit).await;
    assert_eq!(on.backend.row(run(1)).await.expect("a row").and_then(|row| row.ended), None);
    assert_eq!(on.backend.holders(&one).await.expect("holders").len(), 1);
    assert_eq!(on.backend.tickets(&one, 9).await.expect("a line").len(), 1);
    assert!(on.woken().await.is_empty());
    on.advance(super::given::VISIBILITY).await;
    assert_eq!(on.woken().await, [run(1)]);
}

/// Wakes, timers, releases and acknowledgements need no entry.
pub async fn a_commit_without_entries_is_carried_out(on: Subject) {
    let one = limit("orders", 1);
    let due = on.now() + seconds(60);
    on.backend.acquire(&one, &holder(1, "pay", 1), start_of_next(1), on.now()).await.expect("a slot");
    let commit = Commit {
        before: vec![EarlyWrite::Timer(timer(run(1), due)), EarlyWrite::Wake { wake: wake(run(2)), due }],
        after: vec![LateWrite::Release { limit: one.clone(), holder: holder(1, "pay", 1) }],
        wakes: vec![wake(run(1))],
        ..Commit::default()
    };
    on.done(commit).await;
    assert_eq!(readable(on.backend.bucket(due.minute(), 10).await), [timer(run(1), due)]);
    assert!(on.backend.holders(&one).await.expect("holders").is_empty());
    assert_eq!(on.woken().await, [run(1)]);
    on.done(Commit::default()).await;
}

/// The row has the end's time and status.
pub async fn an_end_shows_in_the_row(on: Subject) {
    on.backend.create_runs(vec![begin(1, "orders", event_id(1))]).await.expect("a start");
    let at = on.now() + seconds(5);
    for status in [Status::Failed, Status::Cancelled, Status::Skipped, Status::Completed] {
        on.done(Commit { after: vec![LateWrite::MarkEnded { run: run(1), at, status }], ..Commit::default() }).await;
        let row = on.backend.row(run(1)).await.expect("a row").expect("a row");
        assert_eq!(row.ended, Some((at, status)));
    }
}

/// The second time changes nothing; only a wake may come twice.
pub async fn a_commit_may_be_repeated(on: Subject) {
    let one = limit("orders", 1);
    on.backend.create_runs(vec![begin(1, "orders", event_id(1))]).await.expect("a start");
    let receipt = on.receive(1).await.pop().expect("the first wake").receipt;
    on.backend.acquire(&one, &holder(1, "pay", 1), start_of_next(1), on.now()).await.expect("a slot");
    let due = on.now() + seconds(60);
    let commit = Commit {
        before: vec![EarlyWrite::Timer(timer(run(1), due))],
        append: Some(JournalAppend { run: run(1), record: record(1, 5, 2) }),
        after: vec![
            LateWrite::MarkEnded { run: run(1), at: on.now(), status: Status::Completed },
            LateWrite::Release { limit: one.clone(), holder: holder(1, "pay", 1) },
            LateWrite::Dequeue { limit: one.clone(), run: run(1), of: None },
        ],
        wakes: Vec::new(),
        acks: vec![receipt, Receipt::Row(-1), Receipt::Invocation],
    };
    on.done(commit.clone()).await;
    let taken = on.backend.acquire(&one, &holder(2, "pay", 1), start_of_next(1), on.now()).await.expect("a slot");
    assert_eq!(taken, AcquireResult::Acquired);
    on.done(commit).await;
    assert_eq!(on.backend.read(run(1), 1).await.expect("a read").len(), 1);
    assert_eq!(readable(on.backend.bucket(due.minute(), 10).await).len(), 1);
    assert_eq!(on.backend.holders(&one).await.expect("holders")[0].holder, holder(2, "pay", 1));
    on.advance(super::given::VISIBILITY).await;
    assert!(on.woken().await.is_empty());
}
