//! Checks the names in an expression when it is compiled. Otherwise a misspelt name would make a
//! condition fail on every event, or make a wait last forever.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo};

use super::time::{NanoDuration, NanoTimestamp, check_zone};
use crate::sentence::shortened;

/// The variables that an expression may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedVariables {
    /// Only `event`.
    Event,
    /// `event` (the event that started the run) and `async` (the event that arrives).
    EventAndAsync,
}

/// The fields of an event.
const FIELDS: [&str; 5] = ["id", "name", "data", "ts", "user"];
/// The names of CEL's types.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
/// The names of types in the package `google.protobuf`.
const TIME_TYPES: [&str; 2] = ["Timestamp", "Duration"];
/// The functions, with the number of arguments of each.
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
/// The methods, with the minimum and maximum number of arguments of each.
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
/// The macros. If a macro has wrong arguments, the parser treats it as a call of an unknown
/// function.
const MACROS: [&str; 7] = ["all", "exists", "exists_one", "existsOne", "filter", "has", "map"];

/// Checks the variables, the functions and the literal times in an expression.
///
/// # Errors
/// A sentence about the first problem, with its position.
pub(super) fn check(of: &IdedExpr, places: &SourceInfo, names: AllowedVariables) -> Result<(), String> {
    NameCheck { places, names, macro_variables: Vec::new() }.check(of)
}

struct NameCheck<'e> {
    places: &'e SourceInfo,
    names: AllowedVariables,
    /// The variables of the enclosing macros; the innermost macro comes last.
    macro_variables: Vec<&'e str>,
}

impl<'e> NameCheck<'e> {
    fn check(&mut self, of: &'e IdedExpr) -> Result<(), String> {
        match &of.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.check_variable(of, name),
            Expr::Select(select) => self.check_field(of, &select.operand, &select.field),
            Expr::Call(call) => self.check_call(of, call),
            Expr::Comprehension(macr) => {
                self.check(&macr.iter_range)?;
                self.check(&macr.accu_init)?;
                let before = self.macro_variables.len();
                self.macro_variables.extend([&*macr.iter_var, &*macr.accu_var]);
                self.macro_variables.extend(macr.iter_var2.as_deref());
                let body = [&macr.loop_cond, &macr.loop_step, &macr.result];
                let checked = body.into_iter().try_for_each(|part| self.check(part));
                self.macro_variables.truncate(before);
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

    fn is_macro_variable(&self, name: &str) -> bool {
        self.macro_variables.contains(&name)
    }

    fn is_event(&self, name: &str) -> bool {
        !self.is_macro_variable(name)
            && (name == "event" || name == "async" && self.names == AllowedVariables::EventAndAsync)
    }

    fn check_variable(&self, of: &IdedExpr, name: &str) -> Result<(), String> {
        if self.is_macro_variable(name) || self.is_event(name) || TYPES.contains(&name) {
            return Ok(());
        }
        let hint = match name {
            "async" => "`async` is the event that arrives, where a run waits for one or is cancelled by one".into(),
            name if FIELDS.contains(&name) => format!("write `event.{name}`"),
            name => {
                let events: &[&str] =
                    if self.names == AllowedVariables::Event { &["event"] } else { &["event", "async"] };
                match nearest_name(name, events.iter().copied().chain(self.macro_variables.iter().copied())) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => {
                        format!("a field of the event's data is `event.data.{name}`, a text stands in quotes: '{name}'")
                    }
                }
            }
        };
        Err(format!("names `{}`, which there is not, {}; {hint}", shortened(name), self.describe_place(of)))
    }

    fn check_field(&mut self, of: &'e IdedExpr, operand: &'e IdedExpr, field: &'e str) -> Result<(), String> {
        match &operand.expr {
            Expr::Select(outer) if self.is_time_type(outer, field) => return Ok(()),
            Expr::Ident(name) if self.is_event(name) && !FIELDS.contains(&field) => {
                let hint = match nearest_name(field, FIELDS.into_iter()) {
                    Some(meant) => format!("did you mean `{name}.{meant}`?"),
                    None => format!("what its sender wrote is in `{name}.data.{field}`"),
                };
                return Err(format!(
                    "names `{name}.{}`, which no event has, {}; {hint}",
                    shortened(field),
                    self.describe_place(of)
                ));
            }
            _ => {}
        }
        self.check(operand)
    }

    /// Returns whether the selected field is a type such as `google.protobuf.Timestamp`.
    fn is_time_type(&self, outer: &SelectExpr, field: &str) -> bool {
        let is_google =
            matches!(&outer.operand.expr, Expr::Ident(name) if name == "google" && !self.is_macro_variable(name));
        is_google && outer.field == "protobuf" && TIME_TYPES.contains(&field)
    }

    fn check_call(&mut self, of: &'e IdedExpr, call: &'e CallExpr) -> Result<(), String> {
        // the parser represents operators as calls; they need no check
        let is_operator = !call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !is_operator {
            self.check_function(of, call)?;
        }
        call.target.iter().try_for_each(|target| self.check(target))?;
        call.args.iter().try_for_each(|arg| self.check(arg))
    }

    fn check_function(&self, of: &IdedExpr, call: &CallExpr) -> Result<(), String> {
        let (name, given) = (&*call.func_name, call.args.len());
        let (global, method) =
            (FUNCTIONS.iter().find(|(known, _)| *known == name), METHODS.iter().find(|(known, ..)| *known == name));
        let hint = match (&call.target, global, method) {
            (None, Some((_, takes)), _) if *takes == given => return self.check_literal_time(of, call),
            (Some(_), _, Some((_, least, most))) if (*least..=*most).contains(&given) => {
                return self.check_zone(of, call);
            }
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
                let meant = nearest_name(name, all.chain(MACROS));
                let hint = meant.map(|meant| format!("did you mean `{meant}`?"));
                let all = "docs/flow-control.md lists all there are".into();
                return Err(format!(
                    "calls `{}{}`, which there is not, {}; {}",
                    if target.is_some() { "." } else { "" },
                    shortened(name),
                    self.describe_place(of),
                    hint.unwrap_or(all)
                ));
            }
        };
        Err(format!("calls `{name}` {} in a way it cannot be called; {hint}", self.describe_place(of)))
    }

