//! Who waits for events, and the inboxes of runs.

use std::collections::BTreeSet;

use stepladder_core::waiting::{Field, Subscription, SubscriptionKey};
use stepladder_core::{EventId, RunId, StepId};

use super::Subject;
use super::given::{START, append, event_id, record, run, seconds};
use stepladder_engine::ports::{Commit, EarlyWrite, LateWrite};

const EVENT: &str = "brief/approved";

fn by(path: &str, value: &str) -> SubscriptionKey {
    Some(Field { path: path.into(), value: value.into() })
}

/// The `n`th run, in this step.
fn waiter(n: u64, step: &str, bucket: SubscriptionKey) -> Subscription {
    Subscription { event: EVENT.into(), key: bucket, run: run(n), step: step.into(), until: START + seconds(3_600) }
}

async fn register(on: &Subject, waiters: impl IntoIterator<Item = Subscription>) {
    let before = waiters.into_iter().map(EarlyWrite::Subscribe).collect();
    on.done(Commit { before, ..Commit::default() }).await;
}

async fn forget(on: &Subject, waiter: Subscription) {
    on.done(Commit { after: vec![LateWrite::Unsubscribe(waiter)], ..Commit::default() }).await;
}

async fn found(on: &Subject, event: &str, bucket: &SubscriptionKey) -> Vec<Subscription> {
    on.backend.subscriptions(event, bucket, None, 1_000).await.expect("a look")
}

async fn offered(on: &Subject, run: RunId) -> Vec<EventId> {
    on.backend.inbox(run).await.expect("a look")
}

/// For no event, in no bucket.
pub async fn nobody_waits_at_first(on: Subject) {
    assert!(on.backend.subscribed_fields(EVENT).await.expect("a look").is_empty());
    assert!(found(&on, EVENT, &None).await.is_empty());
    assert!(offered(&on, run(1)).await.is_empty());
}

/// Under the value of his field, or among those who are looked at one by one; and what is to be looked at is told.
pub async fn who_is_registered_is_found_in_his_bucket_alone(on: Subject) {
    let by_id = waiter(1, "a", by("briefId", "\"b1\""));
    let other = waiter(2, "a", by("briefId", "\"b2\""));
    let each = waiter(3, "a", None);
    register(&on, [by_id.clone(), other.clone(), each.clone()]).await;
    assert_eq!(found(&on, EVENT, &by_id.key).await, [by_id]);
    assert_eq!(found(&on, EVENT, &other.key).await, [other]);
    assert_eq!(found(&on, EVENT, &None).await, [each]);
    assert!(found(&on, EVENT, &by("briefId", "\"b3\"")).await.is_empty());
    assert!(found(&on, EVENT, &by("author", "\"b1\"")).await.is_empty());
    assert!(found(&on, "brief/refused", &None).await.is_empty());
    let waited = on.backend.subscribed_fields(EVENT).await.expect("a look");
    assert_eq!((waited.fields, waited.each), (vec!["briefId".into()], true));
    assert!(on.backend.subscribed_fields("brief/refused").await.expect("a look").is_empty());
}

/// With its entry; and before it, so that one whose entry is refused may be found all the same.
pub async fn rule_18_a_commit_registers_who_waits(on: Subject) {
    let one = waiter(1, "a", None);
    let before = vec![EarlyWrite::Subscribe(one.clone())];
    on.done(Commit { before, ..append(run(1), record(0, 1, 1)) }).await;
    assert_eq!(found(&on, EVENT, &None).await, [one]);
}

/// With the later time: the one before may be of a decision that was overtaken.
pub async fn who_is_registered_twice_is_there_once(on: Subject) {
    let one = waiter(1, "a", None);
    let later = Subscription { until: one.until + seconds(60), ..one.clone() };
    register(&on, [one]).await;
    register(&on, [later.clone()]).await;
    register(&on, [later.clone()]).await;
    assert_eq!(found(&on, EVENT, &None).await, [later]);
}

/// He alone; and forgetting who is not there does nothing.
pub async fn who_waits_no_more_is_forgotten(on: Subject) {
    let (one, other) = (waiter(1, "a", by("n", "1")), waiter(1, "b", by("n", "1")));
    register(&on, [one.clone(), other.clone()]).await;
    forget(&on, one.clone()).await;
    forget(&on, one.clone()).await;
    forget(&on, waiter(9, "a", None)).await;
    assert_eq!(found(&on, EVENT, &one.key).await, [other]);
}

/// Each once, whatever leaves between the pages; fewer than asked for are the last.
pub async fn waiters_are_read_in_pages(on: Subject) {
    for bucket in [None, by("n", "1")] {
        let all: Vec<Subscription> = (0..25).map(|n| waiter(n / 2, &format!("s{n}"), bucket.clone())).collect();
        register(&on, all.clone()).await;
        let mut seen: Vec<(RunId, StepId)> = Vec::new();
        loop {
            let page = on.backend.subscriptions(EVENT, &bucket, seen.last().cloned(), 10).await.expect("a page");
            seen.extend(page.iter().map(|waiter| (waiter.run, waiter.step.clone())));
            let more = page.len() == 10;
            for waiter in page {
                forget(&on, waiter).await;
            }
            if !more {
                break;
            }
        }
        let once: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!((seen.len(), once.len()), (all.len(), all.len()));
    }
}

/// In the order of their ids, each once.
pub async fn an_inbox_keeps_each_event_until_it_is_taken(on: Subject) {
    let offer = |n| EarlyWrite::PutInInbox { run: run(1), event: event_id(n) };
    on.done(Commit { before: vec![offer(2), offer(1)], ..Commit::default() }).await;
    on.done(Commit { before: vec![offer(2)], ..Commit::default() }).await;
    assert_eq!(offered(&on, run(1)).await, [event_id(1), event_id(2)]);
    assert!(offered(&on, run(2)).await.is_empty());
    let taken = LateWrite::TakeFromInbox { run: run(1), event: event_id(1) };
    on.done(Commit { after: vec![taken.clone(), taken], ..Commit::default() }).await;
    assert_eq!(offered(&on, run(1)).await, [event_id(2)]);
}

/// Names, fields, values and steps are what users write.
pub async fn waiters_and_inboxes_bear_any_text(on: Subject) {
    let odd = Subscription {
        event: "ü#'%_\"".into(),
        key: by("a#b.'c'", &format!("\"{}\"", "ü#".repeat(300))),
        step: "é".repeat(255).into(),
        ..waiter(1, "", None)
    };
    register(&on, [odd.clone()]).await;
    assert_eq!(found(&on, &odd.event, &odd.key).await, std::slice::from_ref(&odd));
    let waited = on.backend.subscribed_fields(&odd.event).await.expect("a look");
    assert_eq!((waited.fields, waited.each), (vec!["a#b.'c'".into()], false));
}
