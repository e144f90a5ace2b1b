//! Creates runs: decides on each run by flow control, and prepares everything that is written with
//! a new run.
//!
//! A decision reads flow states and changes them. The changes are part of the transaction that
//! creates the run. If another process has changed the flow states in the meantime, the transaction
//! fails (rule 16). Then the decision is made again.

use std::sync::Arc;

use stepladder_core::journal::{Entry, Fact, NewRun, Record, RunOrigin};
use stepladder_core::label::LabelSpec;
use stepladder_core::slot::{Limit, Ticket};
use stepladder_core::spec::LazyExprScope;
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{RunId, RunOrStep, RunRow, Status, Timer, Timestamp, Wake, WakeCause};

use crate::functions::Catalog;
use crate::intake::Intake;
use crate::intake::flow_control::{DecisionBasis, SeenFlowStates, StartDecision};
use crate::ports::{Commit, EarlyWrite, FlowStateChange, RunStart, StartResult, StoreError};

/// How long after the creation of a run, or after its next timer, the watchdog checks the run (rule
/// 12).
pub(crate) const WATCHDOG_INTERVAL: std::time::Duration = std::time::Duration::from_secs(3_600);
/// The maximum number of consecutive rounds in which no run of a call is created because another
/// process was faster each time. A call with many runs of one key may need more rounds in total.
const MAX_IDLE_ROUNDS: u32 = 100;

/// A run to create: the id, entry 0, and further entries (copied outcomes, or the end of the run).
pub(crate) type RunDraft = (RunId, NewRun, Vec<Entry>);

/// A run to create, with its position in the call.
type NumberedDraft = (usize, RunDraft);

/// The runs to create and the events to link. Each has its draft, so that it can be decided again
/// after a conflict.
#[derive(Default)]
struct DecidedStarts {
    starts: Vec<(RunStart, NumberedDraft)>,
    links: Vec<(EarlyWrite, NumberedDraft)>,
}

impl DecidedStarts {
    fn into_drafts(self) -> impl Iterator<Item = NumberedDraft> {
        self.starts.into_iter().map(|(_, draft)| draft).chain(self.links.into_iter().map(|(_, draft)| draft))
    }
}

impl DecisionBasis {
    /// Returns the list to which a decision belongs. Decisions that rely on other runs of the same
    /// call go into `last`, which is written only after all of `now` was written successfully.
    fn list_for<'a>(self, now: &'a mut DecidedStarts, last: &'a mut DecidedStarts) -> &'a mut DecidedStarts {
        match self {
            Self::Stored => now,
            Self::SameCall => last,
        }
    }
}

impl Intake {
    /// Creates or skips runs, as flow control decides. Runs that already exist are not changed.
    pub(crate) async fn start_runs(&self, runs: Vec<RunDraft>) -> Result<(), StoreError> {
        self.start_runs_under(&self.runtime.snapshot(), runs).await
    }

    /// Creates or skips runs like [`Intake::start_runs`], with the functions in this snapshot.
    pub(crate) async fn start_runs_under(&self, catalog: &Catalog, runs: Vec<RunDraft>) -> Result<(), StoreError> {
        let (plain, controlled) = split_by_flow_control(catalog, runs);
        if !plain.is_empty() {
            let starts = plain.into_iter().map(|draft| self.prepare_start(catalog, draft, Vec::new())).collect();
            self.commit_starts(catalog, starts, Vec::new()).await?;
        }
        self.start_with_flow_control(catalog, controlled).await
    }