    /// Checks that a literal timestamp or duration is valid. Otherwise it would fail on each event.
    fn check_literal_time(&self, of: &IdedExpr, call: &CallExpr) -> Result<(), String> {
        let bad = |why: String| Err(format!("{why}, {}", self.describe_place(of)));
        match (&*call.func_name, call.args.first().map(|arg| &arg.expr)) {
            ("timestamp", Some(Expr::Literal(LiteralValue::String(text)))) => {
                NanoTimestamp::read(text.inner()).map(drop).or_else(|why| bad(why.to_string()))
            }
            ("duration", Some(Expr::Literal(LiteralValue::String(text)))) => {
                NanoDuration::read(text.inner()).map(drop).or_else(|why| bad(why.to_string()))
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

    /// Checks that a time zone given as a literal exists.
    fn check_zone(&self, of: &IdedExpr, call: &CallExpr) -> Result<(), String> {
        match call.args.first().map(|arg| &arg.expr) {
            Some(Expr::Literal(LiteralValue::String(zone))) if call.func_name.starts_with("get") => {
                check_zone(zone.inner()).map_err(|why| format!("{why}, {}", self.describe_place(of)))
            }
            _ => Ok(()),
        }
    }

    /// Returns the position of a part of the expression, such as "at character 7".
    fn describe_place(&self, of: &IdedExpr) -> String {
        // the position of a field or a method is that of its dot
        let (start, _) = self.places.offset_for(of.id).unwrap_or_default();
        format!("at character {}", start + 1)
    }
}

/// Returns the known name that was probably meant. It differs from `name` in case only, or in one
/// or two letters.
fn nearest_name<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let distance = |known: &str| if known.eq_ignore_ascii_case(name) { 0 } else { edit_distance(name, known) };
    let near = known.map(|known| (distance(known), known)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, _)| *distance <= if name.len() < 4 { 1 } else { 2 }).map(|(_, known)| known)
}

/// Returns the edit distance of two words: the number of letters to change, insert, remove or swap
/// with their neighbour to turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
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
