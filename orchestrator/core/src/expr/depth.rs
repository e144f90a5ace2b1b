//! The nesting depth of a parsed expression. The evaluation of the expression recurses equally
//! deep.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// Returns the nesting depth of an expression: 1 for a name or a literal, otherwise one more than
/// that of its deepest part. This function recurses too, but its stack frames are much smaller than
/// those of the parser.
pub(super) fn count_levels(of: &IdedExpr) -> usize {
    let deepest = |parts: &mut dyn Iterator<Item = &IdedExpr>| parts.map(count_levels).max().unwrap_or(0);
    1 + match &of.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        Expr::Call(call) => deepest(&mut call.target.as_deref().into_iter().chain(&call.args)),
        Expr::Comprehension(of) => {
            deepest(&mut [&of.iter_range, &of.accu_init, &of.loop_cond, &of.loop_step, &of.result].into_iter())
        }
        Expr::List(list) => deepest(&mut list.elements.iter()),
        Expr::Map(map) => deepest(&mut map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).flatten()),
        Expr::Select(select) => count_levels(&select.operand),
        Expr::Struct(of) => deepest(&mut of.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).flatten()),
    }
}

/// Returns the key and the value of a map's entry, or only the value of a struct's field.
pub(super) fn entry_parts(entry: &EntryExpr) -> [Option<&IdedExpr>; 2] {
    match entry {
        EntryExpr::StructField(field) => [None, Some(&field.value)],
        EntryExpr::MapEntry(entry) => [Some(&entry.key), Some(&entry.value)],
    }
}
