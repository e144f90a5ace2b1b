//! Listings of runs.

use stepladder_core::{RunId, RunRow, Status};

use super::Subject;
use super::given::{begin, event, event_id, run};
use stepladder_engine::ports::{Commit, LateWrite, RunQuery, RunStatusFilter};

/// Six runs: the even ones of `mail`, the odd ones of `orders`; 1 completed, 2 and 3 failed, the others live.
async fn six(on: &Subject) {
    let function = |n| if n % 2 == 0 { "mail" } else { "orders" };
    let starts = [4, 1, 6, 3, 2, 5].map(|n| begin(n, function(n), event_id(1 + n / 4)));
    on.backend.create_runs(starts.into()).await.expect("a start");
    let ends = [(1, Status::Completed), (2, Status::Failed), (3, Status::Failed)];
    let after = ends.map(|(n, status)| LateWrite::MarkEnded { run: run(n), at: on.now(), status });
    on.done(Commit { after: after.into(), ..Commit::default() }).await;
}

fn ids(rows: Vec<RunRow>) -> Vec<RunId> {
    rows.into_iter().map(|row| row.run).collect()
}

async fn listed(on: &Subject, query: RunQuery) -> Vec<RunId> {
    ids(on.backend.runs(query).await.expect("a listing"))
}

fn runs(numbers: &[u64]) -> Vec<RunId> {
    numbers.iter().map(|n| run(*n)).collect()
}

/// By id, which begins with the event's time.
pub async fn runs_are_listed_newest_first(on: Subject) {
    six(&on).await;
    assert_eq!(listed(&on, RunQuery { limit: 100, ..RunQuery::default() }).await, runs(&[6, 5, 4, 3, 2, 1]));
    assert_eq!(listed(&on, RunQuery { limit: 2, ..RunQuery::default() }).await, runs(&[6, 5]));
    assert_eq!(on.backend.row(run(9)).await.expect("a row"), None);
}

/// By function, by status, by both.
pub async fn listings_are_filtered(on: Subject) {
    six(&on).await;
    let all = RunQuery { limit: 100, ..RunQuery::default() };
    let mail = RunQuery { function: Some("mail".into()), ..all.clone() };
    let shown = |shown, query: &RunQuery| RunQuery { status: shown, ..query.clone() };
    assert_eq!(listed(&on, mail.clone()).await, runs(&[6, 4, 2]));
    assert_eq!(listed(&on, RunQuery { function: Some("none".into()), ..all.clone() }).await, runs(&[]));
    assert_eq!(listed(&on, shown(RunStatusFilter::Live, &all)).await, runs(&[6, 5, 4]));
    assert_eq!(listed(&on, shown(RunStatusFilter::Live, &mail)).await, runs(&[6, 4]));
    assert_eq!(listed(&on, shown(RunStatusFilter::Ended(Status::Failed), &all)).await, runs(&[3, 2]));
    assert_eq!(listed(&on, shown(RunStatusFilter::Ended(Status::Failed), &mail)).await, runs(&[2]));
    assert_eq!(listed(&on, shown(RunStatusFilter::Ended(Status::Completed), &mail)).await, runs(&[]));
    assert_eq!(listed(&on, shown(RunStatusFilter::Ended(Status::Cancelled), &all)).await, runs(&[]));
}

/// The page after a run begins with the next older one.
pub async fn pages_follow_each_other(on: Subject) {
    six(&on).await;
    for (shown, function, expected) in [
        (RunStatusFilter::All, None, runs(&[6, 5, 4, 3, 2, 1])),
        (RunStatusFilter::All, Some("orders"), runs(&[5, 3, 1])),
        (RunStatusFilter::Live, None, runs(&[6, 5, 4])),
        (RunStatusFilter::Ended(Status::Failed), None, runs(&[3, 2])),
    ] {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let query =
                RunQuery { function: function.map(Into::into), status: shown, before, limit: 2, ..RunQuery::default() };
            let page = listed(&on, query).await;
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { break };
            before = Some(*last);
            found.extend(page);
        }
        assert_eq!(found, expected);
    }
}

/// What is older than the first run of a stretch of time is not looked for.
pub async fn a_listing_ends_where_it_is_told_to(on: Subject) {
    six(&on).await;
    let from = |n| RunQuery { from: Some(run(n)), limit: 100, ..RunQuery::default() };
    assert_eq!(listed(&on, from(4)).await, runs(&[6, 5, 4]));
    assert_eq!(listed(&on, RunQuery { before: Some(run(6)), ..from(5) }).await, runs(&[5]));
    assert_eq!(listed(&on, RunQuery { function: Some("mail".into()), ..from(3) }).await, runs(&[6, 4]));
    assert_eq!(listed(&on, RunQuery { status: RunStatusFilter::Ended(Status::Failed), ..from(3) }).await, runs(&[3]));
    assert_eq!(listed(&on, RunQuery { limit: 2, ..from(1) }).await, runs(&[6, 5]));
}

/// By id; the page before an event begins with the next older one. Each of them has started something: an adapter may
/// leave out others.
pub async fn events_are_listed_newest_first(on: Subject) {
    let events: Vec<_> = [4, 1, 3].map(event).into();
    on.backend.accept(events, on.now()).await.expect("events");
    on.backend.create_runs([1, 3, 4].map(|n| begin(n, "mail", event_id(n))).into()).await.expect("a start");
    on.backend.create_runs(vec![begin(5, "orders", event_id(4))]).await.expect("a start");
    let listed = async |before, limit| {
        let events = on.backend.events(before, limit).await.expect("a listing");
        events.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    let ids = |numbers: &[u64]| numbers.iter().map(|n| event_id(*n)).collect::<Vec<_>>();
    assert_eq!(listed(None, 10).await, ids(&[4, 3, 1]));
    assert_eq!(listed(None, 2).await, ids(&[4, 3]));
    assert_eq!(listed(Some(event_id(4)), 10).await, ids(&[3, 1]));
    assert_eq!(listed(Some(event_id(1)), 10).await, ids(&[]));
}

/// None for an event that started none.
pub async fn runs_of_an_event_come_oldest_first(on: Subject) {
    six(&on).await;
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
