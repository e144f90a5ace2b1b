//! By what events are waited for: the names of events, and the fields by which some wait. They are few, for they stand in
//! the code of functions; who waits is found under them.
//!
//! Every process that takes events in remembers the list for [`FRESH`], so that events that nobody waits for cost no read.
//! So that none is lost by that, the first wait of a kind is not written down before every process knows of it: whoever
//! adds a kind waits for as long as the list may be remembered, once in the life of the table, and whoever finds a kind that
//! is that young does the same. A kind is kept for longer than all who wait so; one that is about to expire counts as new.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use stepladder_core::Timestamp;
use stepladder_core::waiting::{SubscribedFields, Subscription};
use stepladder_engine::ports::StoreResult;

use crate::Aws;
use crate::item::{Item, Read, item, number, text};
use crate::layout::{self, Key};

/// For so long the list may be remembered, by the clock of the one who does.
const FRESH: Duration = Duration::from_secs(1);
/// For so long whoever adds a kind waits: until nobody remembers a list without it.
const SPREAD: Duration = Duration::from_millis(1_500);
/// A kind that is younger than this, by clocks that may differ by seconds, may not be known to all.
const YOUNG: Duration = Duration::from_secs(6);
/// For so long those who waited are kept after the end of their wait.
pub(super) const KEPT: Duration = Duration::from_secs(7 * 86_400);
/// A kind is kept so much longer than they: it is written again no more often than this.
const AHEAD: Duration = Duration::from_secs(7 * 86_400);
/// A kind that expires sooner may be gone at any moment.
const EXPIRING: Duration = Duration::from_secs(86_400);

/// The list, as it was read.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    /// When.
    at: Timestamp,
    by_event: HashMap<Arc<str>, SubscribedFields>,
    by_key: HashMap<Key, Kind>,
}

/// One kind.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Since when it is in the list.
    since: Timestamp,
    /// Until when it is kept, in seconds since 1970.
    ttl: i64,
}

/// What is to be done about a kind before somebody waits so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Todo {
    /// Write it: it is new, or has to be kept for longer. With this as its beginning.
    put: Option<Timestamp>,
    /// Wait for so long: others may not know it.
    wait: Duration,
    /// Whether it is not in the list, or as good as not.
    is_new: bool,
}

impl Kinds {
    /// By what an event is waited for.
    pub(super) fn of(&self, event: &str) -> SubscribedFields {
        self.by_event.get(event).cloned().unwrap_or_default()
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        // a clock that was put back makes it old, not young
        now >= self.at && now.since(self.at) <= FRESH
    }

    fn read(items: &[Item], at: Timestamp) -> StoreResult<Self> {
        let mut kinds = Self { at, ..Self::default() };
        for item in items {
            let waited = kinds.by_event.entry(item.text("event")?.into()).or_default();
            match item.contains_key("path") {
                true => waited.fields.push(item.text("path")?.into()),
                false => waited.each = true,
            }
            let key = Key { pk: item.text("PK")?.into(), sk: item.text("SK")?.into() };
            kinds.by_key.insert(key, Kind { since: item.time("since")?, ttl: item.number("ttl")? });
        }
        Ok(kinds)
    }

    /// What there is to do before somebody waits until then.
    fn todo(&self, key: &Key, until: Timestamp, now: Timestamp) -> Todo {
        match self.by_key.get(key) {
            Some(kind) if kind.ttl > seconds(now + EXPIRING) => Todo {
                put: (kind.ttl < seconds(until + KEPT)).then_some(kind.since),
                wait: YOUNG.saturating_sub(now.since(kind.since)),
                is_new: false,
            },
            Some(_) | None => Todo { put: Some(now), wait: SPREAD, is_new: true },
        }
    }
}

