//! Undoing: when a run fails for good, what its steps did is undone, last first.
//!
//! A step says how it is undone with [`Step::undo`](crate::Step::undo), a function with
//! [`Context::undo`](crate::Context::undo). Nobody has to remember to call anything: the handler is wrapped, and its error
//! comes through here. That the run has failed is recorded before anything is undone (a step of its own,
//! `stepladder/undo`), so that a handler that comes to another end in a later replay does not leave half of it undone.
//! Undoing is made of ordinary steps, remembered and retried.
//!
//! What is not here: a cancelled run. It ends where it is, and no code of it runs any more.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, poll_fn};
use stepladder_core::decide::{Ask, StepOptions};
use stepladder_core::limits::{FAILURE_BYTES, OUTCOME_BYTES, UNDO};
use stepladder_core::retry::{DEFAULT_RETRIES, RetryPolicy};
use stepladder_core::sentence::{brief, cut};
use stepladder_core::{Failure, Json, StepId, json};

use crate::board::Board;
use crate::error::panicked;
use crate::step::{Body, RawStep};
use crate::{Error, Result};

/// The future that undoes something.
pub(crate) type Undoing = BoxFuture<'static, Result<()>>;

/// Something that was done, and how it is undone.
pub(crate) struct Undo {
    /// What: the step's id, or the name that the function gave it.
    pub(crate) what: StepId,
    pub(crate) at: &'static Location<'static>,
    pub(crate) undo: Box<dyn FnOnce() -> Undoing + Send>,
}

/// Which errors of a handler are final.
pub(crate) struct Finality {
    /// How often the handler is tried.
    pub(crate) policy: RetryPolicy,
    /// Its attempt, from 1.
    pub(crate) attempt: u32,
}

impl Finality {
    /// Whether the handler is not tried again after this error. The engine decides the same from the same.
    fn holds(&self, error: &Error) -> bool {
        self.policy.next_delay(self.attempt, error.retry(), 0).is_none()
    }
}

/// The handler, and what is to be undone when it has failed for good.
pub(crate) async fn undoing(
    handler: BoxFuture<'static, Result<Json>>,
    board: Arc<Board>,
    finality: Finality,
) -> Result<Json> {
    let ended = to_its_end(handler, &board).await.and_then(bounded);
    board.is_over();
    let had_failed = board.has_failed();
    let error = match ended {
        Err(error) if had_failed || (finality.holds(&error) && board.has_undos()) => error,
        Ok(_) if had_failed => Error::terminal("the run had failed before"),
        ended => return ended,
    };
    let retries = finality.policy.retries.max(DEFAULT_RETRIES);
    let failure = decided(&board, error.into_fault().failure).await;
    let mut message = failure.message;
    let mut not_undone = String::new();
    for Undo { what, at, undo } in board.take_undos().into_iter().rev() {
        let id = board.free_id(format!("undo {what}"));
        let body: Body<'static> = Box::new(move || {
            let undoing = undo();
            Box::pin(async move { undoing.await.map(|()| json::null()) })
        });
        let options = StepOptions { retries: Some(retries), ..StepOptions::default() };
        if let Err(error) = step(&board, id, options, body, at).await {
            not_undone += &brief(format_args!("; `{what}` could not be undone: {error}"));
        }
    }
    if !not_undone.is_empty() {
        // what could not be undone is to be read, however long the failure is
        message = cut(message, FAILURE_BYTES / 2) + &not_undone;
    }
    Err(Error::memoized(Failure { message, code: failure.code }))
}

/// Records that the run has failed, and of what; the record holds, whatever the handler says in a later replay.
async fn decided(board: &Arc<Board>, failure: Failure) -> Failure {
    let record = json::of(&failure).unwrap_or_else(|_| json::null());
    let body: Body<'static> = Box::new(move || Box::pin(async move { Ok(record) }));
    let recorded = step(board, UNDO.into(), StepOptions::default(), body, Location::caller()).await;
    recorded.ok().and_then(|record| serde_json::from_str(record.get()).ok()).unwrap_or(failure)
}

async fn step(
    board: &Arc<Board>,
    id: StepId,
    options: StepOptions,
    body: Body<'static>,
    at: &'static Location<'static>,
) -> Result<Json> {
    let mut step = RawStep::new(board.clone(), id, Ask::Run(options), Some(body), at);
    poll_fn(|cx| step.poll(cx)).await
}

/// The handler's own end: what it returns, its panic, or why it was given up.
async fn to_its_end(handler: BoxFuture<'static, Result<Json>>, board: &Board) -> Result<Json> {
    let mut handler = Some(handler);
    poll_fn(|cx| {
        let ended = match board.given_up() {
            Some(why) => Err(why),
            None => std::task::ready!(poll(handler.as_mut(), cx)),
        };
        // what it holds may panic when it is dropped; that is no error of the run
        let held = handler.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(held))) {
            let error = panicked(&*payload);
            tracing::error!(%error, "a value that the function held panicked when it was dropped");
        }
        Poll::Ready(ended)
    })
    .await
}

fn poll(handler: Option<&mut BoxFuture<'static, Result<Json>>>, cx: &mut Context<'_>) -> Poll<Result<Json>> {
    let Some(handler) = handler else { return Poll::Pending };
    catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)))
        .unwrap_or_else(|payload| Poll::Ready(Err(panicked(&*payload))))
}

/// Found out here, where it can still be undone.
fn bounded(output: Json) -> Result<Json> {
    let bytes = output.get().len();
    if bytes <= OUTCOME_BYTES {
        return Ok(output);
    }
    let message =
        format!("the function returned {bytes} bytes; at most {OUTCOME_BYTES} are allowed, return a reference to them");
    Err(Error::terminal(message).with_code("too-large"))
}
