//! The storage as one process sees it: others get in between at each call, listings may be stale, and calls fail as
//! [`Faulty`] lets them.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::slot::{Holder, Holding, Limit, Place};
use stepladder_core::{Event, EventId, RunId, RunRow, Timer, Timestamp};
use stepladder_engine::ports::*;

use crate::support::chance::Dice;
use crate::support::faults::Faulty;

/// The backend of one process.
pub(crate) struct Port {
    pub(crate) inner: Arc<Faulty>,
    pub(crate) dice: Dice,
    /// What was asked and answered, where somebody wants to know.
    pub(crate) log: Option<Log>,
}

/// Calls in the order of their answers.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

impl Port {
    async fn call<T: Debug>(
        &self,
        call: impl Future<Output = StoreResult<T>>,
        asked: Option<String>,
    ) -> StoreResult<T> {
        tokio::task::yield_now().await;
        let reply = call.await;
        if let (Some(log), Some(asked)) = (&self.log, asked) {
            log.lock().unwrap().push(format!("    {asked} -> {:.100}", format!("{reply:?}")));
        }
        tokio::task::yield_now().await;
        reply
    }

    /// What an index shows that has not heard the latest.
    fn stale(&self, mut rows: Vec<RunRow>) -> Vec<RunRow> {
        if self.dice.one_in(4) && !rows.is_empty() {
            let late = self.dice.below(rows.len() as u64) as usize;
            rows[late].ended = None;
        }
        rows
    }
}

macro_rules! pass_on {
    ($port:ident { $($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)* }) => {
        #[async_trait]
        impl $port for Port {
            $(async fn $name(&self, $($arg: $ty),*) -> StoreResult<$out> {
                let asked = self.log.is_some().then(|| format!("{} {:?}", stringify!($name), ($(&$arg,)*)));
                self.call(self.inner.$name($($arg),*), asked).await
            })*
        }
    };
}

pass_on!(Journals { read(run: RunId, from: Seq) -> Vec<Record>; });
pass_on!(Commits { commit(commit: Commit) -> Committed; });
pass_on!(Events {
    accept(events: Vec<Event>, now: Timestamp) -> Vec<Event>;
    event(id: EventId) -> Option<Event>;
    resolve(external_id: &str) -> Option<EventId>;
});
pass_on!(Starts { start(starts: Vec<Start>) -> Vec<bool>; });
pass_on!(Slots {
    take(limit: &Limit, holder: &Holder, lease_until: Timestamp, now: Timestamp) -> Taken;
    park(limit: &Limit, place: Place) -> ();
    line(limit: &Limit, n: usize) -> Vec<Place>;
    holders(limit: &Limit) -> Vec<Holding>;
    place(limit: &Limit, run: RunId) -> Option<Place>;
    position(limit: &Limit, run: RunId) -> Option<usize>;
});
pass_on!(Timers {
    bucket(minute: i64) -> Vec<Timer>;
    set(timers: Vec<Timer>) -> ();
    cursor() -> Option<Cursor>;
    advance(expected: Option<Cursor>, next: Cursor) -> bool;
});
pass_on!(Queue { receive(max: usize, visibility: Duration) -> Vec<Delivery>; });

#[async_trait]
impl Listings for Port {
    async fn runs(&self, query: RunQuery) -> StoreResult<Vec<RunRow>> {
        Ok(self.stale(self.call(self.inner.runs(query), None).await?))
    }
    async fn runs_of(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        Ok(self.stale(self.call(self.inner.runs_of(event), None).await?))
    }
    async fn row(&self, run: RunId) -> StoreResult<Option<RunRow>> {
        self.call(self.inner.row(run), None).await
    }
}
