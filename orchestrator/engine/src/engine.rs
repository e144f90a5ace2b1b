//! The engine: a façade over the services that move runs and answer queries. All services use the
//! same backend.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use stepladder_core::hop::Checkpoint;
use stepladder_core::{RunId, StepId, Timestamp};

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::control::{CheckpointReceipt, RunControl};
use crate::functions::{Catalog, FixedFunctions, FunctionControl, Functions, RegisteredFunction};
use crate::hop::{Hops, RunningBodies, SuspendedExecutions};
use crate::intake::Intake;
use crate::ports::{Backend, Delivery, StoreError};
use crate::query::Query;
use crate::runs::Runs;
use crate::runtime::Runtime;
use crate::slots::Slots;
use crate::subscriptions::Subscriptions;
use crate::sweep::{Sweep, SweepReport};

/// Moves runs forward and answers queries about them. A process needs only one engine.
pub struct Engine {
    pub(crate) runtime: Arc<Runtime>,
    functions: Arc<FunctionControl>,
    subscriptions: Arc<Subscriptions>,
    intake: Arc<Intake>,
    query: Arc<Query>,
    control: RunControl,
    hops: Hops,
    sweep: Sweep,
}

/// An error of a call to the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The run, event, function or token does not exist. The message names it.
    #[error("{0}")]
    NotFound(String),
    /// The request is invalid. The message says why.
    #[error("{0}")]
    Invalid(String),
    /// The request is valid but too late, for example because the run has ended. The message says
    /// what has already happened.
    #[error("{0}")]
    TooLate(String),
    /// The storage failed. A later call may succeed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Creates an engine for these functions, with the system clock and the system's randomness.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if a function cannot work. Examples are a duplicate id, a limit of
    /// 0, and a step timeout that is longer than that of its worker. The message names the
    /// function.
    pub fn new(
        backend: Arc<dyn Backend>,
        functions: Vec<RegisteredFunction>,
        config: Config,
    ) -> Result<Self, EngineError> {
        Self::with_ports(backend, Arc::new(SystemClock), Arc::new(SystemEntropy), functions, config)
    }

    /// Creates an engine with the given clock and source of randomness.
    ///
    /// # Errors
    /// The same as those of [`Engine::new`].
    pub fn with_ports(
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        functions: Vec<RegisteredFunction>,
        config: Config,
    ) -> Result<Self, EngineError> {
        let functions = Arc::new(FixedFunctions::new(Catalog::new(functions, &config)?));
        Ok(Self::with_functions(backend, clock, entropy, functions, config))
    }

    /// Creates an engine for a set of functions that may change while the process runs.
    pub fn with_functions(
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        functions: Arc<dyn Functions>,
        config: Config,
    ) -> Self {
        let worker = format!("{:016x}", entropy.bits() as u64).into();
        let runtime = Runtime { backend, clock, entropy, config, functions, worker };
        Self::assemble(runtime, RunningBodies::default())
    }

    fn assemble(runtime: Runtime, bodies: RunningBodies) -> Self {
        let runtime = Arc::new(runtime);
        let runs = Arc::new(Runs::new(runtime.clone()));
        let functions = Arc::new(FunctionControl::new(runtime.clone()));
        let slots = Arc::new(Slots::new(runtime.clone(), runs.clone()));
        let subscriptions = Arc::new(Subscriptions::new(runtime.clone(), runs.clone()));
        let intake = Arc::new(Intake::new(runtime.clone(), runs.clone(), slots.clone(), subscriptions.clone()));
        let query = Arc::new(Query {
            runtime: runtime.clone(),
            runs: runs.clone(),
            functions: functions.clone(),
            bodies: bodies.clone(),
        });
        let control =
            RunControl { runtime: runtime.clone(), runs: runs.clone(), intake: intake.clone(), query: query.clone() };
        let sweep = Sweep {
            runtime: runtime.clone(),
            runs: runs.clone(),
            slots: slots.clone(),
            intake: intake.clone(),
            unstored: Mutex::default(),
        };
        let worker = Arc::new(runtime.worker_of_hops(subscriptions.exprs.clone()));
        let hops = Hops {
            runtime: runtime.clone(),
            runs,
            functions: functions.clone(),
            slots,
            intake: intake.clone(),
            worker,
            bodies,
            suspended: SuspendedExecutions::new(runtime.config.suspended_bytes),
            stopping: false.into(),
        };
        Self { runtime, functions, subscriptions, intake, query, control, hops, sweep }
    }

    /// Creates the same engine with another backend, for the thread that supervises the bodies of
    /// this engine. It needs another backend because a body that blocks its thread may also block
    /// the connections of this engine's backend. The two engines share the list of executing bodies
    /// (see [`Engine::expel_overdue`]) and no other mutable state.
    pub fn supervisor(&self, backend: Arc<dyn Backend>) -> Self {
        Self::assemble(self.runtime.over(backend), self.hops.bodies.clone())
    }

    /// Executes the hop for a delivered wake, and acknowledges the wake. The hop may take as long
    /// as the worker timeout of the run's function (see [`Config::worker_timeout_of`]).
    ///
    /// # Errors
    /// [`StoreError`] if the hop failed and its wake could not be sent again with a delay. Then the
    /// queue delivers the wake again.
    pub async fn hop(&self, delivery: Delivery) -> Result<(), StoreError> {
        self.hops.hop(delivery, None).await
    }

    /// Executes a hop like [`Engine::hop`], in an invocation that is killed at `deadline`. A step
    /// that does not fit into the remaining time is passed to a new invocation, but only once.
    ///
    /// # Errors
    /// The same as those of [`Engine::hop`].
    pub async fn hop_until(&self, delivery: Delivery, deadline: Timestamp) -> Result<(), StoreError> {
        self.hops.hop(delivery, Some(deadline)).await
    }

    /// Sends the wakes of timers and cron ticks that are due soon, and checks runs without recent
    /// progress. Call this once a minute. Any number of processes may call it at the same time.
    ///
    /// # Errors
    /// [`StoreError`]. The next sweep starts after the last minute that this sweep handled
    /// completely.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        self.hops.suspended.drop_idle(self.runtime.now());
        self.sweep.sweep().await
    }

    /// Fails the attempts with bodies that did not stop at their timeout (rule 29). Returns the
    /// steps of these attempts.
    ///
    /// # Errors
    /// [`StoreError`]. The next call fails the remaining attempts.
    pub async fn expel_overdue(&self) -> Result<Vec<(RunId, StepId)>, StoreError> {
        self.hops.expel_overdue().await
    }

    /// Records outcomes of steps that an executor has executed in a call that still goes on. A
    /// repeated checkpoint changes nothing.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::TooLate`] if the call is no
    /// longer in progress, or the run has ended: then nothing is recorded; [`EngineError::Store`].
    pub async fn checkpoint(&self, run: RunId, checkpoint: &Checkpoint) -> Result<CheckpointReceipt, EngineError> {
        let receipt = self.control.checkpoint(run, checkpoint).await?;
        Ok(CheckpointReceipt { ends_call: receipt.ends_call || self.is_stopping() })
    }

    /// Returns the service that accepts events and creates the runs that they trigger.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Returns the service that cancels and reruns runs, and skips waits.
    pub fn control(&self) -> &RunControl {
        &self.control
    }

    /// Returns the service that answers queries about runs, events, limits and health.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Returns the service that delivers events and callbacks to waiting runs.
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Returns the service that describes, pauses and resumes the registered functions.
    pub fn functions(&self) -> &FunctionControl {
        &self.functions
    }

    /// Returns the time of the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.runtime.now()
    }

    /// Returns the engine's settings.
    pub fn config(&self) -> &Config {
        &self.runtime.config
    }

    /// Makes each hop end before its next step, even if it has time left. Another invocation then
    /// continues the run.
    pub fn stop(&self) {
        self.hops.stopping.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`Engine::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.hops.stopping.load(Ordering::Relaxed)
    }
}

pub(crate) fn no_such_run(run: RunId) -> EngineError {
    EngineError::NotFound(format!("there is no run {run}"))
}
