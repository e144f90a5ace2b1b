//! What evaluating an expression takes, at most, before it is evaluated: by its text and by the size of the event.
//!
//! `all`, `exists`, `map` and `filter` go through what an event holds, and inside each other they multiply: three of them
//! over a list of a thousand are a thousand million steps. There is no way to stop an evaluation, so it is bounded
//! beforehand. The bound is never less than what happens, and for what goes through the parts of parts (`a.all(x, x.b.all(…))`)
//! it is no square: the parts of all items together are no larger than the whole.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue};

use super::depth::parts;

/// Bytes of text that count as one value: comparing and copying text is quick.
const TEXT: f64 = 64.0;

/// Parts of the largest pattern.
const PARTS: usize = 1_024;
/// Parts of a pattern that are tried in the time of a step.
const PARTS_PER_STEP: f64 = 16.0;

/// Steps, and the size of what comes out.
#[derive(Clone, Copy)]
struct Work {
    steps: f64,
    size: f64,
}

/// The sizes of variables within macros; the innermost last. Whatever else is named is an event.
type Known<'e> = Vec<(&'e str, f64)>;

/// The most steps that this takes on an event of so many values. Recurses as far as the expression is deep, and doubles with each
/// macro in another; [`levels`](super::depth::levels) bounds both.
pub(super) fn steps(of: &IdedExpr, event: f64) -> f64 {
    work(of, event, &mut Vec::new()).steps
}

/// How many values a JSON text of this many bytes, with so many values in it, counts as.
pub(super) fn size(values: usize, bytes: usize) -> f64 {
    values as f64 + bytes as f64 / TEXT
}

fn work<'e>(of: &'e IdedExpr, event: f64, known: &mut Known<'e>) -> Work {
    match &of.expr {
        Expr::Unspecified => Work { steps: 1.0, size: 1.0 },
        Expr::Literal(LiteralValue::String(text)) => Work { steps: 1.0, size: 1.0 + text.inner().len() as f64 / TEXT },
        Expr::Literal(_) => Work { steps: 1.0, size: 1.0 },
        Expr::Ident(name) => {
            let size = known.iter().rev().find(|(of, _)| of == name).map_or(event, |(_, size)| *size);
            Work { steps: 1.0, size }
        }
        Expr::Select(select) => {
            let from = work(&select.operand, event, known);
            Work { steps: from.steps + 1.0, size: if select.test { 1.0 } else { from.size } }
        }
        Expr::Call(call) => called(call, event, known),
        Expr::Comprehension(of) => repeated(of, event, known),
        Expr::List(list) => copied(list.elements.iter(), event, known),
        Expr::Map(map) => copied(map.entries.iter().flat_map(|entry| parts(&entry.expr)).flatten(), event, known),
        Expr::Struct(of) => copied(of.entries.iter().flat_map(|entry| parts(&entry.expr)).flatten(), event, known),
    }
}

/// A list or a map is made of copies.
fn copied<'e>(parts: impl Iterator<Item = &'e IdedExpr>, event: f64, known: &mut Known<'e>) -> Work {
    parts.fold(Work { steps: 1.0, size: 1.0 }, |sum, part| {
        let Work { steps, size } = work(part, event, known);
        Work { steps: sum.steps + steps + size, size: sum.size + size }
    })
}

fn called<'e>(call: &'e CallExpr, event: f64, known: &mut Known<'e>) -> Work {
    let parts: Vec<Work> =
        call.target.as_deref().into_iter().chain(&call.args).map(|part| work(part, event, known)).collect();
    let steps = 1.0 + parts.iter().map(|part| part.steps).sum::<f64>();
    let sizes: f64 = parts.iter().map(|part| part.size).sum();
    let largest = parts.iter().map(|part| part.size).fold(1.0, f64::max);
    let (extra, size) = match call.func_name.as_str() {
        "_&&_" | "_||_" | "!_" | "@not_strictly_false" => (0.0, 1.0),
        "_?_:_" | "_[_]" | "_[?_]" | "_?._" => (0.0, largest),
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "@in" | "-_" | "_-_" | "_*_" | "_/_" | "_%_" | "size" => {
            (sizes, 1.0)
        }
        "matches" => (sizes + matching(call, largest), 1.0),
        // what is added up is as large as its parts; of what else there is nothing gives more than it gets
        _ => (sizes, sizes.max(1.0)),
    };
    Work { steps: steps + extra, size }
}

/// What matching a text takes: for each byte, as many small steps as the pattern has parts.
fn matching(call: &CallExpr, text: f64) -> f64 {
    let parts = match call.args.last().map(|arg| &arg.expr) {
        // a repetition like `{200}` has more parts than letters, up to what a pattern may be compiled to
        Some(Expr::Literal(LiteralValue::String(pattern))) if !pattern.inner().contains('{') => pattern.inner().len(),
        _ => PARTS,
    };
    text * TEXT * parts as f64 / PARTS_PER_STEP
}

/// A macro. Its body is worked out twice: for an item of size 1, and for one that is all there is. No division of the whole
/// among items takes more than the first for each, and once the second.
fn repeated<'e>(of: &'e ComprehensionExpr, event: f64, known: &mut Known<'e>) -> Work {
    let range = work(&of.iter_range, event, known);
    let init = work(&of.accu_init, event, known);
    let mut body = |item: f64| {
        let before = known.len();
        known.push((&of.iter_var, item));
        known.extend(of.iter_var2.as_deref().map(|name| (name, item)));
        // what has gathered is appended to in place
        known.push((&of.accu_var, 0.0));
        let (cond, step) = (work(&of.loop_cond, event, known), work(&of.loop_step, event, known));
        known.truncate(before);
        Work { steps: cond.steps + step.steps + 1.0, size: step.size }
    };
    let (small, whole) = (body(1.0), body(range.size));
    let gathered = init.size + range.size * small.size + whole.size;
    known.push((&of.accu_var, gathered));
    let result = work(&of.result, event, known);
    known.pop();
    // each item is copied once
    let turns = range.size + range.size * small.steps + whole.steps;
    Work { steps: range.steps + init.steps + turns + result.steps, size: result.size }
}
