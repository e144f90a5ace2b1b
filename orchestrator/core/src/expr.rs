//! CEL expressions over events: trigger conditions, limit keys, what a wait is for. Compiled once, run many times.

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
use environment::{Pattern, as_truth};
use number::Number;

pub use names::Names;
pub(crate) use operators::is_same_json;
pub(crate) use scope::indexed_scalar;
pub use scope::{EventValues, Scope};

/// Stack of the thread that parses. The parser refuses more than 96 levels by itself, for which it takes between 8 and
/// 16 MiB in a build without optimisation: on a thread of 2 MiB, 20 brackets ended the process.
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;

/// A compiled CEL expression. The variable is `event`, with `id`, `name`, `data`, `ts` and `user`; where a run waits for
/// another event, that one is `async`.
///
/// The numbers of an event are of one kind, whole or not, and exact: `event.data.amount / 8` is 12.5 for 100 and for 100.0.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    compiled: Arc<Compiled>,
}

struct Compiled {
    expression: IdedExpr,
    patterns: Vec<Regex>,
    /// The size of an event, in values, up to which it takes no more than [`EXPR_STEPS`].
    fits: f64,
}

/// An expression that cannot be compiled, or that failed on an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expression `{source_text}`: {message}")]
pub struct ExprError {
    source_text: String,
    message: String,
}

impl Expr {
    /// Compiles an expression over `event`.
    ///
    /// # Errors
    /// As [`Self::compile_over`].
    pub fn compile(source: &str) -> Result<Self, ExprError> {
        Self::compile_over(source, Names::Event)
    }

