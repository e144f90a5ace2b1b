//! Listings of runs and events.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::Failure;
use stepladder_core::report::AttemptReport;
use stepladder_core::{Fact, Label, Record, RunId, RunRow, Status, Timestamp};

use super::TestedAdapter;
use super::fixtures::{START, event, event_id, run, run_start, seconds};
use stepladder_engine::ports::{
    Commit, CostQuery, CostSum, DurationBin, EarlyWrite, JournalAppend, LateWrite, RunCost, RunCostCounter, RunQuery,
    RunStatusFilter, TREND_SLOT, TrendCount, TrendKind, TrendQuery, UnstartedRuns,
};

/// Creates six runs. The even ones belong to `mail`, the odd ones to `orders`. Run 1 completed,
/// runs 2 and 3 failed, and the others are live.
async fn create_six_runs(on: &TestedAdapter) {
    let function = |n| if n % 2 == 0 { "mail" } else { "orders" };
    let starts = [4, 1, 6, 3, 2, 5].map(|n| run_start(n, function(n), event_id(1 + n / 4)));
    on.backend.create_runs(starts.into()).await.expect("a start");
    let ends = [(1, Status::Completed), (2, Status::Failed), (3, Status::Failed)];
    let after = ends.map(|(n, status)| LateWrite::MarkEnded { run: run(n), at: on.now(), status });
    on.commit(Commit { after: after.into(), ..Commit::default() }).await;
}

fn ids(rows: Vec<RunRow>) -> Vec<RunId> {
    rows.into_iter().map(|row| row.run).collect()
}

async fn list(on: &TestedAdapter, query: RunQuery) -> Vec<RunId> {
    ids(on.backend.runs(query).await.expect("a listing"))
}

fn runs(numbers: &[u64]) -> Vec<RunId> {
    numbers.iter().map(|n| run(*n)).collect()
}

/// Runs are listed newest first, in the order of their ids. A run's id begins with the time of its
/// event.
pub async fn runs_are_listed_newest_first(on: TestedAdapter) {
    create_six_runs(&on).await;
    assert_eq!(list(&on, RunQuery { limit: 100, ..RunQuery::default() }).await, runs(&[6, 5, 4, 3, 2, 1]));
    assert_eq!(list(&on, RunQuery { limit: 2, ..RunQuery::default() }).await, runs(&[6, 5]));
    assert_eq!(on.backend.row(run(9)).await.expect("a row"), None);
}

/// Listings can be filtered by function, by status, and by both.
pub async fn listings_are_filtered(on: TestedAdapter) {
    create_six_runs(&on).await;
    let all = RunQuery { limit: 100, ..RunQuery::default() };
    let mail = RunQuery { function: Some("mail".into()), ..all.clone() };
    let filter = |filter, query: &RunQuery| RunQuery { status: filter, ..query.clone() };
    assert_eq!(list(&on, mail.clone()).await, runs(&[6, 4, 2]));
    assert_eq!(list(&on, RunQuery { function: Some("none".into()), ..all.clone() }).await, runs(&[]));
    assert_eq!(list(&on, filter(RunStatusFilter::Live, &all)).await, runs(&[6, 5, 4]));
    assert_eq!(list(&on, filter(RunStatusFilter::Live, &mail)).await, runs(&[6, 4]));
    assert_eq!(list(&on, filter(RunStatusFilter::Ended(Status::Failed), &all)).await, runs(&[3, 2]));
    assert_eq!(list(&on, filter(RunStatusFilter::Ended(Status::Failed), &mail)).await, runs(&[2]));
    assert_eq!(list(&on, filter(RunStatusFilter::Ended(Status::Completed), &mail)).await, runs(&[]));
    assert_eq!(list(&on, filter(RunStatusFilter::Ended(Status::Cancelled), &all)).await, runs(&[]));
}

