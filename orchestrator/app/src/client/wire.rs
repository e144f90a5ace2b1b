//! The JSON of the HTTP API, as far as the commands read and write it. Fields that a command does not show are left
//! out, so that a newer server's additions do no harm.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stepladder_core::journal::Origin;
use stepladder_core::spec::Counted;
use stepladder_core::{EventId, RunId, Status};

/// The envelope of an answer.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Data<T> {
    pub(crate) data: T,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<String>,
}

/// A page of a journal.
#[derive(Debug, Deserialize)]
pub(crate) struct Entries {
    pub(crate) data: Vec<Entry>,
    #[serde(default)]
    pub(crate) next: Option<u64>,
}

/// An entry; what it says stays text.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) fact: Box<RawValue>,
}

/// The answer to an event.
#[derive(Debug, Deserialize)]
pub(crate) struct Sent {
    pub(crate) ids: Vec<EventId>,
}

/// The answer to what cannot be done.
#[derive(Debug, Deserialize)]
pub(crate) struct Refused {
    pub(crate) error: String,
}

/// The answer to a cancel or a rerun.
#[derive(Debug, Deserialize)]
pub(crate) struct Told {
    pub(crate) run_id: RunId,
    #[serde(default)]
    pub(crate) status: Option<Status>,
}

/// The answer to a pause.
#[derive(Debug, Deserialize)]
pub(crate) struct Paused {}

/// The answer to a resumption.
#[derive(Debug, Deserialize)]
pub(crate) struct Resumed {
    pub(crate) woken: usize,
}

/// The answer to a signal.
#[derive(Debug, Deserialize)]
pub(crate) struct Signalled {
    pub(crate) run_id: RunId,
    pub(crate) step: String,
    pub(crate) before: bool,
}

/// The wish for a rerun.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Rerun<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from_step: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<&'a RawValue>,
}

/// An event that is sent.
#[derive(Debug, Serialize)]
pub(crate) struct NewEvent<'a> {
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
}

/// A run; the fields from `origin` on are there when one run is asked for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) run_id: RunId,
    pub(crate) function_id: String,
    pub(crate) status: Status,
    pub(crate) event_id: EventId,
    pub(crate) created_at: Timestamp,
    #[serde(default)]
    pub(crate) ended_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) output: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) error: Option<Failure>,
    #[serde(default)]
    pub(crate) origin: Option<Origin>,
    #[serde(default)]
    pub(crate) event: Option<Event>,
    #[serde(default)]
    pub(crate) waiting: Option<String>,
    #[serde(default)]
    pub(crate) handler_errors: Vec<HandlerError>,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    #[serde(default)]
    pub(crate) version: Option<String>,
    #[serde(default)]
    pub(crate) logs: Vec<Log>,
}

/// A line of a run's log.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Log {
    pub(crate) at: Timestamp,
    pub(crate) level: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) fields: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) step: Option<String>,
}

/// What a step used of a model that is paid for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Usage {
    pub(crate) model: String,
    pub(crate) input_tokens: u64,
    pub(crate) cached_input_tokens: u64,
    pub(crate) output_tokens: u64,
    #[serde(default)]
    pub(crate) micro_dollars: Option<u64>,
}

/// What something failed with.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Failure {
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) code: Option<String>,
}

/// The event of a run.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) name: String,
}

/// An error of the handler outside its steps.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct HandlerError {
    pub(crate) at: Timestamp,
    pub(crate) error: Failure,
}

/// A step of a run.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) error: Option<Failure>,
    pub(crate) started_at: Timestamp,
    #[serde(default)]
    pub(crate) ended_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) due: Option<Timestamp>,
    #[serde(default)]
    pub(crate) child: Option<RunId>,
    #[serde(default)]
    pub(crate) awaits: Option<String>,
    #[serde(default)]
    pub(crate) token: Option<String>,
    #[serde(default)]
    pub(crate) usage: Vec<Usage>,
    #[serde(default)]
    pub(crate) attempts: Vec<Attempt>,
}

/// A try at a step.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) attempt: u32,
    pub(crate) started_at: Timestamp,
    #[serde(default)]
    pub(crate) ended_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) error: Option<Failure>,
    #[serde(default)]
    pub(crate) interrupted: bool,
}

/// A registered function. Also written: `functions --json` without a server has the server's shape.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Function {
    pub(crate) id: String,
    pub(crate) triggers: Vec<Trigger>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cron: Vec<CronLine>,
    pub(crate) retries: u32,
    pub(crate) timeout_ms: u64,
    pub(crate) concurrency: Vec<Concurrency>,
    #[serde(default)]
    pub(crate) flow_control: Vec<String>,
    pub(crate) on_failure: Option<String>,
}

/// When a function starts by itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct CronLine {
    pub(crate) line: String,
    pub(crate) time_zone: String,
}

/// What starts a function.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Trigger {
    pub(crate) event: String,
    #[serde(rename = "if")]
    pub(crate) condition: Option<String>,
}

/// A limit on executing steps.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Concurrency {
    pub(crate) limit: u32,
    #[serde(default)]
    pub(crate) of: String,
    pub(crate) key: Option<String>,
    #[serde(default)]
    pub(crate) shared: Option<String>,
}

impl Function {
    /// Of a description.
    pub(crate) fn of(spec: &stepladder_core::Spec) -> Self {
        Self {
            id: spec.id.to_string(),
            triggers: spec
                .triggers
                .iter()
                .map(|t| Trigger {
                    event: t.event.to_string(),
                    condition: t.condition.as_ref().map(|c| c.source().to_owned()),
                })
                .collect(),
            cron: spec
                .schedule
                .lines
                .iter()
                .map(|cron| CronLine { line: cron.line().into(), time_zone: cron.zone().into() })
                .collect(),
            retries: spec.retry.retries,
            timeout_ms: u64::try_from(spec.timeout.as_millis()).unwrap_or(u64::MAX),
            concurrency: spec
                .concurrency
                .iter()
                .map(|c| Concurrency {
                    limit: c.limit,
                    of: if c.of == Counted::Runs { "runs" } else { "steps" }.into(),
                    key: c.key.as_ref().map(|key| key.source().to_owned()),
                    shared: c.shared.as_ref().map(|name| name.to_string()),
                })
                .collect(),
            flow_control: spec.flow_in_words(),
            on_failure: spec.on_failure.as_ref().map(|id| id.to_string()),
        }
    }
}