impl Aws {
    /// The list, remembered or read.
    pub(super) async fn kinds(&self, now: Timestamp) -> StoreResult<Arc<Kinds>> {
        let known = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.is_fresh(now)) {
            return Ok(known);
        }
        let items = self.query_partition(layout::KINDS, true).await?;
        // it is as old as the request for it
        let kinds = Arc::new(Kinds::read(&items, now)?);
        *self.kinds.lock().unwrap_or_else(PoisonError::into_inner) = Some(kinds.clone());
        Ok(kinds)
    }

    /// Makes sure that everybody who takes events in looks for these who are about to wait.
    pub(super) async fn tell_of(&self, waiters: &[Subscription], now: Timestamp) -> StoreResult<()> {
        let mut latest: HashMap<Key, (&Subscription, Timestamp)> = HashMap::new();
        for waiter in waiters {
            let kind = latest.entry(layout::kind(waiter)).or_insert((waiter, now));
            kind.1 = kind.1.max(waiter.until);
        }
        let kinds = self.kinds(now).await?;
        let (mut puts, mut young, mut wait) = (Vec::new(), Vec::new(), Duration::ZERO);
        for (key, (waiter, until)) in latest {
            let todo = kinds.todo(&key, until, now);
            // this process may have waited for it itself
            if !todo.wait.is_zero() && !self.has_spread(&key, todo) {
                wait = wait.max(todo.wait);
                young.push(key.clone());
            }
            puts.extend(todo.put.map(|since| self.put_kind(key, waiter, until, since)));
        }
        if !puts.is_empty() {
            try_join_all(puts).await?;
            // what was read before is old from here on
            *self.kinds.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        if !wait.is_zero() {
            tracing::info!(?wait, "events are waited for in a new way; first everybody is to know");
            tokio::time::sleep(wait).await;
            self.spread.lock().unwrap_or_else(PoisonError::into_inner).extend(young);
        }
        Ok(())
    }

    /// One that is to be added anew has spread before, if ever, in another life.
    fn has_spread(&self, key: &Key, todo: Todo) -> bool {
        !todo.is_new && self.spread.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Adds a kind, or has it kept for longer: never for shorter than it is.
    async fn put_kind(&self, key: Key, waiter: &Subscription, until: Timestamp, since: Timestamp) -> StoreResult<()> {
        let ttl = seconds(until + KEPT + AHEAD);
        let mut item = item(&key, ttl);
        item.insert("event".into(), text(&*waiter.event));
        item.insert("since".into(), number(since.as_millis()));
        if let Some(field) = &waiter.key {
            item.insert("path".into(), text(&*field.path));
        }
        // whoever has written one that is kept for longer has done the same
        let is_sooner = "attribute_not_exists(PK) OR #t < :ttl";
        self.put_if_named(item, is_sooner, ("#t", "ttl"), (":ttl", number(ttl))).await.map(drop)
    }
}

pub(super) fn seconds(at: Timestamp) -> i64 {
    at.as_millis() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn listed(since: Timestamp, ttl: Timestamp) -> Kinds {
        let key = layout::kind(&waiter());
        let mut item = item(&key, seconds(ttl));
        item.insert("event".into(), text("a"));
        item.insert("since".into(), number(since.as_millis()));
        Kinds::read(&[item], NOW).unwrap()
    }

    fn waiter() -> Subscription {
        let run = stepladder_core::RunId::new(NOW, 1);
        Subscription { event: "a".into(), key: None, run, step: "w".into(), until: NOW + DAY }
    }

    fn known(put: Option<Timestamp>, wait: Duration) -> Todo {
        Todo { put, wait, is_new: false }
    }

    fn todo(kinds: &Kinds, until: Timestamp) -> Todo {
        kinds.todo(&layout::kind(&waiter()), until, NOW)
    }

    #[test]
    fn a_kind_that_others_may_not_know_is_waited_for() {
        let until = NOW + DAY;
        assert_eq!(todo(&Kinds::default(), until), Todo { put: Some(NOW), wait: SPREAD, is_new: true });
        let wait = |since| todo(&listed(since, NOW + DAY * 20), until);
        assert_eq!(wait(NOW - Duration::from_secs(2)), known(None, Duration::from_secs(4)));
        // by a clock that is ahead
        assert_eq!(wait(NOW + Duration::from_secs(2)), known(None, YOUNG));
        assert_eq!(wait(NOW - YOUNG), known(None, Duration::ZERO));
    }

    #[test]
    fn a_kind_is_kept_for_longer_than_who_waits_and_one_that_expires_is_new() {
        let since = NOW - DAY * 9;
        let listed = |ttl| listed(since, ttl);
        let wait = Duration::ZERO;
        assert_eq!(todo(&listed(NOW + DAY * 8), NOW + DAY), known(None, wait));
        assert_eq!(todo(&listed(NOW + DAY * 8), NOW + DAY * 2), known(Some(since), wait));
        assert_eq!(todo(&listed(NOW + DAY), NOW + DAY * 2), Todo { put: Some(NOW), wait: SPREAD, is_new: true });
    }

    #[test]
    fn a_list_is_remembered_for_a_second_and_not_when_the_clock_was_put_back() {
        let kinds = listed(NOW, NOW + DAY * 20);
        assert!(kinds.of("a").each && kinds.of("b").is_empty());
        assert!(kinds.is_fresh(NOW + FRESH));
        assert!(!kinds.is_fresh(NOW + FRESH + Duration::from_millis(1)));
        assert!(!kinds.is_fresh(NOW - Duration::from_millis(1)));
        assert!(SPREAD > FRESH && YOUNG > SPREAD);
    }
}
