//! The JSON of REST. These types are the interface's, not the engine's: a change there does not change what clients
//! read. Times are RFC 3339 in UTC, but for an event's `ts`, which is integer milliseconds in and out.

use std::fmt::Display;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use stepladder_core::journal::{Fact, Failure, Kind, Origin, Seq};
use stepladder_core::spec::Counted;
use stepladder_core::{EventId, RunId, Spec, Status, Timestamp};
use stepladder_engine::view::{AttemptView, LogView, RunDetail, RunSummary, StepView};

/// The envelope of an answer.
#[derive(Serialize)]
pub(crate) struct Data<T> {
    pub(crate) data: T,
}

/// A time as text.
struct Rfc3339(Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0 as &dyn Display)
    }
}

/// An accepted event.
#[derive(Serialize)]
pub(crate) struct Event<'a> {
    id: EventId,
    name: &'a str,
    data: &'a RawValue,
    ts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
    received_at: Rfc3339,
}

impl<'a> Event<'a> {
    pub(crate) fn of(event: &'a stepladder_core::Event) -> Self {
        Self {
            id: event.id,
            name: &event.name,
            data: &event.data,
            ts: event.ts.as_millis(),
            user: event.user.as_deref(),
            external_id: event.external_id.as_deref(),
            received_at: Rfc3339(event.received_at),
        }
    }
}

/// A run in a listing.
#[derive(Serialize)]
pub(crate) struct Run<'a> {
    run_id: RunId,
    function_id: &'a str,
    status: Status,
    event_id: EventId,
    created_at: Rfc3339,
    /// Of a run that has not begun, when it was created: clients of Inngest expect a time here.
    run_started_at: Rfc3339,
    ended_at: Option<Rfc3339>,
    output: Option<&'a RawValue>,
    error: Option<&'a Failure>,
}

impl<'a> Run<'a> {
    pub(crate) fn of(run: &'a RunSummary) -> Self {
        Self {
            run_id: run.run,
            function_id: &run.function,
            status: run.status,
            event_id: run.event,
            created_at: Rfc3339(run.created_at),
            run_started_at: Rfc3339(run.started_at.unwrap_or(run.created_at)),
            ended_at: run.ended_at.map(Rfc3339),
            output: run.output.as_deref(),
            error: run.error.as_ref(),
        }
    }
}

/// A run in full.
#[derive(Serialize)]
pub(crate) struct FullRun<'a> {
    #[serde(flatten)]
    summary: Run<'a>,
    origin: &'a Origin,
    event: Event<'a>,
    waiting: Option<&'a str>,
    handler_errors: Vec<HandlerError<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    steps: Vec<Step<'a>>,
    logs: Vec<Log<'a>>,
}

#[derive(Serialize)]
struct HandlerError<'a> {
    at: Rfc3339,
    error: &'a Failure,
}

