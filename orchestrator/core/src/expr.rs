//! CEL expressions over events: conditions of triggers, keys of limits, filters of waits. An
//! expression is compiled once and evaluated many times.

mod cost;
mod decimal;
mod depth;
mod environment;
mod names;
mod number;
mod operators;
mod patterns;
mod read;
mod scope;
mod time;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use cel::common::ast::IdedExpr;
use cel::common::types::{CelNull, CelString};
use cel::common::value::Val;
use cel::{ParseErrors, Value};
use regex_lite::Regex;

use crate::limits::{EXPR_BYTES, EXPR_EVENT, EXPR_LEVELS, EXPR_STEPS, KEY_BYTES};
use crate::sentence::shortened;
use environment::{CompiledPattern, as_truth};
use number::Number;

pub use names::AllowedVariables;
pub(crate) use operators::is_same_json;
pub(crate) use scope::indexed_scalar;
pub use scope::{EventValues, ExprScope};

/// The stack size of the thread that parses expressions. The parser accepts up to 96 levels, which
/// take 8 to 16 MiB in a build without optimisation. On a thread of 2 MiB, 20 nested brackets
/// overflowed the stack.
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;

/// A compiled CEL expression. Its variable is `event`, with the fields `id`, `name`, `data`, `ts`
/// and `user`. If a run waits for another event, that event is the variable `async`.
///
/// All numbers of an event have the same type and are exact: `event.data.amount / 8` is 12.5 for
/// both 100 and 100.0.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    compiled: Arc<CompiledExpr>,
}

struct CompiledExpr {
    expression: IdedExpr,
    patterns: Vec<Regex>,
    /// The size of the largest event, in values, for which the evaluation needs at most
    /// [`EXPR_STEPS`].
    max_event_size: f64,
}

/// The error of an expression that could not be compiled or evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expression `{source_text}`: {message}")]
pub struct ExprError {
    source_text: String,
    message: String,
}

impl Expr {
    /// Compiles an expression with `event` as its only variable.
    ///
    /// # Errors
    /// The same errors as those of [`Self::compile_over`].
    pub fn compile(source: &str) -> Result<Self, ExprError> {
        Self::compile_over(source, AllowedVariables::Event)
    }

    /// Compiles an expression over these variables. This happens on a separate thread, because the
    /// parser may recurse deeper than the caller's stack allows.
    ///
    /// # Errors
    /// - The source is not CEL.
    /// - The source names a variable, a function or an event field that does not exist. The message
    ///   contains the position.
    /// - The source is longer than [`EXPR_BYTES`], or nested deeper than [`EXPR_LEVELS`].
    /// - The evaluation may need more than [`EXPR_STEPS`] for an event of [`EXPR_EVENT`] values.
    pub fn compile_over(source: &str, names: AllowedVariables) -> Result<Self, ExprError> {
        let bad = |message: String| ExprError { source_text: shortened(source), message };
        if source.len() > EXPR_BYTES {
            return Err(bad(format!("has {} bytes; at most {EXPR_BYTES} are allowed", source.len())));
        }
        let parser = thread::Builder::new().name("cel-parser".into()).stack_size(PARSER_STACK_BYTES);
        let compiled = thread::scope(|scope| {
            let parsing =
                parser.spawn_scoped(scope, || parse(source, names)).map_err(|e| format!("cannot be parsed: {e}"))?;
            parsing.join().unwrap_or_else(|_| Err("the parser panicked over it; write it in another way".into()))
        });
        Ok(Self { source: source.into(), compiled: Arc::new(compiled.map_err(bad)?) })
    }

    /// Returns the source code of the expression.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns whether the expression is true for this event.
    ///
    /// # Errors
    /// The evaluation failed, for example because of a missing field, or the value is not a
    /// boolean.
    pub fn eval_bool(&self, scope: &ExprScope) -> Result<bool, ExprError> {
        self.evaluate(scope, |value| {
            as_truth(value).ok_or_else(|| format!("gives {}, not true or false", shortened(format_args!("{value:?}"))))
        })
    }

