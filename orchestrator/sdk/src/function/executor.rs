//! Executes a Rust function for the engine.

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::retry::RetryPolicy;
use stepladder_core::{Spec, Timestamp};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{Execution, Executor, OpenError, RunView};

use super::Handler;
use crate::codec::{CodecExecution, RunPayloads};
use crate::compensation::{HandlerRetries, compensated};
use crate::context::{Context, ContextParts};
use crate::execution::RustExecution;
use crate::ledger::ReplayLedger;
use crate::shared_data::SharedData;

/// Executes one function.
pub(super) struct RustExecutor {
    function: Arc<str>,
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
        let executor = Self { function: spec.id.clone(), retry: spec.retry.clone(), handler, data };
        RegisteredFunction::new(spec, version, Arc::new(executor))
    }
}

#[async_trait]
impl Executor for RustExecutor {
    async fn open(&self, mut run: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        let payloads = RunPayloads::new(self.data.codec().cloned(), run.run, self.function.clone());
        payloads.prepare().await?;
        payloads.open_events(&mut run)?;
        let ledger = Arc::new(ReplayLedger::new(run.run, run.created_at, run.labels.clone()));
        let (data, secret) = (self.data.clone(), run.secret);
        let parts = ContextParts { data, payloads: payloads.clone(), attempt: run.attempt, secret };
        let context = Context::new(ledger.clone(), parts);
        let handler = (self.handler)(context, &run)?;
        let retries = HandlerRetries { policy: self.retry.clone(), attempt: run.attempt };
        let future = Box::pin(compensated(handler, ledger.clone(), retries));
        Ok(Box::new(CodecExecution::new(RustExecution::new(future, ledger), payloads)))
    }
}
