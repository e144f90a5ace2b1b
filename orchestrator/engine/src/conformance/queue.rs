//! The queue of wakes.

use stepladder_core::{Cause, Wake};

use super::Subject;
use super::given::{VISIBILITY, run, seconds, wake};
use crate::ports::{Commit, Later};

async fn send(on: &Subject, n: u64) {
    on.done(Commit { wakes: vec![wake(run(n))], ..Commit::default() }).await;
}

/// With all that was sent.
pub async fn a_wake_is_received_once_while_it_is_invisible(on: Subject) {
    let sent = Wake { run: run(1), cause: Cause::Step("größe:1".into()), group: "orders:\"eu\"".into() };
    on.done(Commit { wakes: vec![sent.clone()], ..Commit::default() }).await;
    let received = on.receive(9).await;
    assert_eq!((received.len(), &received[0].wake, received[0].receives), (1, &sent, 1));
    assert!(on.receive(9).await.is_empty());
    on.clock.advance(VISIBILITY - seconds(1));
    assert!(on.receive(9).await.is_empty());
}

/// By due time, not by when they were sent.
pub async fn wakes_come_in_the_order_of_their_time(on: Subject) {
    let later = |n, s| Later::Wake { wake: wake(run(n)), due: on.now() + seconds(s) };
    on.done(Commit { before: vec![later(3, 30), later(2, 20)], ..Commit::default() }).await;
    on.done(Commit { before: vec![later(1, 10)], ..Commit::default() }).await;
    on.clock.advance(seconds(60));
    assert_eq!(on.woken().await, [run(1), run(2), run(3)]);
}

/// To the millisecond.
pub async fn a_delayed_wake_waits_for_its_time(on: Subject) {
    let before = vec![Later::Wake { wake: wake(run(1)), due: on.now() + seconds(900) }];
    on.done(Commit { before, ..Commit::default() }).await;
    assert!(on.woken().await.is_empty());
    on.clock.advance(seconds(900) - std::time::Duration::from_millis(1));
    assert!(on.woken().await.is_empty());
    on.clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(on.woken().await, [run(1)]);
}

/// Each time it says how often it came; acknowledged, it never comes again.
pub async fn a_wake_comes_again_until_it_is_acknowledged(on: Subject) {
    send(&on, 1).await;
    for receives in 1..=3 {
        let delivery = on.receive(9).await.pop().expect("the wake");
        assert_eq!(delivery.receives, receives);
        on.clock.advance(VISIBILITY);
    }
    let delivery = on.receive(9).await.pop().expect("the wake");
    on.done(Commit { acks: vec![delivery.receipt.clone()], ..Commit::default() }).await;
    on.clock.advance(VISIBILITY * 2);
    assert!(on.receive(9).await.is_empty());
    on.done(Commit { acks: vec![delivery.receipt], ..Commit::default() }).await;
}

/// A receipt stands for one delivery: a worker that comes too late does not end its successor's.
pub async fn a_late_receipt_takes_nothing_from_the_newer_delivery(on: Subject) {
    send(&on, 1).await;
    let late = on.receive(9).await.pop().expect("the wake");
    on.clock.advance(VISIBILITY);
    let newer = on.receive(9).await.pop().expect("the wake");
    on.done(Commit { acks: vec![late.receipt], ..Commit::default() }).await;
    on.clock.advance(VISIBILITY);
    let again = on.receive(9).await.pop().expect("the newer delivery was not acknowledged");
    assert_eq!(again.receives, 3);
    on.done(Commit { acks: vec![newer.receipt], ..Commit::default() }).await;
    on.done(Commit { acks: vec![again.receipt], ..Commit::default() }).await;
    on.clock.advance(VISIBILITY);
    assert!(on.receive(9).await.is_empty());
}

/// The others stay visible.
pub async fn receiving_takes_no_more_than_asked_for(on: Subject) {
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

    let before = vec![Later::Wake { wake: wake(run(2)), due: on.now() + seconds(60) }];
    on.done(Commit { before, ..Commit::default() }).await;
    let backend = on.backend.clone();
    let waiting = tokio::spawn(async move { backend.receive(1, VISIBILITY).await });
    tokio::task::yield_now().await;
    on.clock.advance(seconds(60));
    let received = waiting.await.expect("a task").expect("a queue");
    assert_eq!(received[0].wake.run, run(2));
}
