//! Checks whether a recorded run can be replayed with new code, for use before a deployment.
//!
//! The check reads the journal from its start. Some entries exist only because the handler
//! requested them, for example the start of a step. Before each such entry, the check reveals the
//! outcomes before it, and the handler must then make the same request. No body is executed and
//! nothing is written. The final result of the function is not compared, because an ended run is
//! never replayed.
//!
//! The check is strict: it also reports a new step at a point that the run has already passed. With
//! the new code, such a run would continue, execute the step late and keep what is recorded.
//! Whether this is right depends on the function.

use stepladder_core::decide::{Want, kind_name};
use stepladder_core::journal::{Entry, Fact, Record, Seq, StepKind};
use stepladder_core::state::{CorruptJournal, RevealedOutcome, RunState};
use stepladder_core::version::compare_versions;
use stepladder_core::{ErrorCode, RunId, StepId, Timestamp};

use crate::executor::{AdvisedFailure, Execution, OpenError, PollResult, RunView, Unreachable};
use crate::functions::RegisteredFunction;

/// The first difference between a journal and the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The number of the entry that the code does not request; `None` if the difference comes after
    /// the last entry.
    pub at: Option<Seq>,
    /// A description of the difference, as a sentence.
    pub why: String,
}

/// Replays the entries of a run, from entry 0 on, with the new code. Returns the first difference.
///
/// # Errors
/// [`CorruptJournal`] if the entries are not a valid journal.
pub async fn divergence(
    functions: &[RegisteredFunction],
    run: RunId,
    entries: &[Entry],
) -> Result<Option<Divergence>, CorruptJournal> {
    let record = |seq: Seq, entry: &Entry| Record { seq, token: 0, code: "".into(), entries: vec![entry.clone()] };
    let (first, rest) = entries.split_first().ok_or(CorruptJournal::NoBeginning(run))?;
    let mut state = RunState::fold(run, &[record(0, first)])?;
    let function = state.created.function.clone();
    let chosen = entries.iter().find_map(|entry| match &entry.fact {
        Fact::VersionChosen { version } => Some(version.clone()),
        _ => None,
    });
    // as in the engine: the version with which the run started if it is registered, otherwise the
    // newest
    let all = functions.iter().filter(|known| known.spec().id == function);
    let newest = all.clone().max_by(|a, b| compare_versions(a.version(), b.version()));
    let own = all.into_iter().find(|known| known.version() == chosen.as_deref());
    let Some(registered) = own.or(newest) else {
        let why = format!("function `{function}` is not in this build; its runs wait until it is");
        return Ok(is_live(entries).then_some(Divergence { at: None, why }));
    };
    let mut replay = Replay { function: registered, open: None };
    for (seq, entry) in (1..).zip(rest) {
        if let Some(why) = replay.mismatch(&state, entry).await {
            return Ok(Some(Divergence { at: Some(seq), why }));
        }
        let known = state.outcomes.len();
        state.extend(&record(seq, entry))?;
        replay.reveal_entry(&state, known, entry);
    }
    Ok(replay.mismatch_at_end(&state).await.map(|why| Divergence { at: None, why }))
}

fn is_live(entries: &[Entry]) -> bool {
    !entries.iter().any(|entry| entry.fact.is_end())
}

struct Replay<'f> {
    function: &'f RegisteredFunction,
    /// The session of the handler. It is opened when it is first needed, and again for each attempt
    /// of the handler.
    open: Option<OpenReplay>,
}

/// A replay in progress.
struct OpenReplay {
    execution: Box<dyn Execution>,
    /// The outcomes that the next poll reveals.
    memo: Vec<RevealedOutcome>,
    /// After the function has ended: the recorded outcomes that it never requested.
    orphans: Vec<StepId>,
}

