//! Retention: live runs are kept, and old ended runs are removed.

use std::time::Duration;

use stepladder_core::Status;

use super::TestedAdapter;
use super::fixtures::{event, event_id, run, run_start, seconds};
use stepladder_engine::ports::{Commit, LateWrite, PruneResult};

const DAY: Duration = Duration::from_secs(86_400);

/// Creates an event with two runs, one of which has ended, and an event with one ended run.
async fn create(on: &TestedAdapter) {
    on.backend.accept(vec![event(1), event(2)], on.now()).await.expect("events");
    let starts = [(1, 1), (2, 1), (3, 2)].map(|(n, event)| run_start(n, "orders", event_id(event)));
    on.backend.create_runs(starts.into()).await.expect("runs");
    let end = |n| LateWrite::MarkEnded { run: run(n), at: on.now() + seconds(1), status: Status::Completed };
    on.commit(Commit { after: vec![end(2), end(3)], ..Commit::default() }).await;
}

/// Neither the renewal of a run's retention nor pruning removes a live run or its event.
pub async fn rule_27_a_live_run_is_kept_with_its_event(on: TestedAdapter) {
    create(&on).await;
    let now = on.now() + DAY * 40;
    on.backend.renew_retention(run(1), event_id(1), now).await.expect("renewed");
    on.backend.renew_retention(run(9), event_id(9), now).await.expect("an unknown run is ignored");
    on.backend.prune(now).await.expect("pruned");
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 1);
    assert_eq!(on.backend.row(run(1)).await.expect("a row").map(|row| row.ended), Some(None));
    assert!(on.backend.event(event_id(1)).await.expect("an event").is_some());
}

/// A local store has no items that expire on their own: pruning deletes ended runs and events
/// without a run.
pub async fn old_ended_runs_are_pruned_with_their_events(on: TestedAdapter) {
    create(&on).await;
    assert_eq!(on.backend.prune(on.now()).await.expect("pruned"), PruneResult::default());
    let later = on.now() + DAY * 2;
    assert_eq!(on.backend.prune(later).await.expect("pruned"), PruneResult { runs: 2, events: 1 });
    assert_eq!(on.backend.prune(later).await.expect("pruned"), PruneResult::default());
    assert!(on.backend.read(run(2), 0).await.expect("a read").is_empty());
    assert_eq!(on.backend.row(run(3)).await.expect("a row"), None);
    let left = on.backend.runs_of(event_id(1)).await.expect("rows");
    assert_eq!(left.iter().map(|row| row.run).collect::<Vec<_>>(), [run(1)]);
    assert!(on.backend.event(event_id(2)).await.expect("an event").is_none());
}

/// A local store is locked by its process.
pub async fn a_local_store_is_exclusive(on: TestedAdapter) {
    assert!(on.backend.is_exclusive());
}
