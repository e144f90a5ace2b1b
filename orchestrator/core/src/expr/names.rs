//! What an expression names, checked before any event comes: a misspelt name would make a condition fail on every event, and
//! a wait never end.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo};

use super::time::{Moment, Span, is_zone};
use crate::sentence::shortened;

/// The variables of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `event` alone.
    Event,
    /// `event`, which started the run, and `async`, which arrives.
    EventAndAsync,
}

/// The fields of an event.
const FIELDS: [&str; 5] = ["id", "name", "data", "ts", "user"];
/// Names of types.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
/// Names of types with dots.
const TIME_TYPES: [&str; 2] = ["Timestamp", "Duration"];
/// Functions, with the numbers of their arguments.
const FUNCTIONS: [(&str, usize); 12] = [
    ("bool", 1),
    ("bytes", 1),
    ("double", 1),
    ("duration", 1),
    ("dyn", 1),
    ("int", 1),
    ("matches", 2),
    ("size", 1),
    ("string", 1),
    ("timestamp", 1),
    ("type", 1),
    ("uint", 1),
];
/// Functions that are called on a value, with the least and the greatest number of their arguments.
const METHODS: [(&str, usize, usize); 15] = [
    ("contains", 1, 1),
    ("endsWith", 1, 1),
    ("getDate", 0, 1),
    ("getDayOfMonth", 0, 1),
    ("getDayOfWeek", 0, 1),
    ("getDayOfYear", 0, 1),
    ("getFullYear", 0, 1),
    ("getHours", 0, 1),
    ("getMilliseconds", 0, 1),
    ("getMinutes", 0, 1),
    ("getMonth", 0, 1),
    ("getSeconds", 0, 1),
    ("matches", 1, 1),
    ("size", 0, 0),
    ("startsWith", 1, 1),
];
/// Macros, which are functions to whoever misspells them.
const MACROS: [&str; 7] = ["all", "exists", "exists_one", "existsOne", "filter", "has", "map"];

/// Checks names, functions and literal times.
///
/// # Errors
/// A sentence about the first that is wrong, with its place.
pub(super) fn check(of: &IdedExpr, places: &SourceInfo, names: Names) -> Result<(), String> {
    Check { places, names, known: Vec::new() }.check(of)
}

struct Check<'e> {
    places: &'e SourceInfo,
    names: Names,
    /// The variables of macros; the innermost last.
    known: Vec<&'e str>,
}

