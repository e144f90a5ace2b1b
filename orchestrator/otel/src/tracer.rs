//! Exports the spans of runs as their records are written, and nests the spans of user code.

use std::cell::Cell;
use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SdkTracer, ShouldSample};
use stepladder_core::journal::Record;
use stepladder_core::spans::walk;
use stepladder_core::state::RunState;
use stepladder_core::trace::{RunTrace, SpanId, TraceContext, TraceId};
use stepladder_engine::telemetry::{BodyScope, RunObserver, Tracer};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::DynFilterFn;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, layer};

use crate::UserSpanLayer;
use crate::export::SharedProcessor;
use crate::spans::{RunSpans, span_context};

/// The target of the spans around log lines, which are not exported.
const LINE_TARGET: &str = "stepladder::trace";

/// Exports the spans of the runs of an engine.
#[derive(Debug)]
pub(crate) struct RunTracer {
    processor: SharedProcessor,
    sampler: Sampler,
}

impl RunTracer {
    pub(crate) fn new(processor: SharedProcessor, sampler: Sampler) -> Self {
        Self { processor, sampler }
    }
}

impl RunObserver for RunTracer {
    fn recorded(&self, before: &RunState, record: &Record) {
        let trace = RunTrace::of(before.run, &before.created);
        if self.is_sampled(&trace) {
            let spans = RunSpans::new(before, &trace);
            walk(before, record, &mut |span| self.processor.add(spans.data(&span)));
        }
    }
}

impl Tracer for RunTracer {
    fn is_sampled(&self, trace: &RunTrace) -> bool {
        let parent = trace.parent.as_ref().map(remote);
        let id = opentelemetry::TraceId::from(trace.trace.0);
        let sampled = self.sampler.should_sample(parent.as_ref(), id, "run", &SpanKind::Internal, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }

    fn body_scope(&self, span: &TraceContext) -> Arc<dyn BodyScope> {
        Arc::new(AttemptScope { context: remote(span), lines: LineScope::of(span) })
    }

    fn line_scope(&self, span: &TraceContext) -> Arc<dyn BodyScope> {
        Arc::new(LineScope::of(span))
    }
}

/// Returns a context with this span as the current one.
fn remote(span: &TraceContext) -> Context {
    Context::new().with_remote_span_context(span_context(span, true))
}

/// Returns the trace and the span in which this thread executes code of a run: a span of user code,
/// an attempt or the run. `None` outside of runs.
pub fn current_span() -> Option<(TraceId, SpanId)> {
    let of_body = Context::map_current(|context| {
        let span = context.span().span_context().clone();
        span.is_valid().then_some(span)
    });
    let ids = |span: SpanContext| {
        let (trace, id) = (span.trace_id().to_bytes(), span.span_id().to_bytes());
        (TraceId(u128::from_be_bytes(trace)), SpanId(u64::from_be_bytes(id)))
    };
    of_body.map(ids).or_else(|| LINES.get())
}

thread_local! {
    /// The span whose ids log lines have, where no span of OpenTelemetry is the current one.
    static LINES: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// The span of an attempt, which another part of the program exports when the attempt ends.
struct AttemptScope {
    context: Context,
    lines: LineScope,
}

impl BodyScope for AttemptScope {
    fn enter(&self, poll: &mut dyn FnMut()) {
        let _current = self.context.clone().attach();
        self.lines.enter(poll);
    }
}

/// A span whose ids log lines have.
struct LineScope {
    ids: (TraceId, SpanId),
    /// Gives the ids to log lines of a program that has set up its own logging.
    span: tracing::Span,
}

impl LineScope {
    fn of(span: &TraceContext) -> Self {
        let (trace_id, span_id) = (span.trace, span.span);
        let span = tracing::info_span!(target: LINE_TARGET, "trace", %trace_id, %span_id);
        Self { ids: (trace_id, span_id), span }
    }
}

impl BodyScope for LineScope {
    fn enter(&self, poll: &mut dyn FnMut()) {
        struct Restore(Option<(TraceId, SpanId)>);
        impl Drop for Restore {
            fn drop(&mut self) {
                LINES.set(self.0);
            }
        }
        let _outer = Restore(LINES.replace(Some(self.ids)));
        self.span.in_scope(poll);
    }
}

/// Returns the layer that exports the spans of user code in the bodies of steps. Spans elsewhere
/// would be traces of their own, and are not exported.
pub(crate) fn user_span_layer(tracer: SdkTracer) -> UserSpanLayer {
    let filter = DynFilterFn::new(is_in_body).with_max_level_hint(LevelFilter::INFO);
    Box::new(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(filter))
}

fn is_in_body<S>(metadata: &Metadata<'_>, context: &layer::Context<'_, S>) -> bool
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    if *metadata.level() > Level::INFO || is_own(metadata.target()) {
        return false;
    }
    // a spawned task may have left the thread of the body, but not the span
    context.lookup_current().is_some() || metadata.is_span() && Context::current().span().span_context().is_valid()
}

/// Returns whether this is a target of Stepladder itself.
fn is_own(target: &str) -> bool {
    let module = target.split("::").next().unwrap_or_default();
    module == "stepladder"
        || ["core", "engine", "sdk", "app", "aws", "sqlite", "server", "inngest", "observe", "otel"]
            .iter()
            .any(|name| module.strip_prefix("stepladder_") == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_targets_are_distinguished_from_user_code() {
        assert!(["stepladder::run", "stepladder_engine::hop", "stepladder_otel"].iter().all(|own| is_own(own)));
        assert!(["stepladder_functions::openai", "stepladders", "shop"].iter().all(|user| !is_own(user)));
    }
}
