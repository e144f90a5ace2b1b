//! The writes of a hop: what a record contains besides the decision, what follows after the reply,
//! and what remains to be done after a conflict or a failure.

use std::collections::HashSet;

use crate::bounds;
use crate::decide::Want;
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::calling::Calling;
use crate::hop::effect::{EarlyWrite, Effect, LateWrite, LogEvent, Write};
use crate::hop::facts::{is_executed, is_outcome, shown_ahead};
use crate::hop::input::{StoreFault, WriteResult};
use crate::hop::keeping::KeepReason;
use crate::hop::lines::with_log_lines;
use crate::hop::starting::Starts;
use crate::hop::timing::Punctuality;
use crate::journal::{Entry, Fact, Record};
use crate::slot::Limit;
use crate::state::StepState;
use crate::{OwnStep, StepId, Timestamp, Wake, WakeCause};

/// A decision that is not written yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) before: Vec<EarlyWrite>,
    pub(super) entries: Vec<Entry>,
    pub(super) after: Vec<LateWrite>,
    pub(super) wakes: Vec<Wake>,
    /// The limits of the freed slots, if they are not the limits of the run.
    pub(super) frees: Vec<Limit>,
}

impl Draft {
    pub(super) fn of(entries: Vec<Entry>) -> Self {
        Self { entries, ..Self::default() }
    }

    /// Returns whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        let Self { before, entries, after, wakes, .. } = self;
        [before.len(), entries.len(), after.len(), wakes.len()] == [0; 4]
    }
}

/// Whether a write acknowledges the wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    Now,
    Later,
}

/// What follows after a write. If there is a second part, it follows if another hop was faster.
#[derive(Clone, Debug)]
pub(super) enum Next {
    /// Checks the deadline again.
    Deadline,
    /// Decides again whether the run may start.
    Admit,
    /// Continues without limits, because the run has failed. After a conflict: evaluates the limits
    /// again.
    Prepare,
    /// Leaves the run. After a conflict: decides again whether the run may start.
    LeaveOrAdmit,
    /// Leaves the run. After a conflict: starts a new round.
    LeaveOrRound,
    /// Leaves the run. After a conflict: keeps the outcomes.
    LeaveOrKeep,
    /// Starts a new round.
    Round,
    /// Starts a new round. After a conflict: keeps the outcomes.
    RoundOrKeep,
    /// Continues after the inbox. After a conflict: decides again.
    Inbox { is_open: bool },
    /// Shows the function the outcomes that it has not seen, and creates the runs of calls. After a
    /// conflict: keeps the outcomes.
    Show,
    /// Creates the runs of calls, and decides about these steps again without another poll. After a
    /// conflict: keeps the outcomes.
    Decide(Vec<Want>),
    /// Calls the executor. After a conflict: releases the slots of the call and keeps the outcomes.
    Call(u32),
    /// Waits for executing attempts. After a conflict: keeps the outcomes.
    Await,
    /// Executes the attempts that were started. After a conflict: releases their slots and keeps
    /// the outcomes.
    Start(Starts),
    /// Continues without these steps, because separate wakes were sent for them. After a conflict:
    /// keeps the outcomes.
    FanOut(Vec<StepId>),
    /// Shows the outcomes to the function, or leaves the run. After a conflict: writes the outcomes
    /// that still count again.
    Outcomes(Ack),
    /// Continues after outcomes were kept. After a conflict: keeps the outcomes that still count.
    Kept(KeepReason),
}

/// A write in progress.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    pub(super) draft: Draft,
    ack: Ack,
    pub(super) next: Next,
    /// The limits of the tickets that are promoted after the write.
    promotes: Vec<Limit>,
}

/// The promotion of tickets after a write that freed slots.
#[derive(Clone, Debug)]
pub(super) struct Promoting {
    draft: Draft,
    next: Next,
    /// Whether the wake is acknowledged after the promotion. After a crash before that, the wake
    /// repeats the promotion (rule 22).
    acknowledges: bool,
    /// Whether the tickets were promoted, and the wake is being acknowledged.
    is_promoted: bool,
}

