//! The state of a hop for a loaded run, besides its phase.

use std::collections::BTreeMap;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use crate::decide::ReadyStep;
use crate::hop::effect::{EarlyWrite, LateWrite};
use crate::hop::immediate::OpenCall;
use crate::hop::input::StoreFault;
use crate::hop::lines::HandlerLog;
use crate::hop::timing::Punctuality;
use crate::report::AttemptReport;
use crate::slot::{Holder, Limit};
use crate::state::RunState;
use crate::{StepId, Timestamp};

#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerTime {
    pub(super) deadline: Timestamp,
    pub(super) lease_until: Timestamp,
    pub(super) longest_step: Duration,
}

#[derive(Clone, Debug, Default)]
pub(super) struct RunLimits {
    pub(super) of_steps: Vec<Limit>,
    pub(super) of_run: Vec<Limit>,
}

/// What the hop has found out and done so far.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Whether the run had already ended when the hop loaded it.
    pub(super) had_ended: bool,
    /// Whether flow control has admitted the run. The next write records it.
    pub(super) is_admitted: bool,
    /// Whether the hop has executed a body.
    pub(super) has_executed: bool,
    /// The last attempts of the steps that were to be retried at once when the hop last called an
    /// executor that executes steps while it is polled.
    pub(super) due_at_call: HashMap<StepId, u32>,
    /// Whether the inbox of the run must be checked once the run waits for events.
    pub(super) checks_inbox: bool,
    /// Whether the wake came at its due time.
    pub(super) punctuality: Punctuality,
    /// The steps that were handed over to other invocations, which have their own wakes.
    pub(super) handed_over: HashSet<StepId>,
    /// The steps that wait for a slot and already have a log line about it.
    pub(super) logged_waits: HashSet<StepId>,
}

/// The open execution of the function, and its attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct Execution {
    pub(super) is_open: bool,
    /// How many of the outcomes in the journal the function has seen.
    pub(super) shown: usize,
    /// The handler's log lines that are not recorded yet.
    pub(super) log: HandlerLog,
    /// The executing attempts. They are boxed, because a node of the map has room for eleven.
    pub(super) bodies: BTreeMap<StepId, Box<Body>>,
    /// A time before which no timeout of an executing attempt ends; `None` if no attempt has one.
    pub(super) no_expiry_before: Option<Timestamp>,
    /// The open call, if the executor executes steps while it is polled.
    pub(super) call: Option<OpenCall>,
    /// The attempts that the function has dropped since the last poll.
    pub(super) dropped: Vec<(StepId, AttemptReport)>,
    /// The execution times of attempts. They are logged after the write of the outcome.
    pub(super) took: HashMap<StepId, Duration>,
}

impl Execution {
    /// Returns how many outcomes of the journal the open execution has seen, if the next hop may
    /// continue the execution. It may not if the handler has ended, or if a log line of the handler
    /// is not recorded. At the end of a hop, no attempt executes.
    ///
    /// The execution has seen nothing else: after a conflict it is closed (rule 2).
    pub(super) fn seen_by_next(&self, run: &RunState) -> Option<usize> {
        let is_whole = self.is_open && self.log.is_recorded(run);
        (is_whole && run.end.is_none() && run.handler_retry_at.is_none()).then_some(self.shown)
    }
}

/// An attempt that is executing in this hop.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) ready: ReadyStep,
    pub(super) began: Timestamp,
    /// The time at which the attempt's timeout ends.
    pub(super) expires: Timestamp,
    /// Whether the attempt was stopped at its timeout.
    pub(super) is_stopped: bool,
}

/// Work that failed or conflicting writes left for later writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Debts {
    /// The slots to release in the next write (rule 22).
    pub(super) releases: Vec<(Limit, Holder)>,
    /// The failure because of which waiting tickets could not be promoted yet.
    pub(super) unpromoted: Option<StoreFault>,
    /// The wake of a deadline or a heartbeat that arrived early. It must be sent again for its
    /// time.
    pub(super) early_timer: Option<EarlyWrite>,
}

impl Debts {
    /// Takes the releases that earlier writes left, for the next write.
    pub(super) fn take_releases(&mut self) -> Vec<LateWrite> {
        std::mem::take(&mut self.releases).into_iter().map(release).collect()
    }
}

/// Creates the write that releases a slot.
pub(super) fn release((limit, holder): (Limit, Holder)) -> LateWrite {
    LateWrite::Release { limit, holder }
}
