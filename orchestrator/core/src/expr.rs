//! CEL expressions over an event: trigger conditions and limit keys. Compiled once, run many times.

use std::fmt;
use std::sync::Arc;

use cel::{Context, Program, Value};

use crate::Event;

/// A compiled CEL expression. The one variable is `event`, with `id`, `name`, `data`, `ts` and `user`.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    program: Arc<Program>,
}

/// An expression that cannot be compiled, or that failed on an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expression `{source_text}`: {message}")]
pub struct BadExpr {
    source_text: String,
    message: String,
}

impl Expr {
    /// Compiles.
    ///
    /// # Errors
    /// When it is not CEL; the message has the place.
    pub fn compile(source: &str) -> Result<Self, BadExpr> {
        let program = Program::compile(source)
            .map_err(|e| BadExpr { source_text: source.into(), message: e.to_string().trim().to_owned() })?;
        Ok(Self { source: source.into(), program: Arc::new(program) })
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
            other => Err(self.bad(format!("gives {other:?}, not true or false"))),
        }
    }

    /// The expression's value as a text: the key of a limit.
    ///
    /// # Errors
    /// When it fails, or gives a value that has no plain text (a list, a map).
    pub fn text(&self, scope: &Scope) -> Result<String, BadExpr> {
        match self.run(scope)? {
            Value::String(s) => Ok(s.to_string()),
            Value::Int(i) => Ok(i.to_string()),
            Value::UInt(u) => Ok(u.to_string()),
            Value::Float(x) => Ok(x.to_string()),
            Value::Bool(b) => Ok(b.to_string()),
            Value::Null => Ok("null".into()),
            other => {
                Err(self.bad(format!("gives {other:?}, which cannot be a key; use a text, a number or a boolean")))
            }
        }
    }

    fn run(&self, scope: &Scope) -> Result<Value, BadExpr> {
        self.program.execute(&scope.0).map_err(|e| self.bad(e.to_string()))
    }

    fn bad(&self, message: String) -> BadExpr {
        BadExpr { source_text: self.source.to_string(), message }
    }
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
pub struct Scope(Context<'static, 'static>);

impl Scope {
    /// The scope of an event.
    pub fn of(event: &Event) -> Self {
        let user = event.user.as_deref().map_or(Value::Null, value_of);
        let fields: std::collections::HashMap<&str, Value> = [
            ("id", event.id.to_string().into()),
            ("name", event.name.as_ref().into()),
            ("data", value_of(&event.data)),
            ("ts", Value::Int(event.ts.as_millis())),
            ("user", user),
        ]
        .into();
        let mut context = Context::default();
        context.add_variable_from_value("event", Value::from(fields));
        Self(context)
    }
}

fn value_of(json: &serde_json::value::RawValue) -> Value {
    serde_json::from_str(json.get()).map_or(Value::Null, cel_value)
}

/// Whole numbers become `int` where they fit, so that `event.data.n + 1` has both sides of one type.
fn cel_value(json: serde_json::Value) -> Value {
    use serde_json::Value as J;
    match json {
        J::Null => Value::Null,
        J::Bool(b) => Value::Bool(b),
        J::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Value::Int(i),
            (None, Some(u)) => Value::UInt(u),
            (None, None) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        J::String(s) => s.into(),
        J::Array(items) => items.into_iter().map(cel_value).collect::<Vec<_>>().into(),
        J::Object(fields) => {
            fields.into_iter().map(|(k, v)| (k, cel_value(v))).collect::<std::collections::HashMap<_, _>>().into()
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
