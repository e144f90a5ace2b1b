//! Creating runs, one or several at a time.

use std::collections::BTreeSet;

use stepladder_core::{Fact, Failure, Outcome, Record, Status, StepKind, WakeCause, json};

use super::TestedAdapter;
use super::fixtures::{append, event_id, limit, record, record_texts, run, run_start, ticket_of_run, timer};
use super::timers::read_all;
use stepladder_engine::ports::StartResult::{self, Known, New};
use stepladder_engine::ports::{Commit, LateWrite, RunStart};

async fn create(on: &TestedAdapter, starts: Vec<RunStart>) -> Vec<StartResult> {
    on.backend.create_runs(starts).await.expect("a start")
}

/// A start writes entry 0, the run's row, the link from its event and the watchdog, and sends a
/// wake.
pub async fn a_start_writes_all_parts_of_a_run(on: TestedAdapter) {
    let start = run_start(1, "orders", event_id(7));
    assert_eq!(create(&on, vec![start.clone()]).await, [New]);
    assert_eq!(
        record_texts(&on.backend.read(run(1), 0).await.expect("a read")),
        record_texts(std::slice::from_ref(&start.record))
    );
    assert_eq!(on.backend.row(run(1)).await.expect("a row"), Some(start.row.clone()));
    assert_eq!(on.backend.runs_of(event_id(7)).await.expect("rows"), [start.row]);
    let due = start.watchdog.due;
    assert_eq!(read_all(on.backend.bucket(due.minute(), 10).await), [timer(run(1), due)]);
    let delivery = on.receive(9).await.pop().expect("the first wake");
    assert_eq!((delivery.wake.run, delivery.wake.cause, delivery.receives), (run(1), WakeCause::Created, 1));
}

/// The first record of a rerun may contain outcomes of the earlier run: failures and values,
/// including large ones.
pub async fn a_start_stores_the_outcomes_that_a_rerun_carries_over(on: TestedAdapter) {
    let large = json::to_json(&"ünï".repeat(200_000)).expect("JSON");
    let failed = Failure::with_code("declined", "declined");
    let outcomes = [
        ("charge", StepKind::Run, Outcome::Failed(failed)),
        ("paid", StepKind::Event, Outcome::Value(json::null())),
        ("report", StepKind::Invoke, Outcome::Failed(Failure::new("the invoked run was skipped: too many"))),
        ("page", StepKind::Run, Outcome::Value(large.clone())),
        ("other page", StepKind::Run, Outcome::Value(large)),
    ];
    let mut start = run_start(1, "orders", event_id(7));
    let carried = |(step, kind, outcome): (&str, _, _)| Fact::StepCarriedOver { step: step.into(), kind, outcome };
    start.record.entries.extend(outcomes.map(|outcome| carried(outcome).into_entry(on.now())));
    assert_eq!(create(&on, vec![start.clone()]).await, [New]);
    assert_eq!(
        record_texts(&on.backend.read(run(1), 0).await.expect("a read")),
        record_texts(std::slice::from_ref(&start.record))
    );
}

/// The second start of the same run returns `Known` and writes nothing.
pub async fn rule_16_a_run_is_created_once(on: TestedAdapter) {
    let mut start = run_start(1, "orders", event_id(7));
    assert_eq!(create(&on, vec![start.clone()]).await, [New]);
    start.record.token += 1;
    start.tickets = vec![(limit("orders", 1), ticket_of_run(1, 0))];
    assert_eq!(create(&on, vec![start]).await, [Known]);
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read")[0].token, 1_001);
    assert_eq!(on.backend.runs_of(event_id(7)).await.expect("rows").len(), 1);
    // A repeated start may send the wake again, because the process of the first start may have
    // died before it sent the wake.
    assert_eq!(BTreeSet::from_iter(on.woken().await), BTreeSet::from([run(1)]));
    assert!(on.first_tickets(&limit("orders", 1), 9).await.is_empty());
}

/// Each start of a batch is decided separately. The results are in the order of the batch.
pub async fn a_batch_creates_only_new_runs(on: TestedAdapter) {
    create(&on, vec![run_start(2, "orders", event_id(1))]).await;
    let batch = vec![
        run_start(1, "orders", event_id(1)),
        run_start(2, "orders", event_id(1)),
        run_start(3, "mail", event_id(1)),
    ];
    let mut twice = batch.clone();
    twice.push(run_start(3, "mail", event_id(1)));
    assert_eq!(create(&on, twice).await, [New, Known, New, Known]);
    assert_eq!(on.backend.runs_of(event_id(1)).await.expect("rows").len(), 3);
    assert_eq!(create(&on, batch).await, [Known, Known, Known]);
    assert!(create(&on, Vec::new()).await.is_empty());
}

/// Starts enqueue their tickets. The wait queue is in the order of the tickets' queue times.
pub async fn a_start_enqueues_its_tickets(on: TestedAdapter) {
    let (all, ours) = (limit("orders", 1), limit("orders:eu", 1));
    let places = |n| vec![(all.clone(), ticket_of_run(n, 1)), (ours.clone(), ticket_of_run(n, 1))];
    let with = |n| RunStart { tickets: places(n), ..run_start(n, "orders", event_id(n)) };
    create(&on, vec![with(2), with(1)]).await;
    for limit in [&all, &ours] {
        assert_eq!(on.first_tickets(limit, 9).await, [ticket_of_run(1, 1), ticket_of_run(2, 1)]);
        assert_eq!(on.position(limit, run(2)).await, Some(1));
    }
}

/// A repeated start does not change a run that has made progress or has ended.
pub async fn a_repeated_start_keeps_the_progress_of_its_run(on: TestedAdapter) {
    let all = limit("orders", 1);
    let start = RunStart { tickets: vec![(all.clone(), ticket_of_run(1, 0))], ..run_start(1, "orders", event_id(1)) };
    create(&on, vec![start.clone()]).await;
    let first = on.receive(1).await.pop().expect("the first wake");
    let ended = (on.now(), Status::Completed);
    let end = Fact::RunCompleted { output: json::null() }.into_entry(on.now());
    let commit = Commit {
        after: vec![
            LateWrite::Dequeue { limit: all.clone(), run: run(1), of: None },
            LateWrite::MarkEnded { run: run(1), at: ended.0, status: ended.1 },
        ],
        acks: vec![first.receipt],
        ..append(run(1), Record { entries: vec![end], ..record(1, 5, 0) })
    };
    on.commit(commit).await;
    assert_eq!(create(&on, vec![start]).await, [Known]);
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 2);
    assert_eq!(on.backend.row(run(1)).await.expect("a row").and_then(|row| row.ended), Some(ended));
    assert!(on.first_tickets(&all, 9).await.is_empty());
    assert!(on.woken().await.is_empty());
}
