//! The regular expressions within CEL expressions. They must be literals, are compiled when the app
//! starts, and are bounded in size.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use regex_lite::{Regex, RegexBuilder};

use crate::sentence::shortened;

/// The maximum size of a compiled pattern, in bytes. Matching does not backtrack: it tries each
/// part of the pattern at most once per character of the text.
const PATTERN_BYTES: usize = 32 * 1024;

/// Compiles the patterns of an expression and appends them to `patterns`. In each
/// `text.matches('…')`, the literal is replaced with the variable [`variable_of`].
///
/// # Errors
/// A sentence if a pattern is invalid, too large, or not a literal.
pub(super) fn compile_patterns(of: &mut IdedExpr, patterns: &mut Vec<Regex>) -> Result<(), String> {
    match &mut of.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => Ok(()),
        Expr::Call(call) => {
            if let Some(target) = &mut call.target {
                compile_patterns(target, patterns)?;
            }
            call.args.iter_mut().try_for_each(|arg| compile_patterns(arg, patterns))?;
            if call.func_name == "matches" { compile_pattern(call, patterns) } else { Ok(()) }
        }
        Expr::Comprehension(of) => {
            [&mut of.iter_range, &mut of.accu_init, &mut of.loop_cond, &mut of.loop_step, &mut of.result]
                .into_iter()
                .try_for_each(|part| compile_patterns(part, patterns))
        }
        Expr::List(list) => list.elements.iter_mut().try_for_each(|item| compile_patterns(item, patterns)),
        Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
            EntryExpr::MapEntry(entry) => {
                compile_patterns(&mut entry.key, patterns).and_then(|()| compile_patterns(&mut entry.value, patterns))
            }
            EntryExpr::StructField(_) => Ok(()),
        }),
        Expr::Select(select) => compile_patterns(&mut select.operand, patterns),
    }
}

fn compile_pattern(call: &mut CallExpr, patterns: &mut Vec<Regex>) -> Result<(), String> {
    let pattern = match call.args.last().map(|arg| &arg.expr) {
        Some(Expr::Literal(LiteralValue::String(text))) => text.inner(),
        _ => return Err("calls `matches` with a pattern that is no text in quotes; an event may not bring one".into()),
    };
    let regex = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
    let regex =
        regex.map_err(|why| format!("has the pattern `{}`, which cannot be used: {why}", shortened(pattern)))?;
    if let Some(last) = call.args.last_mut() {
        last.expr = Expr::Ident(variable_of(patterns.len()));
    }
    patterns.push(regex);
    if let Some(target) = call.target.take() {
        call.args.insert(0, *target);
    }
    call.func_name = "@matches".into();
    Ok(())
}

/// Returns the name of the variable that contains a pattern. The name cannot be written in an
/// expression.
pub(super) fn variable_of(number: usize) -> String {
    format!("@{number}")
}
