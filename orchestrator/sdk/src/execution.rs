//! An execution of a Rust handler: polls its future until it waits, reveals one recorded outcome,
//! and polls again.
//!
//! The engine decides which steps may run, and records their outcomes.

mod root_waker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, poll_fn};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, Json, StepId};
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, Execution, Finished, PollResult, Polled, StepResult, Unreachable,
};

use crate::error::{ErrorCode, panic_error};
use crate::ledger::{FinishedStep, ReplayLedger, Scope};
use crate::{Error, Result};
use root_waker::RootWaker;

/// A handler that awaits something else than a step for longer is reported in the log.
const REPORT_AFTER: Duration = Duration::from_millis(50);
/// A handler that awaits something else than a step for longer, without a wake, is aborted.
pub(crate) const ABORT_AFTER: Duration = Duration::from_secs(10);
/// Maximum polls in a row before the thread is yielded. Tokio's I/O makes tasks pause in the same
/// way; a handler that used up its budget would otherwise be polled forever.
const MAX_POLLS: usize = 64;

/// The approximate memory of an execution without its handler and its steps, in bytes.
const EXECUTION_BYTES: usize = 4_096;

/// An execution of a Rust handler. Dropping the execution drops the handler's future, which
/// suspends the run.
pub(crate) struct RustExecution {
    handler: Option<BoxFuture<'static, Result<Json>>>,
    ledger: Arc<ReplayLedger>,
    root: Arc<RootWaker>,
    waker: Waker,
    ended: Option<Result<Json, AdvisedFailure>>,
}

impl RustExecution {
    pub(crate) fn new(handler: BoxFuture<'static, Result<Json>>, ledger: Arc<ReplayLedger>) -> Self {
        let root = Arc::new(RootWaker::default());
        Self { handler: Some(handler), ledger, waker: root.clone().into(), root, ended: None }
    }

    fn poll_handler(&mut self) {
        let Some(handler) = &mut self.handler else { return };
        self.ledger.enter(Scope::handler());
        let mut cx = Context::from_waker(&self.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(&mut cx)))
            .unwrap_or_else(|payload| Poll::Ready(Err(panic_error(&*payload))));
        self.ledger.enter(Scope::Outside);
        if let Poll::Ready(result) = polled {
            self.end(result);
        }
    }

    fn end(&mut self, result: Result<Json>) {
        self.ended = Some(result.map_err(Error::into_fault));
        self.drop_handler(); // drops bodies that still run; the ledger reports them
    }

    /// Drops the handler. A value of it may panic when it is dropped; that must not stop the
    /// engine.
    fn drop_handler(&mut self) {
        let handler = self.handler.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
            let error = panic_error(&*payload);
            tracing::error!(run = %self.ledger.run(), %error, "a value that the function held panicked when it was dropped");
        }
    }

    /// Polls until the handler has ended, or waits while no recorded outcome is left (rule 7).
    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.root.register(cx.waker());
        for _ in 0..MAX_POLLS {
            if self.ended.is_some() {
                return Poll::Ready(());
            }
            if self.root.take_woken() {
                self.poll_handler();
            } else if !self.ledger.reveal_next() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<Vec<FinishedStep>> {
        self.root.register(cx.waker());
        for _ in 0..MAX_POLLS {
            let woken = self.root.take_woken();
            if woken {
                self.poll_handler();
            }
            let finished = self.ledger.take_finished();
            if !finished.is_empty() || self.ended.is_some() || self.ledger.has_changed() {
                return Poll::Ready(finished);
            }
            if !woken {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Runs the handler until it waits and all recorded outcomes are revealed.
    async fn advance(&mut self) -> PollResult {
        loop {
            poll_fn(|cx| self.poll_settled(cx)).await;
            if let Some(result) = &self.ended {
                return PollResult::Ended(result.clone());
            }
            let (wants, has_active) = self.ledger.wanted();
            if has_active || !wants.is_empty() {
                return PollResult::Wanted(wants);
            }
            if !self.wait_for_wake().await {
                let message = "the function awaits something that is not a step; wrap it in ctx.step";
                let error = || Error::terminal(message).with_code(ErrorCode::NotAStep);
                match self.ledger.abort(error()) {
                    true => self.waker.wake_by_ref(), // the next poll runs the compensations
                    false => self.end(Err(error())),
                }
            }
        }
    }

    /// Takes the report of an attempt that has ended or was dropped.
    fn report_of(&self, step: StepId) -> (StepId, AttemptReport) {
        let report = self.ledger.take_report(&step);
        (step, report)
    }

    /// Takes the attempts that the handler has dropped.
    fn take_dropped(&self) -> Vec<(StepId, AttemptReport)> {
        self.ledger.take_dropped().into_iter().map(|step| self.report_of(step)).collect()
    }

    /// Waits until something wakes the handler. Returns false after [`ABORT_AFTER`].
    async fn wait_for_wake(&mut self) -> bool {
        let root = self.root.clone();
        let woken = || poll_fn(|cx| root.poll_woken(cx));
        if tokio::time::timeout(REPORT_AFTER, woken()).await.is_ok() {
            return true;
        }
        tracing::warn!(
            run = %self.ledger.run(),
            "the function awaits something that is not a step; it runs again at every replay, wrap it in ctx.step"
        );
        tokio::time::timeout(ABORT_AFTER - REPORT_AFTER, woken()).await.is_ok()
    }
}

impl Drop for RustExecution {
    fn drop(&mut self) {
        self.drop_handler();
    }
}

#[async_trait]
impl Execution for RustExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        memo.into_iter().for_each(|outcome| self.ledger.push_outcome(outcome));
        let result = self.advance().await;
        let (lines, labels) = (self.ledger.take_log(), self.ledger.take_labels());
        let mut dropped = self.take_dropped();
        let mut orphans = Vec::new();
        if let PollResult::Ended(_) = result {
            // these bodies have ended, but the function has not seen their results
            dropped.extend(self.ledger.take_finished().into_iter().map(|finished| self.report_of(finished.step)));
            orphans = self.ledger.orphans();
        }
        Ok(Polled { dropped, lines, labels, orphans, ..Polled::from(result) })
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        attempts.into_iter().for_each(|attempt| self.ledger.start_body(attempt));
    }

    async fn wait(&mut self) -> Finished {
        let finished = poll_fn(|cx| self.poll_finished(cx)).await;
        let of = |FinishedStep { step, result }: FinishedStep| {
            let (step, report) = self.report_of(step);
            StepResult { step, result: result.map_err(Into::into), report }
        };
        Finished { results: finished.into_iter().map(of).collect(), dropped: self.take_dropped() }
    }

    fn stop(&mut self, step: &StepId, timeout: Duration) {
        self.ledger.time_out_body(step, timeout);
    }

    fn bytes_to_keep(&self) -> Option<usize> {
        let handler = self.handler.as_ref()?;
        Some(EXECUTION_BYTES + size_of_val(&**handler) + self.ledger.bytes_if_idle()?)
    }
}
