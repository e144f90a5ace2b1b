//! Subscriptions to events, and the inboxes of runs.

use std::collections::BTreeSet;

use stepladder_core::waiting::{EventField, Subscription, SubscriptionKey};
use stepladder_core::{EventId, RunId, StepId};

use super::TestedAdapter;
use super::fixtures::{START, append, event_id, record, run, seconds};
use stepladder_engine::ports::{Commit, EarlyWrite, LateWrite};

const EVENT: &str = "brief/approved";

fn field_key(path: &str, value: &str) -> SubscriptionKey {
    Some(EventField { path: path.into(), value: value.into() })
}

/// Creates a subscription of run number `n` in this step.
fn subscription(n: u64, step: &str, bucket: SubscriptionKey) -> Subscription {
    Subscription { event: EVENT.into(), key: bucket, run: run(n), step: step.into(), until: START + seconds(3_600) }
}

async fn subscribe(on: &TestedAdapter, subscriptions: impl IntoIterator<Item = Subscription>) {
    let before = subscriptions.into_iter().map(EarlyWrite::Subscribe).collect();
    on.commit(Commit { before, ..Commit::default() }).await;
}

async fn unsubscribe(on: &TestedAdapter, subscription: Subscription) {
    on.commit(Commit { after: vec![LateWrite::Unsubscribe(subscription)], ..Commit::default() }).await;
}

async fn find(on: &TestedAdapter, event: &str, bucket: &SubscriptionKey) -> Vec<Subscription> {
    on.backend.subscriptions(event, bucket, None, 1_000).await.expect("a look")
}

async fn inbox_of(on: &TestedAdapter, run: RunId) -> Vec<EventId> {
    on.backend.inbox(run).await.expect("a look")
}

/// An empty store has no subscriptions and no inboxes.
pub async fn an_empty_store_has_no_subscriptions(on: TestedAdapter) {
    assert!(on.backend.subscribed_fields(EVENT).await.expect("a look").is_empty());
    assert!(find(&on, EVENT, &None).await.is_empty());
    assert!(inbox_of(&on, run(1)).await.is_empty());
}

/// A subscription is found by the value of its field, or among the subscriptions without a field.
/// For an event, the store also returns the subscribed fields, and whether there are subscriptions
/// without a field.
pub async fn a_subscription_is_found_in_its_bucket_only(on: TestedAdapter) {
    let by_id = subscription(1, "a", field_key("briefId", "\"b1\""));
    let other = subscription(2, "a", field_key("briefId", "\"b2\""));
    let each = subscription(3, "a", None);
    subscribe(&on, [by_id.clone(), other.clone(), each.clone()]).await;
    assert_eq!(find(&on, EVENT, &by_id.key).await, [by_id]);
    assert_eq!(find(&on, EVENT, &other.key).await, [other]);
    assert_eq!(find(&on, EVENT, &None).await, [each]);
    assert!(find(&on, EVENT, &field_key("briefId", "\"b3\"")).await.is_empty());
    assert!(find(&on, EVENT, &field_key("author", "\"b1\"")).await.is_empty());
    assert!(find(&on, "brief/refused", &None).await.is_empty());
    let waited = on.backend.subscribed_fields(EVENT).await.expect("a look");
    assert_eq!((waited.fields, waited.each), (vec!["briefId".into()], true));
    assert!(on.backend.subscribed_fields("brief/refused").await.expect("a look").is_empty());
}

/// A commit writes a subscription before the journal, so the subscription may exist even if the
/// append is refused.
pub async fn rule_18_a_commit_registers_a_subscription(on: TestedAdapter) {
    let one = subscription(1, "a", None);
    let before = vec![EarlyWrite::Subscribe(one.clone())];
    on.commit(Commit { before, ..append(run(1), record(0, 1, 1)) }).await;
    assert_eq!(find(&on, EVENT, &None).await, [one]);
}

/// A repeated subscription gets the later timeout, because the earlier one may belong to an append
/// that was refused.
pub async fn a_repeated_subscription_is_stored_once(on: TestedAdapter) {
    let one = subscription(1, "a", None);
    let later = Subscription { until: one.until + seconds(60), ..one.clone() };
    subscribe(&on, [one]).await;
    subscribe(&on, [later.clone()]).await;
    subscribe(&on, [later.clone()]).await;
    assert_eq!(find(&on, EVENT, &None).await, [later]);
}

/// Removes one subscription and no other. Removing a subscription that does not exist has no
/// effect.
pub async fn a_removed_subscription_is_not_found(on: TestedAdapter) {
    let (one, other) = (subscription(1, "a", field_key("n", "1")), subscription(1, "b", field_key("n", "1")));
    subscribe(&on, [one.clone(), other.clone()]).await;
    unsubscribe(&on, one.clone()).await;
    unsubscribe(&on, one.clone()).await;
    unsubscribe(&on, subscription(9, "a", None)).await;
    assert_eq!(find(&on, EVENT, &one.key).await, [other]);
}

/// Each subscription is returned once, even if others are removed between two pages. A page with
/// fewer subscriptions than requested is the last one.
pub async fn subscriptions_are_read_in_pages(on: TestedAdapter) {
    for bucket in [None, field_key("n", "1")] {
        let all: Vec<Subscription> = (0..25).map(|n| subscription(n / 2, &format!("s{n}"), bucket.clone())).collect();
        subscribe(&on, all.clone()).await;
        let mut seen: Vec<(RunId, StepId)> = Vec::new();
        loop {
            let page = on.backend.subscriptions(EVENT, &bucket, seen.last().cloned(), 10).await.expect("a page");
            seen.extend(page.iter().map(|subscription| (subscription.run, subscription.step.clone())));
            let more = page.len() == 10;
            for subscription in page {
                unsubscribe(&on, subscription).await;
            }
            if !more {
                break;
            }
        }
        let once: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!((seen.len(), once.len()), (all.len(), all.len()));
    }
}

/// The events of an inbox are listed by id. Each is stored once, however often it is put there.
pub async fn an_inbox_keeps_each_event_until_it_is_removed(on: TestedAdapter) {
    let offer = |n| EarlyWrite::PutInInbox { run: run(1), event: event_id(n) };
    on.commit(Commit { before: vec![offer(2), offer(1)], ..Commit::default() }).await;
    on.commit(Commit { before: vec![offer(2)], ..Commit::default() }).await;
    assert_eq!(inbox_of(&on, run(1)).await, [event_id(1), event_id(2)]);
    assert!(inbox_of(&on, run(2)).await.is_empty());
    let taken = LateWrite::TakeFromInbox { run: run(1), event: event_id(1) };
    on.commit(Commit { after: vec![taken.clone(), taken], ..Commit::default() }).await;
    assert_eq!(inbox_of(&on, run(1)).await, [event_id(2)]);
}

/// The names of events, fields and steps, and values, may contain any characters.
pub async fn subscriptions_accept_any_text(on: TestedAdapter) {
    let odd = Subscription {
        event: "ü#'%_\"".into(),
        key: field_key("a#b.'c'", &format!("\"{}\"", "ü#".repeat(300))),
        step: "é".repeat(255).into(),
        ..subscription(1, "", None)
    };
    subscribe(&on, [odd.clone()]).await;
    assert_eq!(find(&on, &odd.event, &odd.key).await, std::slice::from_ref(&odd));
    let waited = on.backend.subscribed_fields(&odd.event).await.expect("a look");
    assert_eq!((waited.fields, waited.each), (vec!["a#b.'c'".into()], false));
}
