//! A recorded step with the type of its value. All kinds of steps are built on it.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use serde_json::value::RawValue;
use stepladder_core::StepId;
use stepladder_core::decide::{Operation, StepOptions};

use super::UntypedStep;
use crate::compensation::CompensationFuture;
use crate::error::ErrorCode;
use crate::{Error, Json, Result};

/// A function that decodes a recorded outcome.
pub(crate) type DecodeFn<T> = fn(&RawValue) -> serde_json::Result<T>;

/// A function that undoes a step, given the recorded outcome of the step.
type CompensateFn = Box<dyn FnOnce(Json) -> CompensationFuture + Send>;

pub(crate) struct RecordedStep<'a, T> {
    step: UntypedStep<'a>,
    decode: DecodeFn<T>,
    /// A compensation, if there is one. The mutex is never contended; it only makes the step
    /// `Sync`.
    compensate: Mutex<Option<CompensateFn>>,
}

impl<'a, T> RecordedStep<'a, T> {
    pub(crate) fn new(step: UntypedStep<'a>, decode: DecodeFn<T>) -> Self {
        Self { step, decode, compensate: Mutex::new(None) }
    }

    pub(crate) fn id(&self) -> &StepId {
        self.step.id()
    }

    pub(crate) fn change_ask(&mut self, change: impl FnOnce(&mut Operation) -> Result<(), String>) {
        self.step.change_ask(change);
    }

    pub(crate) fn set_options(&mut self, change: impl FnOnce(&mut StepOptions)) {
        self.step.set_options(change);
    }

    pub(crate) fn record_call(&mut self, method: &'static str) {
        self.step.record_call(method);
    }

    pub(crate) fn start(&mut self) {
        self.step.start();
    }

    pub(crate) fn fail_with(&mut self, error: Error) {
        self.step.fail_with(error);
    }

    /// Registers a compensation, which becomes effective once the outcome of the step is known.
    pub(crate) fn undo<F, Fut>(&mut self, undo: F)
    where
        T: Send + 'static,
        F: FnOnce(T) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.record_call("undo");
        let decode = self.decode;
        self.compensate = Mutex::new(Some(Box::new(move |output| {
            Box::pin(async move {
                let value = decode(&output)?;
                undo(value).await
            })
        })));
    }
}

impl<T> Future for RecordedStep<'_, T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        let decode = this.decode;
        this.step.poll(cx).map(|outcome| {
            let outcome = outcome?;
            let compensate = this.compensate.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(compensate) = compensate {
                let output = outcome.clone();
                this.step.add_compensation(Box::new(move || compensate(output)));
            }
            decode(&outcome).map_err(|error| {
                Error::terminal(format!(
                    "the recorded outcome of step `{}` ({}) does not fit its type {}: {error}; give the step another \
                     name, or let the type read what was recorded",
                    this.step.id(),
                    this.step.at(),
                    std::any::type_name::<T>()
                ))
                .with_code(ErrorCode::Undecodable)
            })
        })
    }
}

/// Implements `Future` for types that contain a [`RecordedStep`] in a field `step`.
macro_rules! delegate_future {
    ($($name:ident<$life:lifetime $(, $generic:ident)?> => $output:ty;)*) => {$(
        impl<$life $(, $generic)?> Future for $name<$life $(, $generic)?> {
            type Output = $crate::Result<$output>;

            fn poll(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Self::Output> {
                ::std::pin::Pin::new(&mut self.get_mut().step).poll(cx)
            }
        }
    )*};
}
pub(crate) use delegate_future;

/// Adds the methods of steps that can be undone to a type with a [`RecordedStep`] in a field
/// `step`.
macro_rules! undoable {
    ($(#[$doc:meta])* $name:ident) => {
        impl<'a, T> $name<'a, T> {
            pub(crate) fn new(step: $crate::step::RecordedStep<'a, T>) -> Self {
                Self { step }
            }

            $(#[$doc])*
            pub fn undo<F, Fut>(mut self, undo: F) -> Self
            where
                T: Send + 'static,
                F: FnOnce(T) -> Fut + Send + 'static,
                Fut: Future<Output = $crate::Result<()>> + Send + 'static,
            {
                self.step.undo(undo);
                self
            }
        }
    };
}
pub(crate) use undoable;
