//! Additional guarantees of an adapter that is the only process on its storage: it refuses appends
//! that would leave a gap; it delivers wakes in order, to the millisecond, and exactly as many as
//! requested.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::RunOrStep;

use super::TestedAdapter;
use super::commits::assert_conflict;
use super::fixtures::{
    VISIBILITY, append, event_id, holder, limit, record, run, run_concurrently, run_start, seconds, ticket,
    ticket_of_run, wake,
};
use super::queue::send;
use stepladder_engine::ports::{Backend, Backlog, Commit, EarlyWrite, LateWrite, StartResult};

/// An append conflicts if it would leave a gap after the last entry.
pub async fn an_append_past_the_end_conflicts(on: TestedAdapter) {
    on.commit(append(run(1), record(0, 1, 2))).await;
    assert_conflict(&on, append(run(1), record(3, 2, 1))).await;
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 1);
}

/// A record occupies the numbers of all its entries, so an append at any of these numbers
/// conflicts.
pub async fn an_append_within_a_record_conflicts(on: TestedAdapter) {
    on.commit(append(run(1), record(0, 1, 3))).await;
    assert_conflict(&on, append(run(1), record(2, 2, 1))).await;
    assert_conflict(&on, append(run(1), record(1, 1, 1))).await;
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 1);
}

/// Repeating a start sends no second wake.
pub async fn rule_16_a_repeated_start_sends_no_wake(on: TestedAdapter) {
    for expected in [StartResult::New, StartResult::Known, StartResult::Known] {
        assert_eq!(
            on.backend.create_runs(vec![run_start(1, "orders", event_id(7))]).await.expect("a start"),
            [expected]
        );
    }
    assert_eq!(on.woken().await, [run(1)]);
}

/// If many callers start the same run concurrently, only the first start sends a wake.
pub async fn of_many_starts_of_one_run_one_sends_its_wake(on: TestedAdapter) {
    let start = |_, backend: Arc<dyn Backend>| async move {
        backend
            .create_runs(vec![run_start(1, "orders", event_id(1)), run_start(2, "orders", event_id(1))])
            .await
            .expect("a start")
    };
    run_concurrently(16, start, &on).await;
    assert_eq!(on.woken().await.len(), 2);
}

/// Wakes are delivered in the order of their due times, not in the order of sending.
pub async fn wakes_come_in_the_order_of_their_time(on: TestedAdapter) {
    let later = |n, s| EarlyWrite::Wake { wake: wake(run(n)), due: on.now() + seconds(s) };
    on.commit(Commit { before: vec![later(3, 30), later(2, 20)], ..Commit::default() }).await;
    on.commit(Commit { before: vec![later(1, 10)], ..Commit::default() }).await;
    on.advance(seconds(60)).await;
    assert_eq!(on.woken().await, [run(1), run(2), run(3)]);
}

/// A delayed wake is delivered exactly at its due time.
pub async fn a_delayed_wake_comes_to_the_millisecond(on: TestedAdapter) {
    let before = vec![EarlyWrite::Wake { wake: wake(run(1)), due: on.now() + seconds(900) }];
    on.commit(Commit { before, ..Commit::default() }).await;
    on.advance(seconds(900) - Duration::from_millis(1)).await;
    assert!(on.woken().await.is_empty());
    on.advance(Duration::from_millis(1)).await;
    assert_eq!(on.woken().await, [run(1)]);
}

/// A receiver gets the wakes that have been due the longest. The others stay visible.
pub async fn the_longest_due_wakes_are_received_first(on: TestedAdapter) {
    for n in 1..=3 {
        send(&on, n).await;
    }
    let first: Vec<_> = on.receive(2).await.into_iter().map(|delivery| delivery.wake.run).collect();
    assert_eq!(first, [run(1), run(2)]);
    assert_eq!(on.woken().await, [run(3)]);
}

/// A waiting receiver gets a wake as soon as one is sent, or as soon as a delayed one is due.
pub async fn a_waiting_receiver_gets_a_new_wake(on: TestedAdapter) {
    let backend = on.backend.clone();
    let waiting = tokio::spawn(async move { backend.receive(1, VISIBILITY).await });
    tokio::task::yield_now().await;
    send(&on, 1).await;
    let received = waiting.await.expect("a task").expect("a queue");
    assert_eq!(received[0].wake.run, run(1));

    let before = vec![EarlyWrite::Wake { wake: wake(run(2)), due: on.now() + seconds(60) }];
    on.commit(Commit { before, ..Commit::default() }).await;
    let backend = on.backend.clone();
    let waiting = tokio::spawn(async move { backend.receive(1, VISIBILITY).await });
    tokio::task::yield_now().await;
    on.advance(seconds(60)).await;
    let received = waiting.await.expect("a task").expect("a queue");
    assert_eq!(received[0].wake.run, run(2));
}

