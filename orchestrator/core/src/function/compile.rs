//! Compiles a config: parses expressions and schedules, and refuses settings that cannot work.

use std::sync::Arc;

use super::{
    BatchConfig, CancelCondition, CancelOnConfig, ConcurrencyConfig, ConfigError, DebounceConfig, FunctionConfig,
    RateConfig, RetryConfig, SingletonConfig,
};
use crate::cron::{CronExpression, CronSchedule};
use crate::expr::{AllowedVariables, Expr};
use crate::flow::{self, CancelMatch, FlowControl};
use crate::label::LabelSpec;
use crate::limits::name_problem;
use crate::retry::RetryPolicy;
use crate::sentence::shortened;
use crate::spec::{Concurrency, Spec, Trigger};
use crate::waiting::field_path;

impl FunctionConfig {
    /// Compiles the config to the form that the engine uses.
    ///
    /// # Errors
    /// A sentence that names the function, and the field or the fields that cannot work.
    pub fn compile(&self) -> Result<Spec, ConfigError> {
        let compiler = Compiler { function: &self.id };
        if let Some(problem) = self.version.as_deref().and_then(name_problem) {
            return Err(compiler.error("version", format!("the version of function `{}` {problem}", self.id)));
        }
        if let Some(problem) = self.name.as_deref().and_then(name_problem) {
            return Err(compiler.error("name", format!("the name of function `{}` {problem}", self.id)));
        }
        let mut spec = Spec::new(self.id.clone());
        spec.name = self.name.clone();
        spec.schedule = compiler.schedule(self)?;
        spec.triggers = compiler.triggers(self)?;
        spec.retry = compiler.retry(&self.retry)?;
        spec.timeout = self.timeout;
        spec.concurrency = numbered("concurrency", &self.concurrency, |field, limit| compiler.limit(&field, limit))?;
        spec.flow = compiler.flow(self)?;
        spec.on_failure = self.on_failure.clone();
        spec.example = self.example.clone().map(Into::into);
        spec.labels = numbered("labels", &self.labels, |field, label| {
            let subject = format!("label `{}`", shortened(&label.key));
            let value = compiler.expr(&format!("{field}.value"), &subject, &label.value, AllowedVariables::Event)?;
            Ok(LabelSpec { key: label.key.clone(), value })
        })?;
        match spec.problem() {
            Some(problem) => Err(ConfigError::new(Some(&self.id), None, problem)),
            None => Ok(spec),
        }
    }
}

/// Compiles the settings of one function. Its errors name the function.
struct Compiler<'a> {
    function: &'a Arc<str>,
}

