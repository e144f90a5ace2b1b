//! Executes a Rust function for the engine.

use std::sync::Arc;

use stepladder_core::retry::RetryPolicy;
use stepladder_core::{Failure, Spec};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{Executor, RunHistory, Session};

use super::Handler;
use crate::compensation::{HandlerRetries, compensated};
use crate::context::{Context, ContextParts};
use crate::ledger::ReplayLedger;
use crate::session::RustSession;
use crate::shared_data::SharedData;

/// Executes one function.
pub(super) struct RustExecutor {
    retry: RetryPolicy,
    handler: Handler,
    data: SharedData,
}

impl RustExecutor {
    /// Returns the function with its executor.
    pub(super) fn register(
        spec: Spec,
        version: Option<Arc<str>>,
        handler: Handler,
        data: SharedData,
    ) -> RegisteredFunction {
        let executor = Self { retry: spec.retry.clone(), handler, data };
        RegisteredFunction::new(spec, version, Arc::new(executor))
    }
}

impl Executor for RustExecutor {
    fn open(&self, mut history: RunHistory) -> Result<Box<dyn Session>, Failure> {
        let outcomes = std::mem::take(&mut history.outcomes);
        let ledger = Arc::new(ReplayLedger::new(history.run, history.created_at, outcomes));
        let context = Context::new(ContextParts {
            ledger: ledger.clone(),
            data: self.data.clone(),
            attempt: history.attempt,
            secret: history.secret,
        });
        let handler = (self.handler)(context, &history)?;
        let retries = HandlerRetries { policy: self.retry.clone(), attempt: history.attempt };
        let future = Box::pin(compensated(handler, ledger.clone(), retries));
        Ok(Box::new(RustSession::new(future, ledger)))
    }
}