impl ActiveHop {
    /// Writes a decision. Also releases the slots that earlier writes did not release.
    pub(super) fn write(&mut self, draft: Draft, ack: Ack, next: Next, turn: &mut Turn<'_>) -> ActivePhase {
        let mut writing = Writing { draft, ack, next, promotes: Vec::new() };
        writing.draft.after.extend(self.debts.take_releases());
        let limits = if writing.draft.frees.is_empty() { &self.limits.of_steps } else { &writing.draft.frees };
        let is_release = |after: &LateWrite| {
            matches!(after, LateWrite::Release { .. } | LateWrite::Dequeue { .. } | LateWrite::DequeuePaused { .. })
        };
        let frees = writing.draft.after.iter().any(is_release) || self.debts.unpromoted.is_some();
        writing.promotes = if frees { limits.clone() } else { Vec::new() };
        let Writing { draft, ack, promotes, .. } = &writing;
        let mut before = draft.before.clone();
        before.extend(self.debts.early_timer.clone());
        drop_repeated_wakes(&mut before);
        let entries = self.with_admission(draft.entries.clone(), turn.now());
        before.extend(self.deadline_wake(&entries, turn.now()));
        let entries = self.with_lines(entries, turn.now());
        before.extend(self.index_writes(&entries));
        // rule 33: every entry of a hop passes through here
        let entries = bounds::fit_entries(&self.run, entries);
        if self.run.admits_all(&entries).is_err() {
            return self.overtaken(writing.draft, writing.next, turn);
        }
        let (after, wakes) = (draft.after.clone(), draft.wakes.clone());
        let acknowledges = *ack == Ack::Now && promotes.is_empty();
        let repeat_until = self.is_patient(&entries).then_some(self.time.lease_until);
        turn.emit(Effect::Write(Box::new(Write { before, entries, after, wakes, acknowledges, repeat_until })));
        ActivePhase::Writing(Box::new(writing))
    }

    /// Adds the admission to the entries, so that a later hop does not need a decision of flow
    /// control again.
    fn with_admission(&self, mut entries: Vec<Entry>, now: Timestamp) -> Vec<Entry> {
        let (run, progress) = (&self.run, &self.progress);
        let is_before_start = run.first_run_at.is_none() && run.end.is_none() && !run.collecting;
        if progress.is_admitted && !run.admitted && is_before_start {
            entries.insert(0, Fact::RunAdmitted.into_entry(now));
        }
        entries
    }

    /// Returns the wake for the deadline of the run. It is sent with the entry from which the
    /// deadline counts.
    fn deadline_wake(&self, entries: &[Entry], now: Timestamp) -> Option<EarlyWrite> {
        let within = self.spec().flow.finish_within.filter(|_| self.run.first_run_at.is_none())?;
        let is_first = |fact: &Fact| fact.is_requested_by_handler() || matches!(fact, Fact::HandlerFailed { .. });
        let first = entries.iter().find(|entry| is_first(&entry.fact))?;
        Some(self.wake_at(WakeCause::Deadline, first.at + within, now))
    }

    /// Continues with the result of a write.
    pub(super) fn on_written(&mut self, writing: Writing, result: WriteResult, turn: &mut Turn<'_>) -> ActivePhase {
        let Writing { draft, ack, next, promotes, .. } = writing;
        match result {
            WriteResult::Conflict(records) => match self.read_on(&records) {
                Ok(()) => self.overtaken(draft, next, turn),
                Err(fault) => self.fail(fault, turn),
            },
            WriteResult::Done(record) => {
                self.debts.early_timer = None;
                if let Some(record) = record
                    && let Err(fault) = self.record(&record, turn)
                {
                    return self.fail(fault, turn);
                }
                if promotes.is_empty() {
                    return self.follow(next, draft, turn);
                }
                turn.emit(Effect::Promote(promotes));
                let acknowledges = ack == Ack::Now;
                ActivePhase::Promoting(Box::new(Promoting { draft, next, acknowledges, is_promoted: false }))
            }
        }
    }

