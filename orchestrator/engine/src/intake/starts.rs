//! Creates runs: the decision of flow control for each, and everything that is written with a new
//! run.
//!
//! Flow states are read, a decision is made, and the change goes into the transaction that creates
//! the run. The transaction fails if another process has changed them meanwhile (rule 16). The run
//! is then decided again.

use std::sync::Arc;

use stepladder_core::journal::{Entry, Fact, NewRun, Origin, Record};
use stepladder_core::slot::{ARRIVAL, Limit, Ticket};
use stepladder_core::spec::LazyScope;
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{RunId, RunRow, Status, Timer, Timestamp, Wake, WakeCause};

use crate::intake::Intake;
use crate::intake::flow_control::{Basis, GateDecision, ReadState};
use crate::ports::{Commit, EarlyWrite, FlowStateChange, RunStart, StartResult, StoreError};

/// When the watchdog first checks a run, after its creation (rule 12).
pub(crate) const WATCH: std::time::Duration = std::time::Duration::from_secs(3_600);
/// The maximum number of consecutive rounds in which no run of a call is created: each time,
/// another process was faster. A call of many runs under one key may need more rounds, as long as
/// each creates one.
const ROUNDS: u32 = 100;

/// A run to create: its id, its content, and further entries (copied outcomes, or its end).
pub(crate) type RunDraft = (RunId, NewRun, Vec<Entry>);

/// A run to create, and its position in the call.
type NumberedDraft = (usize, RunDraft);

/// The decisions, each with its basis.
#[derive(Default)]
struct DecidedStarts {
    starts: Vec<(RunStart, NumberedDraft)>,
    links: Vec<(EarlyWrite, NumberedDraft)>,
}

impl DecidedStarts {
    fn into_asked(self) -> impl Iterator<Item = NumberedDraft> {
        self.starts.into_iter().map(|(_, asked)| asked).chain(self.links.into_iter().map(|(_, asked)| asked))
    }
}

impl Basis {
    /// Chooses the list: runs that depend on others of the same call come after them, if those
    /// succeed.
    fn choose<'a>(self, now: &'a mut DecidedStarts, last: &'a mut DecidedStarts) -> &'a mut DecidedStarts {
        match self {
            Self::Stored => now,
            Self::SameCall => last,
        }
    }
}

impl Intake {
    /// Creates runs with their first entries, or skips them, as flow control decides. Runs that
    /// exist are left unchanged.
    pub(crate) async fn start_runs(&self, runs: Vec<RunDraft>) -> Result<(), StoreError> {
        let (plain, gated): (Vec<_>, Vec<_>) = runs.into_iter().partition(|(_, created, more)| {
            let asks = self.runtime.spec_of(created).is_some_and(|spec| !spec.flow.is_unrestricted());
            !asks || !more.is_empty() || bypasses_flow_control(&created.origin)
        });
        if !plain.is_empty() {
            let starts = plain.into_iter().map(|beginning| self.prepare_start(beginning, Vec::new())).collect();
            self.commit_starts(starts, Vec::new()).await?;
        }
        self.start_gated(gated).await
    }

    /// Decides on all runs in their order, and creates them. After a conflict, a run and those that
    /// depend on it are decided again.
    async fn start_gated(&self, runs: Vec<RunDraft>) -> Result<(), StoreError> {
        let mut runs: Vec<NumberedDraft> = runs.into_iter().enumerate().collect();
        let mut in_vain = 0;
        while !runs.is_empty() {
            if in_vain == ROUNDS {
                return Err(StoreError::Unavailable("others start runs under the same key without end".into()));
            }
            let (mut seen, mut now, mut last) =
                (ReadState::default(), DecidedStarts::default(), DecidedStarts::default());
            let all = runs.len();
            for (n, (run, created, more)) in runs {
                let Some(spec) = self.runtime.spec_of(&created).cloned() else { continue };
                let asked = (n, (run, created.clone(), more.clone()));
                match self.gate(&spec, run, &created, &mut seen).await? {
                    GateDecision::Twice => {}
                    // rule 15: its first wake may never have been sent
                    GateDecision::Known => {
                        now.starts.push((self.prepare_start((run, created, more), Vec::new()), asked))
                    }
                    GateDecision::Open(let_in, notes) => {
                        now.starts.push((self.prepare_start((run, *let_in, more), notes), asked))
                    }
                    GateDecision::Elsewhere(first, basis) => {
                        let link = EarlyWrite::LinkEvent { run: first, event: created.event.id };
                        basis.choose(&mut now, &mut last).links.push((link, asked));
                    }
                    GateDecision::Skip(reason, basis) => {
                        let end = Fact::RunSkipped { reason: reason.into() }.at(self.runtime.now());
                        let start = self.prepare_start((run, created, vec![end]), Vec::new());
                        basis.choose(&mut now, &mut last).starts.push((start, asked));
                    }
                }
            }
            runs = self.commit_decided(now).await?;
            match runs.is_empty() {
                true => runs = self.commit_decided(last).await?,
                false => runs.extend(last.into_asked()),
            }
            runs.sort_by_key(|(n, _)| *n);
            in_vain = if runs.len() < all { 0 } else { in_vain + 1 };
        }
        Ok(())
    }