    /// Decides on all runs in their order, and creates them. After a conflict, decides again on the
    /// run and on those that depend on it.
    pub(crate) async fn start_with_flow_control(
        &self,
        catalog: &Catalog,
        runs: Vec<RunDraft>,
    ) -> Result<(), StoreError> {
        let mut runs: Vec<NumberedDraft> = runs.into_iter().enumerate().collect();
        let mut idle_rounds = 0;
        while !runs.is_empty() {
            if idle_rounds == MAX_IDLE_ROUNDS {
                return Err(StoreError::Unavailable("too many processes start runs of the same key at once".into()));
            }
            let (mut seen, mut now, mut last) =
                (SeenFlowStates::default(), DecidedStarts::default(), DecidedStarts::default());
            let all = runs.len();
            for (n, (run, created, more)) in runs {
                let Some(spec) = catalog.spec(&created.function) else { continue };
                let draft = (n, (run, created.clone(), more.clone()));
                match self.decide(spec, run, &created, &mut seen).await? {
                    StartDecision::Duplicate => {}
                    // rule 15: the process that created the run may have died before it sent the
                    // first wake
                    StartDecision::Exists => {
                        now.starts.push((self.prepare_start(catalog, (run, created, more), Vec::new()), draft))
                    }
                    StartDecision::Create(admitted, changes) => {
                        now.starts.push((self.prepare_start(catalog, (run, *admitted, more), changes), draft))
                    }
                    StartDecision::BelongsTo(first, basis) => {
                        let link = EarlyWrite::LinkEvent { run: first, event: created.event.id };
                        basis.list_for(&mut now, &mut last).links.push((link, draft));
                    }
                    StartDecision::Skip(reason, basis) => {
                        let end = Fact::RunSkipped { reason: reason.into() }.into_entry(self.runtime.now());
                        let start = self.prepare_start(catalog, (run, created, vec![end]), Vec::new());
                        basis.list_for(&mut now, &mut last).starts.push((start, draft));
                    }
                }
            }
            runs = self.commit_decided(catalog, now).await?;
            match runs.is_empty() {
                true => runs = self.commit_decided(catalog, last).await?,
                false => runs.extend(last.into_drafts()),
            }
            runs.sort_by_key(|(n, _)| *n);
            idle_rounds = if runs.len() < all { 0 } else { idle_rounds + 1 };
        }
        Ok(())
    }

    /// Creates the runs that were decided on. Returns the runs that had a conflict.
    async fn commit_decided(
        &self,
        catalog: &Catalog,
        decided: DecidedStarts,
    ) -> Result<Vec<NumberedDraft>, StoreError> {
        let DecidedStarts { starts, links } = decided;
        let (starts, drafts): (Vec<_>, Vec<_>) = starts.into_iter().unzip();
        let links = links.into_iter().map(|(link, _)| link).collect();
        let results = self.commit_starts(catalog, starts, links).await?;
        Ok(drafts
            .into_iter()
            .zip(results)
            .filter(|(_, result)| *result == StartResult::Overtaken)
            .map(|(run, _)| run)
            .collect())
    }

    /// Creates runs. Their subscriptions and the wakes at their deadlines are written first (rules
    /// 11 and 18).
    pub(crate) async fn commit_starts(
        &self,
        catalog: &Catalog,
        starts: Vec<RunStart>,
        mut before: Vec<EarlyWrite>,
    ) -> Result<Vec<StartResult>, StoreError> {
        before.extend(self.early_writes(catalog, &starts));
        if !before.is_empty() {
            self.runtime.carry_out(Commit { before, ..Commit::default() }).await?;
        }
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        let (noted, states) = (self.noted_runs(&starts), self.runs.states_of(&starts));
        let results = self.runtime.backend.create_runs(starts).await?;
        self.report_created(noted, &results);
        self.runs.keep_created(states, &results);
        Ok(results)
    }

    /// Returns what must be written before these runs: the subscriptions that can cancel them, and
    /// the wakes at their deadlines.
    pub(crate) fn early_writes(&self, catalog: &Catalog, starts: &[RunStart]) -> Vec<EarlyWrite> {
        let mut before = Vec::new();
        for start in starts {
            if let Some(Fact::RunCreated(created)) = start.record.entries.first().map(|entry| &entry.fact)
                && start.row.ended.is_none()
                && let Some(spec) = catalog.spec(&created.function)
            {
                let (run, at) = (start.row.run, start.row.created_at);
                before.extend(
                    spec.flow.cancel_subscriptions(run, &created.event, at).into_iter().map(EarlyWrite::Subscribe),
                );
                if let Some(within) = spec.flow.start_within {
                    let wake = Wake { run, cause: WakeCause::Deadline, group: created.function.clone() };
                    let due = created.event.starts_not_before().filter(|_| created.origin == RunOrigin::Event);
                    before.push(self.runtime.later(wake, at.max(due.unwrap_or(at)) + within));
                }
            }
        }
        before
    }

