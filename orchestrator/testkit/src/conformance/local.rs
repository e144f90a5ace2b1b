//! What an adapter promises beside the rest when its process is the only one on its storage: journals without a gap by
//! its own look, wakes in order, to the millisecond, and no more of them than asked for.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::RunOrStep;

use super::Subject;
use super::commits::conflicts;
use super::given::{
    VISIBILITY, append, at_once, begin, event_id, holder, limit, place, record, run, seconds, ticket_of_run, wake,
};
use super::queue::send;
use stepladder_engine::ports::{AcquireResult, Backend, Backlog, Commit, EarlyWrite, LateWrite, StartResult};

/// A number that does not follow the last entry would leave a gap.
pub async fn an_append_past_the_end_conflicts(on: Subject) {
    on.done(append(run(1), record(0, 1, 2))).await;
    conflicts(&on, append(run(1), record(3, 2, 1))).await;
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 1);
}

/// A record takes the numbers of all its entries.
pub async fn an_append_within_a_record_conflicts(on: Subject) {
    on.done(append(run(1), record(0, 1, 3))).await;
    conflicts(&on, append(run(1), record(2, 2, 1))).await;
    conflicts(&on, append(run(1), record(1, 1, 1))).await;
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 1);
}

/// Not once more.
pub async fn rule_16_a_repeated_start_sends_no_wake(on: Subject) {
    for begun in [StartResult::New, StartResult::Known, StartResult::Known] {
        assert_eq!(on.backend.create_runs(vec![begin(1, "orders", event_id(7))]).await.expect("a start"), [begun]);
    }
    assert_eq!(on.woken().await, [run(1)]);
}

/// The one that is new.
pub async fn of_many_starts_of_one_run_one_sends_its_wake(on: Subject) {
    let start = |_, backend: Arc<dyn Backend>| async move {
        backend
            .create_runs(vec![begin(1, "orders", event_id(1)), begin(2, "orders", event_id(1))])
            .await
            .expect("a start")
    };
    at_once(16, start, &on).await;
    assert_eq!(on.woken().await.len(), 2);
}

/// By due time, not by when they were sent.
pub async fn wakes_come_in_the_order_of_their_time(on: Subject) {
    let later = |n, s| EarlyWrite::Wake { wake: wake(run(n)), due: on.now() + seconds(s) };
    on.done(Commit { before: vec![later(3, 30), later(2, 20)], ..Commit::default() }).await;
    on.done(Commit { before: vec![later(1, 10)], ..Commit::default() }).await;
    on.advance(seconds(60)).await;
    assert_eq!(on.woken().await, [run(1), run(2), run(3)]);
}

/// Neither before nor after.
pub async fn a_delayed_wake_comes_to_the_millisecond(on: Subject) {
    let before = vec![EarlyWrite::Wake { wake: wake(run(1)), due: on.now() + seconds(900) }];
    on.done(Commit { before, ..Commit::default() }).await;
    on.advance(seconds(900) - Duration::from_millis(1)).await;
    assert!(on.woken().await.is_empty());
    on.advance(Duration::from_millis(1)).await;
    assert_eq!(on.woken().await, [run(1)]);
}

/// The others stay visible.
pub async fn receiving_takes_what_is_longest_due(on: Subject) {
    for n in 1..=3 {
        send(&on, n).await;
    }
    let first: Vec<_> = on.receive(2).await.into_iter().map(|delivery| delivery.wake.run).collect();
    assert_eq!(first, [run(1), run(2)]);
    assert_eq!(on.woken().await, [run(3)]);
}

