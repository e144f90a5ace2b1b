//! The storage as one process sees it: others get in between at each call, listings may be stale, calls fail, and the
//! process dies before, in the middle of, or after them.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Backend, Commit, Commits, EarlyWrite, Listings, StoreError, StoreResult};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::intercept::{Call, Intercept};
use stepladder_testkit::memory::Memory;

use super::coverage::Coverage;
use super::knobs::Knobs;
use super::listings::Lagging;
use super::places::{Places, Site};
use crate::dice::Dice;

/// What goes wrong at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before the call does anything.
    DieBefore,
    /// The process dies after the call did everything.
    DieAfter,
    /// The call does everything, the reply is lost.
    LoseReply,
    /// The call fails and does nothing.
    Refuse,
    /// The same, and it will fail as long as nobody has changed something (rule 34).
    Deny,
    /// The call reaches the storage so many milliseconds late; of a commit, all but its first part.
    DelayRequest(u64),
    /// The call does everything, and its reply is so many milliseconds late.
    DelayReply(u64),
    /// The process dies within a commit, after so many of its five parts (as on a store without transactions); before any
    /// other call.
    Tear(u8),
}

const GENTLE: &[Fault] = &[Fault::LoseReply, Fault::Refuse, Fault::DelayRequest(LATE), Fault::DelayReply(LATE)];

/// By how many milliseconds a request or a reply is late at most.
const LATE: u64 = 60_000;

/// Milliseconds between the moments at which slow calls are answered.
const TICK: i64 = 40;

const FAULTS: &[Fault] = &[
    Fault::DieBefore,
    Fault::DieAfter,
    Fault::LoseReply,
    Fault::Refuse,
    Fault::DelayRequest(LATE),
    Fault::DelayReply(LATE),
    Fault::Tear(1),
    Fault::Tear(2),
    Fault::Tear(3),
    Fault::Tear(4),
];

/// The methods of ports that write.
const WRITES: &[&str] = &[
    "accept",
    "create_runs",
    "commit",
    "change_flow_state",
    "enqueue",
    "acquire",
    "acquire_all",
    "set",
    "advance",
    "renew_retention",
];

/// Calls of the queue of events.
const QUEUE: &[&str] = &["postpone", "send"];

const DEATHS: &[Fault] = &[Fault::DieBefore, Fault::DieAfter, Fault::Tear(2), Fault::Tear(3), Fault::Tear(4)];

/// What all processes share: how many faults are left, and what is told of the calls.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) faults_left: AtomicU32,
    /// Whether nobody dies of them.
    gentle: bool,
    /// Places where a process dies besides, until one has.
    aims: Mutex<Vec<&'static Site>>,
    /// Until then, every call is refused: milliseconds since 1970.
    pub(crate) brown_out_until: AtomicI64,
    /// Until then, nothing is taken from the first worker.
    pub(crate) denied_until: AtomicI64,
    /// Calls so far.
    pub(crate) calls: AtomicU64,
    /// Of those, how many met a fault.
    pub(crate) faulty: AtomicU64,
    /// The runs that were appended to since somebody looked.
    touched: Mutex<Vec<RunId>>,
    /// Calls in the order of their answers, where the story is told with them.
    log: Option<Mutex<Vec<String>>>,
    pub(crate) coverage: Option<Arc<Coverage>>,
}

impl Shared {
    pub(crate) fn new(knobs: &Knobs, loud: bool, coverage: Option<Arc<Coverage>>) -> Arc<Self> {
        let log = loud.then(Mutex::default);
        let faults_left = AtomicU32::new(u32::try_from(knobs.faults).unwrap_or(u32::MAX));
        let aims = Mutex::new(knobs.aim.into_iter().chain(knobs.aim_too).collect());
        Arc::new(Self { faults_left, gentle: knobs.gentle > 0, aims, log, coverage, ..Self::default() })
    }

    /// Nobody dies any more at the places that were aimed at.
    pub(crate) fn aim_at_nothing(&self) {
        self.aims.lock().expect("no panic").clear();
    }

