//! A backend that fails on purpose: at one chosen call, in one chosen way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::slot::{Holder, Holding, Limit, Place};
use stepladder_core::{Event, EventId, RunId, RunRow, Timer, Timestamp};
use stepladder_engine::memory::Memory;
use stepladder_engine::ports::*;
use tokio::sync::Notify;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the call does anything.
    DieBefore,
    /// The process dies after the call did everything.
    DieAfter,
    /// The call does everything, the reply is lost.
    LoseReply,
    /// The call fails and does nothing.
    Refuse,
}

/// All of them.
pub const FAULTS: [Fault; 4] = [Fault::DieBefore, Fault::DieAfter, Fault::LoseReply, Fault::Refuse];

/// The backend.
pub struct Faulty {
    inner: Arc<Memory>,
    /// The number of the call that goes wrong, from 1; 0 for none.
    at: u32,
    fault: Fault,
    calls: AtomicU32,
    died: AtomicBool,
    pub death: Notify,
}

impl Faulty {
    pub fn new(inner: Arc<Memory>, fault: Fault, at: u32) -> Arc<Self> {
        let (calls, died) = (AtomicU32::new(0), AtomicBool::new(false));
        Arc::new(Self { inner, at, fault, calls, died, death: Notify::new() })
    }

    /// Whether the fault has happened.
    pub fn happened(&self) -> bool {
        self.calls.load(SeqCst) >= self.at
    }

    async fn die<T>(&self) -> T {
        self.died.store(true, SeqCst);
        self.death.notify_one();
        std::future::pending().await
    }

    async fn call<T>(&self, call: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        if self.died.load(SeqCst) {
            return self.die().await;
        }
        if self.calls.fetch_add(1, SeqCst) + 1 != self.at {
            return call.await;
        }
        match self.fault {
            Fault::DieBefore => self.die().await,
            Fault::DieAfter => {
                call.await.ok();
                self.die().await
            }
            Fault::LoseReply => {
                call.await.ok();
                Err(StoreError::Unavailable("the reply was lost".into()))
            }
            Fault::Refuse => Err(StoreError::Unavailable("throttled".into())),
        }
    }
}

macro_rules! pass_through {
    ($port:ident { $($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)* }) => {
        #[async_trait]
        impl $port for Faulty {
            $(async fn $name(&self, $($arg: $ty),*) -> StoreResult<$out> {
                self.call(self.inner.$name($($arg),*)).await
            })*
        }
    };
}

pass_through!(Journals { read(run: RunId, from: Seq) -> Vec<Record>; });
pass_through!(Commits { commit(commit: Commit) -> Committed; });
pass_through!(Events {
    accept(events: Vec<Event>, now: Timestamp) -> Vec<Event>;
    event(id: EventId) -> Option<Event>;
    resolve(external_id: &str) -> Option<EventId>;
});
pass_through!(Starts { start(starts: Vec<Start>) -> Vec<bool>; });
pass_through!(Listings {
    runs(query: RunQuery) -> Vec<RunRow>;
    runs_of(event: EventId) -> Vec<RunRow>;
    row(run: RunId) -> Option<RunRow>;
});
pass_through!(Slots {
    take(limit: &Limit, holder: &Holder, lease_until: Timestamp, now: Timestamp) -> Taken;
    park(limit: &Limit, place: Place) -> ();
    line(limit: &Limit, n: usize) -> Vec<Place>;
    holders(limit: &Limit) -> Vec<Holding>;
    position(limit: &Limit, run: RunId) -> Option<usize>;
});
pass_through!(Timers {
    bucket(minute: i64) -> Vec<Timer>;
    set(timers: Vec<Timer>) -> ();
    cursor() -> Option<Cursor>;
    advance(expected: Option<Cursor>, next: Cursor) -> bool;
});
pass_through!(Queue { receive(max: usize, visibility: Duration) -> Vec<Delivery>; });
