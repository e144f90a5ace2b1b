//! A hop: one invocation that moves a run forward. It loads, replays, executes, appends and hands
//! over.
//!
//! The hop is a loop of three parts. `hop/settle.rs` finds what the handler waits for,
//! `hop/start.rs` starts bodies, and `hop/outcomes.rs` handles their outcomes. After a refused or
//! conflicting write, [`Next::Again`] replays the run from its journal and decides again (rule 2).

mod announce;
mod append;
mod begin;
mod deliver;
mod end;
mod finish;
mod inbox;
mod lines;
mod outcomes;
mod settle;
mod start;
mod supervise;
mod telling;
mod timing;
mod write_down;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use stepladder_core::decide::{PlanContext, ReadyStep};
use stepladder_core::journal::{Entry, Fact, Failure};
use stepladder_core::slot::{Holder, Limit};
use stepladder_core::spec::LazyScope;
use stepladder_core::state::RunState;
use stepladder_core::{Spec, StepId, Timestamp, Wake, WakeCause, bounds};

use crate::functions::Functions;
use crate::functions::versions::ChosenVersion;
use crate::intake::Intake;
use crate::ports::{Commit, Receipt, StoreError};
use crate::program::{Program, RunHistory, Session};
use crate::runs::Runs;
use crate::runtime::Runtime;
use crate::slots::Slots;
use crate::slots::release;
use crate::subscriptions::Subscriptions;
use finish::QueueCheck;
use lines::HandlerLog;
use supervise::BodyWatch;
use timing::Punctuality;

pub(crate) use announce::EndListeners;
pub(crate) use supervise::RunningBodies;
pub use supervise::RunningBody;
pub(crate) use telling::{log_attempt, log_end, log_skipped};

/// How long a run waits before it looks again for a function that is not registered.
const UNREGISTERED: Duration = Duration::from_secs(60);
/// The time that an invocation reserves for its own work when it goes on to another step.
const MARGIN: Duration = Duration::from_secs(2);

/// Moves runs: one hop for each delivered wake.
pub(crate) struct Hops {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) functions: Arc<Functions>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) intake: Arc<Intake>,
    /// The ends of runs that functions listen to.
    pub(crate) listened: EndListeners,
    /// Bodies that run in this process.
    pub(crate) bodies: RunningBodies,
    /// Whether hops hand over at their next step instead of going on in the same invocation.
    pub(crate) stopping: AtomicBool,
}

/// One invocation's view of a run.
struct Hop<'e> {
    hops: &'e Hops,
    program: Arc<dyn Program>,
    wake: Wake,
    /// Acknowledges the wake, once its work is done or has its own wake.
    receipt: Receipt,
    state: RunState,
    /// The commit that goes out with the next append.
    commit: Commit,
    /// Outcomes that the handler has seen before the journal has them. The next append writes them.
    pending: Vec<Entry>,
    /// How many of the journal's outcomes the session has received.
    shown: usize,
    limits: Vec<Limit>,
    /// Limits on whole runs.
    run_limits: Vec<Limit>,
    /// Identifies the slots of this hop (rule 20).
    id: u64,
    /// Slots acquired for attempts that are not in the journal yet.
    taken: Vec<Holder>,
    /// Attempts that were enqueued and not yet confirmed as still waiting.
    joined: Vec<Holder>,
    running: HashMap<StepId, Running>,
    /// Steps handed over to another invocation, which has its wake.
    handed: HashSet<StepId>,
    /// Why waiting tickets could not be promoted yet.
    unwoken: Option<StoreError>,
    /// Whether flow control has admitted the run in this hop. The next append records it.
    admitted: bool,
    /// Whether this invocation has executed a body.
    executed: bool,
    /// Whether the wake was delivered before: an earlier worker may have died during it.
    redelivered: bool,
    deadline: Timestamp,
    lease_until: Timestamp,
    /// Whether to check the run's inbox, once the run waits for events.
    look: bool,
    /// Whether the wake came at its due time.
    punctuality: Punctuality,
    /// Steps with a logged wait for a slot.
    told_to_wait: HashSet<StepId>,
    /// The handler's log lines that are not recorded yet.
    said: HandlerLog,
    /// The durations of bodies without a written outcome. They are logged once written.
    took: HashMap<StepId, Duration>,
}

