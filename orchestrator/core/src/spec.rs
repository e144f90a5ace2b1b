//! What the engine knows of a function besides its code: id, triggers, retries, limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cron::{CronSchedule, LONGEST_JITTER};
use crate::event::{Event, NewEvent};
use crate::expr::{Expr, ExprError, Scope};
use crate::flow::FlowControl;
use crate::journal::Origin;
use crate::limits::name_problem;
use crate::retry::RetryPolicy;
use crate::sentence::shortened;
use crate::slot::Limit;
use crate::system;

/// A step's time-out unless it says otherwise.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// What the keys of limits that functions share begin with.
const SHARED: &str = "account/";

/// A function's description.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its id: `enhance-client-with-ai`.
    pub id: Arc<str>,
    /// What starts it. A function without triggers is started by `invoke` or as another's `on_failure` only.
    pub triggers: Vec<Trigger>,
    /// When it starts by itself.
    pub schedule: CronSchedule,
    /// Retries of its steps, and of the handler itself.
    pub retry: RetryPolicy,
    /// The time-out of its steps.
    pub timeout: Duration,
    /// Limits on how many of its steps execute, or of its runs live, at a time.
    pub concurrency: Vec<Concurrency>,
    /// Whether, when and together with what an event starts a run.
    pub flow: FlowControl,
    /// The function that is started when a run of this one fails.
    pub on_failure: Option<Arc<str>>,
    /// An event that starts it, for people who try it out.
    pub example: Option<NewEvent>,
}

/// An event name, with a condition or without, that starts a function.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The event's name.
    pub event: Arc<str>,
    /// A CEL expression over `event` that must be true.
    pub condition: Option<Expr>,
}

/// At most so many executing steps, or live runs; with a key, for each value of it.
#[derive(Clone, Debug)]
pub struct Concurrency {
    /// How many at a time.
    pub limit: u32,
    /// A CEL expression over `event`; each value of it has slots of its own.
    pub key: Option<Expr>,
    /// What is counted.
    pub of: CountedUnit,
    /// The name under which several functions share it; a limit without one is its function's own.
    pub shared: Option<Arc<str>>,
}

/// What a concurrency limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedUnit {
    /// Steps that execute. One that sleeps, waits or is about to be tried again does not.
    Steps,
    /// Runs, from their first step to their end.
    Runs,
}

impl Concurrency {
    /// At most so many executing steps of a function.
    pub fn steps(limit: u32) -> Self {
        Self { limit, key: None, of: CountedUnit::Steps, shared: None }
    }

    /// At most so many live runs of a function.
    pub fn runs(limit: u32) -> Self {
        Self { of: CountedUnit::Runs, ..Self::steps(limit) }
    }
}

