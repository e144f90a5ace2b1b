//! Checks and compiles a function when the app starts.

use std::sync::Arc;

use stepladder_core::Spec;
use stepladder_engine::Program;

use super::Function;
use super::program::RustProgram;
use super::triggers::{check_selections, compile_cron, compile_filters};
use crate::SharedData;
use crate::flow::Compiler;

impl Function {
    /// Compiles the function, and its on-failure function if it has one, to what the engine runs.
    ///
    /// # Errors
    /// A sentence that names the function, and the expression or the method that cannot work.
    pub(crate) fn into_programs(self, data: &SharedData) -> Result<Vec<Arc<dyn Program>>, String> {
        let mut spec = self.spec;
        let id = spec.id.clone();
        self.calls.check(&format!("function `{id}`"))?;
        let unwritten = |error| format!("the example of function `{id}` cannot be written as JSON: {error}");
        spec.example = self.example.transpose().map_err(unwritten)?;
        let compiler = Compiler { function: &id };
        compile_cron(&mut spec, self.cron)?;
        check_selections(&spec, &self.selections)?;
        compile_filters(&mut spec, &self.filters, &compiler)?;
        for limit in self.concurrency {
            spec.concurrency.push(limit.compile(&compiler)?);
        }
        spec.flow = self.flow.compile(&compiler)?;
        let mut programs: Vec<Arc<dyn Program>> = Vec::new();
        if let Some(handler) = self.on_failure {
            let mut after = Spec::new(format!("{id}/on-failure"));
            after.retry = spec.retry.clone();
            after.timeout = spec.timeout;
            spec.on_failure = Some(after.id.clone());
            programs.push(Arc::new(RustProgram::new(after, self.version.clone(), handler, data.clone())));
        }
        programs.insert(0, Arc::new(RustProgram::new(spec, self.version, self.handler, data.clone())));
        Ok(programs)
    }
}
