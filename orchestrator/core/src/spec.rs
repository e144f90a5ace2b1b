//! The description of a function: id, triggers, retries, limits and flow control.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cron::{CronSchedule, LONGEST_JITTER};
use crate::event::{Event, NewEvent};
use crate::expr::{Expr, ExprError, ExprScope};
use crate::flow::FlowControl;
use crate::journal::RunOrigin;
use crate::label::{LABELS, LabelSpec, label_key_problem};
use crate::limits::name_problem;
use crate::retry::RetryPolicy;
use crate::sentence::shortened;
use crate::slot::Limit;
use crate::system;

/// The default timeout of a step.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// The prefix of the keys of limits that several functions share.
const SHARED: &str = "account/";

/// The description of a function: its id and all its settings.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The id of the function, such as `enhance-client-with-ai`.
    pub id: Arc<str>,
    /// The name of the function for people; `None` if the id serves as the name.
    pub name: Option<Arc<str>>,
    /// The events that start the function. A function without triggers starts only when another run
    /// calls it, or as the `on_failure` of another function.
    pub triggers: Vec<Trigger>,
    /// The cron schedule of the function.
    pub schedule: CronSchedule,
    /// The retries of the function's steps and of its handler.
    pub retry: RetryPolicy,
    /// The timeout of the function's steps.
    pub timeout: Duration,
    /// Limits on executing steps or on live runs of the function.
    pub concurrency: Vec<Concurrency>,
    /// The flow control of the function: whether and when an event starts a run.
    pub flow: FlowControl,
    /// The function that starts when a run of this one fails.
    pub on_failure: Option<Arc<str>>,
    /// An example event that starts the function, for people who want to try it out.
    pub example: Option<NewEvent>,
    /// The labels of the function's runs.
    pub labels: Vec<LabelSpec>,
}

/// An event that starts a function, with an optional condition.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The event's name.
    pub event: Arc<str>,
    /// A CEL expression over `event` that must be true for the event to start the function.
    pub condition: Option<Expr>,
}

/// A limit on executing steps or on live runs. With a key, each value of the key has its own limit.
#[derive(Clone, Debug)]
pub struct Concurrency {
    /// The maximum number of steps or runs at the same time.
    pub limit: u32,
    /// A CEL expression over `event`. Each of its values has its own slots.
    pub key: Option<Expr>,
    /// Whether the limit counts steps or runs.
    pub of: CountedUnit,
    /// The name under which several functions share the limit; `None` for a limit of one function.
    pub shared: Option<Arc<str>>,
}

/// What a concurrency limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountedUnit {
    /// Executing steps. A step that sleeps, waits or is about to be retried does not count.
    #[default]
    Steps,
    /// Live runs, from their first step to their end.
    Runs,
}

impl Concurrency {
    /// Creates a limit on the executing steps of a function.
    pub fn steps(limit: u32) -> Self {
        Self { limit, key: None, of: CountedUnit::Steps, shared: None }
    }

    /// Creates a limit on the live runs of a function.
    pub fn runs(limit: u32) -> Self {
        Self { of: CountedUnit::Runs, ..Self::steps(limit) }
    }
}