impl Replay<'_> {
    /// Returns the difference if the code, in this state, does not request what the next entry
    /// records.
    async fn mismatch(&mut self, state: &RunState, entry: &Entry) -> Option<String> {
        if let Fact::RunCompleted { .. } = entry.fact {
            return match self.advance(state).await {
                Ok(PollResult::Wanted(wants)) => {
                    Some(format!("the run has completed here; the code goes on and asks for {}", list_wants(&wants)))
                }
                Ok(PollResult::Ended(Err(failure))) => {
                    Some(format!("the run has completed here; {}", describe_failure(&failure)))
                }
                Ok(PollResult::Ended(Ok(_))) => self.orphans(state),
                Err(why) => Some(why),
            };
        }
        let requested = requested_steps(&entry.fact);
        if requested.is_empty() {
            return None;
        }
        let wants = match self.advance(state).await {
            Ok(PollResult::Wanted(wants)) => wants,
            Ok(PollResult::Ended(Ok(_))) => {
                return Some(format!(
                    "the journal goes on with {}; the function returns before it",
                    list_steps(&requested)
                ));
            }
            Ok(PollResult::Ended(Err(failure))) => {
                return Some(format!(
                    "the journal goes on with {}; {}",
                    list_steps(&requested),
                    describe_failure(&failure)
                ));
            }
            Err(why) => return Some(why),
        };
        for (step, kind) in requested {
            match wants.iter().find(|want| want.step == step) {
                Some(want) if want.operation.kind() == kind => {}
                Some(want) => return Some(want.describe_kind_mismatch(kind)),
                None => {
                    return Some(format!(
                        "the journal goes on with {}; the code asks for {}: the one was removed, renamed or moved, or the \
                         other is new",
                        list_steps(&[(step, kind)]),
                        list_wants(&wants)
                    ));
                }
            }
        }
        None
    }

    /// Keeps the outcomes of an entry for the next poll.
    fn reveal_entry(&mut self, state: &RunState, known: usize, entry: &Entry) {
        if let Fact::HandlerFailed { .. } = entry.fact {
            self.open = None; // the next attempt of the handler begins from the beginning
        }
        if let Some(open) = &mut self.open {
            open.memo.extend_from_slice(&state.outcomes[known..]);
        }
    }

    /// Returns the difference if a live run could not continue after its last entry.
    async fn mismatch_at_end(&mut self, state: &RunState) -> Option<String> {
        if state.end.is_some() {
            return None;
        }
        match self.advance(state).await {
            Ok(PollResult::Wanted(wants)) => wants.iter().find_map(|want| {
                let kind = state.steps.get(&want.step)?.kind;
                (kind != want.operation.kind()).then(|| want.describe_kind_mismatch(kind))
            }),
            Ok(PollResult::Ended(Ok(_))) => self.orphans(state),
            Ok(PollResult::Ended(Err(failure))) if is_caused_by_changed_code(&failure) => {
                Some(describe_failure(&failure))
            }
            Ok(PollResult::Ended(Err(_))) => None, // the old code may have failed here, too
            Err(why) => Some(why),
        }
    }

    fn orphans(&self, state: &RunState) -> Option<String> {
        let orphans = &self.open.as_ref()?.orphans;
        // a callback may be recorded even if the function never waits for it
        let is_lost = |step: &&StepId| state.steps.get(*step).is_none_or(|step| step.kind != StepKind::Signal);
        let lost: Vec<String> = orphans.iter().filter(is_lost).map(|step| format!("`{step}`")).collect();
        (!lost.is_empty())
            .then(|| format!("the code does not ask for what is recorded of {} any more", lost.join(", ")))
    }

    async fn advance(&mut self, state: &RunState) -> Result<PollResult, String> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let opened = self.function.executor.open(RunView::of(state), Timestamp::MAX).await;
                let execution = opened.map_err(|error| match error {
                    OpenError::Refused(failure) => format!("the event does not fit: {}", failure.headline()),
                    OpenError::Unreachable(unreachable) => describe_outage(&unreachable),
                })?;
                let memo = state.outcomes.clone();
                self.open.insert(OpenReplay { execution, memo, orphans: Vec::new() })
            }
        };
        let polled = open.execution.poll(std::mem::take(&mut open.memo)).await;
        let polled = polled.map_err(|unreachable| describe_outage(&unreachable))?;
        open.orphans = polled.orphans;
        Ok(polled.result)
    }
}