impl<'e> Check<'e> {
    fn check(&mut self, of: &'e IdedExpr) -> Result<(), String> {
        match &of.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(of, name),
            Expr::Select(select) => self.select(of, &select.operand, &select.field),
            Expr::Call(call) => self.call(of, call),
            Expr::Comprehension(macr) => {
                self.check(&macr.iter_range)?;
                self.check(&macr.accu_init)?;
                let before = self.known.len();
                self.known.extend([&*macr.iter_var, &*macr.accu_var]);
                self.known.extend(macr.iter_var2.as_deref());
                let body = [&macr.loop_cond, &macr.loop_step, &macr.result];
                let checked = body.into_iter().try_for_each(|part| self.check(part));
                self.known.truncate(before);
                checked
            }
            Expr::List(list) => list.elements.iter().try_for_each(|item| self.check(item)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => self.check(&entry.key).and_then(|()| self.check(&entry.value)),
                EntryExpr::StructField(field) => self.check(&field.value),
            }),
            Expr::Struct(of_type) => Err(format!("makes a `{}`, which is no type here", of_type.type_name)),
        }
    }

    fn is_known(&self, name: &str) -> bool {
        self.known.contains(&name)
    }

    fn is_event(&self, name: &str) -> bool {
        !self.is_known(name) && (name == "event" || name == "async" && self.names == Names::EventAndAsync)
    }

    fn variable(&self, of: &IdedExpr, name: &str) -> Result<(), String> {
        if self.is_known(name) || self.is_event(name) || TYPES.contains(&name) {
            return Ok(());
        }
        let hint = match name {
            "async" => "`async` is the event that arrives, where a run waits for one or is cancelled by one".into(),
            name if FIELDS.contains(&name) => format!("write `event.{name}`"),
            name => {
                let events: &[&str] = if self.names == Names::Event { &["event"] } else { &["event", "async"] };
                match nearest(name, events.iter().copied().chain(self.known.iter().copied())) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => {
                        format!("a field of the event's data is `event.data.{name}`, a text stands in quotes: '{name}'")
                    }
                }
            }
        };
        Err(format!("names `{}`, which there is not, {}; {hint}", shortened(name), self.place(of)))
    }

    fn select(&mut self, of: &'e IdedExpr, operand: &'e IdedExpr, field: &'e str) -> Result<(), String> {
        match &operand.expr {
            Expr::Select(outer) if self.is_time_type(outer, field) => return Ok(()),
            Expr::Ident(name) if self.is_event(name) && !FIELDS.contains(&field) => {
                let hint = match nearest(field, FIELDS.into_iter()) {
                    Some(meant) => format!("did you mean `{name}.{meant}`?"),
                    None => format!("what its sender wrote is in `{name}.data.{field}`"),
                };
                return Err(format!(
                    "names `{name}.{}`, which no event has, {}; {hint}",
                    shortened(field),
                    self.place(of)
                ));
            }
            _ => {}
        }
        self.check(operand)
    }

    /// Whether it is `google.protobuf.Timestamp` or the like.
    fn is_time_type(&self, outer: &SelectExpr, field: &str) -> bool {
        let is_google = matches!(&outer.operand.expr, Expr::Ident(name) if name == "google" && !self.is_known(name));
        is_google && outer.field == "protobuf" && TIME_TYPES.contains(&field)
    }

    fn call(&mut self, of: &'e IdedExpr, call: &'e CallExpr) -> Result<(), String> {
        // an operator is no name
        let is_operator = !call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !is_operator {
            self.function(of, call)?;
        }
        call.target.iter().try_for_each(|target| self.check(target))?;
        call.args.iter().try_for_each(|arg| self.check(arg))
    }

    fn function(&self, of: &IdedExpr, call: &CallExpr) -> Result<(), String> {
        let (name, given) = (&*call.func_name, call.args.len());
        let (global, method) =
            (FUNCTIONS.iter().find(|(known, _)| *known == name), METHODS.iter().find(|(known, ..)| *known == name));
        let hint = match (&call.target, global, method) {
            (None, Some((_, takes)), _) if *takes == given => return self.literal(of, call),
            (Some(_), _, Some((_, least, most))) if (*least..=*most).contains(&given) => return self.zone(of, call),
            (None, Some((_, takes)), _) => format!("it takes {takes} and not {given}"),
            (Some(_), _, Some((_, least, most))) if least == most => format!("it takes {least} and not {given}"),
            (Some(_), _, Some(_)) => format!("it takes a time zone at most, not {given} values"),
            (None, None, Some(_)) => format!("it is called on a value: value.{name}(…)"),
            (Some(_), Some(_), None) => format!("it is called with a value: {name}(value)"),
            (_, None, None) if MACROS.contains(&name) => {
                "its form is list.all(item, condition), list.map(item, value), has(event.data.field)".into()
            }
            (target, _, _) => {
                let all = FUNCTIONS.iter().map(|(name, _)| *name).chain(METHODS.iter().map(|(name, ..)| *name));
                let meant = nearest(name, all.chain(MACROS));
                let hint = meant.map(|meant| format!("did you mean `{meant}`?"));
                let all = "docs/flow-control.md lists all there are".into();
                return Err(format!(
                    "calls `{}{}`, which there is not, {}; {}",
                    if target.is_some() { "." } else { "" },
                    shortened(name),
                    self.place(of),
                    hint.unwrap_or(all)
                ));
            }
        };
        Err(format!("calls `{name}` {} in a way it cannot be called; {hint}", self.place(of)))
    }

    /// A time that is written out is read once, before any event comes.
    fn literal(&self, of: &IdedExpr, call: &CallExpr) -> Result<(), String> {
        let bad = |why: String| Err(format!("{why}, {}", self.place(of)));
        match (&*call.func_name, call.args.first().map(|arg| &arg.expr)) {
            ("timestamp", Some(Expr::Literal(LiteralValue::String(text)))) => {
                Moment::read(text.inner()).map(drop).or_else(|why| bad(why.to_string()))
            }
            ("duration", Some(Expr::Literal(LiteralValue::String(text)))) => {
                Span::read(text.inner()).map(drop).or_else(|why| bad(why.to_string()))
            }
            ("timestamp", Some(Expr::Select(select))) if select.field == "ts" => match &select.operand.expr {
                Expr::Ident(name) if self.is_event(name) => bad(format!(
                    "takes `{name}.ts`, which counts milliseconds, for seconds; write timestamp({name}.ts / 1000)"
                )),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// A time zone that is written out is looked up once.
    fn zone(&self, of: &IdedExpr, call: &CallExpr) -> Result<(), String> {
        match call.args.first().map(|arg| &arg.expr) {
            Some(Expr::Literal(LiteralValue::String(zone))) if call.func_name.starts_with("get") => {
                is_zone(zone.inner()).map_err(|why| format!("{why}, {}", self.place(of)))
            }
            _ => Ok(()),
        }
    }

    /// "at character 7".
    fn place(&self, of: &IdedExpr) -> String {
        // of a field or a method, the place is that of its dot
        let (start, _) = self.places.offset_for(of.id).unwrap_or_default();
        format!("at character {}", start + 1)
    }
}

/// The name that was probably meant: one that differs in case alone, or in a letter or two.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let distance = |known: &str| if known.eq_ignore_ascii_case(name) { 0 } else { distance(name, known) };
    let near = known.map(|known| (distance(known), known)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, _)| *distance <= if name.len() < 4 { 1 } else { 2 }).map(|(_, known)| known)
}

/// How many letters have to be changed, put in, left out, or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                (i, j) => {
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    let swap = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                    let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(swap)
                }
            };
        }
    }
    rows[a.len()][b.len()]
}
