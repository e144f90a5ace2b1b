//! Beginning runs.

use std::collections::BTreeSet;

use stepladder_core::{Fact, Failure, Outcome, Record, Status, StepKind, WakeCause, json};

use super::Subject;
use super::given::{append, begin, event_id, limit, record, run, text, ticket_of_run, timer};
use super::timers::readable;
use stepladder_engine::ports::StartResult::{self, Known, New};
use stepladder_engine::ports::{Commit, LateWrite, RunStart};

async fn start(on: &Subject, starts: Vec<RunStart>) -> Vec<StartResult> {
    on.backend.create_runs(starts).await.expect("a start")
}

/// Entry 0, row, link from the event, watchdog, wake.
pub async fn a_start_creates_everything_of_a_run(on: Subject) {
    let given = begin(1, "orders", event_id(7));
    assert_eq!(start(&on, vec![given.clone()]).await, [New]);
    assert_eq!(text(&on.backend.read(run(1), 0).await.expect("a read")), text(std::slice::from_ref(&given.record)));
    assert_eq!(on.backend.row(run(1)).await.expect("a row"), Some(given.row.clone()));
    assert_eq!(on.backend.runs_of(event_id(7)).await.expect("rows"), [given.row]);
    let due = given.watchdog.due;
    assert_eq!(readable(on.backend.bucket(due.minute(), 10).await), [timer(run(1), due)]);
    let delivery = on.receive(9).await.pop().expect("the first wake");
    assert_eq!((delivery.wake.run, delivery.wake.cause, delivery.receives), (run(1), WakeCause::Created, 1));
}

/// Failures and values of the run before, in their order; large ones too.
pub async fn a_start_keeps_what_a_rerun_takes_over(on: Subject) {
    let large = json::to_json(&"ünï".repeat(200_000)).expect("JSON");
    let failed = Failure { message: "declined".into(), code: Some("declined".into()) };
    let outcomes = [
        ("charge", StepKind::Run, Outcome::Failed(failed)),
        ("paid", StepKind::Event, Outcome::Value(json::null())),
        ("report", StepKind::Invoke, Outcome::Failed(Failure::new("the invoked run was skipped: too many"))),
        ("page", StepKind::Run, Outcome::Value(large.clone())),
        ("other page", StepKind::Run, Outcome::Value(large)),
    ];
    let mut given = begin(1, "orders", event_id(7));
    let carried = |(step, kind, outcome): (&str, _, _)| Fact::StepCarriedOver { step: step.into(), kind, outcome };
    given.record.entries.extend(outcomes.map(|outcome| carried(outcome).at(on.now())));
    assert_eq!(start(&on, vec![given.clone()]).await, [New]);
    assert_eq!(text(&on.backend.read(run(1), 0).await.expect("a read")), text(std::slice::from_ref(&given.record)));
}

/// The second start answers so, and adds nothing.
pub async fn rule_16_a_run_starts_once(on: Subject) {
    let mut given = begin(1, "orders", event_id(7));
    assert_eq!(start(&on, vec![given.clone()]).await, [New]);
    given.record.token += 1;
    given.tickets = vec![(limit("orders", 1), ticket_of_run(1, 0))];
    assert_eq!(start(&on, vec![given]).await, [Known]);
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read")[0].token, 1_001);
    assert_eq!(on.backend.runs_of(event_id(7)).await.expect("rows").len(), 1);
    // a start that is repeated may wake the run again, for the one before may have died over that
    assert_eq!(BTreeSet::from_iter(on.woken().await), BTreeSet::from([run(1)]));
    assert!(on.backend.tickets(&limit("orders", 1), 9).await.expect("a line").is_empty());
}

/// Each run of a batch is judged by itself, and the answers are in its order.
pub async fn a_batch_starts_what_is_new(on: Subject) {
    start(&on, vec![begin(2, "orders", event_id(1))]).await;
    let batch = vec![begin(1, "orders", event_id(1)), begin(2, "orders", event_id(1)), begin(3, "mail", event_id(1))];
    let mut twice = batch.clone();
    twice.push(begin(3, "mail", event_id(1)));
    assert_eq!(start(&on, twice).await, [New, Known, New, Known]);
    assert_eq!(on.backend.runs_of(event_id(1)).await.expect("rows").len(), 3);
    assert_eq!(start(&on, batch).await, [Known, Known, Known]);
    assert!(start(&on, Vec::new()).await.is_empty());
}

/// In the order of the batch's times.
pub async fn a_start_takes_its_places_in_line(on: Subject) {
    let (all, ours) = (limit("orders", 1), limit("orders:eu", 1));
    let places = |n| vec![(all.clone(), ticket_of_run(n, 1)), (ours.clone(), ticket_of_run(n, 1))];
    let with = |n| RunStart { tickets: places(n), ..begin(n, "orders", event_id(n)) };
    start(&on, vec![with(2), with(1)]).await;
    for limit in [&all, &ours] {
        assert_eq!(on.backend.tickets(limit, 9).await.expect("a line"), [ticket_of_run(1, 1), ticket_of_run(2, 1)]);
        assert_eq!(on.backend.position(limit, run(2)).await.expect("a position"), Some(1));
    }
}

/// A run that has gone on, or ended, is left as it is.
pub async fn a_repeated_start_gives_up_no_progress(on: Subject) {
    let all = limit("orders", 1);
    let given = RunStart { tickets: vec![(all.clone(), ticket_of_run(1, 0))], ..begin(1, "orders", event_id(1)) };
    start(&on, vec![given.clone()]).await;
    let first = on.receive(1).await.pop().expect("the first wake");
    let ended = (on.now(), Status::Completed);
    let end = Fact::RunCompleted { output: json::null() }.at(on.now());
    let commit = Commit {
        after: vec![
            LateWrite::Dequeue { limit: all.clone(), run: run(1), of: None },
            LateWrite::MarkEnded { run: run(1), at: ended.0, status: ended.1 },
        ],
        acks: vec![first.receipt],
        ..append(run(1), Record { entries: vec![end], ..record(1, 5, 0) })
    };
    on.done(commit).await;
    assert_eq!(start(&on, vec![given]).await, [Known]);
    assert_eq!(on.backend.read(run(1), 0).await.expect("a read").len(), 2);
    assert_eq!(on.backend.row(run(1)).await.expect("a row").and_then(|row| row.ended), Some(ended));
    assert!(on.backend.tickets(&all, 9).await.expect("a line").is_empty());
    assert!(on.woken().await.is_empty());
}