/// A body that executes here.
struct Running {
    ready: ReadyStep,
    began: Timestamp,
    /// When its step time-out ends.
    expires: Timestamp,
    /// Whether it was stopped at its time-out.
    expired: bool,
    /// Keeps the body in the supervisor's list.
    _watched: BodyWatch,
}

/// How the hop continues.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Poll the handler again.
    Advance,
    /// Replay from the journal and decide anew.
    Again,
    /// The wake is handled and acknowledged.
    Done,
}

/// Whether a write acknowledges the wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ack {
    Now,
    Later,
}

impl Hop<'_> {
    async fn run(&mut self) -> Result<(), StoreError> {
        self.enforce_deadlines().await?;
        if !self.may_start().await? {
            return Ok(());
        }
        let created = self.state.created.clone();
        let scope = &mut LazyScope::new(&created.event);
        match self.spec().limits(scope).and_then(|limits| Ok((limits, self.spec().run_limits(scope)?))) {
            Ok(limits) => (self.limits, self.run_limits) = limits,
            Err(bad) => {
                let error = Failure::new(format!("the key of a concurrency limit: {bad}"));
                self.append(vec![Fact::RunFailed { error }.at(self.now())], Ack::Later).await?;
            }
        }
        // a watchdog also checks the wait queue: a stalled worker may have enqueued a run that had
        // ended
        let looks_after = self.redelivered || self.wake.cause == WakeCause::Watchdog;
        let had_ended = self.state.end.is_some();
        if looks_after && !self.limits.is_empty() && !had_ended {
            self.redo_releases().await?;
        }
        loop {
            if self.state.end.is_some() {
                self.wake_the_unwoken().await?;
            }
            if let Some(end) = &self.state.end {
                let had_a_turn = self.wake.cause == WakeCause::Slot || self.wake.cause.step().is_some();
                let look = match had_ended && had_a_turn {
                    _ if self.redelivered || had_ended && self.wake.cause == WakeCause::Watchdog => QueueCheck::Redo,
                    true => QueueCheck::InLine,
                    false => QueueCheck::AtRun,
                };
                let limits = [&self.limits[..], &self.run_limits].concat();
                return self.hops.finish(&self.state, end, &limits, (self.receipt.clone(), look)).await;
            }
            if !self.may_continue().await? {
                return Ok(());
            }
            if self.state.end.is_some() {
                continue;
            }
            if self.must_check_inbox() && !self.deliver_from_inbox().await? {
                continue;
            }
            if let Some(due) = self.state.handler_retry_at.filter(|due| *due > self.now()) {
                // its wake was written before its entry
                self.resend_if_early(due);
                self.give_up_turn(due).await?;
                self.append(Vec::new(), Ack::Now).await?;
                return Ok(());
            }
            self.choose_version();
            let history = self.history();
            let mut session = match self.program.open(history) {
                Ok(session) => session,
                Err(error) => {
                    self.append(vec![Fact::RunFailed { error }.at(self.now())], Ack::Later).await?;
                    continue;
                }
            };
            if self.drive(session.as_mut()).await? == Next::Done {
                return Ok(());
            }
        }
    }

    /// Selects the run's version again: another hop may have started the run under another version.
    fn choose_version(&mut self) {
        let Some(ChosenVersion { program, is_other_version: is_another }) = self.hops.runtime.program_of(&self.state)
        else {
            return;
        };
        self.program = program.clone();
        if is_another {
            let (run, function) = (self.state.run, &self.state.created.function);
            let (begun, now) = (self.state.version.as_deref(), self.program.version());
            tracing::warn!(%run, %function, begun, now, "a run goes on under another version of its function: its own is not registered");
        }
    }

    fn history(&mut self) -> RunHistory {
        self.shown = self.state.outcomes.len();
        self.said = HandlerLog::in_attempt(self.state.handler_attempt());
        RunHistory {
            run: self.state.run,
            secret: self.state.secret,
            attempt: self.state.handler_attempt(),
            event: Arc::new(self.state.created.event.clone()),
            joined: self.state.joined.clone(),
            created_at: self.state.created_at,
            outcomes: self.state.outcomes.clone(),
        }
    }

    /// Continues a session until the run must be replayed or the wake is handled.
    async fn drive(&mut self, session: &mut dyn Session) -> Result<Next, StoreError> {
        loop {
            if self.state.end.is_some() {
                self.finish_after_end(session).await?;
                return Ok(Next::Again);
            }
            match self.settle(session).await {
                Ok(Next::Advance) => {}
                Ok(next) => return Ok(next),
                Err(error) => {
                    self.save_before_error(session).await;
                    return Err(error);
                }
            }
        }
    }

    /// Repeats releases and promotions (rule 22). A worker may have died between an outcome and the
    /// release of its slot, or between the release and the promotion.
    async fn redo_releases(&self) -> Result<(), StoreError> {
        let mut commit = Commit::default();
        self.hops.slots.release_settled(&self.state, &self.limits, &mut commit).await?;
        self.hops.runtime.carry_out(commit).await?;
        self.hops.slots.promote(&self.limits).await
    }

    fn holder(&self, step: &StepId, attempt: u32) -> Holder {
        Holder::Attempt { run: self.state.run, step: step.clone(), attempt, hop: self.id }
    }

    /// Leaves unreleased slots to a later hop, because this one has failed.
    fn defer_releases(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        let of = |holder: &Holder| self.limits.iter().map(|limit| release(limit, holder)).collect::<Vec<_>>();
        self.hops.slots.unreleased.add(taken.iter().flat_map(of));
        self.hops.slots.unreleased.add(std::mem::take(&mut self.commit.after));
        if self.unwoken.is_some() {
            self.hops.slots.unreleased.add_unwoken(&self.limits);
        }
    }

    /// Releases the slots of an attempt after its worker died, with the next append.
    async fn release_dead_attempt(&mut self, step: &StepId, attempt: u32) -> Result<(), StoreError> {
        for limit in &self.limits {
            let held = self.hops.runtime.backend.holders(limit).await?.into_iter().map(|holding| holding.holder);
            let of_dead = held.filter(|holder| match holder {
                Holder::Attempt { run, step: held, attempt: n, .. } => {
                    (*run, held, *n) == (self.state.run, step, attempt)
                }
                Holder::Run(_) => false,
            });
            self.commit.after.extend(of_dead.map(|holder| release(limit, &holder)));
        }
        Ok(())
    }

    /// Releases the slots that this hop holds for an attempt, with the next append.
    fn release_attempt(&mut self, step: &StepId, attempt: u32) {
        let holder = self.holder(step, attempt);
        self.commit.after.extend(self.limits.iter().map(|limit| release(limit, &holder)));
    }

    fn wake(&self, cause: WakeCause) -> Wake {
        self.hops.runtime.wake_of(&self.state, cause)
    }

    fn now(&self) -> Timestamp {
        self.hops.runtime.now()
    }

    fn spec(&self) -> &Spec {
        self.program.spec()
    }

    /// Returns what a decision needs, including outcomes that the handler saw and that are not
    /// written.
    fn situation(&self, pending: &[Entry]) -> PlanContext<'_> {
        PlanContext {
            now: self.now(),
            worker: &self.hops.runtime.worker,
            alone: self.hops.runtime.config.is_only_process,
            longest: self.hops.runtime.config.longest_step(&self.state.created.function),
            spec: self.program.spec(),
            pending: pending.iter().map(|entry| bounds::kept_bytes(&entry.fact)).sum(),
        }
    }
}
