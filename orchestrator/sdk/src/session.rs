//! A handler over a journal: polls its future to quiescence, reveals one recorded outcome, polls again.
//!
//! What is not here: which steps may run and what is recorded of them; that is the engine's.

mod root;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, poll_fn};
use stepladder_core::report::Placed;
use stepladder_core::state::Revealed;
use stepladder_core::{Json, Report, StepId};
use stepladder_engine::program::{Advance, Fault, Finished, Session};

use crate::board::{Board, Place};
use crate::error::panicked;
use crate::{Error, Result};
use root::Root;

/// How long a handler may wait for something that is not a step before the log says so.
const UNUSUAL: Duration = Duration::from_millis(50);
/// How long it may wait without anything waking it before it is given up.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// Polls in a row before the thread is lent to others. Tokio's own I/O makes its users pause like that: without it, a
/// handler that used up its share would be polled for ever.
const POLLS: usize = 64;

/// One session of a Rust handler. Dropping it drops the handler's future: the run is suspended.
pub(crate) struct RustSession {
    handler: Option<BoxFuture<'static, Result<Json>>>,
    board: Arc<Board>,
    root: Arc<Root>,
    waker: Waker,
    ended: Option<Result<Json, Fault>>,
}

impl RustSession {
    pub(crate) fn new(handler: BoxFuture<'static, Result<Json>>, board: Arc<Board>) -> Self {
        let root = Arc::new(Root::default());
        Self { handler: Some(handler), board, waker: root.clone().into(), root, ended: None }
    }

    fn poll_handler(&mut self) {
        let Some(handler) = &mut self.handler else { return };
        self.board.move_to(Place::handler());
        let mut cx = Context::from_waker(&self.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(&mut cx)))
            .unwrap_or_else(|payload| Poll::Ready(Err(panicked(&*payload))));
        self.board.move_to(Place::Outside);
        if let Poll::Ready(result) = polled {
            self.end(result);
        }
    }

    fn end(&mut self, result: Result<Json>) {
        self.ended = Some(result.map_err(Error::into_fault));
        self.drop_handler(); // bodies that still run are dropped with it, and reported
    }

    /// What the handler holds may panic when it is dropped; that is no reason to take the engine down.
    fn drop_handler(&mut self) {
        let handler = self.handler.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
            let error = panicked(&*payload);
            tracing::error!(run = %self.board.run(), %error, "a value that the function held panicked when it was dropped");
        }
    }

    /// Polls until the handler has ended, or waits with no recorded outcome left (rule 7).
    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.root.tell(cx.waker());
        for _ in 0..POLLS {
            if self.ended.is_some() {
                return Poll::Ready(());
            }
            if self.root.was_woken() {
                self.poll_handler();
            } else if !self.board.reveal_next() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Finished>> {
        self.root.tell(cx.waker());
        for _ in 0..POLLS {
            let woken = self.root.was_woken();
            if woken {
                self.poll_handler();
            }
            let finished = self.board.take_finished();
            if !finished.is_empty() || self.ended.is_some() || self.board.has_changed() {
                return Poll::Ready(finished);
            }
            if !woken {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits for whatever it is that the handler waits for; false when it does not come.
    async fn wait_for_other(&mut self) -> bool {
        let root = self.root.clone();
        let woken = || poll_fn(|cx| root.poll_woken(cx));
        if tokio::time::timeout(UNUSUAL, woken()).await.is_ok() {
            return true;
        }
        tracing::warn!(
            run = %self.board.run(),
            "the function waits for something that is not a step; it runs again at every replay, wrap it in ctx.step"
        );
        tokio::time::timeout(GRACE - UNUSUAL, woken()).await.is_ok()
    }
}

impl Drop for RustSession {
    fn drop(&mut self) {
        self.drop_handler();
    }
}

#[async_trait]
impl Session for RustSession {
    async fn advance(&mut self) -> Advance {
        loop {
            poll_fn(|cx| self.poll_settled(cx)).await;
            if let Some(result) = &self.ended {
                return Advance::Ended(result.clone());
            }
            let (wants, busy) = self.board.wishes();
            if busy || !wants.is_empty() {
                return Advance::Wanted(wants);
            }
            if !self.wait_for_other().await {
                let stuck = "the function waits for something that is not a step; wrap it in ctx.step";
                let why = || Error::terminal(stuck).with_code("not-a-step");
                match self.board.give_up(why()) {
                    true => self.waker.wake_by_ref(), // what it did may have to be undone
                    false => self.end(Err(why())),
                }
            }
        }
    }

    fn begin(&mut self, steps: &[StepId]) {
        steps.iter().for_each(|step| self.board.begin(step));
    }

    async fn finished(&mut self) -> Vec<Finished> {
        poll_fn(|cx| self.poll_finished(cx)).await
    }

    fn expire(&mut self, step: &StepId, timeout: Duration) {
        self.board.expire(step, timeout);
    }

    fn reveal(&mut self, outcome: Revealed) {
        self.board.add(outcome);
    }

    fn dropped(&mut self) -> Vec<StepId> {
        self.board.take_dropped()
    }

    fn orphans(&self) -> Vec<StepId> {
        self.board.orphans()
    }

    fn report(&mut self, step: &StepId) -> Report {
        self.board.take_report(step)
    }

    fn said(&mut self) -> Vec<Placed> {
        self.board.take_said()
    }
}
