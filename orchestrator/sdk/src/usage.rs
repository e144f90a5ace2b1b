//! The usage of paid models that the body of a step reports.

use std::cell::RefCell;
use std::sync::Arc;

use stepladder_core::Usage;

use crate::ledger::ReplayLedger;

thread_local! {
    /// The body that this thread is polling: the ledger, and the index of the step in the ledger.
    static BODY: RefCell<Option<(Arc<ReplayLedger>, usize)>> = const { RefCell::new(None) };
}

/// Records the usage of a paid model. Call this inside the body of a step.
///
/// The usage is recorded with the attempt, even if the attempt fails. Usage of the same model adds
/// up. Beyond 16 models in one attempt, usage is added up as `others`.
///
/// The body is identified by the thread that polls it. A separate task or thread (`tokio::spawn`,
/// [`blocking`](crate::blocking())) must return its usage to the body. Outside a body the call has
/// no effect, so a client that records usage works anywhere.
///
/// ```
/// # use stepladder::prelude::*;
/// use stepladder::{Usage, record_usage};
///
/// # struct Answer { text: String, read: u64, wrote: u64 }
/// # async fn ask(question: &str) -> Result<Answer> {
/// #     Ok(Answer { text: question.into(), read: 7, wrote: 9 })
/// # }
/// # async fn example(ctx: Context) -> Result<()> {
/// let text = ctx
///     .step("ask", async || {
///         let answer = ask("Why?").await?;
///         let usage = Usage::new("gpt-5-mini").input_tokens(answer.read);
///         record_usage(usage.output_tokens(answer.wrote).micro_dollars(answer.read / 4));
///         Ok(answer.text)
///     })
///     .await?;
/// # Ok(()) }
/// ```
pub fn record_usage(usage: Usage) {
    // the borrow must end before the ledger is locked
    let body = BODY.with_borrow(Clone::clone);
    match body {
        Some((ledger, at)) => ledger.add_usage(at, usage),
        None => tracing::debug!(model = %usage.model, "usage outside a step's body is not recorded"),
    }
}

/// Marks this thread as polling a body, until the guard is dropped.
pub(crate) struct BodyGuard(Option<(Arc<ReplayLedger>, usize)>);

impl BodyGuard {
    pub(crate) fn enter(ledger: Arc<ReplayLedger>, at: usize) -> Self {
        Self(BODY.replace(Some((ledger, at))))
    }
}

impl Drop for BodyGuard {
    fn drop(&mut self) {
        BODY.set(self.0.take());
    }
}
