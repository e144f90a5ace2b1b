//! A Rust function in the form in which the engine executes it.

use std::sync::Arc;

use stepladder_core::{Failure, Spec};
use stepladder_engine::program::{Program, RunHistory, Session};

use super::Handler;
use crate::compensation::{HandlerRetries, compensated};
use crate::context::{Context, ContextParts};
use crate::ledger::ReplayLedger;
use crate::session::RustSession;
use crate::shared_data::SharedData;

pub(super) struct RustProgram {
    spec: Spec,
    version: Option<Arc<str>>,
    handler: Handler,
    data: SharedData,
}

impl RustProgram {
    pub(super) fn new(spec: Spec, version: Option<Arc<str>>, handler: Handler, data: SharedData) -> Self {
        Self { spec, version, handler, data }
    }
}

impl Program for RustProgram {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

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
        let retries = HandlerRetries { policy: self.spec.retry.clone(), attempt: history.attempt };
        let future = Box::pin(compensated(handler, ledger.clone(), retries));
        Ok(Box::new(RustSession::new(future, ledger)))
    }
}