impl<'a> FullRun<'a> {
    pub(crate) fn of(run: &'a RunDetail) -> Self {
        Self {
            summary: Run::of(&run.summary),
            origin: &run.origin,
            event: Event::of(&run.event),
            waiting: run.waiting.as_deref(),
            handler_errors: run
                .handler_errors
                .iter()
                .map(|(at, error)| HandlerError { at: Rfc3339(*at), error })
                .collect(),
            version: run.version.as_deref(),
            steps: run.steps.iter().map(Step::of).collect(),
            logs: run.logs.iter().map(Log::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct Step<'a> {
    id: &'a str,
    kind: &'static str,
    status: &'static str,
    output: Option<&'a RawValue>,
    error: Option<&'a Failure>,
    started_at: Rfc3339,
    ended_at: Option<Rfc3339>,
    due: Option<Rfc3339>,
    child: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    awaits: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    usage: Vec<Usage<'a>>,
    attempts: Vec<Attempt<'a>>,
}

impl<'a> Step<'a> {
    fn of(step: &'a StepView) -> Self {
        Self {
            id: &step.id,
            kind: kind(step.kind),
            status: step.status.as_str(),
            output: step.output.as_deref(),
            error: step.error.as_ref(),
            started_at: Rfc3339(step.started_at),
            ended_at: step.ended_at.map(Rfc3339),
            due: step.due.map(Rfc3339),
            child: step.child,
            awaits: step.awaits.as_deref(),
            token: step.token.as_deref(),
            usage: step.usage.iter().map(Usage::of).collect(),
            attempts: step.attempts.iter().map(Attempt::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct Attempt<'a> {
    attempt: u32,
    started_at: Rfc3339,
    ended_at: Option<Rfc3339>,
    error: Option<&'a Failure>,
    interrupted: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    usage: Vec<Usage<'a>>,
}

impl<'a> Attempt<'a> {
    fn of(attempt: &'a AttemptView) -> Self {
        Self {
            attempt: attempt.attempt,
            started_at: Rfc3339(attempt.started_at),
            ended_at: attempt.ended_at.map(Rfc3339),
            error: attempt.error.as_ref(),
            interrupted: attempt.interrupted,
            usage: attempt.usage.iter().map(Usage::of).collect(),
        }
    }
}

/// What a step used of one model.
#[derive(Serialize)]
struct Usage<'a> {
    model: &'a str,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    /// In millionths of a US dollar; `null` where the model's price is not known.
    micro_dollars: Option<u64>,
}

impl<'a> Usage<'a> {
    fn of(usage: &'a stepladder_core::Usage) -> Self {
        let stepladder_core::Usage { model, input_tokens, cached_input_tokens, output_tokens, micro_dollars, .. } =
            usage;
        Self {
            model,
            input_tokens: *input_tokens,
            cached_input_tokens: *cached_input_tokens,
            output_tokens: *output_tokens,
            micro_dollars: *micro_dollars,
        }
    }
}

/// A line of a run's log.
#[derive(Serialize)]
struct Log<'a> {
    at: Rfc3339,
    level: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a RawValue>,
    /// The step whose body said it; the function itself where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    attempt: u32,
}

impl<'a> Log<'a> {
    fn of(log: &'a LogView) -> Self {
        Self {
            at: Rfc3339(log.at),
            level: log.line.level.as_str(),
            message: &log.line.message,
            fields: log.line.fields.as_deref(),
            step: log.step.as_deref(),
            attempt: log.attempt,
        }
    }
}

/// The word for a kind of step.
pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "run",
        Kind::Sleep => "sleep",
        Kind::Send => "send",
        Kind::Invoke => "invoke",
        Kind::Event => "event",
        Kind::Signal => "signal",
    }
}

/// An entry of a journal.
#[derive(Serialize)]
pub(crate) struct Entry<'a> {
    seq: Seq,
    at: Rfc3339,
    fact: &'a Fact,
}

impl<'a> Entry<'a> {
    pub(crate) fn of(seq: Seq, entry: &'a stepladder_core::Entry) -> Self {
        Self { seq, at: Rfc3339(entry.at), fact: &entry.fact }
    }
}

/// A function's description.
#[derive(Serialize)]
pub(crate) struct Function<'a> {
    id: &'a str,
    triggers: Vec<Trigger<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cron: Vec<CronLine<'a>>,
    retries: u32,
    timeout_ms: u64,
    concurrency: Vec<Concurrency<'a>>,
    /// What else flow control asks of it, in words.
    flow_control: Vec<String>,
    on_failure: Option<&'a str>,
    /// Since when its runs do not begin.
    paused_since: Option<String>,
}

/// When a function starts by itself.
#[derive(Serialize)]
struct CronLine<'a> {
    line: &'a str,
    time_zone: &'a str,
}

#[derive(Serialize)]
struct Trigger<'a> {
    event: &'a str,
    #[serde(rename = "if")]
    condition: Option<&'a str>,
}

#[derive(Serialize)]
struct Concurrency<'a> {
    limit: u32,
    /// `steps` that execute, or `runs` that live.
    of: &'static str,
    key: Option<&'a str>,
    /// The name under which functions share it.
    shared: Option<&'a str>,
}

impl<'a> Function<'a> {
    pub(crate) fn of(spec: &'a Spec, paused_since: Option<Timestamp>) -> Self {
        let trigger = |trigger: &'a stepladder_core::spec::Trigger| Trigger {
            event: &trigger.event,
            condition: trigger.condition.as_ref().map(|condition| condition.source()),
        };
        let concurrency = |concurrency: &'a stepladder_core::spec::Concurrency| Concurrency {
            limit: concurrency.limit,
            of: match concurrency.of {
                Counted::Steps => "steps",
                Counted::Runs => "runs",
            },
            key: concurrency.key.as_ref().map(|key| key.source()),
            shared: concurrency.shared.as_deref(),
        };
        Self {
            id: &spec.id,
            triggers: spec.triggers.iter().map(trigger).collect(),
            cron: spec
                .schedule
                .lines
                .iter()
                .map(|cron| CronLine { line: cron.line(), time_zone: cron.zone() })
                .collect(),
            retries: spec.retry.retries,
            timeout_ms: u64::try_from(spec.timeout.as_millis()).unwrap_or(u64::MAX),
            concurrency: spec.concurrency.iter().map(concurrency).collect(),
            flow_control: spec.flow_in_words(),
            on_failure: spec.on_failure.as_deref(),
            paused_since: paused_since.map(|at| at.to_string()),
        }
    }
}