/// The page after a run starts with the next older run.
pub async fn pages_follow_each_other(on: TestedAdapter) {
    create_six_runs(&on).await;
    for (filter, function, expected) in [
        (RunStatusFilter::All, None, runs(&[6, 5, 4, 3, 2, 1])),
        (RunStatusFilter::All, Some("orders"), runs(&[5, 3, 1])),
        (RunStatusFilter::Live, None, runs(&[6, 5, 4])),
        (RunStatusFilter::Ended(Status::Failed), None, runs(&[3, 2])),
    ] {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let query = RunQuery {
                function: function.map(Into::into),
                status: filter,
                before,
                limit: 2,
                ..RunQuery::default()
            };
            let page = list(&on, query).await;
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { break };
            before = Some(*last);
            found.extend(page);
        }
        assert_eq!(found, expected);
    }
}

/// A listing of all runs has the runs of each function in their common order, over several pages
/// and days, also if most of the newest runs belong to one function.
pub async fn long_listings_are_in_one_order_over_all_functions(on: TestedAdapter) {
    let function = |n: u64| match n {
        _ if n.is_multiple_of(15) => "rare",
        40..60 => "mail",
        _ => "orders",
    };
    let day_after = |n: u64| RunId::new(START + seconds(86_400) + Duration::from_millis(n), u128::from(n));
    let mut starts: Vec<_> = (1..=90).map(|n| run_start(n, function(n), event_id(n))).collect();
    for start in &mut starts[70..] {
        start.row.run = day_after(u64::try_from(start.record.token).expect("small"));
    }
    let mut newest: Vec<_> = starts.iter().map(|start| start.row.clone()).collect();
    newest.sort_by_key(|row| std::cmp::Reverse(row.run));
    on.backend.create_runs(starts).await.expect("a start");
    for (function, limit) in [(None::<&str>, 7), (None, 25), (None, 80), (Some("orders"), 30), (Some("rare"), 4)] {
        let is_listed = |row: &&RunRow| function.is_none_or(|function| *row.function == *function);
        let expected: Vec<_> = newest.iter().filter(is_listed).map(|row| row.run).collect();
        let (mut found, mut before) = (Vec::<RunId>::new(), None);
        loop {
            let function = function.map(Into::into);
            let page = list(&on, RunQuery { function, before, limit, ..RunQuery::default() }).await;
            found.extend(&page);
            before = page.last().copied();
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(found, expected, "{function:?}, {limit} on a page");
    }
}

/// Runs that are older than `from` are not listed.
pub async fn a_listing_ends_at_its_oldest_id(on: TestedAdapter) {
    create_six_runs(&on).await;
    let from = |n| RunQuery { from: Some(run(n)), limit: 100, ..RunQuery::default() };
    assert_eq!(list(&on, from(4)).await, runs(&[6, 5, 4]));
    assert_eq!(list(&on, RunQuery { before: Some(run(6)), ..from(5) }).await, runs(&[5]));
    assert_eq!(list(&on, RunQuery { function: Some("mail".into()), ..from(3) }).await, runs(&[6, 4]));
    assert_eq!(list(&on, RunQuery { status: RunStatusFilter::Ended(Status::Failed), ..from(3) }).await, runs(&[3]));
    assert_eq!(list(&on, RunQuery { limit: 2, ..from(1) }).await, runs(&[6, 5]));
}

/// Events are listed newest first, in pages. Each event here has started a run, because an adapter
/// need not list other events.
pub async fn events_are_listed_newest_first(on: TestedAdapter) {
    let events: Vec<_> = [4, 1, 3].map(event).into();
    on.backend.accept(events, on.now()).await.expect("events");
    on.backend.create_runs([1, 3, 4].map(|n| run_start(n, "mail", event_id(n))).into()).await.expect("a start");
    on.backend.create_runs(vec![run_start(5, "orders", event_id(4))]).await.expect("a start");
    let list = async |before, limit| {
        let events = on.backend.events(before, limit).await.expect("a listing");
        events.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    let ids = |numbers: &[u64]| numbers.iter().map(|n| event_id(*n)).collect::<Vec<_>>();
    assert_eq!(list(None, 10).await, ids(&[4, 3, 1]));
    assert_eq!(list(None, 2).await, ids(&[4, 3]));
    assert_eq!(list(Some(event_id(4)), 10).await, ids(&[3, 1]));
    assert_eq!(list(Some(event_id(1)), 10).await, ids(&[]));
}

/// The runs of an event are listed in the order of their creation. An event without runs has an
/// empty list.
pub async fn runs_of_an_event_come_oldest_first(on: TestedAdapter) {
    create_six_runs(&on).await;
    let of = async |event| {
        let mut rows = on.backend.runs_of(event_id(event)).await.expect("rows");
        let listed = ids(rows.clone());
        rows.sort_by_key(|row| row.created_at);
        assert_eq!(ids(rows), listed);
        listed
    };
    assert_eq!(of(1).await, runs(&[1, 2, 3]));
    assert_eq!(of(2).await, runs(&[4, 5, 6]));
    assert_eq!(of(3).await, runs(&[]));
}

/// The id of a run that an event triggers derives from the event and the function. An adapter may
/// find the runs of an event by it.
pub async fn runs_of_an_event_are_found_if_their_ids_derive_from_it(on: TestedAdapter) {
    let start = |n, function: &str| {
        let mut start = run_start(n, function, event_id(n));
        let run = RunId::started_by(event_id(n), function);
        (start.row.run, start.watchdog.run, start.wake.run) = (run, run, run);
        start
    };
    let starts = vec![start(1, "orders"), start(1, "mail"), start(2, "orders"), run_start(3, "orders", event_id(1))];
    on.backend.create_runs(starts).await.expect("a start");
    let of = async |event| {
        let mut found = ids(on.backend.runs_of(event_id(event)).await.expect("rows"));
        found.sort_unstable();
        found
    };
    let mut of_first = vec![RunId::started_by(event_id(1), "orders"), RunId::started_by(event_id(1), "mail"), run(3)];
    of_first.sort_unstable();
    assert_eq!(of(1).await, of_first);
    assert_eq!(of(2).await, [RunId::started_by(event_id(2), "orders")]);
    assert_eq!(of(3).await, []);
}

/// Runs are found by a label, newest first and over several pages. Other filters apply as well.
pub async fn runs_are_found_by_a_label(on: TestedAdapter) {
    let label = |key: &str, value: &str| Label { key: key.into(), value: value.into() };
    let mut starts: Vec<_> =
        (1..=7).map(|n| run_start(n, if n == 4 { "mail" } else { "orders" }, event_id(n))).collect();
    for (start, n) in starts.iter_mut().zip(1..) {
        if let Fact::RunCreated(created) = &mut start.record.entries[0].fact {
            created.labels = match n {
                7 => Vec::new(),
                2 => vec![label("client", "b"), label("plan", "a")],
                _ => vec![label("client", "a"), label("plan", &format!("é {n}"))],
            };
        }
    }
    on.backend.create_runs(starts.clone()).await.expect("a start");
    on.backend.create_runs(starts).await.expect("the same start");
    let of = |label: Label| RunQuery { label: Some(label), limit: 10, ..RunQuery::default() };
    assert_eq!(list(&on, of(label("client", "a"))).await, runs(&[6, 5, 4, 3, 1]));
    assert_eq!(list(&on, of(label("plan", "é 3"))).await, runs(&[3]));
    assert_eq!(list(&on, of(label("plan", "a"))).await, runs(&[2]), "the key is part of the label");
    assert_eq!(list(&on, of(label("client", "c"))).await, runs(&[]));
    let orders = RunQuery { function: Some("orders".into()), ..of(label("client", "a")) };
    assert_eq!(list(&on, orders.clone()).await, runs(&[6, 5, 3, 1]));
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = list(&on, RunQuery { before, limit: 2, ..orders.clone() }).await;
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        before = Some(*last);
        found.extend(page);
    }
    assert_eq!(found, runs(&[6, 5, 3, 1]));
    let failed = RunQuery { status: RunStatusFilter::Ended(Status::Failed), ..of(label("client", "a")) };
    assert_eq!(list(&on, failed).await, runs(&[]));
    let newer = RunQuery { from: Some(runs(&[4])[0]), ..of(label("client", "a")) };
    assert_eq!(list(&on, newer).await, runs(&[6, 5, 4]));
}

/// A run is found by a label that a commit adds. The label is added once, also if the commit is
/// repeated.
pub async fn runs_are_found_by_a_label_that_was_added_later(on: TestedAdapter) {
    let label = |value: &str| Label { key: "plan".into(), value: value.into() };
    on.backend.create_runs((1..=3).map(|n| run_start(n, "orders", event_id(n))).collect()).await.expect("a start");
    let add = |n, value| EarlyWrite::AddLabel { run: run(n), label: label(value) };
    for _ in 0..2 {
        let before = vec![add(1, "pro"), add(3, "pro"), add(2, "free")];
        on.commit(Commit { before, ..Commit::default() }).await;
    }
    let of = |value| RunQuery { label: Some(label(value)), limit: 10, ..RunQuery::default() };
    assert_eq!(list(&on, of("pro")).await, runs(&[3, 1]));
    assert_eq!(list(&on, of("free")).await, runs(&[2]));
    if let Some(labels) = on.backend.labels_of(runs(&[2, 3])).await.expect("labels") {
        assert_eq!(labels.len(), 2);
        assert!(labels.contains(&(run(2), label("free"))) && labels.contains(&(run(3), label("pro"))));
    }
}

/// The runs that received an event are found, and are not among those that it started.
pub async fn runs_that_received_an_event_are_found(on: TestedAdapter) {
    on.backend.create_runs((1..=3).map(|n| run_start(n, "orders", event_id(n))).collect()).await.expect("a start");
    let note = |n| EarlyWrite::NoteDelivery { run: run(n), event: event_id(3) };
    for _ in 0..2 {
        on.commit(Commit { before: vec![note(2), note(1)], ..Commit::default() }).await;
    }
    let resumed = async |n| ids(on.backend.resumed_by(event_id(n)).await.expect("rows"));
    assert_eq!((resumed(3).await, resumed(1).await), (runs(&[1, 2]), runs(&[])));
    assert_eq!(ids(on.backend.runs_of(event_id(3)).await.expect("rows")), runs(&[3]));
}

/// A store that counts what runs do counts each creation, start and end once, although commits are
/// repeated.
pub async fn trends_count_each_run_once(on: TestedAdapter) {
    let query = TrendQuery { function: None, from: on.now(), step: TREND_SLOT, steps: 3 };
    let from = Timestamp::from_millis(TrendQuery::slot_of(on.now()) * TREND_SLOT.as_millis() as i64);
    let query = TrendQuery { from, ..query };
    let start = |n| run_start(n, if n == 3 { "mail" } else { "orders" }, event_id(n));
    let starts: Vec<_> = (1..=4).map(start).collect();
    let created_at = starts[0].row.created_at;
    for _ in 0..2 {
        on.backend.create_runs(starts.clone()).await.expect("a start");
    }
    let (at, lease_until) = (on.now() + seconds(2), on.now() + seconds(600));
    for _ in 0..2 {
        for (n, seq, step) in [(1, 1, "a"), (1, 2, "b"), (3, 1, "a")] {
            let (step, worker) = (step.into(), "w".into());
            let fact = Fact::StepStarted { step, attempt: 1, lease_until, worker, at_most_once: false };
            let record = Record { seq, token: seq.into(), code: "1".into(), entries: vec![fact.into_entry(at)] };
            let append = Some(Arc::new(JournalAppend { run: run(n), record }));
            on.commit(Commit { append, ..Commit::default() }).await;
        }
        let ends = [(1, Status::Completed), (2, Status::Cancelled), (3, Status::Failed)];
        let after = ends.map(|(n, status)| LateWrite::MarkEnded { run: run(n), at: at + seconds(1), status });
        on.commit(Commit { after: after.into(), ..Commit::default() }).await;
    }
    let Some(mut counted) = on.backend.trends(query.clone()).await.expect("counts") else { return };
    counted.counts.sort();
    let count = |kind, took: Option<Duration>, function: &str, n| {
        let bin = took.map(DurationBin::of).unwrap_or_default();
        TrendCount { step: 0, function: function.into(), kind, bin, n }
    };
    let (waited, took) = (Some(at.since(created_at)), Some((at + seconds(1)).since(created_at)));
    let mut expected = vec![
        count(TrendKind::Created, None, "orders", 3),
        count(TrendKind::Created, None, "mail", 1),
        count(TrendKind::Started, waited, "orders", 1),
        count(TrendKind::Started, waited, "mail", 1),
        count(TrendKind::Completed, took, "orders", 1),
        count(TrendKind::Failed, took, "mail", 1),
        count(TrendKind::Cancelled, took, "orders", 1),
        count(TrendKind::Unstarted, None, "orders", 1),
    ];
    expected.sort();
    assert_eq!(counted.counts, expected);
    assert_eq!(counted.unstarted, [UnstartedRuns { function: "orders".into(), runs: 1, oldest: run(4) }]);
    let of_mail = TrendQuery { function: Some("mail".into()), ..query.clone() };
    let of_mail = on.backend.trends(of_mail).await.expect("counts").expect("counts");
    assert_eq!((of_mail.counts.len(), of_mail.unstarted.len()), (3, 0));
    let later = TrendQuery { from: from + TREND_SLOT, ..query };
    assert_eq!(on.backend.trends(later).await.expect("counts").expect("counts").counts, []);
}

/// A store that sums costs adds each ended run once, although commits are repeated, and two records
/// of a run may be committed at the same time.
pub async fn costs_add_each_ended_run_once(on: TestedAdapter) {
    let starts: Vec<_> = (1..=3).map(|n| run_start(n, "orders", event_id(n))).collect();
    let mut journals: Vec<Vec<_>> = starts.iter().map(|start| start.record.entries.clone()).collect();
    on.backend.create_runs(starts).await.expect("a start");
    let at = |s| on.now() + seconds(s);
    let started = |step: &str, attempt, s| {
        let (step, worker) = (step.into(), "w".into());
        Fact::StepStarted { step, attempt, lease_until: at(600), worker, at_most_once: false }.into_entry(at(s))
    };
    let error = Failure::new("no");
    let failed = Fact::StepFailed {
        step: "a".into(),
        attempt: 1,
        error: error.clone(),
        retry_at: Some(at(3)),
        report: AttemptReport::default(),
    };
    let records = [
        vec![started("b", 1, 0), started("a", 1, 0)],
        vec![failed.into_entry(at(2))],
        vec![started("a", 2, 3)],
        vec![Fact::RunFailed { error }.into_entry(at(5))],
    ];
    let append = |n, seq, entries: &Vec<_>| {
        let record = Record { seq, token: u128::from(seq), code: "1".into(), entries: entries.clone() };
        Some(Arc::new(JournalAppend { run: run(n), record }))
    };
    let end = |n, status| vec![LateWrite::MarkEnded { run: run(n), at: at(5), status }];
    let mut seq = 1;
    for entries in &records {
        let after = if seq == 5 { end(1, Status::Failed) } else { Vec::new() };
        for _ in 0..2 {
            on.commit(Commit { append: append(1, seq, entries), after: after.clone(), ..Commit::default() }).await;
        }
        journals[0].extend(entries.iter().cloned());
        seq += entries.len() as u64;
    }
    let first = on.commit(Commit { append: append(2, 1, &records[1]), ..Commit::default() });
    let second = Commit { append: append(2, 2, &records[3]), after: end(2, Status::Failed), ..Commit::default() };
    futures::join!(first, on.commit(second));
    journals[1].extend([&records[1], &records[3]].into_iter().flatten().cloned());
    let first = CostQuery::slot_of(at(5)) - 4;
    let query = CostQuery { function: None, first, slots_per_step: 3, steps: 2 };
    let Some(sums) = on.backend.costs(query.clone()).await.expect("sums") else { return };
    let mut cost = RunCost::default();
    for journal in &journals[..2] {
        let mut counter = RunCostCounter::default();
        journal.iter().for_each(|entry| counter.add(entry));
        cost += counter.cost();
    }
    assert_eq!((cost.attempts, cost.executed), (3, seconds(2)));
    let function = "orders".into();
    assert_eq!(sums, [CostSum { step: 1, function, runs: 2, cost }]);
    for none in [CostQuery { function: Some("mail".into()), ..query.clone() }, CostQuery { steps: 1, ..query }] {
        assert_eq!(on.backend.costs(none).await.expect("sums"), Some(Vec::new()));
    }
}
