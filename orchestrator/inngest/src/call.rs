//! The body of a call: the event, the outcomes of steps, and what the app must know of the attempt.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::system::{FUNCTION_FAILED, FUNCTION_INVOKED, INNGEST_FAILED};
use stepladder_core::{Event, Json, Outcome, RunId, RunState, StepId, StepKind, Timestamp, json as values};
use stepladder_engine::executor::RunView;

use crate::failure::error_of;
use crate::step_id::hash_of;

/// The version of the wire format.
const VERSION: u8 = 1;
/// The maximum size of a call's body, as Inngest has it. In a larger call, the app requests the
/// events and the outcomes with separate requests.
const BODY_BYTES: usize = 4 * 1024 * 1024;
/// The id of the step that stands for the whole function.
pub(crate) const WHOLE: &str = "step";
/// The name of the event of a cron tick.
const TICK: &str = "stepladder/cron.tick";
const INNGEST_TICK: &str = "inngest/scheduled.timer";
const INNGEST_INVOKED: &str = "inngest/function.invoked";

/// What an app knows of a run: its events, and the outcomes that were revealed.
pub(crate) struct CalledRun {
    run: RunId,
    function: String,
    events: Vec<CallEvent>,
    /// The outcome of each step, by the hash of its id.
    steps: BTreeMap<String, Json>,
    /// The hashes in the order in which the steps ended.
    stack: Vec<String>,
}

/// The attempt that a call executes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallAttempt {
    /// The number of attempts that failed before.
    pub(crate) failures: u32,
    /// The number of attempts that may fail.
    pub(crate) max_failures: u32,
    /// Whether the app may execute a step that it finds. Otherwise it lists the step.
    pub(crate) executes: bool,
    /// The number of the call under which the app may record outcomes while it executes further
    /// steps.
    pub(crate) checkpoints: Option<u32>,
}

#[derive(Serialize)]
struct CallEvent {
    id: String,
    name: String,
    data: Json,
    ts: Timestamp,
    user: Json,
}

#[derive(Serialize)]
struct CallBody<'a> {
    version: u8,
    event: &'a CallEvent,
    events: &'a [CallEvent],
    steps: &'a BTreeMap<String, Json>,
    use_api: bool,
    ctx: CallContext<'a>,
}

#[derive(Serialize)]
struct CallContext<'a> {
    fn_id: &'a str,
    run_id: String,
    env: &'static str,
    step_id: &'a str,
    attempt: u32,
    max_attempts: u32,
    stack: CallStack<'a>,
    /// If it is empty, checkpointing is off.
    qi_id: String,
    disable_immediate_execution: bool,
    use_api: bool,
}

#[derive(Serialize)]
struct CallStack<'a> {
    stack: &'a [String],
    current: usize,
}

impl CallEvent {
    fn of(event: &Event) -> Self {
        let Event { id, name, data, ts, user, external_id, .. } = event;
        // the names that SDKs know
        let name = match &**name {
            FUNCTION_INVOKED => INNGEST_INVOKED,
            FUNCTION_FAILED => INNGEST_FAILED,
            TICK => INNGEST_TICK,
            other => other,
        };
        // code reads it without a check
        let user = user.clone().unwrap_or_else(values::empty_object);
        let id = external_id.as_deref().map_or_else(|| id.to_string(), str::to_owned);
        Self { id, name: name.to_owned(), data: data.clone(), ts: *ts, user }
    }
}

impl CalledRun {
    pub(crate) fn new(function: &str, run: &RunView) -> Self {
        let events = std::iter::once(&*run.event).chain(&run.joined).map(CallEvent::of).collect();
        Self { run: run.run, function: function.to_owned(), events, steps: BTreeMap::new(), stack: Vec::new() }
    }

    /// Returns what the call in progress, or the next call, passes to an app.
    pub(crate) fn of_state(run: &RunState) -> Self {
        let mut called = Self::new(&run.created.function, &RunView::of(run));
        let passed = run.call.as_ref().map_or(run.outcomes.len(), |call| call.outcomes);
        run.outcomes.iter().take(passed).for_each(|revealed| called.reveal(revealed));
        called
    }

    /// Returns the events as JSON.
    pub(crate) fn events_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.events)
    }

    /// Returns the outcomes of the steps as JSON, by the hashes of their ids.
    pub(crate) fn steps_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.steps)
    }

    /// Adds the outcome of a step, after all earlier ones.
    pub(crate) fn reveal(&mut self, revealed: &RevealedOutcome) {
        let hash = hash_of(&revealed.step);
        let memo = match (&revealed.outcome, revealed.kind) {
            // an event and the null of a sleep are not nested; a signal is already
            (Outcome::Value(value), StepKind::Sleep | StepKind::Event | StepKind::Signal) => Ok(value.clone()),
            (Outcome::Value(value), StepKind::Run | StepKind::Send | StepKind::Invoke) => {
                values::to_json(&BTreeMap::from([("data", value)]))
            }
            (Outcome::Failed(failure), _) => values::to_json(&json!({ "error": error_of(failure) })),
        };
        if self.steps.insert(hash.clone(), memo.unwrap_or_else(|_| values::null())).is_none() {
            self.stack.push(hash);
        }
    }

    /// Returns whether any outcome was revealed.
    pub(crate) fn has_outcomes(&self) -> bool {
        !self.stack.is_empty()
    }

    /// Returns the body of a call for a step, or for the whole function. `step` is a hash or
    /// [`WHOLE`]. If the body would be too large, the app must request its larger parts.
    pub(crate) fn body(&self, step: &str, attempt: CallAttempt) -> serde_json::Result<Vec<u8>> {
        let whole = self.body_of(step, attempt, &self.events, &self.steps, false)?;
        match whole.len() > BODY_BYTES {
            true => self.body_of(step, attempt, &[], &BTreeMap::new(), true),
            false => Ok(whole),
        }
    }

    /// Returns the body of a call that makes the function end if it does not wait for these steps.
    /// They have a state but no outcome, so the SDK neither lists nor executes them. Returns `None`
    /// if the body would be too large.
    pub(crate) fn body_without(&self, open: &[StepId], attempt: CallAttempt) -> serde_json::Result<Option<Vec<u8>>> {
        let mut steps = self.steps.clone();
        let no_outcome = values::to_json(&json!({ "type": "input", "input": null }))?;
        for step in open {
            steps.entry(hash_of(step)).or_insert_with(|| no_outcome.clone());
        }
        let body = self.body_of(WHOLE, attempt, &self.events, &steps, false)?;
        Ok(Some(body).filter(|body| body.len() <= BODY_BYTES))
    }

    fn body_of(
        &self,
        step: &str,
        attempt: CallAttempt,
        events: &[CallEvent],
        steps: &BTreeMap<String, Json>,
        use_api: bool,
    ) -> serde_json::Result<Vec<u8>> {
        let CallAttempt { failures, max_failures, executes, checkpoints } = attempt;
        let Some(event) = self.events.first() else { return Ok(Vec::new()) };
        serde_json::to_vec(&CallBody {
            version: VERSION,
            event,
            events,
            steps,
            use_api,
            ctx: CallContext {
                fn_id: &self.function,
                run_id: self.run.to_string(),
                env: "dev",
                step_id: step,
                attempt: failures,
                max_attempts: max_failures,
                stack: CallStack { stack: &self.stack, current: self.stack.len() },
                qi_id: checkpoints.map(|call| call.to_string()).unwrap_or_default(),
                disable_immediate_execution: !executes,
                use_api,
            },
        })
    }
}