    /// Creates the decided runs; returns those with a conflict.
    async fn commit_decided(&self, decided: DecidedStarts) -> Result<Vec<NumberedDraft>, StoreError> {
        let DecidedStarts { starts, links } = decided;
        let (starts, asked): (Vec<_>, Vec<_>) = starts.into_iter().unzip();
        let begun = self.commit_starts(starts, links.into_iter().map(|(link, _)| link).collect()).await?;
        Ok(asked.into_iter().zip(begun).filter(|(_, b)| *b == StartResult::Overtaken).map(|(run, _)| run).collect())
    }

    /// Writes the runs' index items before the runs.
    pub(crate) async fn commit_starts(
        &self,
        starts: Vec<RunStart>,
        mut before: Vec<EarlyWrite>,
    ) -> Result<Vec<StartResult>, StoreError> {
        for start in &starts {
            if let Some(Fact::RunCreated(created)) = start.record.entries.first().map(|entry| &entry.fact)
                && start.row.ended.is_none()
                && let Some(spec) = self.runtime.spec_of(created)
            {
                let (run, at) = (start.row.run, start.row.created_at);
                before.extend(
                    spec.flow.cancel_subscriptions(run, &created.event, at).into_iter().map(EarlyWrite::Subscribe),
                );
                if let Some(within) = spec.flow.start_within {
                    let wake = Wake { run, cause: WakeCause::Deadline, group: created.function.clone() };
                    let due = created.event.starts_not_before().filter(|_| created.origin == Origin::Event);
                    before.push(self.runtime.later(wake, at.max(due.unwrap_or(at)) + within));
                }
            }
        }
        if !before.is_empty() {
            self.runtime.carry_out(Commit { before, ..Commit::default() }).await?;
        }
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        let skipped = |start: &RunStart| start.row.ended.map(|_| (start.row.run, start.row.function.clone()));
        let skipped: Vec<_> = starts.iter().map(skipped).collect();
        let begun = self.runtime.backend.create_runs(starts).await?;
        for (skipped, begun) in skipped.into_iter().zip(&begun) {
            if let (Some((run, function)), StartResult::New) = (skipped, begun) {
                crate::hop::log_skipped(run, &function);
            }
        }
        Ok(begun)
    }

    /// Prepares everything that is written with a new run.
    pub(crate) fn prepare_start(&self, (run, created, more): RunDraft, notes: Vec<FlowStateChange>) -> RunStart {
        let now = self.runtime.now();
        let function = created.function.clone();
        let event = created.event.id;
        let ended = more.iter().any(|entry| entry.fact.is_end());
        let places = if ended { Vec::new() } else { self.arrival_tickets(run, &created, now) };
        let mut entries = vec![Fact::RunCreated(Box::new(created)).at(now)];
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
            watchdog: Timer { due: now + WATCH, run, group: function.clone(), purpose: TimerPurpose::Watchdog },
            wake: Wake { run, cause: WakeCause::Created, group: function },
            tickets: places,
            flow_state: notes,
        }
    }

    /// Returns the tickets that a run gets when it is created. If a key cannot be evaluated, there
    /// are none: the run fails in its first hop, with the reason. Of several limits, the run waits
    /// at the first only; a limit on runs comes first. A run that starts later is enqueued then.
    fn arrival_tickets(&self, run: RunId, created: &NewRun, now: Timestamp) -> Vec<(Limit, Ticket)> {
        let Some(spec) = self.runtime.spec_of(created) else { return Vec::new() };
        let by_event = created.origin == Origin::Event && created.event.starts_not_before().is_some();
        if by_event || created.begins_at.is_some() || created.collects || spec.concurrency.is_empty() {
            return Vec::new();
        }
        let scope = &mut LazyScope::new(&created.event);
        let of_runs = spec.run_limits(scope).unwrap_or_default();
        let limits = if of_runs.is_empty() { spec.limits(scope).unwrap_or_default() } else { of_runs };
        let asked = self.slots.queue_time(spec, scope, now);
        let place = || Ticket { queued_at: asked, event: created.event.id, run, step: ARRIVAL.into() };
        limits.into_iter().take(1).map(|limit| (limit, place())).collect()
    }
}

/// Returns whether flow control skips this run: a person asked for it, or it handles a failure.
pub(crate) fn bypasses_flow_control(origin: &Origin) -> bool {
    match origin {
        Origin::Rerun { .. } | Origin::Failure { .. } => true,
        Origin::Event | Origin::Invoke { .. } | Origin::Cron => false,
    }
}

/// Returns the key of a flow state.
pub(crate) fn note_key(kind: &str, function: &str, value: &str) -> Arc<str> {
    format!("{kind}/{function}/{value}").into()
}