    /// Evaluates the key of a limit: the expression's value as a string.
    ///
    /// A number is written with all its digits and without an exponent, so that 100, 100.0 and 1e2
    /// are the same key. Booleans and null are written as in JSON.
    ///
    /// # Errors
    /// The evaluation failed, the value is a list or a map, or the key is longer than
    /// [`KEY_BYTES`].
    pub fn eval_key(&self, scope: &ExprScope) -> Result<String, ExprError> {
        let number = |value: &dyn Val| Number::of_value(value)?.to_plain_text();
        self.evaluate(scope, |value| {
            if let Some(text) = value.downcast_ref::<CelString>() {
                let text = text.inner();
                return match text.len() <= KEY_BYTES {
                    true => Ok(text.to_owned()),
                    false => Err(format!("gives a text of {} bytes; a key has at most {KEY_BYTES}", text.len())),
                };
            }
            let truth = || as_truth(value).map(|truth| truth.to_string());
            let null = || value.downcast_ref::<CelNull>().map(|_| "null".into());
            number(value).or_else(truth).or_else(null).ok_or_else(|| {
                format!(
                    "cannot be a key; use a text, a number or a boolean, not what it gives: {}",
                    shortened(format_args!("{value:?}"))
                )
            })
        })
    }

    /// Evaluates a priority: the expression's value as a whole number.
    ///
    /// # Errors
    /// The evaluation failed, or the value is not a whole number.
    pub fn eval_int(&self, scope: &ExprScope) -> Result<i64, ExprError> {
        self.evaluate(scope, |value| match Number::of_value(value) {
            Some(Number::Whole(whole)) => Ok(whole.clamp(i64::MIN.into(), i64::MAX.into()) as i64),
            Some(_) | None => Err(format!("gives {}, not a whole number", shortened(format_args!("{value:?}")))),
        })
    }

    fn evaluate<T>(&self, scope: &ExprScope, take: impl FnOnce(&dyn Val) -> Result<T, String>) -> Result<T, ExprError> {
        if let Some(problem) = &scope.problem {
            return Err(self.error(problem));
        }
        let CompiledExpr { expression, patterns, max_event_size } = &*self.compiled;
        if scope.size > *max_event_size {
            let values = scope.size.ceil();
            return Err(self.error(format_args!(
                "may take more than {EXPR_STEPS} steps on an event of this size ({values} values); it is not evaluated"
            )));
        }
        let mut context = scope.context.new_inner_scope();
        for (i, pattern) in patterns.iter().enumerate() {
            context.add_variable_as_val(patterns::variable_of(i), Box::new(CompiledPattern(pattern.clone())));
        }
        let value = Value::resolve_val(expression, &context).map_err(|e| self.error(e))?;
        take(&*value).map_err(|why| self.error(why))
    }

    /// Creates an error with a shortened message, because values and errors may quote a whole
    /// event.
    fn error(&self, message: impl fmt::Display) -> ExprError {
        ExprError { source_text: shortened(&self.source), message: shortened(message) }
    }
}

fn parse(source: &str, names: AllowedVariables) -> Result<CompiledExpr, String> {
    let parsed = environment::shared_environment().parser().parse_with_source_info(source);
    let (mut expression, places) = parsed.map_err(|bad| syntax_error(&bad))?;
    let levels = depth::count_levels(&expression);
    if levels > EXPR_LEVELS {
        return Err(format!("is {levels} levels deep; at most {EXPR_LEVELS} are allowed, write it flatter"));
    }
    names::check(&expression, &places, names)?;
    let max_event_size = find_max_event_size(&expression);
    if max_event_size < EXPR_EVENT as f64 {
        return Err(format!(
            "may take more than {EXPR_STEPS} steps on an event of {EXPR_EVENT} values; put fewer of `all`, `exists`, `map` and \
             `filter` into each other"
        ));
    }
    let mut patterns = Vec::new();
    patterns::compile_patterns(&mut expression, &mut patterns)?;
    operators::replace_operators(&mut expression);
    Ok(CompiledExpr { expression, patterns, max_event_size })
}

