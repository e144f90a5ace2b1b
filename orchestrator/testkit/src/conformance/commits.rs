//! Commits: an append to a journal, together with the writes that belong to it.

use stepladder_core::Status;

use super::TestedAdapter;
use super::fixtures::{
    append, event_id, holder, limit, record, record_texts, run, run_start, seconds, start_of_next, ticket, timer, wake,
};
use super::timers::read_all;
use stepladder_engine::ports::{Commit, CommitResult, EarlyWrite, JournalAppend, LateWrite, Receipt};

pub(super) async fn assert_conflict(on: &TestedAdapter, commit: Commit) {
    assert_eq!(on.backend.commit(commit).await.expect("a commit"), CommitResult::Conflict);
}

/// An append at a number conflicts if another writer has used the number.
pub async fn an_append_at_a_taken_number_conflicts(on: TestedAdapter) {
    on.commit(append(run(1), record(0, 1, 1))).await;
    assert_conflict(&on, append(run(1), record(0, 2, 1))).await;
    assert_eq!(record_texts(&on.backend.read(run(1), 0).await.expect("a read")), record_texts(&[record(0, 1, 1)]));
    // Another run has its own numbers, so the same number is free there.
    on.commit(append(run(2), record(0, 2, 1))).await;
}

/// A write may be repeated if its reply was lost, and the repetition succeeds.
pub async fn rule_1_a_repeated_append_is_not_a_conflict(on: TestedAdapter) {
    on.commit(append(run(1), record(0, 1, 1))).await;
    on.commit(append(run(1), record(0, 1, 1))).await;
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 1);
}

/// A repeated write succeeds even after other writers have appended more records.
pub async fn rule_1_a_repeated_append_is_recognised_below_later_records(on: TestedAdapter) {
    on.commit(append(run(1), record(0, 1, 2))).await;
    on.commit(append(run(1), record(2, 2, 1))).await;
    on.commit(append(run(1), record(3, 3, 1))).await;
    on.commit(append(run(1), record(0, 1, 2))).await;
    on.commit(append(run(1), record(2, 2, 1))).await;
    assert_conflict(&on, append(run(1), record(2, 1, 1))).await;
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 3);
}

/// On a conflict no row changes, no slot is released, no ticket is removed, no wake is sent and no
/// delivery is acknowledged.
pub async fn nothing_after_the_append_happens_on_a_conflict(on: TestedAdapter) {
    let one = limit("orders", 1);
    on.backend.create_runs(vec![run_start(1, "orders", event_id(1))]).await.expect("a start");
    let delivery = on.receive(1).await.pop().expect("the first wake");
    let lease = start_of_next(1);
    on.try_acquire_until(&[&one], &holder(1, "pay", 1), lease, on.now()).await;
    on.enqueue(&one, ticket(2, "pay", 1)).await;
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
    assert_conflict(&on, commit).await;
    assert_eq!(on.backend.row(run(1)).await.expect("a row").and_then(|row| row.ended), None);
    assert_eq!(on.held_slots(&one).await.len(), 1);
    assert_eq!(on.first_tickets(&one, 9).await.len(), 1);
    assert!(on.woken().await.is_empty());
    on.advance(super::fixtures::VISIBILITY).await;
    assert_eq!(on.woken().await, [run(1)]);
}

/// A commit without entries may contain wakes, timers, releases and acknowledgements.
pub async fn a_commit_without_entries_is_carried_out(on: TestedAdapter) {
    let one = limit("orders", 1);
    let due = on.now() + seconds(60);
    on.try_acquire_until(&[&one], &holder(1, "pay", 1), start_of_next(1), on.now()).await;
    let commit = Commit {
        before: vec![EarlyWrite::Timer(timer(run(1), due)), EarlyWrite::Wake { wake: wake(run(2)), due }],
        after: vec![LateWrite::Release { limit: one.clone(), holder: holder(1, "pay", 1) }],
        wakes: vec![wake(run(1))],
        ..Commit::default()
    };
    on.commit(commit).await;
    assert_eq!(read_all(on.backend.bucket(due.minute(), 10).await), [timer(run(1), due)]);
    assert!(on.held_slots(&one).await.is_empty());
    assert_eq!(on.woken().await, [run(1)]);
    on.commit(Commit::default()).await;
}

/// When a run ends, its row gets the time and the status of the end.
pub async fn an_end_shows_in_the_row(on: TestedAdapter) {
    on.backend.create_runs(vec![run_start(1, "orders", event_id(1))]).await.expect("a start");
    let at = on.now() + seconds(5);
    for status in [Status::Failed, Status::Cancelled, Status::Skipped, Status::Completed] {
        on.commit(Commit { after: vec![LateWrite::MarkEnded { run: run(1), at, status }], ..Commit::default() }).await;
        let row = on.backend.row(run(1)).await.expect("a row").expect("a row");
        assert_eq!(row.ended, Some((at, status)));
    }
}

/// Repeating a commit changes nothing, except that its wakes may be delivered twice.
pub async fn a_commit_may_be_repeated(on: TestedAdapter) {
    let one = limit("orders", 1);
    on.backend.create_runs(vec![run_start(1, "orders", event_id(1))]).await.expect("a start");
    let receipt = on.receive(1).await.pop().expect("the first wake").receipt;
    on.try_acquire_until(&[&one], &holder(1, "pay", 1), start_of_next(1), on.now()).await;
    let due = on.now() + seconds(60);
    let commit = Commit {
        before: vec![EarlyWrite::Timer(timer(run(1), due))],
        append: Some(JournalAppend { run: run(1), record: record(1, 5, 2) }.into()),
        after: vec![
            LateWrite::MarkEnded { run: run(1), at: on.now(), status: Status::Completed },
            LateWrite::Release { limit: one.clone(), holder: holder(1, "pay", 1) },
            LateWrite::Dequeue { limit: one.clone(), run: run(1), of: None },
        ],
        wakes: Vec::new(),
        acks: vec![receipt, Receipt::new("of another adapter")],
    };
    on.commit(commit.clone()).await;
    let refused = on.try_acquire_until(&[&one], &holder(2, "pay", 1), start_of_next(1), on.now()).await;
    assert_eq!(refused, []);
    on.commit(commit).await;
    assert_eq!(on.backend.read(run(1), 1).await.expect("a read").len(), 1);
    assert_eq!(read_all(on.backend.bucket(due.minute(), 10).await).len(), 1);
    assert_eq!(on.held_slots(&one).await[0].holder, holder(2, "pay", 1));
    on.advance(super::fixtures::VISIBILITY).await;
    assert!(on.woken().await.is_empty());
}