    /// Compiles an expression over these variables, on a thread of its own: the parser recurses further than the caller's
    /// stack may be.
    ///
    /// # Errors
    /// When it is not CEL, or names a variable, a field of an event or a function that does not exist; the message has the
    /// place. When it is longer than [`EXPR_BYTES`], deeper than [`EXPR_LEVELS`], or may take more than [`EXPR_STEPS`] on an
    /// event of [`EXPR_EVENT`] values.
    pub fn compile_over(source: &str, names: Names) -> Result<Self, ExprError> {
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

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the expression is true of this event.
    ///
    /// # Errors
    /// When it fails (a missing field, say) or gives something other than a boolean.
    pub fn eval_bool(&self, scope: &Scope) -> Result<bool, ExprError> {
        self.run(scope, |value| {
            as_truth(value).ok_or_else(|| format!("gives {}, not true or false", shortened(format_args!("{value:?}"))))
        })
    }

    /// The expression's value as a text: the key of a limit. A number is written with all its digits and no exponent, so
    /// that 100, 100.0 and 1e2 are one key; a boolean and null are written as in JSON.
    ///
    /// # Errors
    /// When it fails, gives a value that has no plain text (a list, a map), or a text longer than [`KEY_BYTES`].
    pub fn eval_key(&self, scope: &Scope) -> Result<String, ExprError> {
        let number = |value: &dyn Val| Number::of_value(value)?.plain();
        self.run(scope, |value| {
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

    /// The expression's value as a whole number: a priority.
    ///
    /// # Errors
    /// When it fails, or gives something else.
    pub fn eval_int(&self, scope: &Scope) -> Result<i64, ExprError> {
        self.run(scope, |value| match Number::of_value(value) {
            Some(Number::Whole(whole)) => Ok(whole.clamp(i64::MIN.into(), i64::MAX.into()) as i64),
            Some(_) | None => Err(format!("gives {}, not a whole number", shortened(format_args!("{value:?}")))),
        })
    }

    fn run<T>(&self, scope: &Scope, take: impl FnOnce(&dyn Val) -> Result<T, String>) -> Result<T, ExprError> {
        if let Some(fault) = &scope.fault {
            return Err(self.bad(fault));
        }
        let Compiled { expression, patterns, fits } = &*self.compiled;
        if scope.size > *fits {
            let values = scope.size.ceil();
            return Err(self.bad(format_args!(
                "may take more than {EXPR_STEPS} steps on an event of this size ({values} values); it is not evaluated"
            )));
        }
        let mut context = scope.context.new_inner_scope();
        for (i, pattern) in patterns.iter().enumerate() {
            context.add_variable_as_val(patterns::name(i), Box::new(Pattern(pattern.clone())));
        }
        let value = Value::resolve_val(expression, &context).map_err(|e| self.bad(e))?;
        take(&*value).map_err(|why| self.bad(why))
    }

    /// Values and errors hold what the sender wrote, as much of it as there is: only the beginning is kept.
    fn bad(&self, message: impl fmt::Display) -> ExprError {
        ExprError { source_text: shortened(&self.source), message: shortened(message) }
    }
}

fn parse(source: &str, names: Names) -> Result<Compiled, String> {
    let parsed = environment::shared().parser().parse_with_source_info(source);
    let (mut expression, places) = parsed.map_err(|bad| not_cel(&bad))?;
    let levels = depth::levels(&expression);
    if levels > EXPR_LEVELS {
        return Err(format!("is {levels} levels deep; at most {EXPR_LEVELS} are allowed, write it flatter"));
    }
    names::check(&expression, &places, names)?;
    let fits = fits(&expression);
    if fits < EXPR_EVENT as f64 {
        return Err(format!(
            "may take more than {EXPR_STEPS} steps on an event of {EXPR_EVENT} values; put fewer of `all`, `exists`, `map` and \
             `filter` into each other"
        ));
    }
    let mut patterns = Vec::new();
    patterns::take(&mut expression, &mut patterns)?;
    operators::replace(&mut expression);
    Ok(Compiled { expression, patterns, fits })
}

/// The first error of the parser, with its place.
fn not_cel(bad: &ParseErrors) -> String {
    let Some(first) = bad.errors.first() else { return "is not CEL".into() };
    let line = if first.pos.0 > 1 { format!("line {}, ", first.pos.0) } else { String::new() };
    shortened(format_args!("is not CEL at {line}character {}: {}", first.pos.1, first.msg))
}

/// The size of an event up to which an expression takes no more steps than it may; infinite where no event is too large.
fn fits(expression: &IdedExpr) -> f64 {
    let is_fine = |eighths: &u32| cost::steps(expression, size_of(*eighths)) <= EXPR_STEPS as f64;
    // in steps of an eighth of a doubling; no event of 3 MiB has more values than the last
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

/// Expressions over `event` and `async` that come with steps, not with functions: each is compiled when it is first met, and
/// kept.
#[derive(Debug, Default)]
pub struct ExprCache(Mutex<HashMap<Arc<str>, Result<Expr, ExprError>>>);

/// Expressions that are kept; then all are forgotten.
const KEPT: usize = 1_000;

impl ExprCache {
    /// The compiled expression.
    ///
    /// # Errors
    /// As [`Expr::compile`].
    pub fn get(&self, source: &str) -> Result<Expr, ExprError> {
        if let Some(known) = self.lock().get(source) {
            return known.clone();
        }
        let compiled = Expr::compile_over(source, Names::EventAndAsync);
        let mut kept = self.lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(source.into(), compiled.clone());
        compiled
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Result<Expr, ExprError>>> {
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
        let scope = Scope::of(&event(r#"{"plan":"pro","seats":3,"tags":["a"]}"#));
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
        let scope = Scope::of(&event(r#"{"client":"acme","n":7}"#));
        assert_eq!(Expr::compile("event.data.client").unwrap().eval_key(&scope), Ok("acme".into()));
        assert_eq!(Expr::compile("event.data.n").unwrap().eval_key(&scope), Ok("7".into()));
        assert!(Expr::compile("event.data").unwrap().eval_key(&scope).is_err());
    }

    #[test]
    fn faults_are_errors_that_show_the_expression() {
        assert!(Expr::compile("event.data.").unwrap_err().to_string().contains("`event.data.`"));
        let scope = Scope::of(&event("{}"));
        assert!(Expr::compile("event.data.missing == 1").unwrap().eval_bool(&scope).is_err());
        assert!(
            Expr::compile("1 + 1").unwrap().eval_bool(&scope).unwrap_err().to_string().contains("not true or false")
        );
    }
}