fn backlog(on: &TestedAdapter) -> Backlog {
    on.backend.backlog().expect("a queue in this process has a backlog")
}

/// The backlog counts a wake from its due time until the wake is received, and again if the wake is
/// not acknowledged in time.
pub async fn the_backlog_counts_due_wakes_that_are_not_received(on: TestedAdapter) {
    let before = backlog(&on);
    assert_eq!((before.due, before.waiting), (0, 0));
    send(&on, 1).await;
    let later = vec![EarlyWrite::Wake { wake: wake(run(2)), due: on.now() + seconds(10) }];
    on.commit(Commit { before: later, ..Commit::default() }).await;
    on.backend.create_runs(vec![run_start(3, "orders", event_id(3))]).await.expect("a start");
    assert_eq!(backlog(&on), Backlog { due: 2, waiting: 1, ..before });
    on.advance(seconds(10)).await;
    assert_eq!(backlog(&on), Backlog { due: 3, waiting: 0, ..before });

    let first = on.receive(1).await.pop().expect("a wake");
    assert_eq!(backlog(&on), Backlog { due: 2, waiting: 1, ..before });
    on.commit(Commit { acks: vec![first.receipt.clone()], ..Commit::default() }).await;
    let once = Backlog { due: 2, waiting: 0, served: before.served + 1 };
    assert_eq!(backlog(&on), once);
    on.commit(Commit { acks: vec![first.receipt], ..Commit::default() }).await;
    assert_eq!(backlog(&on), once, "an acknowledged wake is not counted twice");

    assert_eq!(on.receive(9).await.len(), 2);
    assert_eq!(backlog(&on), Backlog { due: 0, waiting: 2, ..once });
    on.advance(VISIBILITY).await;
    assert_eq!(backlog(&on), Backlog { due: 2, waiting: 0, ..once });
}

/// The backlog counts each ticket until the ticket is removed or acquires its slot.
pub async fn the_backlog_counts_tickets(on: TestedAdapter) {
    let one = limit("orders", 1);
    let mut arriving = run_start(1, "orders", event_id(1));
    arriving.tickets = vec![(one.clone(), ticket_of_run(1, 0)), (limit("others", 1), ticket_of_run(1, 0))];
    on.backend.create_runs(vec![arriving]).await.expect("a start");
    for step in ["pay", "pay", "ship"] {
        on.enqueue(&one, ticket(2, step, 1)).await;
    }
    assert_eq!(backlog(&on).waiting, 4);
    assert_eq!(on.try_acquire(&[&one], &holder(1, "pay", 1)).await, []);
    assert_eq!(backlog(&on).waiting, 3);
    let leave = |limit: &str, n, step: Option<&str>| LateWrite::Dequeue {
        limit: super::fixtures::limit(limit, 1),
        run: run(n),
        of: step.map(|step| RunOrStep::Step(step.into())),
    };
    on.commit(Commit { after: vec![leave("orders", 2, Some("pay"))], ..Commit::default() }).await;
    assert_eq!(backlog(&on).waiting, 2);
    on.commit(Commit { after: vec![leave("orders", 2, None), leave("others", 1, None)], ..Commit::default() }).await;
    assert_eq!(backlog(&on).waiting, 0);
}

/// A delivery that is put back is visible again exactly at its due time. The receipt of an older
/// delivery changes nothing.
pub async fn a_delivery_that_is_put_back_returns_when_it_is_due(on: TestedAdapter) {
    send(&on, 1).await;
    let first = on.receive(1).await.remove(0);
    let backend = on.backend.clone();
    let waiting = tokio::spawn(async move { backend.receive(1, VISIBILITY).await });
    tokio::task::yield_now().await;
    assert!(on.backend.put_back(&first.receipt, on.now() + seconds(10)).await.expect("put back"));
    on.advance(seconds(9)).await;
    assert!(!waiting.is_finished());
    on.advance(seconds(1)).await;
    let second = waiting.await.expect("a task").expect("a queue").remove(0);
    assert_eq!((second.wake.run, second.receives), (run(1), 2));

    on.backend.put_back(&first.receipt, on.now()).await.expect("nothing happens");
    on.backend.put_back(&second.receipt, on.now() + VISIBILITY * 2).await.expect("nothing happens");
    assert!(on.receive(1).await.is_empty());
    on.advance(VISIBILITY).await;
    assert_eq!(on.woken().await, [run(1)]);
}
