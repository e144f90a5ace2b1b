//! Whether a run that was recorded replays under other code: before a deploy, not during one.
//!
//! The journal is gone through from its beginning. At each entry that only a handler can have asked
//! for, the handler is shown the outcomes before it, and must ask for the same. No body is run,
//! nothing is written. What a function returns is not compared: nothing replays what has ended.
//!
//! The check is strict. It also reports a new step at a point that the run has already passed. Such
//! a run would continue under the new code, run the step late and keep what is recorded. Whether
//! that is right depends on the function.

use std::sync::Arc;

use stepladder_core::decide::{Want, kind_name};
use stepladder_core::journal::{Entry, Fact, Record, Seq, StepKind};
use stepladder_core::state::{CorruptJournal, RunState};
use stepladder_core::version::compare_versions;
use stepladder_core::{RunId, StepId};

use crate::program::{AdvisedFailure, PollResult, Program, RunHistory, Session};

/// Where a run and the code part, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The entry at which it shows; `None` where it is none of them.
    pub at: Option<Seq>,
    /// A sentence.
    pub why: String,
}

/// Replays a run's entries, from 0 on, under the code; gives the first place where they part.
///
/// # Errors
/// [`CorruptJournal`] when the entries are no journal.
pub async fn divergence(
    programs: &[Arc<dyn Program>],
    run: RunId,
    entries: &[Entry],
) -> Result<Option<Divergence>, CorruptJournal> {
    let record = |seq: Seq, entry: &Entry| Record { seq, token: 0, code: "".into(), entries: vec![entry.clone()] };
    let (first, rest) = entries.split_first().ok_or(CorruptJournal::NoBeginning(run))?;
    let mut state = RunState::fold(run, &[record(0, first)])?;
    let function = state.created.function.clone();
    let taken = entries.iter().find_map(|entry| match &entry.fact {
        Fact::VersionChosen { version } => Some(version.clone()),
        _ => None,
    });
    // its own version, while that is registered; else the newest, as the engine does
    let all = programs.iter().filter(|program| program.spec().id == function);
    let newest = all.clone().max_by(|a, b| compare_versions(a.version(), b.version()));
    let own = all.into_iter().find(|program| program.version() == taken.as_deref());
    let Some(program) = own.or(newest) else {
        let why = format!("function `{function}` is not in this build; its runs wait until it is");
        return Ok(state_is_live(entries).then_some(Divergence { at: None, why }));
    };
    let mut replay = Replay { program, session: None };
    for (seq, entry) in (1..).zip(rest) {
        if let Some(why) = replay.mismatch(&state, entry).await {
            return Ok(Some(Divergence { at: Some(seq), why }));
        }
        let known = state.outcomes.len();
        state.extend(&record(seq, entry))?;
        replay.advance_past(&state, known, entry);
    }
    Ok(replay.tip_mismatch(&state).await.map(|why| Divergence { at: None, why }))
}

fn state_is_live(entries: &[Entry]) -> bool {
    !entries.iter().any(|entry| entry.fact.is_end())
}

struct Replay<'p> {
    program: &'p Arc<dyn Program>,
    /// Opened when it is first needed, and anew for each attempt of the handler.
    session: Option<Box<dyn Session>>,
}

