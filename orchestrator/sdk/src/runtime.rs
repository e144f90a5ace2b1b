//! Items for the other crates of this workspace and their tests, which execute functions.
//! `stepladder` does not export this module.

use std::sync::Arc;

use stepladder_core::FunctionConfig;
use stepladder_engine::view::RunDetail;
use stepladder_engine::{Config, Engine, RegisteredFunction};
use stepladder_testkit::memory::Memory;

use crate::Function;

pub use crate::environment::override_env;
pub use crate::secrets::{SecretSource, set_secret_source};
pub use crate::shared_data::SharedData;

/// Compiles a function, and its failure handler if it has one, to programs that the engine
/// executes.
///
/// # Errors
/// A sentence that names the function, and the invalid expression or method.
pub fn compile(function: Function, data: &SharedData) -> Result<Vec<RegisteredFunction>, String> {
    function.compile(data)
}

/// Returns the config of a function, and that of its on-failure function if it has one.
///
/// # Errors
/// A sentence that names the function, and the method that was not used as it must be.
pub fn configs(function: Function) -> Result<Vec<FunctionConfig>, String> {
    Ok(function.into_configs()?.into_iter().map(|(config, _)| config).collect())
}

/// Gives access to the engine behind a [`TestApp`](crate::testing::TestApp).
pub trait TestEngine: Sized {
    /// Returns the engine.
    fn engine(&mut self) -> Arc<Engine>;

    /// Returns the storage in memory.
    fn memory(&mut self) -> Arc<Memory>;

    /// Changes the settings of the engine before the app runs.
    #[must_use]
    fn config(self, change: impl FnOnce(&mut Config)) -> Self;
}

/// Gives access to the engine's view of a [`TestRun`](crate::testing::TestRun).
pub trait TestRunDetail {
    /// Returns the run in full: its steps with their attempts, the event, the log, and why the run
    /// waits.
    fn detail(&self) -> &RunDetail;
}
