//! What a test says of steps, and what it may ask about them afterwards.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepladder_core::{Json, RunId, StepId};
use stepladder_engine::program::Fault;

/// What a test says of all steps.
#[derive(Default)]
pub(super) struct Script {
    steps: HashMap<String, Mock>,
    seen: Mutex<Seen>,
}

/// What a test says of one step.
#[derive(Clone, Default)]
pub(super) struct Mock {
    pub(super) value: Option<Json>,
    /// So many attempts fail, with this.
    pub(super) fails: Option<(u32, Fault)>,
    pub(super) hangs: bool,
}

/// What happens to an attempt.
pub(super) enum Attempt {
    /// Its body runs.
    Real,
    /// It ends at once.
    Ends(Result<Json, Fault>),
    /// It never ends.
    Hangs,
}

#[derive(Default)]
struct Seen {
    executions: HashMap<(RunId, StepId), u32>,
    /// Bodies that run now, and handlers that are being polled.
    active: HashSet<(RunId, StepId)>,
    advancing: usize,
}

impl Script {
    pub(super) fn of(&mut self, step: &str) -> &mut Mock {
        self.steps.entry(step.to_owned()).or_default()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt begins.
    pub(super) fn begin(&self, run: RunId, step: &StepId) -> Attempt {
        let mut seen = self.seen();
        let executions = seen.executions.entry((run, step.clone())).or_default();
        *executions += 1;
        let attempt = *executions;
        let mock = self.steps.get(&**step).or_else(|| self.steps.get(name(step)));
        match mock {
            Some(Mock { fails: Some((times, fault)), .. }) if attempt <= *times => Attempt::Ends(Err(fault.clone())),
            Some(Mock { hangs: true, .. }) => Attempt::Hangs,
            Some(Mock { value: Some(value), .. }) => Attempt::Ends(Ok(value.clone())),
            Some(Mock { .. }) | None => {
                seen.active.insert((run, step.clone()));
                Attempt::Real
            }
        }
    }

    /// A body is over.
    pub(super) fn end(&self, run: RunId, step: &StepId) {
        self.seen().active.remove(&(run, step.clone()));
    }

    /// A handler is being polled, until the answer is dropped.
    pub(super) fn advancing(&self) -> Advancing<'_> {
        self.seen().advancing += 1;
        Advancing(self)
    }

    /// Whether code of the functions runs now.
    pub(super) fn is_active(&self) -> bool {
        let seen = self.seen();
        seen.advancing > 0 || !seen.active.is_empty()
    }

    /// The bodies that run now.
    pub(super) fn active(&self) -> Vec<String> {
        let mut steps: Vec<_> = self.seen().active.iter().map(|(_, step)| step.to_string()).collect();
        steps.sort();
        steps
    }

    /// How often each step of a run was executed.
    pub(super) fn executions(&self, run: RunId) -> HashMap<String, u32> {
        let seen = self.seen();
        let of_run = seen.executions.iter().filter(|((of, _), _)| *of == run);
        of_run.map(|((_, step), times)| (step.to_string(), *times)).collect()
    }
}

pub(super) struct Advancing<'s>(&'s Script);

impl Drop for Advancing<'_> {
    fn drop(&mut self) {
        self.0.seen().advancing -= 1;
    }
}

/// A step's name without the number of its repetition.
fn name(id: &str) -> &str {
    match id.rsplit_once(':') {
        Some((name, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => id,
    }
}