/// Returns the parser's first error, with its position.
fn syntax_error(bad: &ParseErrors) -> String {
    let Some(first) = bad.errors.first() else { return "is not CEL".into() };
    let line = if first.pos.0 > 1 { format!("line {}, ", first.pos.0) } else { String::new() };
    shortened(format_args!("is not CEL at {line}character {}: {}", first.pos.1, first.msg))
}

/// Returns the size of the largest event, in values, for which the evaluation needs at most
/// [`EXPR_STEPS`]. Returns infinity if no event is too large.
fn find_max_event_size(expression: &IdedExpr) -> f64 {
    let is_fine = |eighths: &u32| cost::count_steps(expression, size_of(*eighths)) <= EXPR_STEPS as f64;
    // tries eight sizes per doubling; no event of 3 MiB has more values than the last size
    let sizes: Vec<u32> = (0..=22 * 8).collect();
    match sizes.partition_point(is_fine) {
        0 => 0.0,
        all if all == sizes.len() => f64::INFINITY,
        fine => size_of(sizes[fine - 1]),
    }
}

fn size_of(eighths: u32) -> f64 {
    (f64::from(eighths) / 8.0).exp2()
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({})", self.source)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// A cache of compiled expressions over `event` and `async`. Each expression is compiled when it is
/// first used.
#[derive(Debug, Default)]
pub struct ExprCache(Mutex<HashMap<Arc<str>, Result<Expr, ExprError>>>);

/// The maximum number of cached expressions. When this number is reached, the cache is emptied.
const MAX_CACHED: usize = 1_000;

impl ExprCache {
    /// Returns the compiled expression from the cache, or compiles it.
    ///
    /// # Errors
    /// The same errors as those of [`Expr::compile_over`].
    pub fn get(&self, source: &str) -> Result<Expr, ExprError> {
        if let Some(known) = self.lock_cache().get(source) {
            return known.clone();
        }
        let compiled = Expr::compile_over(source, AllowedVariables::EventAndAsync);
        let mut cached = self.lock_cache();
        if cached.len() >= MAX_CACHED {
            cached.clear();
        }
        cached.insert(source.into(), compiled.clone());
        compiled
    }

    fn lock_cache(&self) -> MutexGuard<'_, HashMap<Arc<str>, Result<Expr, ExprError>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, EventId, NewEvent, Timestamp};

    fn event(data: &str) -> Event {
        let now = Timestamp::from_millis(1_000);
        let body = format!(r#"{{"name":"a/b","data":{data}}}"#);
        NewEvent::decode_all(body.as_bytes()).unwrap().remove(0).accept(EventId::new(now, 1), now)
    }

    #[test]
    fn conditions_see_the_event() {
        let scope = ExprScope::of(&event(r#"{"plan":"pro","seats":3,"tags":["a"]}"#));
        for (source, wanted) in [
            ("event.data.plan == 'pro'", true),
            ("event.data.seats + 1 > 4", false),
            ("event.name == 'a/b' && event.ts == 1000", true),
            ("has(event.data.missing)", false),
            ("'a' in event.data.tags", true),
        ] {
            assert_eq!(Expr::compile(source).unwrap().eval_bool(&scope), Ok(wanted), "{source}");
        }
    }

    #[test]
    fn keys_are_texts() {
        let scope = ExprScope::of(&event(r#"{"client":"acme","n":7}"#));
        assert_eq!(Expr::compile("event.data.client").unwrap().eval_key(&scope), Ok("acme".into()));
        assert_eq!(Expr::compile("event.data.n").unwrap().eval_key(&scope), Ok("7".into()));
        assert!(Expr::compile("event.data").unwrap().eval_key(&scope).is_err());
    }

    #[test]
    fn an_error_quotes_the_expression() {
        assert!(Expr::compile("event.data.").unwrap_err().to_string().contains("`event.data.`"));
        let scope = ExprScope::of(&event("{}"));
        assert!(Expr::compile("event.data.missing == 1").unwrap().eval_bool(&scope).is_err());
        assert!(
            Expr::compile("1 + 1").unwrap().eval_bool(&scope).unwrap_err().to_string().contains("not true or false")
        );
    }
}
