//! What a function asks for, checked and compiled when the app starts.

use std::sync::Arc;

use stepladder_core::Spec;
use stepladder_core::cron::Cron;
use stepladder_engine::Program;

use super::Function;
use super::program::RustProgram;
use crate::States;
use crate::flow::Compile;

impl Function {
    /// What the engine runs: the function, and its on-failure function if it has one.
    ///
    /// # Errors
    /// A sentence that names the function and what is wrong with it: an expression that is not CEL, a method that was called
    /// twice.
    pub fn programs(self, states: &States) -> Result<Vec<Arc<dyn Program>>, String> {
        let Self { mut spec, version, conditions, example, cron, concurrency, flow, handler, on_failure, once } = self;
        let id = spec.id.clone();
        once.check(&format!("function `{id}`"))?;
        let unwritten = |error| format!("the example of function `{id}` cannot be written as JSON: {error}");
        spec.example = example.transpose().map_err(unwritten)?;
        let compile = Compile { function: &id };
        if cron.zone.is_some() && cron.lines.is_empty() {
            return Err(format!("function `{id}` has a time zone and no cron line; remove it, or use Function::cron"));
        }
        if cron.missed.is_some() && cron.lines.is_empty() {
            return Err(format!("function `{id}` has missed_ticks and no cron line; remove it, or use Function::cron"));
        }
        spec.schedule.missed_ticks = cron.missed.unwrap_or_default();
        for line in cron.lines {
            let zone = cron.zone.as_deref().unwrap_or("UTC");
            let line = Cron::parse(&line, zone).map_err(|bad| format!("function `{id}`: {bad}"))?;
            spec.schedule.lines.push(line);
        }
        conditions_of(&mut spec, conditions, &compile)?;
        for limit in concurrency {
            spec.concurrency.push(limit.compiled(&compile)?);
        }
        spec.flow = flow.compiled(&compile)?;
        let mut programs: Vec<Arc<dyn Program>> = Vec::new();
        if let Some(handler) = on_failure {
            let mut after = Spec::new(format!("{id}/on-failure"));
            after.retry = spec.retry.clone();
            after.timeout = spec.timeout;
            spec.on_failure = Some(after.id.clone());
            programs.push(Arc::new(RustProgram::new(after, version.clone(), handler, states.clone())));
        }
        programs.insert(0, Arc::new(RustProgram::new(spec, version, handler, states.clone())));
        Ok(programs)
    }
}

/// Gives each trigger its condition: what is said of its event, else what is said of all.
fn conditions_of(
    spec: &mut Spec,
    conditions: Vec<(Option<String>, String)>,
    compile: &Compile<'_>,
) -> Result<(), String> {
    let id = spec.id.clone();
    for (name, cel) in &conditions {
        // each by itself, so that a bracket too many does not change what another means
        compile.expr("condition", cel)?;
        match name {
            Some(name) if !spec.triggers.iter().any(|trigger| *trigger.event == **name) => {
                return Err(format!("function `{id}` has a condition for `{name}`, which does not start it"));
            }
            None if spec.triggers.is_empty() => {
                return Err(format!("function `{id}` has a condition, and no event starts it"));
            }
            Some(_) | None => {}
        }
    }
    for trigger in &mut spec.triggers {
        let said_of = |of: Option<&str>| -> Vec<&str> {
            conditions.iter().filter(|(name, _)| name.as_deref() == of).map(|(_, cel)| &**cel).collect()
        };
        let own = said_of(Some(&trigger.event));
        let all = if own.is_empty() { said_of(None) } else { own };
        trigger.condition = match all.as_slice() {
            [] => None,
            [one] => Some(compile.expr("condition", one)?),
            // on lines of their own, as each may end in a comment
            several => Some(compile.expr("conditions", &format!("({}\n)", several.join("\n) && (")))?),
        };
    }
    Ok(())
}
