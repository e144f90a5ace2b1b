//! Compiles a function's flow control: parses expressions, and refuses what cannot work.

use stepladder_core::expr::{Expr, Names};
use stepladder_core::flow::{self, CancelMatch, FlowControl};
use stepladder_core::spec;
use stepladder_core::waiting::field_path;

use super::{Batch, CancelCondition, CancelOn, Concurrency, Debounce, Rate, Singleton, Timeouts};
use crate::single_calls::SingleCalls;

/// The flow control of a function, before its expressions are compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowConfig {
    pub(crate) throttle: Option<Rate>,
    pub(crate) rate_limit: Option<Rate>,
    pub(crate) debounce: Option<Debounce>,
    pub(crate) batch: Option<Batch>,
    pub(crate) singleton: Option<Singleton>,
    pub(crate) idempotency: Option<String>,
    pub(crate) priority: Option<String>,
    pub(crate) cancel_on: Vec<CancelOn>,
    pub(crate) timeouts: Timeouts,
}

/// Compiles the parts of one function. Its errors name the function.
pub(crate) struct Compiler<'a> {
    pub(crate) function: &'a str,
}

impl Compiler<'_> {
    /// Compiles an expression over `event`. `subject` says what it is for.
    pub(crate) fn expr(&self, subject: &str, cel: &str) -> Result<Expr, String> {
        self.expr_over(subject, cel, Names::Event)
    }

    fn expr_over(&self, subject: &str, cel: &str, names: Names) -> Result<Expr, String> {
        let function = self.function;
        Expr::compile_over(cel, names).map_err(|bad| format!("the {subject} of function `{function}`: {bad}"))
    }

    fn key(&self, subject: &str, cel: Option<String>) -> Result<Option<Expr>, String> {
        cel.map(|cel| self.expr(subject, &cel)).transpose()
    }

    /// Refuses a method that was called twice on a part of the function.
    fn check_calls(&self, subject: &str, calls: &SingleCalls) -> Result<(), String> {
        calls.check(&format!("{subject} of function `{}`", self.function))
    }
}

impl FlowConfig {
    pub(crate) fn compile(self, compiler: &Compiler<'_>) -> Result<FlowControl, String> {
        let throttle = self.throttle.map(|rate| rate.compile("throttle", 1, compiler));
        let rate_limit = self.rate_limit.map(|rate| {
            let whole = rate.limit;
            rate.compile("rate limit", whole, compiler)
        });
        compiler.check_calls("the timeouts", &self.timeouts.calls)?;
        Ok(FlowControl {
            throttle: throttle.transpose()?,
            rate_limit: rate_limit.transpose()?,
            debounce: self.debounce.map(|debounce| debounce.compile(compiler)).transpose()?,
            batch: self.batch.map(|batch| batch.compile(compiler)).transpose()?,
            singleton: self.singleton.map(|singleton| singleton.compile(compiler)).transpose()?,
            idempotency: compiler.key("idempotency key", self.idempotency)?,
            priority: compiler.key("priority", self.priority)?,
            cancel_on: self.cancel_on.into_iter().map(|cancel| cancel.compile(compiler)).collect::<Result<_, _>>()?,
            start_within: self.timeouts.start,
            finish_within: self.timeouts.finish,
        })
    }
}

impl Concurrency {
    pub(crate) fn compile(self, compiler: &Compiler<'_>) -> Result<spec::Concurrency, String> {
        let Self { limit, key, counted, shared, calls } = self;
        compiler.check_calls("a concurrency limit", &calls)?;
        let key = compiler.key("concurrency key", key)?;
        Ok(spec::Concurrency { limit, key, of: counted, shared: shared.map(Into::into) })
    }
}

impl Rate {
    fn compile(self, subject: &str, default_burst: u32, compiler: &Compiler<'_>) -> Result<flow::Rate, String> {
        let Self { limit, period, burst, key, calls } = self;
        compiler.check_calls(&format!("the {subject}"), &calls)?;
        let key = compiler.key(&format!("{subject}'s key"), key)?;
        Ok(flow::Rate { limit, period, burst: burst.unwrap_or(default_burst), key })
    }
}

impl Debounce {
    fn compile(self, compiler: &Compiler<'_>) -> Result<flow::Debounce, String> {
        let Self { period, max_wait, key, calls } = self;
        compiler.check_calls("the debounce", &calls)?;
        Ok(flow::Debounce { period, longest: max_wait, key: compiler.key("debounce's key", key)? })
    }
}

impl Batch {
    fn compile(self, compiler: &Compiler<'_>) -> Result<flow::Batch, String> {
        let Self { size, timeout, key, calls } = self;
        compiler.check_calls("the batch", &calls)?;
        Ok(flow::Batch { size, timeout, key: compiler.key("batch's key", key)? })
    }
}

impl Singleton {
    fn compile(self, compiler: &Compiler<'_>) -> Result<flow::Singleton, String> {
        let Self { second, key, calls } = self;
        compiler.check_calls("the singleton", &calls)?;
        Ok(flow::Singleton { mode: second, key: compiler.key("singleton's key", key)? })
    }
}

impl CancelOn {
    fn compile(self, compiler: &Compiler<'_>) -> Result<flow::CancelOn, String> {
        let Self { event, conditions, timeout, calls } = self;
        compiler.check_calls(&format!("the event `{event}` that cancels runs"), &calls)?;
        let each = conditions.into_iter().map(|condition| match condition {
            CancelCondition::SameField(path) => Ok(CancelMatch::Field(field_path(&path).into())),
            CancelCondition::Cel(cel) => {
                Ok(CancelMatch::When(compiler.expr_over("filter for being cancelled", &cel, Names::EventAndAsync)?))
            }
        });
        let mut each = each.collect::<Result<Vec<_>, String>>()?;
        let matching = match each.len() {
            0 => CancelMatch::Any,
            1 => each.swap_remove(0),
            _ => CancelMatch::All(each),
        };
        Ok(flow::CancelOn { event: event.into(), matching, within: timeout })
    }
}