impl Compiler<'_> {
    fn error(&self, field: &str, message: String) -> ConfigError {
        ConfigError::new(Some(self.function), Some(field.into()), message)
    }

    /// Compiles an expression. `subject` says in errors what the expression is for.
    fn expr(&self, field: &str, subject: &str, cel: &str, names: AllowedVariables) -> Result<Expr, ConfigError> {
        let sentence = |bad| self.error(field, format!("the {subject} of function `{}`: {bad}", self.function));
        Expr::compile_over(cel, names).map_err(sentence)
    }

    fn key(&self, field: &str, subject: &str, cel: Option<&String>) -> Result<Option<Expr>, ConfigError> {
        cel.map(|cel| self.expr(field, subject, cel, AllowedVariables::Event)).transpose()
    }

    fn retry(&self, retry: &RetryConfig) -> Result<RetryPolicy, ConfigError> {
        let named = numbered("retry.non_retryable", &retry.non_retryable, |field, name| match name_problem(name) {
            Some(problem) => {
                let function = self.function;
                let sentence = format!("an error name that function `{function}` does not retry {problem}");
                Err(self.error(&field, sentence))
            }
            None => Ok(name.clone()),
        })?;
        Ok(RetryPolicy { retries: retry.retries, backoff: retry.backoff.clone().into(), non_retryable: named.into() })
    }

    fn schedule(&self, config: &FunctionConfig) -> Result<CronSchedule, ConfigError> {
        let (id, cron) = (self.function, &config.cron);
        if cron.schedules.is_empty() {
            let without = |field, setting| {
                let sentence = format!("function `{id}` has {setting} and no cron schedule; remove it, or add `.cron`");
                Err(self.error(field, sentence))
            };
            if cron.time_zone.is_some() {
                return without("cron.time_zone", "a time zone");
            }
            if cron.missed_ticks.is_some() {
                return without("cron.missed_ticks", "missed_ticks");
            }
        }
        let zone = cron.time_zone.as_deref().unwrap_or("UTC");
        let lines = numbered("cron.schedules", &cron.schedules, |field, schedule| {
            CronExpression::parse(schedule, zone).map_err(|bad| self.error(&field, format!("function `{id}`: {bad}")))
        })?;
        Ok(CronSchedule { lines, jitter: cron.jitter, missed_ticks: cron.missed_ticks.unwrap_or_default() })
    }

    fn triggers(&self, config: &FunctionConfig) -> Result<Vec<Trigger>, ConfigError> {
        numbered("triggers", &config.triggers, |field, trigger| {
            let field = format!("{field}.conditions");
            // each condition is also compiled alone, so that a surplus bracket cannot change the
            // meaning of another condition
            for cel in &trigger.conditions {
                self.expr(&field, "filter", cel, AllowedVariables::Event)?;
            }
            let condition = match trigger.conditions.as_slice() {
                [] => None,
                [one] => Some(self.expr(&field, "filter", one, AllowedVariables::Event)?),
                // each filter is on its own line, because it may end in a comment
                several => {
                    let all = format!("({}\n)", several.join("\n) && ("));
                    Some(self.expr(&field, "filters", &all, AllowedVariables::Event)?)
                }
            };
            Ok(Trigger { event: trigger.event.clone(), condition })
        })
    }

    fn limit(&self, field: &str, config: &ConcurrencyConfig) -> Result<Concurrency, ConfigError> {
        let key = self.key(&format!("{field}.key"), "concurrency key", config.key.as_ref())?;
        Ok(Concurrency { limit: config.limit, key, of: config.of, shared: config.shared.clone() })
    }

    fn flow(&self, config: &FunctionConfig) -> Result<FlowControl, ConfigError> {
        let throttle = config.throttle.as_ref().map(|rate| self.rate("throttle", "throttle", rate, 1));
        let rate_limit = config.rate_limit.as_ref();
        let rate_limit = rate_limit.map(|rate| self.rate("rate_limit", "rate limit", rate, rate.limit));
        Ok(FlowControl {
            throttle: throttle.transpose()?,
            rate_limit: rate_limit.transpose()?,
            debounce: config.debounce.as_ref().map(|debounce| self.debounce(debounce)).transpose()?,
            batch: config.batch.as_ref().map(|batch| self.batch(batch)).transpose()?,
            singleton: config.singleton.as_ref().map(|singleton| self.singleton(singleton)).transpose()?,
            idempotency: self.key("idempotency", "idempotency key", config.idempotency.as_ref())?,
            priority: self.key("priority", "priority", config.priority.as_ref())?,
            cancel_on: numbered("cancel_on", &config.cancel_on, |field, cancel| self.cancel(&field, cancel))?,
            start_within: config.timeouts.start,
            finish_within: config.timeouts.finish,
        })
    }

    fn rate(&self, field: &str, subject: &str, rate: &RateConfig, burst: u32) -> Result<flow::Rate, ConfigError> {
        let RateConfig { limit, period, burst: chosen, key } = rate;
        let key = self.key(&format!("{field}.key"), &format!("{subject}'s key"), key.as_ref())?;
        Ok(flow::Rate { limit: *limit, period: *period, burst: chosen.unwrap_or(burst), key })
    }

    fn debounce(&self, debounce: &DebounceConfig) -> Result<flow::Debounce, ConfigError> {
        let DebounceConfig { period, max_wait, key } = debounce;
        let key = self.key("debounce.key", "debounce's key", key.as_ref())?;
        Ok(flow::Debounce { period: *period, longest: *max_wait, key })
    }

    fn batch(&self, batch: &BatchConfig) -> Result<flow::Batch, ConfigError> {
        let BatchConfig { size, timeout, key } = batch;
        Ok(flow::Batch { size: *size, timeout: *timeout, key: self.key("batch.key", "batch's key", key.as_ref())? })
    }

    fn singleton(&self, singleton: &SingletonConfig) -> Result<flow::Singleton, ConfigError> {
        let SingletonConfig { mode, key } = singleton;
        Ok(flow::Singleton { mode: *mode, key: self.key("singleton.key", "singleton's key", key.as_ref())? })
    }

    fn cancel(&self, field: &str, config: &CancelOnConfig) -> Result<flow::CancelOn, ConfigError> {
        let mut each = numbered(&format!("{field}.conditions"), &config.conditions, |field, condition| {
            Ok(match condition {
                CancelCondition::SameField(path) => CancelMatch::Field(field_path(path).into()),
                CancelCondition::Cel(cel) => CancelMatch::When(self.expr(
                    &field,
                    "filter for being cancelled",
                    cel,
                    AllowedVariables::EventAndAsync,
                )?),
            })
        })?;
        let matching = match each.len() {
            0 => CancelMatch::Any,
            1 => each.swap_remove(0),
            _ => CancelMatch::All(each),
        };
        Ok(flow::CancelOn { event: config.event.clone(), matching, within: config.timeout })
    }
}

/// Compiles each element of a list. The path of an element in errors is for example `triggers[0]`.
fn numbered<T, O>(
    field: &str,
    each: &[T],
    compile: impl Fn(String, &T) -> Result<O, ConfigError>,
) -> Result<Vec<O>, ConfigError> {
    each.iter().enumerate().map(|(i, one)| compile(format!("{field}[{i}]"), one)).collect()
}
