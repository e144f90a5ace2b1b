//! An upper bound on the steps of an evaluation, computed beforehand from the expression and the
//! size of the event.
//!
//! `all`, `exists`, `map` and `filter` visit each item of a list. If they are nested, their steps
//! multiply: three levels over a list of 1,000 items take 1,000,000,000 steps. A running evaluation
//! cannot be stopped, so it is bounded before it starts.
//!
//! The bound is never less than the real number of steps. For a macro over the parts of each item
//! (`a.all(x, x.b.all(…))`) the bound is not the square of the size. The reason is that the parts
//! of all items together are no larger than the whole.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue};

use super::depth::entry_parts;

/// The number of bytes of text that count as one value, because comparing and copying text is fast.
const TEXT_BYTES_PER_VALUE: f64 = 64.0;

/// The maximum number of parts that a regular expression is assumed to have.
const MAX_PATTERN_PARTS: usize = 1_024;
/// The number of parts of a regular expression that are matched in the time of one step.
const PARTS_PER_STEP: f64 = 16.0;

/// The bounds of a subexpression: the number of its steps, and the size of its result in values.
#[derive(Clone, Copy)]
struct CostBounds {
    steps: f64,
    size: f64,
}

/// The sizes of the variables of macros; the innermost macro comes last. Every other variable is an
/// event.
type VariableSizes<'e> = Vec<(&'e str, f64)>;

/// Returns the maximum number of steps for an event with `event` values.
///
/// This function recurses as deep as the expression is nested, and its own work doubles with each
/// nested macro. [`levels`](super::depth::levels) bounds both.
pub(super) fn count_steps(of: &IdedExpr, event: f64) -> f64 {
    bound_work(of, event, &mut Vec::new()).steps
}

/// Returns the size of a JSON document, in values: the number of its values, plus one for each
/// [`TEXT_BYTES_PER_VALUE`] bytes.
pub(super) fn estimate_size(values: usize, bytes: usize) -> f64 {
    values as f64 + bytes as f64 / TEXT_BYTES_PER_VALUE
}

fn bound_work<'e>(of: &'e IdedExpr, event: f64, variables: &mut VariableSizes<'e>) -> CostBounds {
    match &of.expr {
        Expr::Unspecified => CostBounds { steps: 1.0, size: 1.0 },
        Expr::Literal(LiteralValue::String(text)) => {
            CostBounds { steps: 1.0, size: 1.0 + text.inner().len() as f64 / TEXT_BYTES_PER_VALUE }
        }
        Expr::Literal(_) => CostBounds { steps: 1.0, size: 1.0 },
        Expr::Ident(name) => {
            let size = variables.iter().rev().find(|(of, _)| of == name).map_or(event, |(_, size)| *size);
            CostBounds { steps: 1.0, size }
        }
        Expr::Select(select) => {
            let from = bound_work(&select.operand, event, variables);
            CostBounds { steps: from.steps + 1.0, size: if select.test { 1.0 } else { from.size } }
        }
        Expr::Call(call) => bound_call(call, event, variables),
        Expr::Comprehension(of) => bound_macro(of, event, variables),
        Expr::List(list) => bound_copies(list.elements.iter(), event, variables),
        Expr::Map(map) => {
            bound_copies(map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).flatten(), event, variables)
        }
        Expr::Struct(of) => {
            bound_copies(of.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).flatten(), event, variables)
        }
    }
}

/// Bounds a list or a map, which consists of copies of its parts.
fn bound_copies<'e>(
    parts: impl Iterator<Item = &'e IdedExpr>,
    event: f64,
    variables: &mut VariableSizes<'e>,
) -> CostBounds {
    parts.fold(CostBounds { steps: 1.0, size: 1.0 }, |sum, part| {
        let CostBounds { steps, size } = bound_work(part, event, variables);
        CostBounds { steps: sum.steps + steps + size, size: sum.size + size }
    })
}

/// Bounds the call of a function or an operator.
fn bound_call<'e>(call: &'e CallExpr, event: f64, variables: &mut VariableSizes<'e>) -> CostBounds {
    let parts: Vec<CostBounds> =
        call.target.as_deref().into_iter().chain(&call.args).map(|part| bound_work(part, event, variables)).collect();
    let steps = 1.0 + parts.iter().map(|part| part.steps).sum::<f64>();
    let sizes: f64 = parts.iter().map(|part| part.size).sum();
    let largest = parts.iter().map(|part| part.size).fold(1.0, f64::max);
    let (extra, size) = match call.func_name.as_str() {
        "_&&_" | "_||_" | "!_" | "@not_strictly_false" => (0.0, 1.0),
        "_?_:_" | "_[_]" | "_[?_]" | "_?._" => (0.0, largest),
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "@in" | "-_" | "_-_" | "_*_" | "_/_" | "_%_" | "size" => {
            (sizes, 1.0)
        }
        "matches" => (sizes + bound_matching(call, largest), 1.0),
        // a sum is as large as its parts together, and no other function returns more than it
        // receives
        _ => (sizes, sizes.max(1.0)),
    };
    CostBounds { steps: steps + extra, size }
}

/// Bounds the cost of a regular expression match, which tries each part of the pattern on each
/// byte.
fn bound_matching(call: &CallExpr, text: f64) -> f64 {
    let parts = match call.args.last().map(|arg| &arg.expr) {
        // a repetition such as `{200}` has more parts than characters, up to the maximum size of a
        // compiled pattern
        Some(Expr::Literal(LiteralValue::String(pattern))) if !pattern.inner().contains('{') => pattern.inner().len(),
        _ => MAX_PATTERN_PARTS,
    };
    text * TEXT_BYTES_PER_VALUE * parts as f64 / PARTS_PER_STEP
}

/// Bounds a macro. Its body is bounded twice: for an item of size 1, and for an item as large as
/// the whole range. The body takes at most the first bound for each item, plus the second bound
/// once, however the range is divided among its items.
fn bound_macro<'e>(of: &'e ComprehensionExpr, event: f64, variables: &mut VariableSizes<'e>) -> CostBounds {
    let range = bound_work(&of.iter_range, event, variables);
    let init = bound_work(&of.accu_init, event, variables);
    let mut body = |item: f64| {
        let before = variables.len();
        variables.push((&of.iter_var, item));
        variables.extend(of.iter_var2.as_deref().map(|name| (name, item)));
        // the accumulator counts as 0, because items are appended to it in place
        variables.push((&of.accu_var, 0.0));
        let (cond, step) = (bound_work(&of.loop_cond, event, variables), bound_work(&of.loop_step, event, variables));
        variables.truncate(before);
        CostBounds { steps: cond.steps + step.steps + 1.0, size: step.size }
    };
    let (small, whole) = (body(1.0), body(range.size));
    let gathered = init.size + range.size * small.size + whole.size;
    variables.push((&of.accu_var, gathered));
    let result = bound_work(&of.result, event, variables);
    variables.pop();
    // each item is copied once, so the size of the range is added
    let visits = range.size + range.size * small.steps + whole.steps;
    CostBounds { steps: range.steps + init.steps + visits + result.steps, size: result.size }
}
