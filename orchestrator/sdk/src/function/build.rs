//! Checks and compiles a function when the app starts.

use stepladder_core::FunctionConfig;
use stepladder_engine::RegisteredFunction;

use super::Function;
use super::executor::RustExecutor;
use super::handler::Handler;
use super::triggers::{add_filters, check_selections};
use crate::SharedData;

impl Function {
    /// Compiles the function, and its failure handler if it has one, to functions that the engine
    /// can execute.
    ///
    /// # Errors
    /// A sentence that names the function, and the invalid expression or method.
    pub(crate) fn compile(self, data: &SharedData) -> Result<Vec<RegisteredFunction>, String> {
        let register = |(config, handler): (FunctionConfig, Handler)| -> Result<RegisteredFunction, String> {
            let spec = config.compile().map_err(|error| error.to_string())?;
            Ok(RustExecutor::register(spec, config.version, handler, data.clone()))
        };
        self.into_configs()?.into_iter().map(register).collect()
    }

    /// Returns the function's config and handler, and those of its on-failure function if it has
    /// one.
    ///
    /// # Errors
    /// A sentence that names the function and the method that was not used as it must be.
    pub(crate) fn into_configs(self) -> Result<Vec<(FunctionConfig, Handler)>, String> {
        let mut config = self.config;
        let id = config.id.clone();
        self.calls.check(&format!("function `{id}`"))?;
        let unwritten = |error| format!("the example of function `{id}` cannot be written as JSON: {error}");
        config.example = self.example.transpose().map_err(unwritten)?.map(Into::into);
        if !config.cron.schedules.is_empty() && !(self.can_decode_tick)() {
            return Err(format!("function `{id}` has a cron schedule; its handler must take an `Event<Tick>`"));
        }
        check_selections(&config, &self.selections)?;
        add_filters(&mut config, &self.filters)?;
        self.repeated_call.map_or(Ok(()), Err)?;
        let mut after = None;
        if let Some(handler) = self.on_failure {
            let on_failure = FunctionConfig {
                version: config.version.clone(),
                retry: config.retry.clone(),
                timeout: config.timeout,
                ..FunctionConfig::new(format!("{id}/on-failure"))
            };
            config.on_failure = Some(on_failure.id.clone());
            after = Some((on_failure, handler));
        }
        Ok([(config, self.handler)].into_iter().chain(after).collect())
    }
}