impl Spec {
    /// Creates a description with the defaults: 4 retries, 60 s per step, no limits.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            name: None,
            triggers: Vec::new(),
            schedule: CronSchedule::default(),
            retry: RetryPolicy::default(),
            timeout: STEP_TIMEOUT,
            concurrency: Vec::new(),
            flow: FlowControl::default(),
            on_failure: None,
            example: None,
            labels: Vec::new(),
        }
    }

    /// Returns what is wrong with the description, as a sentence; `None` if it is valid.
    pub fn problem(&self) -> Option<String> {
        if let Some(problem) = name_problem(&self.id) {
            return Some(format!("the id of function `{}` {problem}", self.id));
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
            if let Some(problem) = example.problem() {
                return Some(format!("the example of function `{id}`: {problem}"));
            }
        }
        if let Some(problem) = self.label_problem() {
            return Some(problem);
        }
        if let Some(problem) = self.flow.problem(self) {
            return Some(format!("function `{}` {problem}", self.id));
        }
        if self.schedule.jitter > LONGEST_JITTER {
            let (id, jitter) = (&self.id, self.schedule.jitter);
            return Some(format!("function `{id}` has a jitter of {jitter:?}; use at most {LONGEST_JITTER:?}"));
        }
        let trigger_problem = |name: &str| name_problem(name).or_else(|| system::trigger_problem(name));
        if let Some((name, problem)) =
            self.flow.cancel_on.iter().find_map(|c| Some((&c.event, trigger_problem(&c.event)?)))
        {
            return Some(format!("the event `{}` that cancels function `{}` {problem}", shortened(name), self.id));
        }
        self.triggers.iter().find_map(|t| {
            let problem = trigger_problem(&t.event)?;
            Some(format!("the trigger `{}` of function `{}` {problem}", shortened(&t.event), self.id))
        })
    }

    fn label_problem(&self) -> Option<String> {
        if self.labels.len() > LABELS {
            return Some(format!("function `{}` has {} labels; use at most {LABELS}", self.id, self.labels.len()));
        }
        self.labels.iter().enumerate().find_map(|(i, label)| {
            let is_repeated = self.labels[..i].iter().any(|other| other.key == label.key);
            let twice = || is_repeated.then(|| "is declared twice; declare it once".to_owned());
            let problem = label_key_problem(&label.key).or_else(twice)?;
            Some(format!("the label `{}` of function `{}` {problem}", shortened(&label.key), self.id))
        })
    }

    /// Returns the flow control of the function as phrases for lists, without concurrency limits.
    pub fn describe_flow(&self) -> Vec<String> {
        let ticks = (!self.schedule.lines.is_empty()).then(|| self.schedule.missed_ticks.description().to_owned());
        self.flow.describe().into_iter().chain(ticks).collect()
    }

    /// Returns whether the journal of a run records its admission by flow control. The journal
    /// records it if the run may be delayed just before it starts.
    pub fn records_admission(&self, origin: &RunOrigin) -> bool {
        *origin == RunOrigin::Cron || self.flow.throttle.is_some() || self.flow.rate_limit.is_some()
    }

    /// Returns whether an event starts this function.
    ///
    /// # Errors
    /// The evaluation of a condition failed, and no other condition was true.
    pub fn matches(&self, event: &Event, scope: &mut LazyExprScope<'_>) -> Result<bool, ExprError> {
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

    /// Returns the limits for the steps of a run of this event, in the order in which the limits
    /// are acquired (rule 25).
    ///
    /// # Errors
    /// The evaluation of a key's expression failed.
    pub fn limits(&self, scope: &mut LazyExprScope<'_>) -> Result<Vec<Limit>, ExprError> {
        self.limits_of(CountedUnit::Steps, scope)
    }

    /// Returns the limits for a run of this event as a whole, in the order in which the limits are
    /// acquired.
    ///
    /// # Errors
    /// The evaluation of a key's expression failed.
    pub fn run_limits(&self, scope: &mut LazyExprScope<'_>) -> Result<Vec<Limit>, ExprError> {
        self.limits_of(CountedUnit::Runs, scope)
    }

    fn limits_of(&self, of: CountedUnit, scope: &mut LazyExprScope<'_>) -> Result<Vec<Limit>, ExprError> {
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
        // the smallest limit first: a run that gets no slot there does not hold one that others
        // wait for
        limits.sort_by(|a, b| (a.slots, &a.key).cmp(&(b.slots, &b.key)));
        Ok(limits)
    }
}

/// Returns a sentence if functions share a limit but disagree on its size or on what it counts.
pub fn shared_limit_conflict<'a>(specs: impl Iterator<Item = &'a Spec>) -> Option<String> {
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

/// The CEL scope of an event. It is created on its first use, because most functions have no
/// expression.
pub struct LazyExprScope<'a> {
    event: &'a Event,
    scope: Option<ExprScope>,
}

impl<'a> LazyExprScope<'a> {
    /// Prepares the scope of this event without creating it.
    pub fn new(event: &'a Event) -> Self {
        Self { event, scope: None }
    }

    /// Returns the scope, and creates it on the first call.
    pub fn get(&mut self) -> &ExprScope {
        self.scope.get_or_insert_with(|| ExprScope::of(self.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_too_much_or_declared_twice_is_refused_by_name() {
        let with = |keys: &[&str]| {
            let value = Expr::compile("event.name").expect("an expression");
            let labels = keys.iter().map(|key| LabelSpec { key: (*key).into(), value: value.clone() }).collect();
            Spec { labels, ..Spec::new("f") }.problem()
        };
        assert_eq!(with(&["a", "b.c-d_E9"]), None);
        assert_eq!(
            with(&["a", "a"]).as_deref(),
            Some("the label `a` of function `f` is declared twice; declare it once")
        );
        assert!(with(&["a b"]).expect("refused").contains("the label `a b` of function `f` contains ` `"));
        assert!(
            with(&["1", "2", "3", "4", "5", "6", "7", "8", "9"]).expect("refused").contains("9 labels; use at most 8")
        );
    }

    #[test]
    fn an_id_that_a_url_path_cannot_contain_is_refused() {
        for id in [".", ".."] {
            let problem = Spec::new(id).problem().expect("refused");
            assert!(problem.contains(&format!("function `{id}`")) && problem.contains("choose another"), "{problem}");
        }
        for id in ["...", ".a", "a/b", "a b", "é", "%2e%2e", "?#&"] {
            assert_eq!(Spec::new(id).problem(), None, "{id}");
        }
    }
}
