//! A step without its type: the part that asks, runs the body and takes the recorded JSON.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use stepladder_core::decide::{Ask, StepOptions, word};
use stepladder_core::limits::OUTCOME_BYTES;
use stepladder_core::state::Revealed;
use stepladder_core::{Failure, Json, Outcome, StepId};

use crate::board::{self, Answer, Board, Place};
use crate::error::panicked;
use crate::once::Once;
use crate::undo::{Undo, Undoing};
use crate::usage::InBody;
use crate::{Error, Result};

/// What makes a body's future.
pub(crate) type Body<'a> = Box<dyn FnOnce() -> BoxFuture<'a, Result<Json>> + Send + 'a>;

pub(crate) struct RawStep<'a> {
    board: Arc<Board>,
    id: StepId,
    ask: Ask,
    code: Mutex<Code<'a>>,
    /// Its place on the board, from its first poll on.
    place: Option<usize>,
    at: &'static Location<'static>,
    /// What was wrong with it from the beginning.
    fault: Option<Error>,
    /// Whether its outcome is that of the run which this one repeats.
    carried: bool,
    once: Once,
}

/// A body and its future. Nobody locks it: it makes the step `Sync`, so that a body may ask another step for its token.
struct Code<'a> {
    body: Option<Body<'a>>,
    running: Option<BoxFuture<'a, Result<Json>>>,
}

impl<'a> RawStep<'a> {
    pub(crate) fn new(
        board: Arc<Board>,
        id: StepId,
        ask: Ask,
        body: Option<Body<'a>>,
        at: &'static Location<'static>,
    ) -> Self {
        let code = Mutex::new(Code { body, running: None });
        Self { board, id, ask, code, place: None, at, fault: None, carried: false, once: Once::default() }
    }

    /// The step fails with this when it is polled.
    pub(crate) fn faulty(mut self, fault: Option<Error>) -> Self {
        self.fault = fault;
        self
    }

    pub(crate) fn id(&self) -> &StepId {
        &self.id
    }

    pub(crate) fn at(&self) -> &'static Location<'static> {
        self.at
    }

    /// It has succeeded; this undoes it. What another run did is not this one's to undo.
    pub(crate) fn register(&self, undo: Box<dyn FnOnce() -> Undoing + Send>) {
        if !self.carried {
            self.board.register(Undo { what: self.id.clone(), at: self.at, undo });
        }
    }

    /// Changes the options of a step with a body; the others have none.
    pub(crate) fn options(&mut self, change: impl FnOnce(&mut StepOptions)) {
        match &mut self.ask {
            Ask::Run(options) => change(options),
            Ask::SleepFor(_)
            | Ask::SleepUntil(_)
            | Ask::Send(_)
            | Ask::Invoke { .. }
            | Ask::WaitForEvent { .. }
            | Ask::WaitForSignal { .. } => {}
        }
    }

    /// Notes a call of a method that may be called once.
    pub(crate) fn once(&mut self, method: &'static str) {
        self.once.note(method);
        if let Some(fault) = self.once.fault() {
            let message = format!("step `{}` ({}) {fault}", self.id, self.at);
            self.fault.get_or_insert_with(|| Error::terminal(message).with_code("bad-step"));
        }
    }

    /// Changes what is asked for. The first fault is the one that is told.
    pub(crate) fn asking(&mut self, change: impl FnOnce(&mut Ask) -> Result<(), String>) {
        if let Err(fault) = change(&mut self.ask) {
            let message = format!("step `{}` ({}) cannot wait: {fault}", self.id, self.at);
            self.fault.get_or_insert_with(|| Error::terminal(message).with_code("bad-wait"));
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Json>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Err(fault));
        }
        let want = || board::want(&self.id, &self.ask, self.at);
        match self.board.poll(&mut self.place, want, cx.waker()) {
            Answer::Wait => Poll::Pending,
            Answer::Stop => {
                self.code().running = None;
                Poll::Pending
            }
            Answer::Run => {
                self.poll_body(cx);
                Poll::Pending // the outcome is recorded before the handler sees it
            }
            Answer::Outcome(revealed) => {
                self.carried = revealed.carried;
                Poll::Ready(self.outcome(revealed))
            }
            Answer::Misplaced(why) => Poll::Ready(Err(Error::terminal(why).with_code("misplaced-step"))),
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) {
        let Some(place) = self.place else { return };
        let board = self.board.clone();
        let Code { body, running } = self.code();
        let before = board.move_to(Place::body(place));
        let in_body = InBody::of(board.clone(), place);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if let Some(body) = body.take() {
                *running = Some(body());
            }
            match running {
                Some(running) => running.as_mut().poll(cx),
                None => Poll::Pending,
            }
        }));
        let result = match polled {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(result)) => Some(result),
            Err(payload) => Some(Err(panicked(&*payload))),
        };
        if let Some(result) = result {
            self.code().running = None; // still inside the body: so are the drops of what it holds
            let result = result.and_then(|output| self.bounded(output)).map_err(Error::into_fault);
            self.board.finish(place, result);
        }
        drop(in_body);
        self.board.move_to(before);
    }

    fn code(&mut self) -> &mut Code<'a> {
        self.code.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn bounded(&self, output: Json) -> Result<Json> {
        let bytes = output.get().len();
        if bytes <= OUTCOME_BYTES {
            return Ok(output);
        }
        let message = format!(
            "step `{}` returned {bytes} bytes; at most {OUTCOME_BYTES} are allowed: store large values elsewhere and \
             return a reference",
            self.id
        );
        Err(Error::terminal(message).with_code("too-large"))
    }

    fn outcome(&self, revealed: Revealed) -> Result<Json> {
        let Revealed { kind, outcome, .. } = revealed;
        match outcome {
            // the engine's own refusals say what is wrong
            Outcome::Failed(failure) if kind == self.ask.kind() || is_nondeterminism(&failure) => {
                Err(Error::memoized(failure))
            }
            Outcome::Value(value) if kind == self.ask.kind() => Ok(value),
            Outcome::Value(_) | Outcome::Failed(_) => Err(Error::terminal(format!(
                "nondeterminism: the journal holds a {} under `{}`, the code at {} asks for a {}; give the new step \
                 another name",
                word(kind),
                self.id,
                self.at,
                word(self.ask.kind()),
            ))
            .with_code("nondeterminism")),
        }
    }
}

fn is_nondeterminism(failure: &Failure) -> bool {
    failure.code.as_deref() == Some("nondeterminism")
}

impl Drop for RawStep<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.board.forget(place);
        }
    }
}