    /// The runs that were appended to since the last time.
    pub(crate) fn take_touched(&self) -> Vec<RunId> {
        std::mem::take(&mut *self.touched.lock().expect("no panic"))
    }

    /// The calls since the last time, in words.
    pub(crate) fn take_log(&self) -> Vec<String> {
        self.log.as_ref().map_or_else(Vec::new, |log| std::mem::take(&mut *log.lock().expect("no panic")))
    }
}

/// The storage of one process.
pub(crate) struct Wire {
    memory: Arc<Memory>,
    listings: Arc<Lagging>,
    clock: Arc<VirtualClock>,
    shared: Arc<Shared>,
    /// Who goes on; which call fails, and how.
    dice: Dice,
    fate: Dice,
    /// A fault comes on average at every so manieth call.
    every: u64,
    /// The calls until the next fault; none when there is none to come.
    countdown: Mutex<Option<u64>>,
    died: AtomicBool,
    /// By how many milliseconds the process's clock is ahead.
    ahead: i64,
    /// Whether it is the first worker's.
    is_first: bool,
    /// How many milliseconds a call takes at most.
    latency: u64,
}

impl Wire {
    pub(crate) fn new(
        (memory, listings): (Arc<Memory>, Arc<Lagging>),
        clock: Arc<VirtualClock>,
        shared: Arc<Shared>,
        (dice, fate, every): (Dice, Dice, u64),
        (ahead, is_first, latency): (i64, bool, u64),
    ) -> Self {
        let (countdown, died) = (Mutex::default(), AtomicBool::new(false));
        let wire =
            Self { memory, listings, clock, shared, dice, fate, every, countdown, died, ahead, is_first, latency };
        wire.arm();
        wire
    }

    /// Ends the process, whatever it does.
    pub(crate) fn kill(&self) {
        self.died.store(true, SeqCst);
    }

    /// Whether the process is dead.
    pub(crate) fn has_died(&self) -> bool {
        self.died.load(SeqCst)
    }

    /// No fault comes any more.
    pub(crate) fn disarm(&self) {
        *self.countdown.lock().expect("no panic") = None;
    }

    fn arm(&self) {
        let left = &self.shared.faults_left;
        let armed = left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        *self.countdown.lock().expect("no panic") = armed.then(|| 1 + self.fate.below(2 * self.every));
    }

    /// Whether this is a call of a place at which somebody is to die: nobody else does.
    fn is_aimed_at(&self, method: &str) -> bool {
        let mut aims = self.shared.aims.lock().expect("no panic");
        let is_here = |(function, of): &Site| *of == method && Places::all().caller().as_ref() == Some(function);
        let here = aims.iter().position(|site| is_here(site));
        here.map(|here| aims.remove(here)).is_some()
    }

    /// What goes wrong at this call, if anything does.
    fn fault(&self, call: &Call<'_>) -> Option<Fault> {
        // a table may be throttled; the queue beside it is not
        let only_queue = call.commit.is_some_and(|commit| commit.append.is_none() && commit.after.is_empty())
            || QUEUE.contains(&call.name);
        if self.clock.now().as_millis() < self.shared.brown_out_until.load(SeqCst) && !only_queue {
            return Some(Fault::Refuse);
        }
        let is_denied = self.is_first && self.clock.now().as_millis() < self.shared.denied_until.load(SeqCst);
        if is_denied && !only_queue && WRITES.contains(&call.name) {
            return Some(Fault::Deny);
        }
        if self.is_aimed_at(call.name) {
            return Some(DEATHS[self.shared.calls.load(SeqCst) as usize % DEATHS.len()]);
        }
        let comes = {
            let mut countdown = self.countdown.lock().expect("no panic");
            let left = countdown.as_mut()?;
            *left -= 1;
            *left == 0
        };
        comes.then(|| {
            self.arm();
            let faults = if self.shared.gentle { GENTLE } else { FAULTS };
            match faults[self.fate.below(faults.len() as u64) as usize] {
                Fault::DelayRequest(most) => Fault::DelayRequest(self.fate.below(most)),
                Fault::DelayReply(most) => Fault::DelayReply(self.fate.below(most)),
                fault => fault,
            }
        })
    }

