//! The attributes of spans. `docs/observability.md` lists them.

use std::time::SystemTime;

use opentelemetry::trace::Event;
use opentelemetry::{KeyValue, Value};
use stepladder_core::journal::{Failure, RunOrigin};
use stepladder_core::report::Usage;
use stepladder_core::spans::{AttemptOutcome, StepEnd};
use stepladder_core::state::{RunOutcome, RunState};
use stepladder_core::{ErrorCode, StepKind};

/// The maximum length of an error message, in bytes.
pub(super) const MESSAGE_BYTES: usize = 4 * 1024;

/// The attributes of a span.
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    pub(super) fn of_run(run: &RunState) -> Self {
        let mut attributes = Self(Vec::with_capacity(12));
        attributes.add("stepladder.run.id", run.run.to_string());
        attributes.add("stepladder.function.id", run.created.function.to_string());
        attributes
    }

    pub(super) fn add(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(key, value));
    }

    pub(super) fn into_list(self) -> Vec<KeyValue> {
        self.0
    }

    pub(super) fn add_run(&mut self, run: &RunState, outcome: &RunOutcome) {
        let event = &run.created.event;
        self.add("stepladder.run.status", outcome.status().word());
        self.add("stepladder.event.id", event.id.to_string());
        self.add("stepladder.event.name", event.name.to_string());
        match &run.created.origin {
            RunOrigin::Event => self.add("stepladder.run.origin", "event"),
            RunOrigin::Cron => self.add("stepladder.run.origin", "cron"),
            RunOrigin::Invoke { parent, step } => {
                self.add("stepladder.run.origin", "invoke");
                self.add("stepladder.caller.run.id", parent.to_string());
                self.add("stepladder.caller.step.id", step.to_string());
            }
            RunOrigin::Failure { of } => {
                self.add("stepladder.run.origin", "failure");
                self.add("stepladder.failed.run.id", of.to_string());
            }
            RunOrigin::Rerun { of } => {
                self.add("stepladder.run.origin", "rerun");
                self.add("stepladder.original.run.id", of.to_string());
            }
        }
        if let Some(version) = &run.version {
            self.add("stepladder.function.version", version.to_string());
        }
        for label in &run.labels {
            self.0.push(KeyValue::new(format!("stepladder.label.{}", label.key), label.value.to_string()));
        }
        if let RunOutcome::Failed(failure) = outcome {
            self.add("error.type", error_type(failure));
        }
    }

    pub(super) fn add_step(&mut self, kind: StepKind, end: StepEnd<'_>) {
        let kind = match kind {
            StepKind::Run => "run",
            StepKind::Sleep => "sleep",
            StepKind::Send => "send",
            StepKind::Invoke => "invoke",
            StepKind::Event => "event",
            StepKind::Signal => "signal",
        };
        self.add("stepladder.step.kind", kind);
        self.add("stepladder.step.outcome", end.name());
        match end {
            StepEnd::Received(event) => self.add("stepladder.received.event.id", event.to_string()),
            StepEnd::Sent(events) => {
                self.add("messaging.batch.message_count", i64::try_from(events).unwrap_or(i64::MAX));
            }
            StepEnd::Failed(failure) => self.add("error.type", error_type(failure)),
            StepEnd::Succeeded | StepEnd::Expired | StepEnd::Abandoned => {}
        }
    }

    pub(super) fn add_attempt(&mut self, number: u32, end: AttemptOutcome<'_>) {
        self.add("stepladder.attempt.number", i64::from(number));
        self.add("stepladder.attempt.outcome", end.name());
        if let AttemptOutcome::Failed(failure, retry_at) = end {
            self.add("error.type", error_type(failure));
            self.add("stepladder.attempt.retried", retry_at.is_some());
        }
    }

    /// Adds the usage of a model. If an attempt has used several, returns an event for each,
    /// because an attribute has one value.
    pub(super) fn add_usage(&mut self, usage: &[Usage], at: SystemTime) -> Vec<Event> {
        match usage {
            [] => Vec::new(),
            [one] => {
                self.0.extend(gen_ai(one));
                Vec::new()
            }
            several => several.iter().map(|one| Event::new("gen_ai.usage", at, gen_ai(one), 0)).collect(),
        }
    }
}

/// Returns the attributes of the semantic conventions for generative AI.
fn gen_ai(usage: &Usage) -> Vec<KeyValue> {
    let tokens = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut attributes = vec![
        // the usage names the model as its service reports it
        KeyValue::new("gen_ai.request.model", usage.model.to_string()),
        KeyValue::new("gen_ai.response.model", usage.model.to_string()),
        KeyValue::new("gen_ai.usage.input_tokens", tokens(usage.input_tokens)),
        KeyValue::new("gen_ai.usage.output_tokens", tokens(usage.output_tokens)),
    ];
    if usage.cached_input_tokens > 0 {
        attributes.push(KeyValue::new("gen_ai.usage.cache_read.input_tokens", tokens(usage.cached_input_tokens)));
    }
    attributes.extend(usage.micro_dollars.map(|cost| KeyValue::new("stepladder.usage.micro_dollars", tokens(cost))));
    attributes
}

/// Returns a short text that identifies a kind of error.
pub(super) fn error_type(failure: &Failure) -> String {
    failure.code.as_ref().map(ErrorCode::as_str).or(failure.name.as_deref()).unwrap_or("error").to_owned()
}

/// Returns the name of a step: its id without the number of a repetition.
pub(super) fn step_name(id: &str) -> &str {
    match id.rsplit_once(':') {
        Some((name, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => id,
    }
}

/// Returns at most this many bytes of a text.
pub(super) fn truncated(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_step_has_no_number() {
        let names = ["call", "call:1", "call:x", "call:", "a:b:12"].map(step_name);
        assert_eq!(names, ["call", "call", "call:x", "call:", "a:b"]);
    }

    #[test]
    fn several_models_become_events() {
        let usage = [Usage::new("a").input_tokens(3), Usage::new("b").output_tokens(4).micro_dollars(9)];
        let mut attributes = Attributes(Vec::new());
        assert!(attributes.add_usage(&usage[..1], SystemTime::UNIX_EPOCH).is_empty());
        assert!(attributes.0.contains(&KeyValue::new("gen_ai.usage.input_tokens", 3)));
        let events = Attributes(Vec::new()).add_usage(&usage, SystemTime::UNIX_EPOCH);
        assert_eq!(events.len(), 2);
        assert!(events[1].attributes.contains(&KeyValue::new("stepladder.usage.micro_dollars", 9)));
    }
}
