//! What a hop over a loaded run knows, besides its phase.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::decide::ReadyStep;
use crate::hop::effect::{EarlyWrite, LateWrite};
use crate::hop::immediate::OpenCall;
use crate::hop::input::StoreFault;
use crate::hop::lines::HandlerLog;
use crate::hop::timing::Punctuality;
use crate::report::AttemptReport;
use crate::slot::{Holder, Limit};
use crate::{StepId, Timestamp};

/// The time of the invocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerTime {
    pub(super) deadline: Timestamp,
    pub(super) lease_until: Timestamp,
    pub(super) longest_step: Duration,
}

/// The concurrency limits of the run.
#[derive(Clone, Debug, Default)]
pub(super) struct RunLimits {
    pub(super) of_steps: Vec<Limit>,
    pub(super) of_run: Vec<Limit>,
}

/// What the hop has found out and done.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Whether the run had ended when the hop found it.
    pub(super) had_ended: bool,
    /// Whether flow control has admitted the run. The next write records it.
    pub(super) is_admitted: bool,
    /// Whether the hop has executed a body.
    pub(super) has_executed: bool,
    /// Whether to check the run's inbox, once the run waits for events.
    pub(super) checks_inbox: bool,
    /// Whether the wake came at its due time.
    pub(super) punctuality: Punctuality,
    /// Steps handed over to another invocation, which has its wake.
    pub(super) handed_over: HashSet<StepId>,
    /// Steps with a logged wait for a slot.
    pub(super) logged_waits: HashSet<StepId>,
}

/// The execution of the function that is open, and its attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct Execution {
    pub(super) is_open: bool,
    /// How many of the journal's outcomes the function has been shown.
    pub(super) shown: usize,
    /// The handler's log lines that are not recorded yet.
    pub(super) log: HandlerLog,
    pub(super) bodies: BTreeMap<StepId, Body>,
    /// The call of an executor that executes steps while it is polled.
    pub(super) call: Option<OpenCall>,
    /// Attempts that the function has dropped since the last poll.
    pub(super) dropped: Vec<(StepId, AttemptReport)>,
    /// The durations of attempts without a written outcome. They are logged once written.
    pub(super) took: HashMap<StepId, Duration>,
}

/// An attempt that executes here.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) ready: ReadyStep,
    pub(super) began: Timestamp,
    /// When its time-out ends.
    pub(super) expires: Timestamp,
    /// Whether it was stopped at its time-out.
    pub(super) is_stopped: bool,
}

/// What failed or conflicting writes leave to later ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Debts {
    /// Slots to release with the next write (rule 22).
    pub(super) releases: Vec<(Limit, Holder)>,
    /// Why waiting tickets could not be promoted yet.
    pub(super) unpromoted: Option<StoreFault>,
    /// The wake of a deadline that came early, for its due time.
    pub(super) early_deadline: Option<EarlyWrite>,
}

impl Debts {
    /// Returns the releases that are owed, for the next write.
    pub(super) fn take_releases(&mut self) -> Vec<LateWrite> {
        std::mem::take(&mut self.releases).into_iter().map(release).collect()
    }
}

/// Creates the release of a slot.
pub(super) fn release((limit, holder): (Limit, Holder)) -> LateWrite {
    LateWrite::Release { limit, holder }
}
