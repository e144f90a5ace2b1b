//! A step without the type of its value. It adds its request to the ledger, polls the body and
//! returns the recorded JSON.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use stepladder_core::decide::{Operation, StepOptions, Want, kind_name};
use stepladder_core::limits::OUTCOME_BYTES;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{Json, Outcome, StepId};

use crate::compensation::{Compensation, CompensationFuture};
use crate::error::{ErrorCode, panic_error};
use crate::ledger::{Instruction, ReplayLedger, Scope};
use crate::single_calls::SingleCalls;
use crate::usage::BodyGuard;
use crate::{Error, Result};

/// A function that creates the future of a body.
pub(crate) type StepBodyFn<'a> = Box<dyn FnOnce() -> BoxFuture<'a, Result<Json>> + Send + 'a>;

pub(crate) struct UntypedStep<'a> {
    ledger: Arc<ReplayLedger>,
    id: StepId,
    ask: Operation,
    code: Mutex<LazyBody<'a>>,
    /// The index of the step in the ledger, once the step was polled.
    index: Option<usize>,
    at: &'static Location<'static>,
    /// An error with which the step fails when it is polled.
    error: Option<Error>,
    /// Whether the outcome was copied from the original run into this rerun.
    carried: bool,
    calls: SingleCalls,
}

/// A body and its future. The mutex is never contended; it only makes the step `Sync`, so that a
/// body may use the token of another step.
struct LazyBody<'a> {
    body: Option<StepBodyFn<'a>>,
    running: Option<BoxFuture<'a, Result<Json>>>,
}

impl<'a> UntypedStep<'a> {
    pub(crate) fn new(
        ledger: Arc<ReplayLedger>,
        id: StepId,
        ask: Operation,
        body: Option<StepBodyFn<'a>>,
        at: &'static Location<'static>,
    ) -> Self {
        let code = Mutex::new(LazyBody { body, running: None });
        Self { ledger, id, ask, code, index: None, at, error: None, carried: false, calls: SingleCalls::default() }
    }

    /// Makes the step fail with this error when it is polled. If there are several errors, the
    /// first one counts.
    pub(crate) fn fail_with(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    pub(crate) fn id(&self) -> &StepId {
        &self.id
    }

    pub(crate) fn at(&self) -> &'static Location<'static> {
        self.at
    }

    /// Registers how this step is undone. Does nothing if the outcome was copied from the original
    /// run, because a rerun does not undo what the original run did.
    pub(crate) fn add_compensation(&self, compensate: Box<dyn FnOnce() -> CompensationFuture + Send>) {
        if !self.carried {
            self.ledger.add_compensation(Compensation { name: self.id.clone(), at: self.at, compensate });
        }
    }

    /// Changes the options of a step with a body.
    pub(crate) fn set_options(&mut self, change: impl FnOnce(&mut StepOptions)) {
        match &mut self.ask {
            Operation::Run(options) => change(options),
            Operation::SleepFor(_)
            | Operation::SleepUntil(_)
            | Operation::Send(_)
            | Operation::Invoke { .. }
            | Operation::WaitForEvent { .. }
            | Operation::WaitForSignal { .. } => {}
        }
    }

    /// Records the call of a method that may be called once. If it is called twice, the step fails.
    pub(crate) fn record_call(&mut self, method: &'static str) {
        self.calls.record(method);
        if let Some(error) = self.calls.error() {
            let message = format!("step `{}` ({}) {error}", self.id, self.at);
            self.fail_with(Error::terminal(message).with_code(ErrorCode::BadStep));
        }
    }

    /// Changes the request of the step. If `change` returns an error, the step fails.
    pub(crate) fn change_ask(&mut self, change: impl FnOnce(&mut Operation) -> Result<(), String>) {
        if let Err(error) = change(&mut self.ask) {
            let message = format!("step `{}` ({}) cannot wait: {error}", self.id, self.at);
            self.fail_with(Error::terminal(message).with_code(ErrorCode::BadWait));
        }
    }

    /// Adds the request of a step without a body to the ledger, before the step is polled.
    pub(crate) fn start(&mut self) {
        if self.error.is_some() {
            return;
        }
        let Self { ledger, id, ask, at, .. } = &*self;
        match ledger.request(|| Want { step: id.clone(), operation: ask.clone(), at: Some((*at).into()) }) {
            Ok(index) => self.index = Some(index),
            Err(why) => self.error = Some(Error::terminal(why).with_code(ErrorCode::MisplacedStep)),
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Json>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        let want = || Want { step: self.id.clone(), operation: self.ask.clone(), at: Some(self.at.into()) };
        match self.ledger.poll(&mut self.index, want, cx.waker()) {
            Instruction::Wait => Poll::Pending,
            Instruction::StopBody => {
                self.code().running = None;
                Poll::Pending
            }
            Instruction::PollBody(scope) => {
                match scope {
                    Some(scope) => scope.enter(&mut || self.poll_body(cx)),
                    None => self.poll_body(cx),
                }
                Poll::Pending // the outcome is recorded before the handler sees it
            }
            Instruction::Complete(revealed) => {
                self.carried = revealed.carried;
                Poll::Ready(self.outcome(revealed))
            }
            Instruction::Refuse(why) => Poll::Ready(Err(Error::terminal(why).with_code(ErrorCode::MisplacedStep))),
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) {
        let Some(index) = self.index else { return };
        let ledger = self.ledger.clone();
        let LazyBody { body, running } = self.code();
        let outer = ledger.enter(Scope::body(index));
        let guard = BodyGuard::enter(ledger.clone(), index);
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
            Err(payload) => Some(Err(panic_error(&*payload))),
        };
        if let Some(result) = result {
            self.code().running = None; // within the body's scope, as are the drops of its values
            let result = result.and_then(|output| self.check_size(output)).map_err(Error::into_fault);
            self.ledger.finish_body(index, result);
        }
        drop(guard);
        self.ledger.enter(outer);
    }

    fn code(&mut self) -> &mut LazyBody<'a> {
        self.code.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_size(&self, output: Json) -> Result<Json> {
        let bytes = output.get().len();
        if bytes <= OUTCOME_BYTES {
            return Ok(output);
        }
        let message = format!(
            "step `{}` returned {bytes} bytes; at most {OUTCOME_BYTES} are allowed: store large values elsewhere and \
             return a reference",
            self.id
        );
        Err(Error::terminal(message).with_code(ErrorCode::TooLarge))
    }

    fn outcome(&self, revealed: RevealedOutcome) -> Result<Json> {
        let RevealedOutcome { kind, outcome, .. } = revealed;
        match outcome {
            // in this case the message of the engine is more precise than the one below
            Outcome::Failed(failure) if kind == self.ask.kind() || failure.code == Some(ErrorCode::Nondeterminism) => {
                Err(Error::recorded(failure))
            }
            Outcome::Value(value) if kind == self.ask.kind() => Ok(value),
            Outcome::Value(_) | Outcome::Failed(_) => Err(Error::terminal(format!(
                "nondeterminism: the journal holds a {} under `{}`, the code at {} asks for a {}; give the new step \
                 another name",
                kind_name(kind),
                self.id,
                self.at,
                kind_name(self.ask.kind()),
            ))
            .with_code(ErrorCode::Nondeterminism)),
        }
    }
}

impl Drop for UntypedStep<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            self.ledger.drop_step(index);
        }
    }
}