    /// Applies a written record to the run, and logs what it contains.
    fn record(&mut self, record: &Record, turn: &mut Turn<'_>) -> Result<(), StoreFault> {
        let starts = self.run.first_run_at.is_none() && record.entries.iter().any(|entry| entry.fact.starts_run());
        let lived = self.run.end.is_none();
        let ended: Vec<Entry> = record.entries.iter().filter_map(|entry| self.end_of_attempt(entry)).collect();
        self.read_on(std::slice::from_ref(record))?;
        let lines = with_log_lines(&record.entries);
        if !lines.is_empty() {
            turn.log(LogEvent::Lines(lines));
        }
        if starts {
            turn.log(LogEvent::RunStarted);
        }
        for entry in ended {
            if let Fact::AttemptUnreachable { step, .. } = &entry.fact {
                // the next attempt has the same number, so in this hop its slots would have the
                // same holder; the hop of its wake starts it
                self.progress.handed_over.insert(step.clone());
            }
            let took = entry.fact.step().and_then(|step| self.execution.took.remove(step)).unwrap_or_default();
            turn.log(LogEvent::AttemptEnded { entry: Box::new(entry), took });
        }
        if let Some(end) = self.run.end.as_ref().filter(|_| lived) {
            turn.log(LogEvent::RunEnded(Box::new(end.clone())));
        }
        Ok(())
    }

    /// Returns the entry that ends an attempt, if this entry does. If an attempt starts while
    /// another one is running, the worker of the running one has died.
    fn end_of_attempt(&self, entry: &Entry) -> Option<Entry> {
        let Fact::StepStarted { step, .. } = &entry.fact else {
            let is_end = matches!(
                entry.fact,
                Fact::StepSucceeded { .. }
                    | Fact::StepFailed { .. }
                    | Fact::AttemptInterrupted { .. }
                    | Fact::AttemptUnreachable { .. }
            );
            return is_end.then(|| entry.clone());
        };
        let before = self.run.steps.get(step).filter(|step| matches!(step.state, StepState::Running { .. }))?;
        Some(Fact::AttemptInterrupted { step: step.clone(), attempt: before.attempt }.into_entry(entry.at))
    }

    /// Continues after tickets were promoted: acknowledges the wake, if that is still to be done.
    pub(super) fn on_promoted(&mut self, promoting: Promoting, turn: &mut Turn<'_>) -> ActivePhase {
        let Promoting { draft, next, acknowledges, is_promoted } = promoting;
        self.debts.unpromoted = None;
        if !acknowledges || is_promoted {
            return self.follow(next, draft, turn);
        }
        turn.emit(Effect::Write(Box::new(Write { acknowledges: true, ..Write::default() })));
        ActivePhase::Promoting(Box::new(Promoting { draft, next, acknowledges, is_promoted: true }))
    }

    /// Continues although tickets could not be promoted, because the entries are already written
    /// and their bodies must start.
    pub(super) fn on_promotion_failed(
        &mut self,
        promoting: Promoting,
        fault: StoreFault,
        turn: &mut Turn<'_>,
    ) -> ActivePhase {
        let Promoting { draft, next, is_promoted, .. } = promoting;
        if is_promoted {
            return self.fail(fault, turn);
        }
        self.debts.unpromoted = Some(fault);
        self.follow(next, draft, turn)
    }

    /// Continues with what follows after the write.
    fn follow(&mut self, next: Next, draft: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        match next {
            Next::Deadline => self.enforce_deadline(turn),
            Next::Admit => self.admit(turn),
            Next::Prepare => self.redo_releases(turn),
            Next::LeaveOrKeep => {
                self.count_shown(&draft);
                self.leave(turn)
            }
            Next::LeaveOrAdmit | Next::LeaveOrRound | Next::Outcomes(Ack::Now) => self.leave(turn),
            Next::Round | Next::RoundOrKeep => self.begin_round(turn),
            Next::Inbox { is_open } => self.after_inbox(is_open, turn),
            Next::Show => {
                self.count_shown(&draft);
                let calls = self.calls_of(&draft);
                self.start_calls(Calling { calls, decides: None }, turn)
            }
            Next::Decide(wants) => {
                let calls = self.calls_of(&draft);
                self.start_calls(Calling { calls, decides: Some(wants) }, turn)
            }
            Next::Call(call) => self.called(call, turn),
            Next::Await => self.await_bodies(None, turn),
            Next::Start(starts) => {
                self.count_shown(&draft);
                self.started_here(starts, turn)
            }
            Next::FanOut(steps) => {
                self.count_shown(&draft);
                // recorded only after a successful write: after a conflict no other invocation has
                // these steps, so this one may handle them
                self.progress.handed_over.extend(steps);
                self.advance(turn)
            }
            Next::Outcomes(Ack::Later) => self.advance(turn),
            Next::Kept(reason) => self.kept(reason, turn),
        }
    }

