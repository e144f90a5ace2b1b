//! A Rust function as the engine sees it.

use std::sync::Arc;

use stepladder_core::{Failure, Spec};
use stepladder_engine::program::{History, Program, Session};

use super::Handler;
use crate::board::Board;
use crate::session::RustSession;
use crate::undo::{Finality, undoing};
use crate::{Context, States};

pub(super) struct RustProgram {
    spec: Spec,
    version: Option<Arc<str>>,
    handler: Handler,
    states: States,
}

impl RustProgram {
    pub(super) fn new(spec: Spec, version: Option<Arc<str>>, handler: Handler, states: States) -> Self {
        Self { spec, version, handler, states }
    }
}

impl Program for RustProgram {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    fn open(&self, history: History) -> Result<Box<dyn Session>, Failure> {
        let mut history = history;
        let outcomes = std::mem::take(&mut history.outcomes);
        let board = Arc::new(Board::new(history.run, history.created_at, outcomes));
        let context = Context::new(board.clone(), self.states.clone(), (history.attempt, history.secret));
        let handler = (self.handler)(context, &history)?;
        let finality = Finality { policy: self.spec.retry.clone(), attempt: history.attempt };
        let future = Box::pin(undoing(handler, board.clone(), finality));
        Ok(Box::new(RustSession::new(future, board)))
    }
}