    async fn die<T>(&self) -> T {
        self.died.store(true, SeqCst);
        std::future::pending().await
    }

    async fn meet<T>(
        &self,
        call: Call<'_>,
        fault: Option<Fault>,
        reply: BoxFuture<'_, StoreResult<T>>,
    ) -> StoreResult<T> {
        match (fault, call.commit) {
            (None, _) => reply.await,
            (Some(Fault::Tear(parts)), Some(commit)) => {
                self.memory.commit(torn(commit.clone(), parts)).await.ok();
                self.die().await
            }
            (Some(Fault::DieBefore | Fault::Tear(_)), _) => self.die().await,
            (Some(Fault::DieAfter), _) => {
                reply.await.ok();
                self.die().await
            }
            (Some(Fault::LoseReply), _) => {
                reply.await.ok();
                Err(StoreError::Unavailable("the reply was lost".into()))
            }
            (Some(Fault::DelayRequest(late)), commit) => {
                if let Some(commit) = commit {
                    self.memory.commit(torn(commit.clone(), 1)).await.ok();
                }
                self.clock.sleep_until(self.clock.now() + Duration::from_millis(late)).await;
                reply.await
            }
            (Some(Fault::DelayReply(late)), _) => {
                let reply = reply.await;
                self.clock.sleep_until(self.clock.now() + Duration::from_millis(late)).await;
                reply
            }
            (Some(Fault::Refuse), _) => Err(StoreError::Unavailable("throttled".into())),
            (Some(Fault::Deny), _) => Err(StoreError::Refused("the worker has lost its rights".into())),
        }
    }
}

/// The first parts of a commit, in the order in which a store without transactions writes them.
fn torn(commit: Commit, parts: u8) -> Commit {
    let Commit { before, append, after, wakes, acks } = commit;
    Commit {
        before,
        append: append.filter(|_| parts > 1),
        after: if parts > 2 { after } else { Vec::new() },
        wakes: if parts > 3 { wakes } else { Vec::new() },
        acks: if parts > 4 { acks } else { Vec::new() },
    }
}

#[async_trait]
impl Intercept for Wire {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    fn listings(&self) -> &dyn Listings {
        &*self.listings
    }

    /// A queue is told for how long to delay a message, by whoever sends it and by his clock.
    fn amend(&self, mut commit: Commit) -> Commit {
        for later in &mut commit.before {
            if let EarlyWrite::Wake { due, .. } = later {
                *due = Timestamp::from_millis(due.as_millis() - self.ahead);
            }
        }
        commit
    }

    async fn around<'a, T: Debug + Send>(
        &'a self,
        call: Call<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        tokio::task::yield_now().await;
        if self.latency > 0 {
            // answers come together: each moment at which the clock stops costs a turn of every task
            let due = self.clock.now().as_millis() + self.dice.below(self.latency) as i64;
            let due = Timestamp::from_millis(due - due % TICK);
            self.clock.sleep_until(due).await;
        }
        if self.has_died() {
            return self.die().await;
        }
        self.shared.calls.fetch_add(1, SeqCst);
        if let Some(append) = call.commit.and_then(|commit| commit.append.as_ref()) {
            self.shared.touched.lock().expect("no panic").push(append.run);
        }
        let fault = self.fault(&call);
        self.shared.faulty.fetch_add(u64::from(fault.is_some()), SeqCst);
        if let Some(coverage) = &self.shared.coverage {
            coverage.note(call.name, fault);
        }
        if let (Some(log), Some(fault)) = (&self.shared.log, fault) {
            log.lock().expect("no panic").push(format!("    {fault:?} at {}", call.name));
        }
        let reply = self.meet(call, fault, reply).await;
        if let Some(log) = &self.shared.log {
            let asked = format!("{:?}", call.asked);
            log.lock().expect("no panic").push(format!(
                "    {} {asked:.300} -> {:.100}",
                call.name,
                format!("{reply:?}")
            ));
        }
        if self.dice.one_in(2) {
            tokio::task::yield_now().await;
        }
        reply
    }
}
