//! The engine: ingest, hop, sweep, and the answers to questions, over one backend.

mod admission;
mod announce;
mod ask;
mod bulk;
mod cache;
mod collect;
mod finish;
mod gates;
mod hasten;
mod heads;
mod health;
mod hop;
mod ingest;
mod load;
mod look;
mod overdue;
mod owed;
mod pause;
mod pieces;
mod queueing;
mod received;
mod refused;
mod repeats;
mod rerun;
mod signals;
mod slots;
mod starts;
mod sweep;
mod ticks;
mod turns;
mod waiters;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use stepladder_core::expr::Exprs;
use stepladder_core::limits::name_fault;
use stepladder_core::retry::{Backoff, RetryPolicy};
use stepladder_core::{EventId, RunId, RunState, Spec, Timestamp, spec};

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::ports::{Backend, Backlog, StoreError};
use crate::program::Program;
use crate::versions::{Chosen, Versions};

pub use ask::{Page, RunFilter};
pub use bulk::Bulk;
pub use health::{Executing, Health, MOST_TIMERS};
pub use ingest::IdSeed;
pub use look::{Found, MOST_LOOKED_AT, RunLook, RunSearch};
pub use pieces::{PIECE, Progress, Within};
pub use queueing::{LineView, MOST_PLACES};
pub use received::EventLook;
pub use rerun::Rerun;
pub use signals::Signalled;
pub use sweep::Swept;

/// Moves runs forward and answers for them. Shared by everything in a process.
pub struct Engine {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) config: Config,
    programs: Versions,
    /// In the order in which they were registered.
    order: Vec<Arc<str>>,
    /// This process, in the leases that it takes.
    worker: Arc<str>,
    cache: cache::Cache,
    heads: heads::Heads,
    owed: owed::Owed,
    refused: refused::Refused,
    /// When functions were last seen not to be paused.
    unpaused: Mutex<HashMap<Arc<str>, Timestamp>>,
    /// The latest event id that was given out.
    latest_event: Mutex<Option<EventId>>,
    /// Expressions that waits came with.
    exprs: Exprs,
    /// Which ends of runs some function listens to.
    listened: announce::Listened,
    /// Bodies that execute in this process.
    bodies: overdue::Bodies,
    /// Whether hops are to hand over instead of going on.
    stopping: AtomicBool,
}

/// Why the engine cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such thing; the sentence says what was looked for.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense; the sentence says why.
    #[error("{0}")]
    Invalid(String),
    /// The request makes sense, but comes too late; the sentence says for what.
    #[error("{0}")]
    TooLate(String),
    /// The store failed; trying again may help.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// An engine for these functions, on the machine's clock and randomness.
    ///
    /// # Errors
    /// When a function cannot work: an id twice, a limit of 0, a default time-out that no worker can fit. The sentence
    /// names the function.
    pub fn new(
        backend: Arc<dyn Backend>,
        programs: Vec<Arc<dyn Program>>,
        config: Config,
    ) -> Result<Self, EngineError> {
        Self::with_ports(backend, Arc::new(SystemClock), Arc::new(SystemEntropy), programs, config)
    }

    /// An engine with a clock and a randomness of the caller's.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn with_ports(
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        programs: Vec<Arc<dyn Program>>,
        config: Config,
    ) -> Result<Self, EngineError> {
        let mut versions = Versions::default();
        let mut order = Vec::new();
        for program in programs {
            let spec = program.spec();
            if let Some(fault) = spec.fault() {
                return Err(EngineError::Invalid(fault));
            }
            if let Some(fault) = program.version().and_then(name_fault) {
                return Err(EngineError::Invalid(format!("the version of function `{}` {fault}", spec.id)));
            }
            let longest = config.longest_step(&spec.id);
            if spec.timeout > longest {
                return Err(EngineError::Invalid(format!(
                    "function `{}` has a step time-out of {:?}, but a worker of it has at most {longest:?} for a step; \
                     shorten it or give its workers more time",
                    spec.id, spec.timeout
                )));
            }
            let id = spec.id.clone();
            if !order.contains(&id) {
                order.push(id.clone());
            }
            if !versions.add(program) {
                return Err(EngineError::Invalid(format!(
                    "two functions have the id `{id}`; give one another id, or another version"
                )));
            }
        }
        for program in versions.all_newest() {
            if let Some(handler) = &program.spec().on_failure
                && versions.newest(handler).is_none()
            {
                return Err(EngineError::Invalid(format!(
                    "function `{}` names `{handler}` as its on_failure, which is not registered",
                    program.spec().id
                )));
            }
        }
        if let Some(fault) = spec::disagreement(versions.all_newest().map(|program| program.spec())) {
            return Err(EngineError::Invalid(fault));
        }
        let listened = announce::Listened::by(versions.all_newest().map(|program| program.spec()));
        let worker = format!("{:016x}", entropy.bits() as u64).into();
        let cache = cache::Cache::new(config.cache_bytes);
        Ok(Self {
            backend,
            clock,
            entropy,
            config,
            programs: versions,
            order,
            worker,
            cache,
            heads: heads::Heads::default(),
            owed: owed::Owed::default(),
            refused: refused::Refused::default(),
            unpaused: Mutex::default(),
            latest_event: Mutex::default(),
            exprs: Exprs::default(),
            listened,
            bodies: overdue::Bodies::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// The same engine over a backend of its own, for the thread that supervises this one's bodies: they may have blocked
    /// the threads, and so the connections, that this one writes with. It knows the bodies that execute here
    /// ([`Engine::expel_overdue`]), and shares nothing else that changes.
    pub fn supervisor(&self, backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            config: self.config.clone(),
            programs: self.programs.clone(),
            order: self.order.clone(),
            worker: self.worker.clone(),
            cache: cache::Cache::new(self.config.cache_bytes),
            heads: heads::Heads::default(),
            owed: owed::Owed::default(),
            refused: refused::Refused::default(),
            unpaused: Mutex::default(),
            latest_event: Mutex::default(),
            exprs: Exprs::default(),
            listened: self.listened,
            bodies: self.bodies.clone(),
            stopping: AtomicBool::new(false),
        }
    }

    /// The functions' descriptions, in the order in which they were registered.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.order.iter().filter_map(|id| self.program(id)).map(|program| program.spec())
    }

    /// The retries of a function as they are made here; `None` where it is not registered. A step's own are not known.
    pub fn retries_of(&self, function: &str) -> Option<RetryPolicy> {
        let policy = &self.program(function)?.spec().retry;
        let backoff = self.config.retry_delay.map_or_else(|| policy.backoff.clone(), Backoff::Fixed);
        Some(RetryPolicy { retries: policy.retries, backoff })
    }

    /// The time by the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What waits in this process to be served; `None` where the queue is a service of its own. Cheap.
    pub fn backlog(&self) -> Option<Backlog> {
        self.backend.backlog()
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tells hops to hand over at the next step instead of going on in the same invocation.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn program(&self, function: &str) -> Option<&Arc<dyn Program>> {
        self.programs.newest(function)
    }

    /// The version of its function under which a run goes on.
    fn program_of(&self, state: &RunState) -> Option<Chosen<'_>> {
        self.programs.of(state)
    }
}

pub(crate) fn no_such_run(run: RunId) -> EngineError {
    EngineError::NotFound(format!("there is no run {run}"))
}
