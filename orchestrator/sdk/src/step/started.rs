//! Steps that were started, and are awaited later.

use std::pin::Pin;
use std::task::{Context, Poll};

/// A step without a body that runs while the function does something else. `start` of
/// [`Sleep`](crate::Sleep::start), [`WaitForEvent`](crate::WaitForEvent::start),
/// [`WaitForSignal`](crate::WaitForSignal::start), [`Invoke`](crate::Invoke::start),
/// [`SendEvent`](crate::SendEvent::start) and [`SendEvents`](crate::SendEvents::start) returns it.
/// Await it for the result of the step.
///
/// The step is recorded with the next write of the run, which is when the function next awaits a
/// step. It keeps its outcome until it is awaited. Dropping it is like losing a `select!`: what is
/// not recorded yet does not happen, a recorded sleep or wait is ignored, and a called run
/// continues unless it is [cancelled with this run](crate::Invoke::cancelled_with_run).
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn try_once() -> Result<Option<u32>> { Ok(Some(7)) }
/// # async fn example(ctx: Context) -> Result<Option<u32>> {
/// let mut deadline = ctx.sleep("deadline", Duration::from_secs(3_600)).start();
/// loop {
///     tokio::select! {
///         tried = ctx.step("try", try_once) => if let Some(found) = tried? { return Ok(Some(found)) },
///         ended = &mut deadline => return ended.map(|()| None),
///     }
/// }
/// # }
/// ```
///
/// A step with a body cannot be started, because its body is executed by the future of the
/// function. Use `join!` for steps in parallel:
///
/// ```compile_fail,E0599
/// # use stepladder::prelude::*;
/// # async fn example(ctx: Context) -> Result<()> {
/// let started = ctx.step("fetch", async || Ok(7)).start();
/// # drop(started); Ok(()) }
/// ```
#[must_use = "a started step that is dropped may never happen; keep it and await it"]
pub struct StartedStep<S> {
    step: S,
}

impl<S> StartedStep<S> {
    pub(crate) fn new(step: S) -> Self {
        Self { step }
    }

    pub(crate) fn step(&self) -> &S {
        &self.step
    }
}

impl<S: Future + Unpin> Future for StartedStep<S> {
    type Output = S::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().step).poll(cx)
    }
}

/// Adds `start` to a type with a [`RecordedStep`](super::RecordedStep) in a field `step`.
macro_rules! startable {
    ($(#[$doc:meta])* $name:ident<$life:lifetime $(, $generic:ident)?>) => {
        impl<$life $(, $generic)?> $name<$life $(, $generic)?> {
            $(#[$doc])*
            pub fn start(mut self) -> $crate::StartedStep<Self> {
                self.step.start();
                $crate::StartedStep::new(self)
            }
        }
    };
}
pub(crate) use startable;
