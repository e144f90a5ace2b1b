//! Races: many tasks on several threads make the same call.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::TestedAdapter;
use super::fixtures::{
    START, VISIBILITY, acquire_request, append, event_id, event_with_sender_id, holder, limit, record, run,
    run_concurrently, run_start, wake,
};
use stepladder_engine::ports::{AcquireResult, Backend, Commit, CommitResult, Cursor, StartResult};

/// If many callers append at the same number, one succeeds, and the journal contains the record of
/// that caller.
pub async fn one_of_many_appends_at_the_same_number_succeeds(on: TestedAdapter) {
    for seq in 0..5 {
        let answers = run_concurrently(
            16,
            |i, backend| async move {
                let token = u128::from(i + 1);
                (token, backend.commit(append(run(1), record(seq, token, 1))).await.expect("a commit"))
            },
            &on,
        )
        .await;
        let done: Vec<_> = answers.iter().filter(|(_, answer)| *answer == CommitResult::Done).collect();
        assert_eq!(done.len(), 1);
        let read = on.backend.read(run(1), seq).await.expect("a read");
        assert_eq!((read.len(), read[0].token), (1, done[0].0));
    }
}

/// If many callers start the same run, the run has one row and at least one wake.
pub async fn one_of_many_starts_of_a_run_is_new(on: TestedAdapter) {
    let start = |_, backend: Arc<dyn Backend>| async move {
        backend
            .create_runs(vec![run_start(1, "orders", event_id(1)), run_start(2, "orders", event_id(1))])
            .await
            .expect("a start")
    };
    let answers = run_concurrently(16, start, &on).await;
    for run in 0..2 {
        assert_eq!(answers.iter().filter(|results| results[run] == StartResult::New).count(), 1);
    }
    assert_eq!(on.backend.runs_of(event_id(1)).await.expect("rows").len(), 2);
    assert_eq!(HashSet::from_iter(on.woken().await), HashSet::from([run(1), run(2)]));
}

/// If many callers acquire slots, only as many succeed as there are slots. A refused caller gets no
/// slot.
pub async fn many_acquisitions_never_exceed_the_slots(on: TestedAdapter) {
    let three = limit("orders", 3);
    let take = |i, backend: Arc<dyn Backend>| async move {
        let request = acquire_request(&[&limit("orders", 3)], &holder(i, "pay", 1), None);
        let answer = backend.acquire(request).await.expect("an answer");
        (i, matches!(answer, AcquireResult::Acquired { .. }))
    };
    let answers = run_concurrently(24, take, &on).await;
    let acquired: HashSet<_> = answers.into_iter().filter(|(_, held)| *held).map(|(i, _)| run(i)).collect();
    let held = on.held_slots(&three).await;
    assert_eq!(acquired.len(), 3);
    assert_eq!(held.into_iter().map(|holding| holding.holder.run()).collect::<HashSet<_>>(), acquired);
}

/// If many receivers share a queue, every wake is delivered, and none twice.
pub async fn each_wake_goes_to_one_of_many_receivers(on: TestedAdapter) {
    on.commit(Commit { wakes: (0..40).map(|n| wake(run(n))).collect(), ..Commit::default() }).await;
    let receive = |_, backend: Arc<dyn Backend>| async move {
        let mut runs = Vec::new();
        while runs.len() < 5 {
            let received = backend.receive(5 - runs.len(), VISIBILITY).await.expect("a queue");
            runs.extend(received.into_iter().map(|delivery| delivery.wake.run));
        }
        runs
    };
    let received = run_concurrently(8, receive, &on).await.concat();
    assert_eq!((received.len(), received.into_iter().collect::<HashSet<_>>().len()), (40, 40));
}

/// If many callers send events with the same sender id, one event is stored, and all callers get
/// its id.
pub async fn one_of_many_repetitions_of_an_event_is_stored(on: TestedAdapter) {
    let accept = |i, backend: Arc<dyn Backend>| async move {
        backend.accept(vec![event_with_sender_id(i, "order-1", Duration::ZERO)], START).await.expect("an event")[0].id
    };
    let ids: HashSet<_> = run_concurrently(16, accept, &on).await.into_iter().collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(on.backend.resolve("order-1").await.expect("a read"), ids.into_iter().next());
}

/// If many callers move the cursor, one succeeds, and the others get the cursor's actual position.
pub async fn one_of_many_concurrent_moves_of_the_cursor_succeeds(on: TestedAdapter) {
    let advance = |i, backend: Arc<dyn Backend>| async move {
        let next = Cursor { minute: START.minute() + i as i64, sent: Vec::new() };
        (next.clone(), backend.advance(None, next).await.expect("an answer"))
    };
    let answers = run_concurrently(16, advance, &on).await;
    let moved: Vec<_> = answers.into_iter().filter(|(_, moved)| *moved).map(|(next, _)| next).collect();
    assert_eq!(moved.len(), 1);
    assert_eq!(on.backend.cursor().await.expect("a cursor").as_ref(), moved.first());
}
