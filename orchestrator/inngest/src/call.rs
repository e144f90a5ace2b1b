//! The body of a call: the event, the outcomes of steps, and what the app must know of the attempt.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::system::{FUNCTION_FAILED, FUNCTION_INVOKED, INNGEST_FAILED};
use stepladder_core::{Event, Json, Outcome, RunId, StepKind, Timestamp, json as values};
use stepladder_engine::executor::RunView;

use crate::failure::error_of;
use crate::step_id::hash_of;

/// The version of the wire format.
const VERSION: u8 = 1;
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
}

#[derive(Serialize)]
struct CallEvent {
    id: String,
    name: String,
    data: Json,
    ts: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Json>,
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
    /// It is empty, which turns checkpointing off.
    qi_id: &'static str,
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
        let id = external_id.as_deref().map_or_else(|| id.to_string(), str::to_owned);
        Self { id, name: name.to_owned(), data: data.clone(), ts: *ts, user: user.clone() }
    }
}

impl CalledRun {
    pub(crate) fn new(function: &str, run: &RunView) -> Self {
        let events = std::iter::once(&*run.event).chain(&run.joined).map(CallEvent::of).collect();
        Self { run: run.run, function: function.to_owned(), events, steps: BTreeMap::new(), stack: Vec::new() }
    }

    /// Adds the outcome of a step, after all earlier ones.
    pub(crate) fn reveal(&mut self, revealed: &RevealedOutcome) {
        let hash = hash_of(&revealed.step);
        let memo = match (&revealed.outcome, revealed.kind) {
            // an event and the null of a sleep are not nested
            (Outcome::Value(value), StepKind::Sleep | StepKind::Event) => Ok(value.clone()),
            (Outcome::Value(value), StepKind::Run | StepKind::Send | StepKind::Invoke | StepKind::Signal) => {
                values::to_json(&BTreeMap::from([("data", value)]))
            }
            (Outcome::Failed(failure), _) => values::to_json(&json!({ "error": error_of(failure) })),
        };
        if self.steps.insert(hash.clone(), memo.unwrap_or_else(|_| values::null())).is_none() {
            self.stack.push(hash);
        }
    }

    /// Returns the body of a call for a step, or for the whole function. `step` is a hash or
    /// [`WHOLE`].
    pub(crate) fn body(&self, step: &str, attempt: CallAttempt) -> serde_json::Result<Vec<u8>> {
        let CallAttempt { failures, max_failures, executes } = attempt;
        let Some(event) = self.events.first() else { return Ok(Vec::new()) };
        serde_json::to_vec(&CallBody {
            version: VERSION,
            event,
            events: &self.events,
            steps: &self.steps,
            use_api: false,
            ctx: CallContext {
                fn_id: &self.function,
                run_id: self.run.to_string(),
                env: "dev",
                step_id: step,
                attempt: failures,
                max_attempts: max_failures,
                stack: CallStack { stack: &self.stack, current: self.stack.len() },
                qi_id: "",
                disable_immediate_execution: !executes,
                use_api: false,
            },
        })
    }
}
