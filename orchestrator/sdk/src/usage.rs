//! What a step's body used of a model that is paid for.

use std::cell::RefCell;
use std::sync::Arc;

use stepladder_core::Usage;

use crate::board::Board;

thread_local! {
    /// The body that is being polled on this thread: its board and its place on it.
    static BODY: RefCell<Option<(Arc<Board>, usize)>> = const { RefCell::new(None) };
}

/// Reports what a model was asked for, from within a step's body. It is recorded with the attempt, also when that fails:
/// what was paid for was paid for. Usage of the same model adds up; of more than 16 models in one attempt, the rest adds up
/// as `others`.
///
/// The body is found by the thread that polls it. What is called from a task or a thread of its own (`tokio::spawn`,
/// [`blocking`](crate::blocking())) gives its usage back and lets the body report it. Outside a body this has no effect, so
/// that a client that reports can be used anywhere.
///
/// ```
/// # use stepladder_sdk::prelude::*;
/// # use stepladder_sdk::{Usage, usage};
/// # struct Answer { text: String, read: u64, wrote: u64 }
/// # async fn ask(question: &str) -> Result<Answer> { Ok(Answer { text: question.into(), read: 7, wrote: 9 }) }
/// # async fn example(ctx: Context) -> Result<()> {
/// let text = ctx
///     .step("ask", async || {
///         let answer = ask("Why?").await?;
///         usage(Usage {
///             model: "gpt-5-mini".into(),
///             input_tokens: answer.read,
///             output_tokens: answer.wrote,
///             micro_dollars: Some(answer.read / 4 + 2 * answer.wrote),
///             ..Usage::default()
///         });
///         Ok(answer.text)
///     })
///     .await?;
/// # Ok(()) }
/// ```
pub fn usage(usage: Usage) {
    // not held while the board is asked
    let body = BODY.with_borrow(Clone::clone);
    match body {
        Some((board, at)) => board.use_up(at, usage),
        None => tracing::debug!(model = %usage.model, "usage outside a step's body is not recorded"),
    }
}

/// Marks the thread as polling a body, until it is dropped.
pub(crate) struct InBody(Option<(Arc<Board>, usize)>);

impl InBody {
    pub(crate) fn of(board: Arc<Board>, at: usize) -> Self {
        Self(BODY.replace(Some((board, at))))
    }
}

impl Drop for InBody {
    fn drop(&mut self) {
        BODY.set(self.0.take());
    }
}
