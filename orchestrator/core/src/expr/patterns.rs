//! The regular expressions of an expression: written out, compiled when the app starts, and bounded in what they take.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use regex_lite::{Regex, RegexBuilder};

use crate::sentence::shortened;

/// Bytes that a compiled pattern may take. Matching takes as many steps for each letter of a text as the pattern has parts,
/// and no more: there is no backtracking.
const PATTERN_BYTES: usize = 32 * 1024;

/// Takes the patterns out of an expression: `text.matches('…')` becomes a call with the variable that [`name`] gives.
///
/// # Errors
/// A sentence, when a pattern is none, is too large, or comes from an event.
pub(super) fn take(of: &mut IdedExpr, patterns: &mut Vec<Regex>) -> Result<(), String> {
    match &mut of.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => Ok(()),
        Expr::Call(call) => {
            if let Some(target) = &mut call.target {
                take(target, patterns)?;
            }
            call.args.iter_mut().try_for_each(|arg| take(arg, patterns))?;
            if call.func_name == "matches" { compile(call, patterns) } else { Ok(()) }
        }
        Expr::Comprehension(of) => {
            [&mut of.iter_range, &mut of.accu_init, &mut of.loop_cond, &mut of.loop_step, &mut of.result]
                .into_iter()
                .try_for_each(|part| take(part, patterns))
        }
        Expr::List(list) => list.elements.iter_mut().try_for_each(|item| take(item, patterns)),
        Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
            EntryExpr::MapEntry(entry) => {
                take(&mut entry.key, patterns).and_then(|()| take(&mut entry.value, patterns))
            }
            EntryExpr::StructField(_) => Ok(()),
        }),
        Expr::Select(select) => take(&mut select.operand, patterns),
    }
}

fn compile(call: &mut CallExpr, patterns: &mut Vec<Regex>) -> Result<(), String> {
    let pattern = match call.args.last().map(|arg| &arg.expr) {
        Some(Expr::Literal(LiteralValue::String(text))) => text.inner(),
        _ => return Err("calls `matches` with a pattern that is no text in quotes; an event may not bring one".into()),
    };
    let regex = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
    let regex =
        regex.map_err(|why| format!("has the pattern `{}`, which cannot be used: {why}", shortened(pattern)))?;
    if let Some(last) = call.args.last_mut() {
        last.expr = Expr::Ident(name(patterns.len()));
    }
    patterns.push(regex);
    if let Some(target) = call.target.take() {
        call.args.insert(0, *target);
    }
    call.func_name = "@matches".into();
    Ok(())
}

/// The variable that stands for a pattern. No expression can name it.
pub(super) fn name(number: usize) -> String {
    format!("@{number}")
}
