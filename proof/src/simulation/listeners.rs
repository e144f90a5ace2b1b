//! A function triggered by the ends of runs. Each end is announced once per matching event name.
//! Runs started by such an announcement are not announced, and neither are the runs that they call.

use std::collections::HashMap;

use serde_json::{Value, json};
use stepladder_core::journal::{NewRun, RunOrigin};
use stepladder_core::state::RunOutcome;
use stepladder_core::system::{FUNCTION_FAILED, INNGEST_CANCELLED, INNGEST_FAILED, INNGEST_FINISHED, is_run_end_event};
use stepladder_core::{Event, EventId, RunId};
use stepladder_engine::ports::Listings;
use stepladder_sdk::prelude::{Context, Deserialize, Function, Result, Serialize};
use stepladder_sdk::{Event as Received, EventData};

use super::Simulation;
use super::functions::HELPER;
use super::invariants::{Violation, at_once, rows};
use super::tree::BodyEnvironment;

/// The id of the function that listens.
pub(super) const LISTENER: &str = "listener";

/// The data that the listener reads from an announced end.
#[derive(Serialize, Deserialize)]
struct EndedRunData {
    #[serde(alias = "runId")]
    run_id: RunId,
}

impl EventData for EndedRunData {
    const NAME: &'static str = "";
    const NAMES: &'static [&'static str] = &[FUNCTION_FAILED, INNGEST_FAILED, INNGEST_FINISHED, INNGEST_CANCELLED];
}

/// Creates the function. With `calls`, it also calls [`HELPER`].
pub(super) fn listener(place: &BodyEnvironment, calls: bool) -> Function {
    let place = place.clone();
    Function::new(LISTENER, move |ctx: Context, _: Received<EndedRunData>| {
        let account = place.account.clone();
        async move {
            let run = ctx.run_id();
            let n: Result<u32> = ctx
                .step("hear", async || {
                    let (n, executing) = account.begin(run, "hear");
                    executing.end();
                    Ok(n)
                })
                .await;
            if calls {
                let called: Result<Value> = ctx.invoke("call", HELPER, &json!({"n": 1})).await;
                drop(called);
            }
            n
        }
    })
}

impl Simulation {
    /// Checks that each end is announced exactly once.
    pub(super) fn check_announcements(&self) -> std::result::Result<(), Violation> {
        if self.allowed.listens == 0 {
            return Ok(());
        }
        let mut announced: HashMap<(RunId, String), Vec<EventId>> = HashMap::new();
        for event in at_once(self.memory.events(None, usize::MAX)) {
            if let Some(run) = announced_run(&event) {
                announced.entry((run, event.name.to_string())).or_default().push(event.id);
            }
        }
        // An announcement may be missing while the wake that will repeat it is pending.
        let may_be_missing = self.memory.wakes() > 0 || self.mishaps.losses > 0 || !self.letters.is_empty();
        for row in rows(&self.memory) {
            let Some(state) = self.state_of(row.run) else { continue };
            let Some(end) = &state.end else { continue };
            let wanted: &[&str] = match &end.how {
                _ if self.is_of_a_listener(&state.created) => &[],
                RunOutcome::Completed(_) => &[INNGEST_FINISHED],
                RunOutcome::Failed(_) => &[FUNCTION_FAILED, INNGEST_FAILED, INNGEST_FINISHED],
                RunOutcome::Cancelled(_) => &[INNGEST_CANCELLED, INNGEST_FINISHED],
                RunOutcome::Skipped(_) => &[],
            };
            for name in [FUNCTION_FAILED, INNGEST_FAILED, INNGEST_FINISHED, INNGEST_CANCELLED] {
                let events = announced.remove(&(row.run, name.to_owned())).unwrap_or_default();
                let is_right = match wanted.contains(&name) {
                    true => events.len() == 1 || (events.is_empty() && may_be_missing),
                    false => events.is_empty(),
                };
                if !is_right {
                    let (run, how, n) = (row.run, &end.how, events.len());
                    return Err(format!("`{name}` was sent {n} times for {run}, which ended as {how:?}"));
                }
                let Some(event) = events.first() else { continue };
                let heard = at_once(self.memory.runs_of(*event)).into_iter();
                let heard = heard.filter(|heard| *heard.function == *LISTENER && self.is_by_event(heard.run)).count();
                if heard > 1 || (heard == 0 && !may_be_missing) {
                    return Err(format!("`{name}` of {} started {heard} runs of `{LISTENER}`", row.run));
                }
            }
        }
        match announced.into_keys().next() {
            Some((run, name)) => Err(format!("`{name}` was sent for {run}, which has not ended")),
            None => Ok(()),
        }
    }

    fn is_by_event(&self, run: RunId) -> bool {
        self.state_of(run).is_some_and(|state| state.created.origin == RunOrigin::Event)
    }

    fn is_of_a_listener(&self, created: &NewRun) -> bool {
        let parent = match created.origin {
            RunOrigin::Invoke { parent, .. } => self.state_of(parent),
            _ => None,
        };
        is_run_end_event(&created.event.name) || parent.is_some_and(|parent| self.is_of_a_listener(&parent.created))
    }
}

fn announced_run(event: &Event) -> Option<RunId> {
    let told = is_run_end_event(&event.name).then(|| serde_json::from_str::<EndedRunData>(event.data.get()).ok());
    told.flatten().map(|EndedRunData { run_id }| run_id)
}
