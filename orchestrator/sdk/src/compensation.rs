//! Compensations: if a run fails permanently, its finished steps are undone in reverse order.
//!
//! [`Step::undo`](crate::Step::undo) and [`Context::undo`](crate::Context::undo) register
//! compensations. This module wraps the handler, so a function does not have to call anything else.
//! When the handler fails, the failure is recorded first, as an internal step (`stepladder/undo`).
//! A later replay then finishes the compensations, even if the handler ends differently. Each
//! compensation is an ordinary step, which is recorded and retried.
//!
//! A cancelled run is not compensated, because none of its code is executed after the cancellation.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, poll_fn};
use stepladder_core::OwnStep;
use stepladder_core::decide::{Operation, StepOptions};
use stepladder_core::limits::{FAILURE_BYTES, OUTCOME_BYTES};
use stepladder_core::retry::{DEFAULT_RETRIES, FailedAttempt, RetryPolicy};
use stepladder_core::sentence::{shortened, truncated};
use stepladder_core::{Failure, Json, StepId, json};

use crate::error::{ErrorCode, panic_error};
use crate::ledger::ReplayLedger;
use crate::step::{StepBodyFn, UntypedStep};
use crate::{Error, Result};

/// The boxed future that a compensation returns.
pub(crate) type CompensationFuture = BoxFuture<'static, Result<()>>;

/// How one step is undone.
pub(crate) struct Compensation {
    /// The id of the undone step, or the name that the function gave to the compensation.
    pub(crate) name: StepId,
    pub(crate) at: &'static Location<'static>,
    pub(crate) compensate: Box<dyn FnOnce() -> CompensationFuture + Send>,
}

/// The retry policy of a function and its current attempt.
pub(crate) struct HandlerRetries {
    pub(crate) policy: RetryPolicy,
    /// The number of the handler's current attempt, from 1.
    pub(crate) attempt: u32,
}

impl HandlerRetries {
    /// Returns whether the handler is not retried after this error. The engine uses the same rule.
    fn is_final(&self, error: &Error) -> bool {
        let failed = FailedAttempt { failures: self.attempt, name: error.name(), advice: error.retry() };
        self.policy.next_delay(failed, 0).is_none()
    }
}

/// Runs the handler. If it fails permanently, runs its compensations.
pub(crate) async fn compensated(
    handler: BoxFuture<'static, Result<Json>>,
    ledger: Arc<ReplayLedger>,
    retries: HandlerRetries,
) -> Result<Json> {
    let ended = run_to_end(handler, &ledger).await.and_then(check_size);
    ledger.mark_ended();
    let had_failed = ledger.has_failed();
    let error = match ended {
        Err(error) if had_failed || (retries.is_final(&error) && ledger.has_compensations()) => error,
        Ok(_) if had_failed => Error::terminal("the run had failed before"),
        ended => return ended,
    };
    let max_retries = retries.policy.retries.max(DEFAULT_RETRIES);
    let mut failure = record_failure(&ledger, error.into_fault().failure).await;
    let mut not_undone = String::new();
    for Compensation { name, at, compensate } in ledger.take_compensations().into_iter().rev() {
        let id = ledger.unused_id(format!("undo {name}"));
        let body: StepBodyFn<'static> = Box::new(move || {
            let compensating = compensate();
            Box::pin(async move { compensating.await.map(|()| json::null()) })
        });
        let options = StepOptions { retries: Some(max_retries), ..StepOptions::default() };
        if let Err(error) = run_step(&ledger, id, options, body, at).await {
            not_undone += &shortened(format_args!("; `{name}` could not be undone: {error}"));
        }
    }
    if !not_undone.is_empty() {
        // the failure is truncated, so that the message also shows which steps could not be undone
        failure.message = truncated(failure.message, FAILURE_BYTES / 2) + &not_undone;
    }
    Err(Error::recorded(failure))
}

/// Records that the run has failed. If a failure is already recorded, returns that one, which all
/// replays then use.
async fn record_failure(ledger: &Arc<ReplayLedger>, failure: Failure) -> Failure {
    let record = json::to_json(&failure).unwrap_or_else(|_| json::null());
    let body: StepBodyFn<'static> = Box::new(move || Box::pin(async move { Ok(record) }));
    let recorded = run_step(ledger, OwnStep::Compensation.id(), StepOptions::default(), body, Location::caller()).await;
    recorded.ok().and_then(|record| serde_json::from_str(record.get()).ok()).unwrap_or(failure)
}

async fn run_step(
    ledger: &Arc<ReplayLedger>,
    id: StepId,
    options: StepOptions,
    body: StepBodyFn<'static>,
    at: &'static Location<'static>,
) -> Result<Json> {
    let mut step = UntypedStep::new(ledger.clone(), id, Operation::Run(options), Some(body), at);
    poll_fn(|cx| step.poll(cx)).await
}

/// Runs the handler to its end. Returns its result, its panic as an error, or the error with which
/// it was aborted.
async fn run_to_end(handler: BoxFuture<'static, Result<Json>>, ledger: &ReplayLedger) -> Result<Json> {
    let mut handler = Some(handler);
    poll_fn(|cx| {
        let ended = match ledger.take_abort() {
            Some(error) => Err(error),
            None => std::task::ready!(poll(handler.as_mut(), cx)),
        };
        // dropping the handler may panic, because of one of its values; this must not fail the run
        let handler = handler.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
            let error = panic_error(&*payload);
            tracing::error!(%error, "a value that the function held panicked when it was dropped");
        }
        Poll::Ready(ended)
    })
    .await
}

fn poll(handler: Option<&mut BoxFuture<'static, Result<Json>>>, cx: &mut Context<'_>) -> Poll<Result<Json>> {
    let Some(handler) = handler else { return Poll::Pending };
    catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)))
        .unwrap_or_else(|payload| Poll::Ready(Err(panic_error(&*payload))))
}

/// Checks the size of the output. This is done here, because compensations can still run now.
fn check_size(output: Json) -> Result<Json> {
    let bytes = output.get().len();
    if bytes <= OUTCOME_BYTES {
        return Ok(output);
    }
    let message =
        format!("the function returned {bytes} bytes; at most {OUTCOME_BYTES} are allowed, return a reference to them");
    Err(Error::terminal(message).with_code(ErrorCode::TooLarge))
}