impl Replay<'_> {
    /// Whether the code, after what the state holds, does not ask for what an entry says that it
    /// asked for.
    async fn mismatch(&mut self, state: &RunState, entry: &Entry) -> Option<String> {
        if let Fact::RunCompleted { .. } = entry.fact {
            return match self.advance(state).await {
                Ok(PollResult::Wanted(wants)) => {
                    Some(format!("the run has completed here; the code goes on and asks for {}", listed(&wants)))
                }
                Ok(PollResult::Ended(Err(fault))) => Some(format!("the run has completed here; {}", fails(&fault))),
                Ok(PollResult::Ended(Ok(_))) => self.orphans(state),
                Err(why) => Some(why),
            };
        }
        let asked = asked_for(&entry.fact);
        if asked.is_empty() {
            return None;
        }
        let wants = match self.advance(state).await {
            Ok(PollResult::Wanted(wants)) => wants,
            Ok(PollResult::Ended(Ok(_))) => {
                return Some(format!("the journal goes on with {}; the function returns before it", named(&asked)));
            }
            Ok(PollResult::Ended(Err(fault))) => {
                return Some(format!("the journal goes on with {}; {}", named(&asked), fails(&fault)));
            }
            Err(why) => return Some(why),
        };
        for (step, kind) in asked {
            match wants.iter().find(|want| want.step == step) {
                Some(want) if want.operation.kind() == kind => {}
                Some(want) => return Some(other_kind(want, kind)),
                None => {
                    return Some(format!(
                        "the journal goes on with {}; the code asks for {}: the one was removed, renamed or moved, or the \
                         other is new",
                        named(&[(step, kind)]),
                        listed(&wants)
                    ));
                }
            }
        }
        None
    }

    /// Shows the session what an entry has recorded.
    fn advance_past(&mut self, state: &RunState, known: usize, entry: &Entry) {
        if let Fact::HandlerFailed { .. } = entry.fact {
            self.session = None; // its next attempt begins from the beginning
        }
        if let Some(session) = &mut self.session {
            state.outcomes[known..].iter().for_each(|outcome| session.reveal(outcome.clone()));
        }
    }

    /// Whether a live run cannot go on where it stands.
    async fn tip_mismatch(&mut self, state: &RunState) -> Option<String> {
        if state.end.is_some() {
            return None;
        }
        match self.advance(state).await {
            Ok(PollResult::Wanted(wants)) => wants.iter().find_map(|want| {
                let kind = state.steps.get(&want.step)?.kind;
                (kind != want.operation.kind()).then(|| other_kind(want, kind))
            }),
            Ok(PollResult::Ended(Ok(_))) => self.orphans(state),
            Ok(PollResult::Ended(Err(fault))) if is_of_changed_code(&fault) => Some(fails(&fault)),
            Ok(PollResult::Ended(Err(_))) => None, // as it may have before
            Err(why) => Some(why),
        }
    }

    fn orphans(&self, state: &RunState) -> Option<String> {
        let orphans = self.session.as_ref()?.orphans();
        // a signal may come that nobody ever waits for
        let is_lost = |step: &&StepId| state.steps.get(*step).is_none_or(|step| step.kind != StepKind::Signal);
        let lost: Vec<String> = orphans.iter().filter(is_lost).map(|step| format!("`{step}`")).collect();
        (!lost.is_empty())
            .then(|| format!("the code does not ask for what is recorded of {} any more", lost.join(", ")))
    }

    async fn advance(&mut self, state: &RunState) -> Result<PollResult, String> {
        if self.session.is_none() {
            let history = RunHistory {
                run: state.run,
                secret: state.secret,
                attempt: state.handler_attempt(),
                event: Arc::new(state.created.event.clone()),
                joined: state.joined.clone(),
                created_at: state.created_at,
                outcomes: state.outcomes.clone(),
            };
            let opened = self.program.open(history);
            self.session = Some(opened.map_err(|failure| format!("the event does not fit: {}", failure.message))?);
        }
        match &mut self.session {
            Some(session) => Ok(session.advance().await),
            None => Err("the function cannot be opened".into()),
        }
    }
}

/// The steps that only a handler that asks for them can have begun.
fn asked_for(fact: &Fact) -> Vec<(StepId, StepKind)> {
    match fact {
        Fact::StepsWoken { steps } => steps.iter().map(|step| (step.clone(), StepKind::Run)).collect(),
        Fact::StepStarted { step, .. } => vec![(step.clone(), StepKind::Run)],
        Fact::SleepStarted { step, .. } => vec![(step.clone(), StepKind::Sleep)],
        Fact::EventsSent { step, .. } => vec![(step.clone(), StepKind::Send)],
        Fact::InvokeStarted { step, .. } => vec![(step.clone(), StepKind::Invoke)],
        Fact::EventAwaited { step, .. } => vec![(step.clone(), StepKind::Event)],
        Fact::SignalAwaited { step, .. } => vec![(step.clone(), StepKind::Signal)],
        _ => Vec::new(),
    }
}

fn is_of_changed_code(fault: &AdvisedFailure) -> bool {
    matches!(fault.failure.code.as_deref(), Some("nondeterminism" | "undecodable-memo"))
}

fn fails(fault: &AdvisedFailure) -> String {
    format!("the function fails: {}", fault.failure.message)
}

fn other_kind(want: &Want, recorded: StepKind) -> String {
    format!(
        "the journal holds a {} under `{}`, the code at {} asks for a {}; give the new step another name",
        kind_name(recorded),
        want.step,
        want.at,
        kind_name(want.operation.kind())
    )
}

fn named(steps: &[(StepId, StepKind)]) -> String {
    let each = steps.iter().map(|(step, kind)| format!("a {} `{step}`", kind_name(*kind)));
    each.collect::<Vec<_>>().join(", ")
}

/// What a handler asks for, the first few of it.
fn listed(wants: &[Want]) -> String {
    const SHOWN: usize = 5;
    let first: Vec<String> = wants.iter().take(SHOWN).map(|want| format!("`{}`", want.step)).collect();
    match wants.len() {
        0 => "nothing".into(),
        n if n > SHOWN => format!("{} and {} more", first.join(", "), n - SHOWN),
        _ => first.join(", "),
    }
}
