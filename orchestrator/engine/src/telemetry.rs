//! What an engine tells those that trace and count runs.
//!
//! Without an observer and a tracer, nothing is computed and nothing is allocated. Export is not
//! done here: see the crates `stepladder-otel` and `stepladder-observe`.

use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use stepladder_core::journal::Record;
use stepladder_core::state::RunState;
use stepladder_core::trace::{RunTrace, SpanOf, TraceContext};
use stepladder_core::{Event, StepId};

use crate::config::Config;

/// Receives every record that this process has written to a journal.
pub trait RunObserver: Debug + Send + Sync {
    /// A record was written. `before` is the state of the run before it. This is called once for
    /// each record, in the task that wrote it, so it must not block.
    fn recorded(&self, before: &RunState, record: &Record);
}

/// Decides which traces are recorded, and connects the code of attempts to their spans.
pub trait Tracer: Debug + Send + Sync {
    /// Returns whether the trace of a run is recorded. Every process must decide the same.
    fn is_sampled(&self, trace: &RunTrace) -> bool;

    /// Returns the scope in which the body of an attempt is polled.
    fn body_scope(&self, span: &TraceContext) -> Arc<dyn BodyScope>;

    /// Returns a scope in which only log lines have the ids of the span. Code of a handler runs
    /// again at each replay, so its spans are not recorded.
    fn line_scope(&self, span: &TraceContext) -> Arc<dyn BodyScope>;
}

/// A span, as the current one of the thread.
pub trait BodyScope: Send + Sync {
    /// Calls `poll` while the span is the current one.
    fn enter(&self, poll: &mut dyn FnMut());
}

/// The span of an attempt, for its executor.
#[derive(Clone)]
pub struct AttemptTrace {
    /// The span of the attempt, to send it with a request.
    pub span: TraceContext,
    /// The scope in which code of this process is polled.
    pub scope: Arc<dyn BodyScope>,
}

impl Debug for AttemptTrace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.span.fmt(f)
    }
}

/// Polls a future within a scope, if there is one.
pub(crate) async fn within<F: Future>(scope: Option<Arc<dyn BodyScope>>, future: F) -> F::Output {
    let Some(scope) = scope else { return future.await };
    let mut future = pin!(future);
    poll_fn(|cx| {
        let mut polled = Poll::Pending;
        scope.enter(&mut || polled = future.as_mut().poll(cx));
        polled
    })
    .await
}

impl Config {
    /// Reports a record to all observers.
    pub(crate) fn observe(&self, before: &RunState, record: &Record) {
        self.observers.iter().for_each(|observer| observer.recorded(before, record));
    }

    /// Returns the context of a span of a run; `None` without a tracer.
    pub(crate) fn span_of(&self, run: &RunState, of: SpanOf<'_>) -> Option<TraceContext> {
        let tracer = self.tracer.as_ref()?;
        let trace = RunTrace::of(run.run, &run.created);
        Some(trace.context(of, tracer.is_sampled(&trace)))
    }

    /// Returns the span of an attempt; `None` without a tracer.
    pub(crate) fn attempt_trace(&self, run: &RunState, step: &StepId, attempt: u32) -> Option<AttemptTrace> {
        let tracer = self.tracer.as_ref()?;
        let span = self.span_of(run, SpanOf::Attempt(step, attempt))?;
        Some(AttemptTrace { scope: tracer.body_scope(&span), span })
    }

    /// Makes the runs of these events continue the trace of the run that sends them.
    pub(crate) fn trace_sent(&self, run: &RunState, events: &mut [Event]) {
        if let Some(span) = self.span_of(run, SpanOf::Run).map(Arc::new) {
            for event in events {
                event.trace.get_or_insert_with(|| span.clone());
            }
        }
    }
}