/// It need not ask again: not for a new one, and not for one whose time comes.
pub async fn a_receiver_that_waits_is_told_of_a_new_wake(on: Subject) {
    let backend = on.backend.clone();
    let waiting = tokio::spawn(async move { backend.receive(1, VISIBILITY).await });
    tokio::task::yield_now().await;
    send(&on, 1).await;
    let received = waiting.await.expect("a task").expect("a queue");
    assert_eq!(received[0].wake.run, run(1));

    let before = vec![EarlyWrite::Wake { wake: wake(run(2)), due: on.now() + seconds(60) }];
    on.done(Commit { before, ..Commit::default() }).await;
    let backend = on.backend.clone();
    let waiting = tokio::spawn(async move { backend.receive(1, VISIBILITY).await });
    tokio::task::yield_now().await;
    on.advance(seconds(60)).await;
    let received = waiting.await.expect("a task").expect("a queue");
    assert_eq!(received[0].wake.run, run(2));
}

fn backlog(on: &Subject) -> Backlog {
    on.backend.backlog().expect("a queue in this process says what waits in it")
}

/// A wake counts as late from its time on until it is received, and again when nobody acknowledged it.
pub async fn the_backlog_is_what_is_due_and_not_received(on: Subject) {
    let before = backlog(&on);
    assert_eq!((before.due, before.waiting), (0, 0));
    send(&on, 1).await;
    let later = vec![EarlyWrite::Wake { wake: wake(run(2)), due: on.now() + seconds(10) }];
    on.done(Commit { before: later, ..Commit::default() }).await;
    on.backend.create_runs(vec![begin(3, "orders", event_id(3))]).await.expect("a start");
    assert_eq!(backlog(&on), Backlog { due: 2, waiting: 1, ..before });
    on.advance(seconds(10)).await;
    assert_eq!(backlog(&on), Backlog { due: 3, waiting: 0, ..before });

    let first = on.receive(1).await.pop().expect("a wake");
    assert_eq!(backlog(&on), Backlog { due: 2, waiting: 1, ..before });
    on.done(Commit { acks: vec![first.receipt.clone()], ..Commit::default() }).await;
    let once = Backlog { due: 2, waiting: 0, served: before.served + 1 };
    assert_eq!(backlog(&on), once);
    on.done(Commit { acks: vec![first.receipt], ..Commit::default() }).await;
    assert_eq!(backlog(&on), once, "what is done with is not counted twice");

    assert_eq!(on.receive(9).await.len(), 2);
    assert_eq!(backlog(&on), Backlog { due: 0, waiting: 2, ..once });
    on.advance(VISIBILITY).await;
    assert_eq!(backlog(&on), Backlog { due: 2, waiting: 0, ..once });
}

/// However they come into it, and however they leave.
pub async fn a_backlog_counts_the_places_in_line(on: Subject) {
    let one = limit("orders", 1);
    let mut arriving = begin(1, "orders", event_id(1));
    arriving.tickets = vec![(one.clone(), ticket_of_run(1, 0)), (limit("others", 1), ticket_of_run(1, 0))];
    on.backend.create_runs(vec![arriving]).await.expect("a start");
    for step in ["pay", "pay", "ship"] {
        on.backend.enqueue(&one, place(2, step, 1)).await.expect("a place");
    }
    assert_eq!(backlog(&on).waiting, 4);
    let taken = on.backend.acquire(&one, &holder(1, "pay", 1), on.now() + seconds(60), on.now()).await;
    assert_eq!(taken.expect("an answer"), AcquireResult::Acquired);
    assert_eq!(backlog(&on).waiting, 3);
    let leave = |limit: &str, n, step: Option<&str>| LateWrite::Dequeue {
        limit: super::given::limit(limit, 1),
        run: run(n),
        of: step.map(|step| RunOrStep::Step(step.into())),
    };
    on.done(Commit { after: vec![leave("orders", 2, Some("pay"))], ..Commit::default() }).await;
    assert_eq!(backlog(&on).waiting, 2);
    on.done(Commit { after: vec![leave("orders", 2, None), leave("others", 1, None)], ..Commit::default() }).await;
    assert_eq!(backlog(&on).waiting, 0);
}

/// Not before, and not only when its time is up; one that was delivered once more since is not touched.
pub async fn a_delivery_that_is_put_back_comes_at_its_time(on: Subject) {
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
