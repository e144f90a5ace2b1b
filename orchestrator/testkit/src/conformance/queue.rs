//! The queue of wakes.

use stepladder_core::{Wake, WakeCause};

use super::Subject;
use super::given::{VISIBILITY, run, seconds, wake};
use stepladder_engine::ports::{Commit, EarlyWrite};

pub(super) async fn send(on: &Subject, n: u64) {
    on.done(Commit { wakes: vec![wake(run(n))], ..Commit::default() }).await;
}

/// With all that was sent.
pub async fn a_wake_is_received_once_while_it_is_invisible(on: Subject) {
    let sent = Wake { run: run(1), cause: WakeCause::Step("größe:1".into()), group: "orders:\"eu\"".into() };
    on.done(Commit { wakes: vec![sent.clone()], ..Commit::default() }).await;
    let received = on.receive(9).await;
    assert_eq!((received.len(), &received[0].wake, received[0].receives), (1, &sent, 1));
    assert!(on.receive(9).await.is_empty());
    on.advance(VISIBILITY - seconds(1)).await;
    assert!(on.receive(9).await.is_empty());
}

/// Each time it says how often it came; acknowledged, it never comes again.
pub async fn a_wake_comes_again_until_it_is_acknowledged(on: Subject) {
    send(&on, 1).await;
    for receives in 1..=3 {
        let delivery = on.receive(9).await.pop().expect("the wake");
        assert_eq!(delivery.receives, receives);
        on.advance(VISIBILITY).await;
    }
    let delivery = on.receive(9).await.pop().expect("the wake");
    on.done(Commit { acks: vec![delivery.receipt.clone()], ..Commit::default() }).await;
    on.advance(VISIBILITY * 2).await;
    assert!(on.receive(9).await.is_empty());
    on.done(Commit { acks: vec![delivery.receipt], ..Commit::default() }).await;
}

/// A receipt stands for one delivery: a worker that comes too late does not end its successor's.
pub async fn a_late_receipt_takes_nothing_from_the_newer_delivery(on: Subject) {
    send(&on, 1).await;
    let late = on.receive(9).await.pop().expect("the wake");
    on.advance(VISIBILITY).await;
    let newer = on.receive(9).await.pop().expect("the wake");
    on.done(Commit { acks: vec![late.receipt], ..Commit::default() }).await;
    on.advance(VISIBILITY).await;
    let again = on.receive(9).await.pop().expect("the newer delivery was not acknowledged");
    assert_eq!(again.receives, 3);
    on.done(Commit { acks: vec![newer.receipt], ..Commit::default() }).await;
    on.done(Commit { acks: vec![again.receipt], ..Commit::default() }).await;
    on.advance(VISIBILITY).await;
    assert!(on.receive(9).await.is_empty());
}

/// Not before; at most a second after it, for a queue that counts whole seconds. A server's clock moves on by itself
/// while the check runs, so what is looked at before its time is looked at half a minute before.
pub async fn a_delayed_wake_waits_for_its_time(on: Subject) {
    let before = vec![EarlyWrite::Wake { wake: wake(run(1)), due: on.now() + seconds(900) }];
    on.done(Commit { before, ..Commit::default() }).await;
    assert!(on.woken().await.is_empty());
    on.advance(seconds(870)).await;
    assert!(on.woken().await.is_empty());
    on.advance(seconds(31)).await;
    assert_eq!(on.woken().await, [run(1)]);
}

/// The others stay visible.
pub async fn receiving_takes_no_more_than_asked_for(on: Subject) {
    for n in 1..=3 {
        send(&on, n).await;
    }
    let mut runs: Vec<_> = on.receive(2).await.into_iter().map(|delivery| delivery.wake.run).collect();
    assert_eq!(runs.len(), 2);
    runs.extend(on.woken().await);
    runs.sort_unstable();
    assert_eq!(runs, [run(1), run(2), run(3)]);
}
