//! What bodies were executed: written down by the bodies themselves, independent of any journal.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use stepladder_core::{RunId, StepId};

/// A step of a run.
pub(crate) type Body = (RunId, StepId);

/// The account, shared by all bodies.
#[derive(Clone, Default)]
pub(crate) struct Account(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    /// How often each body was begun.
    begun: HashMap<Body, u32>,
    /// Those that came to their end at least once.
    ended: HashSet<Body>,
    /// What is being executed; a body as often as it is.
    now: Vec<Body>,
}

/// A body that is being executed, until it is dropped.
pub(crate) struct Executing {
    account: Account,
    body: Body,
}

impl Executing {
    /// The body came to its end.
    pub(crate) fn end(&self) {
        self.account.0.lock().expect("no panic").ended.insert(self.body.clone());
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        let now = &mut self.account.0.lock().expect("no panic").now;
        let at = now.iter().position(|body| *body == self.body).expect("begun");
        now.swap_remove(at);
    }
}

impl Account {
    /// A body begins; tells how often it has, from 1.
    pub(crate) fn begin(&self, run: RunId, step: &str) -> (u32, Executing) {
        let body = (run, StepId::from(step));
        let mut entries = self.0.lock().expect("no panic");
        entries.now.push(body.clone());
        let count = entries.begun.entry(body.clone()).or_default();
        *count += 1;
        (*count, Executing { account: self.clone(), body })
    }

    /// How often a body was begun.
    pub(crate) fn executions(&self, body: &Body) -> u32 {
        self.0.lock().expect("no panic").begun.get(body).copied().unwrap_or(0)
    }

    /// Whether a body came to its end.
    pub(crate) fn has_ended(&self, run: RunId, step: &str) -> bool {
        self.0.lock().expect("no panic").ended.contains(&(run, StepId::from(step)))
    }

    /// The bodies of a run and how often they were begun.
    pub(crate) fn of_run(&self, run: RunId) -> Vec<(StepId, u32)> {
        let entries = self.0.lock().expect("no panic");
        let of_run = entries.begun.iter().filter(|((of, _), _)| *of == run);
        of_run.map(|((_, step), count)| (step.clone(), *count)).collect()
    }

    /// Bodies that are being executed at this moment.
    pub(crate) fn executing(&self) -> Vec<Body> {
        self.0.lock().expect("no panic").now.clone()
    }

    /// Whether a body is being executed.
    pub(crate) fn executes(&self, run: RunId, step: &StepId) -> bool {
        self.0.lock().expect("no panic").now.iter().any(|(of, body)| *of == run && body == step)
    }

    /// Bodies that are being executed more than once at this moment.
    pub(crate) fn twice(&self) -> Vec<Body> {
        let entries = self.0.lock().expect("no panic");
        let mut seen = HashSet::new();
        entries.now.iter().filter(|body| !seen.insert(*body)).cloned().collect()
    }
}
