//! What the engine knows of a function besides its code: id, triggers, retries, limits.

use std::sync::Arc;
use std::time::Duration;

use crate::cron::{LONGEST_JITTER, Schedule};
use crate::event::Event;
use crate::expr::{BadExpr, Expr, Scope};
use crate::limits::name_fault;
use crate::retry::RetryPolicy;
use crate::slot::Limit;

/// A step's time-out unless it says otherwise.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// A function's description.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its id: `enhance-client-with-ai`.
    pub id: Arc<str>,
    /// What starts it. A function without triggers is started by `invoke` or as another's `on_failure` only.
    pub triggers: Vec<Trigger>,
    /// When it starts by itself.
    pub schedule: Schedule,
    /// Retries of its steps, and of the handler itself.
    pub retry: RetryPolicy,
    /// The time-out of its steps.
    pub timeout: Duration,
    /// Limits on how many of its steps execute at a time.
    pub concurrency: Vec<Concurrency>,
    /// The function that is started when a run of this one fails.
    pub on_failure: Option<Arc<str>>,
}

/// An event name, with a condition or without, that starts a function.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The event's name.
    pub event: Arc<str>,
    /// A CEL expression over `event` that must be true.
    pub condition: Option<Expr>,
}

/// At most so many executing steps of a function; with a key, for each value of it.
#[derive(Clone, Debug)]
pub struct Concurrency {
    /// How many at a time.
    pub limit: u32,
    /// A CEL expression over `event`; each value of it has slots of its own.
    pub key: Option<Expr>,
}

impl Spec {
    /// A function with the defaults: 4 retries, 60 s for a step, no limits.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            triggers: Vec::new(),
            schedule: Schedule::default(),
            retry: RetryPolicy::default(),
            timeout: STEP_TIMEOUT,
            concurrency: Vec::new(),
            on_failure: None,
        }
    }

    /// What is wrong with the description, as a sentence; `None` when nothing is.
    pub fn fault(&self) -> Option<String> {
        if let Some(fault) = name_fault(&self.id) {
            return Some(format!("the id of function `{}` {fault}", self.id));
        }
        if let Some(c) = self.concurrency.iter().find(|c| c.limit == 0) {
            return Some(format!("function `{}` has a concurrency limit of {}; use at least 1", self.id, c.limit));
        }
        if self.schedule.jitter > LONGEST_JITTER {
            let (id, jitter) = (&self.id, self.schedule.jitter);
            return Some(format!("function `{id}` has a jitter of {jitter:?}; use at most {LONGEST_JITTER:?}"));
        }
        self.triggers
            .iter()
            .find_map(|t| name_fault(&t.event).map(|fault| format!("a trigger of function `{}` {fault}", self.id)))
    }

    /// Whether an event starts this function.
    ///
    /// # Errors
    /// When a condition fails on the event; the others were false.
    pub fn matches(&self, event: &Event, scope: &mut LazyScope<'_>) -> Result<bool, BadExpr> {
        let mut failed = None;
        for trigger in self.triggers.iter().filter(|t| t.event == event.name) {
            match trigger.condition.as_ref().map_or(Ok(true), |c| c.is_true(scope.get())) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(bad) => failed = Some(bad),
            }
        }
        failed.map_or(Ok(false), Err)
    }

    /// The limits that apply to a run of this event, in the order in which they are taken (rule 25).
    ///
    /// # Errors
    /// When a key's expression fails on the event.
    pub fn limits(&self, scope: &mut LazyScope<'_>) -> Result<Vec<Limit>, BadExpr> {
        let mut limits = Vec::with_capacity(self.concurrency.len());
        for (i, concurrency) in self.concurrency.iter().enumerate() {
            let key: Arc<str> = match &concurrency.key {
                None => format!("{}/{i}", self.id).into(),
                Some(key) => format!("{}/{i}/{}", self.id, key.text(scope.get())?).into(),
            };
            limits.push(Limit { key, slots: concurrency.limit });
        }
        // the scarcest first: who is refused there has taken nothing that others wait for
        limits.sort_by(|a, b| (a.slots, &a.key).cmp(&(b.slots, &b.key)));
        Ok(limits)
    }
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

    fn get(&mut self) -> &Scope {
        self.scope.get_or_insert_with(|| Scope::of(self.event))
    }
}
