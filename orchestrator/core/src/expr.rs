//! CEL expressions over events: trigger conditions, limit keys, what a wait is for. Compiled once, run many times.

mod cost;
mod depth;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use cel::{Context, Program, Value};

use crate::Event;
use crate::limits::{EXPR_BYTES, EXPR_EVENT, EXPR_LEVELS, EXPR_STEPS, KEY_BYTES};
use crate::sentence::brief;

/// Stack of the thread that parses. The parser refuses more than 96 levels by itself, for which it takes between 8 and
/// 16 MiB in a build without optimisation: on a thread of 2 MiB, 20 brackets ended the process.
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;

/// A compiled CEL expression. The variable is `event`, with `id`, `name`, `data`, `ts` and `user`; where a run waits for
/// another event, that one is `async`.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    program: Arc<Program>,
    /// The size of an event, in values, up to which it takes no more than [`EXPR_STEPS`].
    fits: f64,
}

/// An expression that cannot be compiled, or that failed on an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expression `{source_text}`: {message}")]
pub struct BadExpr {
    source_text: String,
    message: String,
}

impl Expr {
    /// Compiles, on a thread of its own: the parser recurses further than the caller's stack may be.
    ///
    /// # Errors
    /// When it is not CEL; the message has the place. When it is longer than [`EXPR_BYTES`], deeper than
    /// [`EXPR_LEVELS`], or may take more than [`EXPR_STEPS`] on an event of [`EXPR_EVENT`] values.
    pub fn compile(source: &str) -> Result<Self, BadExpr> {
        let bad = |message: String| BadExpr { source_text: brief(source), message };
        if source.len() > EXPR_BYTES {
            return Err(bad(format!("has {} bytes; at most {EXPR_BYTES} are allowed", source.len())));
        }
        let parser = thread::Builder::new().name("cel-parser".into()).stack_size(PARSER_STACK_BYTES);
        let program = thread::scope(|scope| {
            let parsing = parser.spawn_scoped(scope, || parse(source)).map_err(|e| format!("cannot be parsed: {e}"))?;
            parsing.join().unwrap_or_else(|_| Err("the parser panicked over it; write it in another way".into()))
        });
        let (program, fits) = program.map_err(bad)?;
        Ok(Self { source: source.into(), program: Arc::new(program), fits })
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the expression is true of this event.
    ///
    /// # Errors
    /// When it fails (a missing field, say) or gives something other than a boolean.
    pub fn is_true(&self, scope: &Scope) -> Result<bool, BadExpr> {
        match self.run(scope)? {
            Value::Bool(b) => Ok(b),
            other => Err(self.bad(format_args!("gives {other:?}, not true or false"))),
        }
    }

    /// The expression's value as a text: the key of a limit.
    ///
    /// # Errors
    /// When it fails, gives a value that has no plain text (a list, a map), or a text longer than [`KEY_BYTES`].
    pub fn text(&self, scope: &Scope) -> Result<String, BadExpr> {
        match self.run(scope)? {
            Value::String(s) if s.len() <= KEY_BYTES => Ok(s.to_string()),
            Value::String(s) => {
                Err(self.bad(format_args!("gives a text of {} bytes; a key has at most {KEY_BYTES}", s.len())))
            }
            Value::Int(i) => Ok(i.to_string()),
            Value::UInt(u) => Ok(u.to_string()),
            Value::Float(x) => Ok(x.to_string()),
            Value::Bool(b) => Ok(b.to_string()),
            Value::Null => Ok("null".into()),
            other => Err(self
                .bad(format_args!("cannot be a key; use a text, a number or a boolean, not what it gives: {other:?}"))),
        }
    }

    /// The expression's value as a whole number: a priority.
    ///
    /// # Errors
    /// When it fails, or gives something else.
    pub fn int(&self, scope: &Scope) -> Result<i64, BadExpr> {
        match self.run(scope)? {
            Value::Int(i) => Ok(i),
            Value::UInt(u) => Ok(i64::try_from(u).unwrap_or(i64::MAX)),
            Value::Float(x) if x.fract() == 0.0 => Ok(x as i64),
            other => Err(self.bad(format_args!("gives {other:?}, not a whole number"))),
        }
    }

    fn run(&self, scope: &Scope) -> Result<Value, BadExpr> {
        if let Some(fault) = &scope.fault {
            return Err(self.bad(fault));
        }
        if scope.size > self.fits {
            let values = scope.size.ceil();
            return Err(self.bad(format_args!(
                "may take more than {EXPR_STEPS} steps on an event of this size ({values} values); it is not evaluated"
            )));
        }
        self.program.execute(&scope.context).map_err(|e| self.bad(e))
    }

    /// Values and errors hold what the sender wrote, as much of it as there is: only the beginning is kept.
    fn bad(&self, message: impl fmt::Display) -> BadExpr {
        BadExpr { source_text: brief(&self.source), message: brief(message) }
    }
}

fn parse(source: &str) -> Result<(Program, f64), String> {
    let program = Program::compile(source).map_err(|e| brief(e.to_string().trim()))?;
    let levels = depth::levels(program.expression());
    if levels > EXPR_LEVELS {
        return Err(format!("is {levels} levels deep; at most {EXPR_LEVELS} are allowed, write it flatter"));
    }
    let fits = fits(&program);
    if fits < EXPR_EVENT as f64 {
        return Err(format!(
            "may take more than {EXPR_STEPS} steps on an event of {EXPR_EVENT} values; put fewer of `all`, `exists`, `map` and \
             `filter` into each other"
        ));
    }
    Ok((program, fits))
}

/// The size of an event up to which an expression takes no more steps than it may; infinite where no event is too large.
fn fits(program: &Program) -> f64 {
    let is_fine = |eighths: &u32| cost::steps(program.expression(), size_of(*eighths)) <= EXPR_STEPS as f64;
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

/// What expressions see of one event. Made once an event, used by every expression that is asked about it.
pub struct Scope {
    context: Context<'static, 'static>,
    /// Of the event, or the larger of the two, in values.
    size: f64,
    /// Why no expression can be asked about the event, as the end of a sentence.
    fault: Option<String>,
}

impl Scope {
    /// The scope of an event.
    pub fn of(event: &Event) -> Self {
        let Seen { value, size, fault } = Seen::of(event);
        let mut context = Context::default();
        context.add_variable_from_value("event", value);
        Self { context, size, fault: fault.map(|fault| format!("`event.{fault}")) }
    }

    /// The scope of a run that `event` started and that waits for another one, which is `async`.
    pub fn with_async(event: &Event, arriving: &Seen) -> Self {
        let mut scope = Self::of(event);
        scope.context.add_variable_from_value("async", arriving.value.clone());
        scope.size = scope.size.max(arriving.size);
        scope.fault = scope.fault.or_else(|| arriving.fault.as_ref().map(|fault| format!("`async.{fault}")));
        scope
    }
}

/// An event as expressions see it: made once, shown in many scopes.
#[derive(Clone)]
pub struct Seen {
    value: Value,
    /// How large it is, in values.
    size: f64,
    /// Why no expression can be asked about it: the rest of a sentence that begins with its variable's name.
    fault: Option<String>,
}

impl Seen {
    /// An event.
    pub fn of(event: &Event) -> Self {
        let (mut fault, mut values) = (None, 8);
        let mut value_of = |name: &str, json: &serde_json::value::RawValue| {
            serde_json::from_str(json.get()).map(|json| cel_value(json, &mut values)).unwrap_or_else(|e| {
                // JSON knows numbers like 1e999, which no number here can hold
                fault = Some(format!("{name}` cannot be read: {e}"));
                Value::Null
            })
        };
        let user = event.user.as_deref().map_or(Value::Null, |user| value_of("user", user));
        let fields: HashMap<&str, Value> = [
            ("id", event.id.to_string().into()),
            ("name", event.name.as_ref().into()),
            ("data", value_of("data", &event.data)),
            ("ts", Value::Int(event.ts.as_millis())),
            ("user", user),
        ]
        .into();
        let bytes = event.data.get().len() + event.user.as_deref().map_or(0, |user| user.get().len());
        Self { value: Value::from(fields), size: cost::size(values, bytes), fault }
    }
}

/// Expressions that come with steps, not with functions: each is compiled when it is first met, and kept.
#[derive(Debug, Default)]
pub struct Exprs(Mutex<HashMap<Arc<str>, Result<Expr, BadExpr>>>);

/// Expressions that are kept; then all are forgotten.
const KEPT: usize = 1_000;

impl Exprs {
    /// The compiled expression.
    ///
    /// # Errors
    /// As [`Expr::compile`].
    pub fn get(&self, source: &str) -> Result<Expr, BadExpr> {
        if let Some(known) = self.lock().get(source) {
            return known.clone();
        }
        let compiled = Expr::compile(source);
        let mut kept = self.lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(source.into(), compiled.clone());
        compiled
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Result<Expr, BadExpr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole numbers become `int` where they fit, so that `event.data.n + 1` has both sides of one type.
/// Counts them.
fn cel_value(json: serde_json::Value, values: &mut usize) -> Value {
    use serde_json::Value as J;
    *values += 1;
    match json {
        J::Null => Value::Null,
        J::Bool(b) => Value::Bool(b),
        J::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Value::Int(i),
            (None, Some(u)) => Value::UInt(u),
            (None, None) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        J::String(s) => s.into(),
        J::Array(items) => items.into_iter().map(|item| cel_value(item, values)).collect::<Vec<_>>().into(),
        J::Object(fields) => {
            fields.into_iter().map(|(k, v)| (k, cel_value(v, values))).collect::<HashMap<_, _>>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, NewEvent, Timestamp};

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
            assert_eq!(Expr::compile(source).unwrap().is_true(&scope), Ok(wanted), "{source}");
        }
    }

    #[test]
    fn keys_are_texts() {
        let scope = Scope::of(&event(r#"{"client":"acme","n":7}"#));
        assert_eq!(Expr::compile("event.data.client").unwrap().text(&scope), Ok("acme".into()));
        assert_eq!(Expr::compile("event.data.n").unwrap().text(&scope), Ok("7".into()));
        assert!(Expr::compile("event.data").unwrap().text(&scope).is_err());
    }

    #[test]
    fn faults_are_errors_that_show_the_expression() {
        assert!(Expr::compile("event.data.").unwrap_err().to_string().contains("`event.data.`"));
        let scope = Scope::of(&event("{}"));
        assert!(Expr::compile("event.data.missing == 1").unwrap().is_true(&scope).is_err());
        assert!(Expr::compile("1 + 1").unwrap().is_true(&scope).unwrap_err().to_string().contains("not true or false"));
    }
}