    /// Prepares everything that is written with a new run.
    pub(crate) fn prepare_start(
        &self,
        catalog: &Catalog,
        (run, mut created, more): RunDraft,
        changes: Vec<FlowStateChange>,
    ) -> RunStart {
        let now = self.runtime.now();
        let function = created.function.clone();
        let event = created.event.id;
        if let Some(spec) = catalog.spec(&function).filter(|spec| !spec.labels.is_empty()) {
            created.labels = LabelSpec::evaluate(&spec.labels, &mut LazyExprScope::new(&created.event));
        }
        let ended = more.iter().any(|entry| entry.fact.is_end());
        let tickets = if ended { Vec::new() } else { self.arrival_tickets(catalog, run, &created, now) };
        let mut entries = vec![Fact::RunCreated(Box::new(created)).into_entry(now)];
        entries.extend(more);
        RunStart {
            row: RunRow {
                run,
                function: function.clone(),
                event,
                created_at: now,
                ended: ended.then_some((now, Status::Skipped)),
            },
            record: Record {
                seq: 0,
                token: self.runtime.entropy.bits(),
                code: self.runtime.config.code.clone(),
                entries,
            },
            watchdog: Timer {
                due: now + WATCHDOG_INTERVAL,
                run,
                group: function.clone(),
                purpose: TimerPurpose::Watchdog,
            },
            wake: Wake { run, cause: WakeCause::Created, group: function },
            tickets,
            flow_state: changes,
        }
    }

    /// Returns the tickets that a run gets at its creation.
    ///
    /// A run waits in one queue only: that of its first limit, where limits on runs come before
    /// limits on steps. A run with a later start time gets its ticket at that time. If a key cannot
    /// be evaluated, the run gets no ticket, and its first hop fails the run with the reason.
    fn arrival_tickets(&self, catalog: &Catalog, run: RunId, created: &NewRun, now: Timestamp) -> Vec<(Limit, Ticket)> {
        let Some(spec) = catalog.spec(&created.function) else { return Vec::new() };
        let by_event = created.origin == RunOrigin::Event && created.event.starts_not_before().is_some();
        if by_event || created.begins_at.is_some() || created.collects || spec.concurrency.is_empty() {
            return Vec::new();
        }
        let scope = &mut LazyExprScope::new(&created.event);
        let of_runs = spec.run_limits(scope).unwrap_or_default();
        let limits = if of_runs.is_empty() { spec.limits(scope).unwrap_or_default() } else { of_runs };
        let queued_at = self.slots.queue_time(spec, scope, now);
        let ticket = || Ticket { queued_at, event: created.event.id, run, of: RunOrStep::Run };
        limits.into_iter().take(1).map(|limit| (limit, ticket())).collect()
    }
}

/// Splits runs into those that flow control need not decide on, and those that it must decide
/// on.
pub(crate) fn split_by_flow_control(catalog: &Catalog, runs: Vec<RunDraft>) -> (Vec<RunDraft>, Vec<RunDraft>) {
    runs.into_iter().partition(|(_, created, more)| {
        let asks = catalog.spec(&created.function).is_some_and(|spec| !spec.flow.is_unrestricted());
        !asks || !more.is_empty() || bypasses_flow_control(&created.origin)
    })
}

/// Returns whether a run with this origin is created without flow control. This is true if a person
/// requested the run, or if it handles a failure.
pub(crate) fn bypasses_flow_control(origin: &RunOrigin) -> bool {
    match origin {
        RunOrigin::Rerun { .. } | RunOrigin::Failure { .. } => true,
        RunOrigin::Event | RunOrigin::Invoke { .. } | RunOrigin::Cron => false,
    }
}

/// Returns the key of a flow state. It consists of a kind, the function's id, and the value of the
/// function's key.
pub(crate) fn flow_state_key(kind: &str, function: &str, value: &str) -> Arc<str> {
    format!("{kind}/{function}/{value}").into()
}