    /// Handles a write for which another hop was faster: keeps its releases, and decides again
    /// (rule 2).
    pub(super) fn overtaken(&mut self, mut draft: Draft, next: Next, turn: &mut Turn<'_>) -> ActivePhase {
        turn.log(LogEvent::Overtaken);
        self.owe_releases(std::mem::take(&mut draft.after));
        if self.execution.bodies.is_empty() {
            // the replayed function writes the log lines again
            self.execution.log.clear();
        }
        // another hop has handled the work of this wake, so the wake may have been sent for another
        // time
        self.progress.punctuality = Punctuality::Unknown;
        match next {
            Next::Deadline => self.enforce_deadline(turn),
            Next::Admit | Next::LeaveOrAdmit => self.admit(turn),
            Next::Prepare => self.prepare(turn),
            Next::LeaveOrRound | Next::Round | Next::Inbox { is_open: false } => self.begin_round(turn),
            Next::Inbox { is_open: true } => self.keep(Draft::default(), KeepReason::Overtaken, turn),
            Next::LeaveOrKeep | Next::RoundOrKeep | Next::Show | Next::Decide(_) | Next::FanOut(_) => {
                self.keep(draft, KeepReason::Overtaken, turn)
            }
            Next::Start(starts) => {
                self.owe_starts(&starts);
                self.keep(draft, KeepReason::Overtaken, turn)
            }
            Next::Call(call) => {
                self.owe_slots(&OwnStep::Call.id(), call);
                self.keep(draft, KeepReason::Overtaken, turn)
            }
            Next::Await => self.keep(draft, KeepReason::Overtaken, turn),
            Next::Outcomes(ack) => self.write_outcomes_again(draft, ack, turn),
            Next::Kept(reason) => self.keep_outcomes(draft, reason, turn),
        }
    }

    /// Counts the outcomes that the function saw before they were written. There are none if the
    /// executor executes steps while it is polled.
    fn count_shown(&mut self, draft: &Draft) {
        if !self.function.executes_in_poll {
            self.execution.shown += shown_ahead(&draft.entries);
        }
    }

    /// Returns whether a write is repeated while the lease of its outcomes lasts. This is done if
    /// this process is the only one, so that a full disk does not lose the result of a body. A
    /// record with a start is not repeated, because the start would be late.
    fn is_patient(&self, entries: &[Entry]) -> bool {
        let is_start = |entry: &Entry| matches!(entry.fact, Fact::StepStarted { .. } | Fact::CallStarted { .. });
        let starts = entries.iter().any(|entry| is_start(entry) && !is_executed(entry, entries));
        self.invocation.worker.is_alone && !starts && entries.iter().any(is_outcome)
    }
}

/// Drops later wakes that occur twice. Many sleeps with the same end need one wake: the hop after
/// it ends all of them.
fn drop_repeated_wakes(before: &mut Vec<EarlyWrite>) {
    let (mut wakes, mut timers) = (HashSet::new(), HashSet::new());
    before.retain(|write| match write {
        EarlyWrite::Wake { wake, due } => wakes.insert((wake.cause.clone(), *due)),
        EarlyWrite::Timer(timer) => timers.insert(timer.clone()),
        EarlyWrite::Subscribe(_)
        | EarlyWrite::PutInInbox { .. }
        | EarlyWrite::LinkEvent { .. }
        | EarlyWrite::NoteDelivery { .. }
        | EarlyWrite::AddLabel { .. } => true,
    });
}