impl Spec {
    /// A function with the defaults: 4 retries, 60 s for a step, no limits.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            triggers: Vec::new(),
            schedule: CronSchedule::default(),
            retry: RetryPolicy::default(),
            timeout: STEP_TIMEOUT,
            concurrency: Vec::new(),
            flow: FlowControl::default(),
            on_failure: None,
            example: None,
        }
    }

    /// What is wrong with the description, as a sentence; `None` when nothing is.
    pub fn problem(&self) -> Option<String> {
        if let Some(fault) = name_problem(&self.id) {
            return Some(format!("the id of function `{}` {fault}", self.id));
        }
        if matches!(&*self.id, "." | "..") {
            return Some(format!("the id of function `{}` cannot be part of a URL's path; choose another", self.id));
        }
        if let Some(c) = self.concurrency.iter().find(|c| c.limit == 0) {
            return Some(format!("function `{}` has a concurrency limit of {}; use at least 1", self.id, c.limit));
        }
        if let Some(name) = self.concurrency.iter().filter_map(|c| c.shared.as_ref()).find(|name| name.contains('/')) {
            return Some(format!("function `{}` shares the limit `{name}`; its name may hold no `/`", self.id));
        }
        if format!("{}/", self.id).starts_with(SHARED) && !self.concurrency.is_empty() {
            return Some(format!(
                "the limits of function `{}` would be called `{SHARED}…`, as shared ones are",
                self.id
            ));
        }
        if let Some(example) = &self.example {
            let (id, name) = (&self.id, &example.name);
            if !self.triggers.iter().any(|trigger| trigger.event == *name) {
                return Some(format!("the example of function `{id}` is an event `{name}`, which does not start it"));
            }
            if let Some(fault) = example.problem() {
                return Some(format!("the example of function `{id}`: {fault}"));
            }
        }
        if let Some(fault) = self.flow.problem(self) {
            return Some(format!("function `{}` {fault}", self.id));
        }
        if self.schedule.jitter > LONGEST_JITTER {
            let (id, jitter) = (&self.id, self.schedule.jitter);
            return Some(format!("function `{id}` has a jitter of {jitter:?}; use at most {LONGEST_JITTER:?}"));
        }
        let trigger_fault = |name: &str| name_problem(name).or_else(|| system::trigger_problem(name));
        if let Some((name, fault)) = self.flow.cancel_on.iter().find_map(|c| Some((&c.event, trigger_fault(&c.event)?)))
        {
            return Some(format!("the event `{}` that cancels function `{}` {fault}", shortened(name), self.id));
        }
        self.triggers.iter().find_map(|t| {
            let fault = trigger_fault(&t.event)?;
            Some(format!("the trigger `{}` of function `{}` {fault}", shortened(&t.event), self.id))
        })
    }

    /// What holds its runs up or drops them, besides concurrency limits, in words.
    pub fn describe_flow(&self) -> Vec<String> {
        let ticks = (!self.schedule.lines.is_empty()).then(|| self.schedule.missed_ticks.description().to_owned());
        self.flow.describe().into_iter().chain(ticks).collect()
    }

    /// Whether the journal is to say that flow control has let a run go: where it holds runs up that are about to start.
    pub fn records_admission(&self, origin: &Origin) -> bool {
        *origin == Origin::Cron || self.flow.throttle.is_some() || self.flow.rate_limit.is_some()
    }

    /// Whether an event starts this function.
    ///
    /// # Errors
    /// When a condition fails on the event; the others were false.
    pub fn matches(&self, event: &Event, scope: &mut LazyScope<'_>) -> Result<bool, ExprError> {
        let mut failed = None;
        for trigger in self.triggers.iter().filter(|t| t.event == event.name) {
            match trigger.condition.as_ref().map_or(Ok(true), |c| c.eval_bool(scope.get())) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(bad) => failed = Some(bad),
            }
        }
        failed.map_or(Ok(false), Err)
    }

    /// The limits that apply to the steps of a run of this event, in the order in which they are taken (rule 25).
    ///
    /// # Errors
    /// When a key's expression fails on the event.
    pub fn limits(&self, scope: &mut LazyScope<'_>) -> Result<Vec<Limit>, ExprError> {
        self.limits_of(CountedUnit::Steps, scope)
    }

    /// The limits that apply to a run of this event as a whole, in the order in which they are taken.
    ///
    /// # Errors
    /// When a key's expression fails on the event.
    pub fn run_limits(&self, scope: &mut LazyScope<'_>) -> Result<Vec<Limit>, ExprError> {
        self.limits_of(CountedUnit::Runs, scope)
    }

    fn limits_of(&self, of: CountedUnit, scope: &mut LazyScope<'_>) -> Result<Vec<Limit>, ExprError> {
        let mut limits = Vec::with_capacity(self.concurrency.len());
        for (i, concurrency) in self.concurrency.iter().enumerate().filter(|(_, c)| c.of == of) {
            let mut key = match &concurrency.shared {
                None => format!("{}/{i}", self.id),
                Some(name) => format!("{SHARED}{name}"),
            };
            if let Some(value) = &concurrency.key {
                key = format!("{key}/{}", value.eval_key(scope.get())?);
            }
            limits.push(Limit { key: key.into(), slots: concurrency.limit });
        }
        // the scarcest first: who is refused there has taken nothing that others wait for
        limits.sort_by(|a, b| (a.slots, &a.key).cmp(&(b.slots, &b.key)));
        Ok(limits)
    }
}

/// What is wrong with limits that functions share, as a sentence: they are to agree on how many of what.
pub fn conflict<'a>(specs: impl Iterator<Item = &'a Spec>) -> Option<String> {
    let mut known: BTreeMap<&str, (&Spec, &Concurrency)> = BTreeMap::new();
    let shared = |spec: &'a Spec| spec.concurrency.iter().map(move |limit| (spec, limit));
    for (spec, limit) in specs.flat_map(shared) {
        let Some(name) = &limit.shared else { continue };
        let (other, theirs) = *known.entry(name).or_insert((spec, limit));
        if (theirs.limit, theirs.of) != (limit.limit, limit.of) {
            return Some(format!(
                "functions `{}` and `{}` share the limit `{name}`, and do not agree on how many of what it allows",
                other.id, spec.id
            ));
        }
    }
    None
}

/// The scope of an event, made when the first expression asks for it: most functions have none.
pub struct LazyScope<'a> {
    event: &'a Event,
    scope: Option<Scope>,
}

impl<'a> LazyScope<'a> {
    /// The scope of this event, not made yet.
    pub fn new(event: &'a Event) -> Self {
        Self { event, scope: None }
    }

    /// The scope.
    pub fn get(&mut self) -> &Scope {
        self.scope.get_or_insert_with(|| Scope::of(self.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_no_path_can_hold_is_refused_by_name() {
        for id in [".", ".."] {
            let fault = Spec::new(id).problem().expect("refused");
            assert!(fault.contains(&format!("function `{id}`")) && fault.contains("choose another"), "{fault}");
        }
        for id in ["...", ".a", "a/b", "a b", "é", "%2e%2e", "?#&"] {
            assert_eq!(Spec::new(id).problem(), None, "{id}");
        }
    }
}
