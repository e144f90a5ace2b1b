//! What a live run is doing and waiting for, step by step, with what a person can do about it.

use serde_json::{Map, Value};
use stepladder_core::RunId;
use stepladder_core::retry::RetryPolicy;
use stepladder_core::waiting::{EventMatch, EventWait, field_path};
use stepladder_engine::view::{RunDetail, StepStatus, StepView};

use super::address::RunAddress;
use super::rows::step_name;
use super::to_come::UpcomingAttempts;
use crate::dashboard::text::{ShownTime, brief, sentence};

/// The maximum number of steps that are listed.
const STEPS: usize = 5;
/// The maximum size of a name and of an error, in bytes.
const NAME_BYTES: usize = 120;
const ERROR_BYTES: usize = 500;

/// A step that executes or waits.
pub(super) struct ActivityRow {
    /// The id of the row's element.
    pub(super) id: String,
    /// What the step does, before its name.
    pub(super) doing: &'static str,
    pub(super) link: String,
    pub(super) name: String,
    /// What follows the name.
    pub(super) detail: String,
    /// When the wait ends by itself.
    pub(super) due: Option<ShownTime>,
    /// The error because of which the step is retried.
    pub(super) error: Option<String>,
    /// The id of the step and the label of the button, if the wait can be skipped.
    pub(super) skip_wait: Option<(String, &'static str)>,
    pub(super) child: Option<RunId>,
    pub(super) answer: Option<AnswerForm>,
}

/// The form with which a person ends a wait for an event or a signal.
pub(super) enum AnswerForm {
    Event {
        /// The names of the events that end the wait.
        names: Vec<String>,
        /// The data, as far as the condition of the wait determines it.
        data: String,
        /// The part of the condition that the data may not meet yet.
        condition: Option<String>,
    },
    Signal {
        token: String,
    },
}

/// What a live run is doing.
#[derive(Default)]
pub(super) struct Activity {
    pub(super) rows: Vec<ActivityRow>,
    /// The number of further steps that execute or wait.
    pub(super) more: usize,
}

impl Activity {
    pub(super) fn of(run: &RunDetail, address: &RunAddress, retries: Option<&RetryPolicy>) -> Self {
        let mut live: Vec<(usize, &StepView)> =
            run.steps.iter().enumerate().filter(|(_, step)| rank(step.status).is_some()).collect();
        live.sort_by_key(|(n, step)| (rank(step.status), *n));
        let rows = live.iter().take(STEPS).map(|(n, step)| ActivityRow::of(*n, step, address, retries)).collect();
        Self { rows, more: live.len().saturating_sub(STEPS) }
    }
}

/// Returns the position of a status in the list: what a person can act on comes first. `None` if
/// the step does not execute and waits for nothing of its own.
fn rank(status: StepStatus) -> Option<u8> {
    match status {
        StepStatus::Awaiting => Some(0),
        StepStatus::Retrying => Some(1),
        StepStatus::Sleeping => Some(2),
        StepStatus::Invoking => Some(3),
        StepStatus::Running => Some(4),
        StepStatus::Scheduled | StepStatus::Completed | StepStatus::Failed | StepStatus::Abandoned => None,
    }
}

impl ActivityRow {
    fn of(n: usize, step: &StepView, address: &RunAddress, retries: Option<&RetryPolicy>) -> Self {
        let mut row = Self {
            id: format!("now-{n}"),
            doing: "",
            link: format!("{}#step", address.of_step(n)),
            name: brief(&step_name(step).0, NAME_BYTES),
            detail: String::new(),
            due: step.due.map(ShownTime::from_timestamp),
            error: None,
            skip_wait: None,
            child: step.child,
            answer: None,
        };
        match step.status {
            StepStatus::Retrying => {
                let last = step.attempts.last().and_then(|attempt| attempt.error.as_ref());
                let upcoming = UpcomingAttempts::of_step(step, retries, 1);
                row.doing = "Waiting to retry";
                row.detail = upcoming.map(|upcoming| format!(": {}", upcoming.which())).unwrap_or_default();
                row.error = last.map(|error| brief(&sentence(error), ERROR_BYTES));
                row.skip_wait = Some((step.id.to_string(), "Try now"));
            }
            StepStatus::Sleeping => {
                row.doing = "Sleeping in";
                row.skip_wait = Some((step.id.to_string(), "Skip the sleep"));
            }
            StepStatus::Awaiting => {
                row.doing = "Waiting in";
                let awaits = step.awaits.as_deref().unwrap_or("an event");
                row.detail = format!(" for {}", brief(awaits, ERROR_BYTES));
                row.answer = match (&step.token, &step.event_wait) {
                    (Some(token), _) => Some(AnswerForm::Signal { token: token.clone() }),
                    (None, Some(wait)) => Some(AnswerForm::of_event(wait)),
                    (None, None) => None,
                };
            }
            StepStatus::Invoking => {
                row.doing = "Waiting in";
                row.detail = " for the run".into();
            }
            _ => {
                row.doing = "Executing";
                let attempt = step.attempts.last();
                row.detail = attempt.map(|attempt| format!(", attempt {}", attempt.attempt)).unwrap_or_default();
            }
        }
        row
    }
}

impl AnswerForm {
    fn of_event(wait: &EventWait) -> Self {
        let mut data = Map::new();
        let mut conditions = Vec::new();
        fill_in(&wait.matching, &mut data, &mut conditions);
        Self::Event {
            names: wait.events.iter().map(|name| name.to_string()).collect(),
            data: serde_json::to_string_pretty(&Value::Object(data)).unwrap_or_else(|_| "{}".into()),
            condition: Some(conditions.join(" && ")).filter(|all| !all.is_empty()),
        }
    }
}

/// Adds the fields that a condition requires to the data, and other conditions to the list.
fn fill_in(matching: &EventMatch, data: &mut Map<String, Value>, conditions: &mut Vec<String>) {
    match matching {
        EventMatch::Any => {}
        EventMatch::All(each) => each.iter().for_each(|each| fill_in(each, data, conditions)),
        EventMatch::When(expression) => conditions.push(expression.to_string()),
        EventMatch::Field(field) => {
            let value = serde_json::from_str(&field.value).unwrap_or(Value::Null);
            let path: Vec<&str> = field_path(&field.path).split('.').collect();
            insert(data, &path, value);
        }
    }
}

fn insert(data: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [last] => _ = data.insert((*last).to_owned(), value),
        [first, rest @ ..] => {
            let inner = data.entry(*first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stepladder_core::waiting::EventField;

    use super::*;

    #[test]
    fn the_data_of_an_awaited_event_is_filled_in_from_the_condition() {
        let field = |path: &str, value: &str| EventMatch::Field(EventField { path: path.into(), value: value.into() });
        let matching =
            field("brief.id", "\"b1\"").and(field("ok", "true")).and(EventMatch::When("async.data.n > 3".into()));
        let wait = EventWait { events: vec![Arc::from("content/brief.decided")], matching };
        let AnswerForm::Event { names, data, condition } = AnswerForm::of_event(&wait) else { panic!("no event") };
        assert_eq!(names, ["content/brief.decided"]);
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(data, serde_json::json!({"brief": {"id": "b1"}, "ok": true}));
        assert_eq!(condition.as_deref(), Some("async.data.n > 3"));
    }
}