fn describe_outage(unreachable: &Unreachable) -> String {
    format!("the executor of the function cannot be reached: {}", unreachable.why)
}

/// Returns the steps that this entry records because the handler requested them.
fn requested_steps(fact: &Fact) -> Vec<(StepId, StepKind)> {
    match fact {
        Fact::StepsWoken { steps, .. } => steps.iter().map(|step| (step.clone(), StepKind::Run)).collect(),
        Fact::StepStarted { step, .. } => vec![(step.clone(), StepKind::Run)],
        Fact::SleepStarted { step, .. } => vec![(step.clone(), StepKind::Sleep)],
        Fact::EventsSent { step, .. } => vec![(step.clone(), StepKind::Send)],
        Fact::InvokeStarted { step, .. } => vec![(step.clone(), StepKind::Invoke)],
        Fact::EventAwaited { step, .. } => vec![(step.clone(), StepKind::Event)],
        Fact::SignalAwaited { step, .. } => vec![(step.clone(), StepKind::Signal)],
        Fact::RunCreated(_)
        | Fact::EventJoined { .. }
        | Fact::CollectingEnded
        | Fact::RunDelayed { .. }
        | Fact::RunAdmitted
        | Fact::StepSucceeded { .. }
        | Fact::StepFailed { .. }
        | Fact::AttemptInterrupted { .. }
        | Fact::AttemptUnreachable { .. }
        | Fact::StepAbandoned { .. }
        | Fact::StepRefused { .. }
        | Fact::StepCarriedOver { .. }
        | Fact::SleepEnded { .. }
        | Fact::InvokeEnded { .. }
        | Fact::EventDelivered { .. }
        | Fact::HeartbeatReceived { .. }
        | Fact::HeartbeatMissed { .. }
        | Fact::SignalReceived { .. }
        | Fact::SignalFailed { .. }
        | Fact::WaitExpired { .. }
        | Fact::VersionChosen { .. }
        | Fact::LogWritten { .. }
        | Fact::LabelsAdded { .. }
        | Fact::WaitSkipped { .. }
        | Fact::HandlerFailed { .. }
        | Fact::CallStarted { .. }
        | Fact::CallEnded { .. }
        | Fact::ExecutorUnreachable { .. }
        | Fact::ExecutorReached
        | Fact::RunCompleted { .. }
        | Fact::RunFailed { .. }
        | Fact::RunCancelled { .. }
        | Fact::RunSkipped { .. } => Vec::new(),
    }
}

fn is_caused_by_changed_code(error: &AdvisedFailure) -> bool {
    matches!(error.failure.code, Some(ErrorCode::Nondeterminism | ErrorCode::Undecodable))
}

fn describe_failure(error: &AdvisedFailure) -> String {
    format!("the function fails: {}", error.failure.headline())
}

fn list_steps(steps: &[(StepId, StepKind)]) -> String {
    let each = steps.iter().map(|(step, kind)| format!("a {} `{step}`", kind_name(*kind)));
    each.collect::<Vec<_>>().join(", ")
}

/// Describes the first few steps that a handler requests.
fn list_wants(wants: &[Want]) -> String {
    const SHOWN: usize = 5;
    let first: Vec<String> = wants.iter().take(SHOWN).map(|want| format!("`{}`", want.step)).collect();
    match wants.len() {
        0 => "nothing".into(),
        n if n > SHOWN => format!("{} and {} more", first.join(", "), n - SHOWN),
        _ => first.join(", "),
    }
}
