//! The queue of wakes.

use stepladder_core::{Wake, WakeCause};

use super::TestedAdapter;
use super::fixtures::{VISIBILITY, run, seconds, wake};
use stepladder_engine::ports::{Commit, EarlyWrite, MIN_DELAY};

pub(super) async fn send(on: &TestedAdapter, n: u64) {
    on.commit(Commit { wakes: vec![wake(run(n))], ..Commit::default() }).await;
}

/// A received wake has all of its fields, and stays invisible until its visibility timeout ends.
pub async fn a_wake_is_received_once_while_it_is_invisible(on: TestedAdapter) {
    let sent = Wake { run: run(1), cause: WakeCause::Step("größe:1".into()), group: "orders:\"eu\"".into() };
    on.commit(Commit { wakes: vec![sent.clone()], ..Commit::default() }).await;
    let received = on.receive(9).await;
    assert_eq!((received.len(), &received[0].wake, received[0].receives), (1, &sent, 1));
    assert!(on.receive(9).await.is_empty());
    on.advance(VISIBILITY - seconds(1)).await;
    assert!(on.receive(9).await.is_empty());
}

/// A wake is delivered until it is acknowledged. Each delivery contains the number of deliveries so
/// far.
pub async fn a_wake_comes_again_until_it_is_acknowledged(on: TestedAdapter) {
    send(&on, 1).await;
    for receives in 1..=3 {
        let delivery = on.receive(9).await.pop().expect("the wake");
        assert_eq!(delivery.receives, receives);
        on.advance(VISIBILITY).await;
    }
    let delivery = on.receive(9).await.pop().expect("the wake");
    on.commit(Commit { acks: vec![delivery.receipt.clone()], ..Commit::default() }).await;
    on.advance(VISIBILITY * 2).await;
    assert!(on.receive(9).await.is_empty());
    on.commit(Commit { acks: vec![delivery.receipt], ..Commit::default() }).await;
}

/// A receipt belongs to one delivery: a late worker cannot acknowledge a newer delivery of the same
/// wake.
pub async fn a_late_receipt_does_not_acknowledge_a_newer_delivery(on: TestedAdapter) {
    send(&on, 1).await;
    let late = on.receive(9).await.pop().expect("the wake");
    on.advance(VISIBILITY).await;
    let newer = on.receive(9).await.pop().expect("the wake");
    on.commit(Commit { acks: vec![late.receipt], ..Commit::default() }).await;
    on.advance(VISIBILITY).await;
    let again = on.receive(9).await.pop().expect("the newer delivery was not acknowledged");
    assert_eq!(again.receives, 3);
    on.commit(Commit { acks: vec![newer.receipt], ..Commit::default() }).await;
    on.commit(Commit { acks: vec![again.receipt], ..Commit::default() }).await;
    on.advance(VISIBILITY).await;
    assert!(on.receive(9).await.is_empty());
}

/// A delayed wake is never delivered early, and at most one second late, because a queue may count
/// in whole seconds.
///
/// The clock of a server advances during the check. So the check looks for an early delivery half a
/// minute before the due time.
pub async fn a_delayed_wake_is_delivered_when_it_is_due(on: TestedAdapter) {
    let longest = on.backend.max_delay();
    assert!(longest >= MIN_DELAY, "{longest:?}");
    let delay = longest.min(seconds(7_200));
    let before = vec![EarlyWrite::Wake { wake: wake(run(1)), due: on.now() + delay }];
    on.commit(Commit { before, ..Commit::default() }).await;
    assert!(on.woken().await.is_empty());
    on.advance(delay - seconds(30)).await;
    assert!(on.woken().await.is_empty());
    on.advance(seconds(31)).await;
    assert_eq!(on.woken().await, [run(1)]);
}

/// A receiver gets at most as many wakes as it requested. The others stay visible.
pub async fn a_receiver_gets_at_most_the_requested_number(on: TestedAdapter) {
    for n in 1..=3 {
        send(&on, n).await;
    }
    let mut runs: Vec<_> = on.receive(2).await.into_iter().map(|delivery| delivery.wake.run).collect();
    assert_eq!(runs.len(), 2);
    runs.extend(on.woken().await);
    runs.sort_unstable();
    assert_eq!(runs, [run(1), run(2), run(3)]);
}
