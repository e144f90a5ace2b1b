//! Access to the engine behind a test app, for the tests of this workspace.

use std::sync::Arc;

use stepladder_engine::{Config, Engine};
use stepladder_testkit::memory::Memory;

use super::TestApp;
use crate::runtime::TestEngine;

impl TestEngine for TestApp {
    fn engine(&mut self) -> Arc<Engine> {
        self.world().engine.clone()
    }

    fn memory(&mut self) -> Arc<Memory> {
        self.world().memory.clone()
    }

    fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }
}
