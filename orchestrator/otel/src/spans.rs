//! A span of a run as one of OpenTelemetry.

mod attributes;

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use stepladder_core::journal::{Failure, RunOrigin};
use stepladder_core::spans::{AttemptOutcome, Span, SpanDetail, StepEnd};
use stepladder_core::state::{RunOutcome, RunState};
use stepladder_core::trace::{RunTrace, SpanOf, TraceContext};
use stepladder_core::{StepKind, Timestamp};

use attributes::{Attributes, MESSAGE_BYTES, step_name, truncated};

/// The spans of one run.
pub(crate) struct RunSpans<'a> {
    run: &'a RunState,
    trace: &'a RunTrace,
}

/// Returns a span context. `is_remote` says whether another process may have emitted the span.
pub(crate) fn span_context(span: &TraceContext, is_remote: bool) -> SpanContext {
    let pairs = span.state.as_deref().unwrap_or_default().split(',').filter_map(|pair| pair.trim().split_once('='));
    // a state that OpenTelemetry refuses is not passed on
    let state = TraceState::from_key_value(pairs).unwrap_or_default();
    let (trace, id) = (TraceId::from(span.trace.0), SpanId::from(span.span.0));
    SpanContext::new(trace, id, TraceFlags::new(span.flags), is_remote, state)
}

impl<'a> RunSpans<'a> {
    pub(crate) fn new(run: &'a RunState, trace: &'a RunTrace) -> Self {
        Self { run, trace }
    }

    /// Returns the span with its attributes.
    pub(crate) fn data(&self, span: &Span<'_>) -> SpanData {
        let mut attributes = Attributes::of_run(self.run);
        let (mut links, mut events, mut status) = (Vec::new(), Vec::new(), Status::Unset);
        let mut fail = |failure: &Failure, is_final: bool| {
            events.push(exception(failure, span.end));
            if is_final {
                status = Status::error(truncated(&failure.headline(), MESSAGE_BYTES));
            }
        };
        let mut kind = SpanKind::Internal;
        let name = match span.of {
            SpanOf::Run => self.run.created.function.to_string(),
            SpanOf::RunQueue | SpanOf::Queue(..) => "queue".into(),
            SpanOf::Handler(_) => "handler".into(),
            SpanOf::Step(step) => step_name(step).into(),
            SpanOf::Attempt(..) | SpanOf::Unreachable(..) => "attempt".into(),
            SpanOf::Wait(..) => "wait".into(),
        };
        if let SpanOf::Step(step)
        | SpanOf::Attempt(step, _)
        | SpanOf::Wait(step, _)
        | SpanOf::Queue(step, _)
        | SpanOf::Unreachable(step, _) = span.of
        {
            attributes.add("stepladder.step.id", step.to_string());
        }
        match span.detail {
            SpanDetail::Run(outcome) => {
                if self.run.created.origin == RunOrigin::Event {
                    kind = SpanKind::Consumer;
                }
                attributes.add_run(self.run, outcome);
                links.extend(self.links());
                match outcome {
                    RunOutcome::Failed(failure) => fail(failure, true),
                    RunOutcome::Cancelled(reason) | RunOutcome::Skipped(reason) => {
                        attributes.add("stepladder.run.reason", truncated(reason, MESSAGE_BYTES));
                    }
                    RunOutcome::Completed(_) => {}
                }
            }
            SpanDetail::Handler(failure) => fail(failure, true),
            SpanDetail::Step { kind: step_kind, end, called } => {
                attributes.add_step(step_kind, end);
                if let Some(called) = called {
                    attributes.add("stepladder.called.run.id", called.to_string());
                    links.push(link(&RunTrace::own(called).context(SpanOf::Run, true)));
                }
                if step_kind == StepKind::Send {
                    kind = SpanKind::Producer;
                }
                if let StepEnd::Failed(failure) = end {
                    fail(failure, true);
                }
            }
            SpanDetail::Attempt { number, end, report } => {
                attributes.add_attempt(number, end);
                match end {
                    AttemptOutcome::Failed(failure, _) => fail(failure, true),
                    AttemptOutcome::Unreachable(why) => {
                        status = Status::error(truncated(why, MESSAGE_BYTES));
                    }
                    AttemptOutcome::Interrupted => status = Status::error("the worker of the attempt died"),
                    AttemptOutcome::Succeeded | AttemptOutcome::Checked | AttemptOutcome::Abandoned => {}
                }
                if let Some(report) = report {
                    events.extend(attributes.add_usage(&report.usage, time(span.end)));
                }
            }
            SpanDetail::RunQueue | SpanDetail::Queue | SpanDetail::Wait => {}
        }
        let (mut span_events, mut span_links) = (SpanEvents::default(), SpanLinks::default());
        (span_events.events, span_links.links) = (events, links);
        SpanData {
            span_context: span_context(&self.trace.context(span.of, true), false),
            parent_span_id: match span.parent {
                Some(of) => SpanId::from(self.trace.span_id(of).0),
                None => self.trace.parent.as_ref().map_or(SpanId::INVALID, |parent| SpanId::from(parent.span.0)),
            },
            parent_span_is_remote: span.parent.is_none() && self.trace.parent.is_some(),
            span_kind: kind,
            name: name.into(),
            start_time: time(span.start),
            end_time: time(span.end),
            attributes: attributes.into_list(),
            dropped_attributes_count: 0,
            events: span_events,
            links: span_links,
            status,
            instrumentation_scope: InstrumentationScope::builder("stepladder")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }

    /// Returns links to the span that has caused the run, and to the senders of further events of a
    /// batch.
    fn links(&self) -> impl Iterator<Item = Link> {
        let joined = self.run.joined.iter().filter_map(|event| event.trace.as_deref());
        self.trace.link.iter().chain(joined).map(link)
    }
}

fn link(span: &TraceContext) -> Link {
    Link::new(span_context(span, true), Vec::new(), 0)
}

/// Returns the event that describes an error, with the names of the semantic conventions.
fn exception(failure: &Failure, at: Timestamp) -> Event {
    let mut attributes = vec![
        KeyValue::new("exception.type", attributes::error_type(failure)),
        KeyValue::new("exception.message", truncated(&failure.message, MESSAGE_BYTES)),
    ];
    attributes.extend(failure.stack.as_deref().map(|stack| KeyValue::new("exception.stacktrace", stack.to_owned())));
    Event::new("exception", time(at), attributes, 0)
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0))
}
