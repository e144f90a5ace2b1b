//! Handles a delivered wake: moves, starts or delays its run, and sends the wake again after a
//! failure of the storage.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::state::RunState;
use stepladder_core::{Timestamp, Wake, WakeCause};

use super::lines::HandlerLog;
use super::timing::Punctuality;
use super::{Hop, UNREGISTERED};
use crate::hop::Hops;
use crate::permanent;
use crate::ports::{Commit, Delivery, EarlyWrite, Receipt, StoreError};
use crate::retries;

/// How long a wake is delayed after a failure of the storage (rule 13).
const AGAIN: Duration = Duration::from_secs(10);
/// The delay where the queue can make the wake visible again. That costs no write.
const BACK: Duration = Duration::from_secs(2);
/// The longest delay for a permanent error. The delay begins with [`BACK`] and doubles with each
/// delivery.
const BACK_AT_MOST: Duration = Duration::from_secs(300);
/// The longest delay for a function that is not registered. The delay begins with [`UNREGISTERED`]
/// and grows while nothing happens.
const UNREGISTERED_AT_MOST: Duration = Duration::from_secs(900);
/// How many minutes a tick waits for a worker that knows its function: an hour.
const TICK_WAITS: i64 = 60;

/// What is known about the invocation before the run is loaded.
#[derive(Clone, Copy, Debug)]
struct Invocation {
    redelivered: bool,
    /// `None` means the time limit of a worker of the run's function.
    deadline: Option<Timestamp>,
}

impl Hops {
    /// Moves the run of a delivered wake, and acknowledges the wake. Without a deadline, the hop
    /// has the time limit of a worker of its function.
    pub(crate) async fn hop(&self, delivery: Delivery, deadline: Option<Timestamp>) -> Result<(), StoreError> {
        self.slots.release_pending().await;
        let Delivery { wake, receipt, receives } = delivery;
        let run = wake.run;
        let cause = wake.cause.clone().replaced_unless_needed(WakeCause::Again);
        let again = Wake { cause, ..wake.clone() };
        let invocation = Invocation { redelivered: receives > 1, deadline };
        let until = deadline.unwrap_or_else(|| self.runtime.now() + self.runtime.config.worker_timeout_of(&wake.group));
        let moved =
            retries::within(self.runtime.clock.clone(), until, self.move_run(wake, receipt.clone(), invocation)).await;
        let Err(error) = moved else { return Ok(()) };
        // rule 34: a lasting error must become visible, so the delay grows
        let lasts = error.is_permanent();
        if lasts {
            permanent::report("move a run", Some(run), &error);
            self.slots.promotions.note(self.runtime.now());
        }
        if self
            .runtime
            .backend
            .put_back(&receipt, self.runtime.now() + if lasts { backoff(receives) } else { BACK })
            .await?
        {
            if !lasts {
                tracing::warn!(%run, %error, "the storage failed; the wake comes again");
            }
            return Ok(());
        }
        if lasts {
            // the queue counts its deliveries, and moves the wake to the dead letters
            return Err(error);
        }
        // rule 13: a failing storage must not use up the queue's deliveries
        tracing::warn!(%run, %error, "the storage failed; the run is woken again later");
        let later = EarlyWrite::Wake { wake: again, due: self.runtime.now() + AGAIN };
        let put_off = Commit { before: vec![later], acks: vec![receipt], ..Commit::default() };
        let put_off = self.runtime.carry_out(put_off).await.map(drop);
        put_off.inspect_err(|error| {
            permanent::report("send a wake", Some(run), error);
        })
    }

    async fn move_run(&self, wake: Wake, receipt: Receipt, invocation: Invocation) -> Result<(), StoreError> {
        let began = self.runtime.now();
        let Some(state) = self.runs.take_state(wake.run).await? else {
            return self.begin_or_forget(wake, receipt).await;
        };
        let state = Arc::unwrap_or_clone(state);
        let Some(program) = self.runtime.program_of(&state).map(|chosen| chosen.program.clone()) else {
            return self.put_off(&state, wake, receipt).await;
        };
        let Invocation { redelivered, deadline } = invocation;
        let own = || began + self.runtime.config.worker_timeout_of(&state.created.function);
        let deadline = deadline.unwrap_or_else(own);
        let look = matches!(wake.cause, WakeCause::Offered | WakeCause::Watchdog);
        let mut hop = Hop {
            hops: self,
            program,
            wake,
            receipt,
            state,
            commit: Commit::default(),
            pending: Vec::new(),
            shown: 0,
            limits: Vec::new(),
            run_limits: Vec::new(),
            id: self.runtime.entropy.bits() as u64,
            taken: Vec::new(),
            joined: Vec::new(),
            running: HashMap::new(),
            handed: HashSet::new(),
            unwoken: None,
            admitted: false,
            executed: false,
            redelivered,
            look,
            deadline,
            lease_until: deadline + self.runtime.config.lease_margin,
            punctuality: Punctuality::Unknown,
            told_to_wait: HashSet::new(),
            said: HandlerLog::default(),
            took: HashMap::new(),
        };
        if let Err(error) = hop.run().await {
            hop.defer_releases();
            return Err(error);
        }
        if let Some(error) = hop.unwoken.take() {
            hop.hops.slots.unreleased.add_unwoken(&hop.limits);
            return Err(error);
        }
        self.runs.cache.put(Arc::new(hop.state));
        Ok(())
    }

    /// Handles a wake of a run that does not exist. A tick's wake creates its run. If the function
    /// is not registered here, another worker may have it.
    async fn begin_or_forget(&self, wake: Wake, receipt: Receipt) -> Result<(), StoreError> {
        let mut commit = Commit { acks: vec![receipt], ..Commit::default() };
        match wake.cause {
            WakeCause::Tick(minute) if self.runtime.program(&wake.group).is_some() => {
                self.intake.begin_tick(&wake, minute).await?;
            }
            WakeCause::Tick(minute) if self.runtime.now().minute() - minute < TICK_WAITS => {
                commit.before.push(self.runtime.later(wake, self.runtime.now() + UNREGISTERED));
            }
            _ => tracing::debug!(run = %wake.run, "a wake of a run that does not exist"),
        }
        self.runtime.carry_out(commit).await?;
        Ok(())
    }

    /// Delays a run of a function that is not in this binary: an older or newer binary may have it.
    async fn put_off(&self, state: &RunState, wake: Wake, receipt: Receipt) -> Result<(), StoreError> {
        let mut commit = Commit { acks: vec![receipt], ..Commit::default() };
        match &state.end {
            Some(end) => {
                self.send_end_events(state, end).await?;
                self.write_end(state, end, &mut commit);
            }
            None => {
                let function = &state.created.function;
                tracing::warn!(run = %wake.run, %function, "a run waits: its function is not registered");
                let quiet = self.runtime.now().since(state.last_at);
                let wait = (quiet / 10).clamp(UNREGISTERED, UNREGISTERED_AT_MOST);
                commit.before.push(self.runtime.later(wake, self.runtime.now() + wait));
            }
        }
        self.runtime.carry_out(commit).await?;
        Ok(())
    }
}

/// Returns how long a wake is delayed after a permanent error, by its number of deliveries.
fn backoff(receives: u32) -> Duration {
    (BACK * 2_u32.saturating_pow(receives.saturating_sub(1))).min(BACK_AT_MOST)
}
