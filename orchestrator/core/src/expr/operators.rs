//! Operators on JSON numbers and CEL numbers.
//!
//! CEL has three types of number, which cannot be mixed in arithmetic. All numbers of an event have
//! one type. So the operators of a parsed expression are replaced with the functions in this
//! module. If both operands are CEL numbers of the same type, these functions leave the work to
//! CEL, where `7 / 2` is 3.

use std::cmp::Ordering;

use cel::ExecutionError;
use cel::common::ast::{EntryExpr, Expr, IdedExpr, operators as op};
use cel::common::types::{CelBool, CelDouble, CelInt, CelUInt, Kind};
use cel::common::value::{CowVal, Val};

use super::environment::FunctionDeclarations;
use super::number::{ArithmeticOperator, Number};
use super::read;
use super::scope::no_overload;
use super::time;

/// The result of a function that expressions can call.
pub(super) type CallResult<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// The operators of CEL, and the functions that replace them. The names of these functions cannot
/// be written in an expression.
const REPLACEMENTS: [(&str, &str); 14] = [
    (op::ADD, "@add"),
    (op::SUBSTRACT, "@subtract"),
    (op::MULTIPLY, "@multiply"),
    (op::DIVIDE, "@divide"),
    (op::MODULO, "@remainder"),
    (op::NEGATE, "@negative"),
    (op::EQUALS, "@equal"),
    (op::NOT_EQUALS, "@unequal"),
    (op::LESS, "@less"),
    (op::LESS_EQUALS, "@at_most"),
    (op::GREATER, "@more"),
    (op::GREATER_EQUALS, "@at_least"),
    (op::IN, "@within"),
    ("type", "@type"),
];

/// Replaces the operators in an expression with the functions of this module.
pub(super) fn replace_operators(of: &mut IdedExpr) {
    match &mut of.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| replace_operators(target));
            call.args.iter_mut().for_each(replace_operators);
            if call.func_name == op::INDEX {
                call.args.iter_mut().skip(1).for_each(wrap_index);
            }
            // `map` and `filter` append to a list with `+`; the interpreter recognises this form,
            // so `+` must stay here
            let appends =
                matches!(call.args.first().map(|arg| &arg.expr), Some(Expr::Ident(name)) if name.starts_with('@'));
            let replaced = REPLACEMENTS.iter().find(|(name, _)| *name == call.func_name);
            if let (Some((_, by)), None, false) = (replaced, &call.target, appends) {
                call.func_name = (*by).into();
            }
        }
        Expr::Comprehension(of) => {
            [&mut of.iter_range, &mut of.accu_init, &mut of.loop_cond, &mut of.loop_step, &mut of.result]
                .into_iter()
                .for_each(replace_operators);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(replace_operators),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| {
            if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                replace_operators(&mut entry.key);
                wrap_index(&mut entry.key);
                replace_operators(&mut entry.value);
            }
        }),
        Expr::Select(select) => replace_operators(&mut select.operand),
        Expr::Struct(_) => {}
    }
}

/// Wraps an index or a key in a conversion to a CEL number, because a JSON number cannot index
/// lists and maps.
fn wrap_index(of: &mut IdedExpr) {
    if !matches!(of.expr, Expr::Literal(_)) {
        let inner = std::mem::take(of);
        of.id = inner.id;
        of.expr =
            Expr::Call(cel::common::ast::CallExpr { func_name: "@index".into(), target: None, args: vec![inner] });
    }
}

pub(super) fn declare(env: &mut FunctionDeclarations) {
    for (name, function) in [
        ("@add", add as cel::common::functions::Function),
        ("@subtract", subtract),
        ("@multiply", multiply),
        ("@divide", divide),
        ("@remainder", remainder),
        ("@equal", |of| Ok(bool_value(is_equal(&*of[0], &*of[1])))),
        ("@unequal", |of| Ok(bool_value(!is_equal(&*of[0], &*of[1])))),
        ("@less", |of| Ok(bool_value(compare("_<_", &of)?.is_lt()))),
        ("@at_most", |of| Ok(bool_value(compare("_<=_", &of)?.is_le()))),
        ("@more", |of| Ok(bool_value(compare("_>_", &of)?.is_gt()))),
        ("@at_least", |of| Ok(bool_value(compare("_>=_", &of)?.is_ge()))),
        ("@within", is_in),
    ] {
        env.add_for_any_type(name, 2, function);
    }
    env.add_for_any_type("@negative", 1, negate);
    env.add_for_any_type("@index", 1, convert_index);
}

pub(super) fn bool_value<'b, 'v>(is_true: bool) -> CowVal<'b, 'v> {
    CowVal::owned(CelBool::from(is_true))
}

fn arithmetic_error(what: impl ToString) -> ExecutionError {
    ExecutionError::function_error("arithmetic", what)
}

/// Returns both values as numbers; `None` if one is not a number, or if CEL itself can combine the
/// two.
fn mixed_numbers(a: &dyn Val, b: &dyn Val) -> Option<(Number, Number)> {
    let alike = a.get_type() == b.get_type() && a.downcast_ref::<Number>().is_none();
    if alike {
        return None;
    }
    Some((Number::of_value(a)?, Number::of_value(b)?))
}

fn combine_numbers<'b, 'v>(by: ArithmeticOperator, of: &[CowVal<'b, 'v>]) -> Option<CallResult<'b, 'v>> {
    let (a, b) = mixed_numbers(&*of[0], &*of[1])?;
    Some(a.combine(by, &b).map(CowVal::owned).map_err(arithmetic_error))
}

fn add<'b, 'v>(of: Vec<CowVal<'b, 'v>>) -> CallResult<'b, 'v> {
    if let Some(given) = combine_numbers(ArithmeticOperator::Add, &of).or_else(|| time::add_times(&*of[0], &*of[1])) {
        return given;
    }
    let adder = of[0].as_adder().ok_or_else(|| no_overload("_+_", &[&*of[0], &*of[1]]))?;
    Ok(CowVal::Owned(adder.add(&*of[1])?.into_owned()))
}

fn subtract<'b, 'v>(of: Vec<CowVal<'b, 'v>>) -> CallResult<'b, 'v> {
    if let Some(given) =
        combine_numbers(ArithmeticOperator::Subtract, &of).or_else(|| time::subtract_times(&*of[0], &*of[1]))
    {
        return given;
    }
    let subtractor = of[0].as_subtractor().ok_or_else(|| no_overload("_-_", &[&*of[0], &*of[1]]))?;
    Ok(CowVal::Owned(subtractor.sub(&*of[1])?.into_owned()))
}

fn multiply<'b, 'v>(of: Vec<CowVal<'b, 'v>>) -> CallResult<'b, 'v> {
    if let Some(given) = combine_numbers(ArithmeticOperator::Multiply, &of) {
        return given;
    }
    let multiplier = of[0].as_multiplier().ok_or_else(|| no_overload("_*_", &[&*of[0], &*of[1]]))?;
    Ok(CowVal::Owned(multiplier.mul(&*of[1])?.into_owned()))
}

fn divide<'b, 'v>(of: Vec<CowVal<'b, 'v>>) -> CallResult<'b, 'v> {
    if let Some(given) = combine_numbers(ArithmeticOperator::Divide, &of) {
        return given;
    }
    let divider = of[0].as_divider().ok_or_else(|| no_overload("_/_", &[&*of[0], &*of[1]]))?;
    Ok(CowVal::Owned(divider.div(&*of[1])?.into_owned()))
}

fn remainder<'b, 'v>(of: Vec<CowVal<'b, 'v>>) -> CallResult<'b, 'v> {
    if let Some(given) = combine_numbers(ArithmeticOperator::Remainder, &of) {
        return given;
    }
    let modder = of[0].as_modder().ok_or_else(|| no_overload("_%_", &[&*of[0], &*of[1]]))?;
    Ok(CowVal::Owned(modder.modulo(&*of[1])?.into_owned()))
}

fn negate<'b, 'v>(of: Vec<CowVal<'b, 'v>>) -> CallResult<'b, 'v> {
    if let Some(number) = of[0].downcast_ref::<Number>() {
        let zero = Number::Whole(0);
        return zero.combine(ArithmeticOperator::Subtract, number).map(CowVal::owned).map_err(arithmetic_error);
    }
    let negator = of[0].as_negator().ok_or_else(|| no_overload("-_", &[&*of[0]]))?;
    Ok(CowVal::Owned(negator.negate()?))
}

/// Returns whether two values are equal. Numbers are compared by value, lists and maps item by
/// item.
fn is_equal(a: &dyn Val, b: &dyn Val) -> bool {
    if let Some((a, b)) = mixed_numbers(a, b) {
        return a == b;
    }
    let size = |of: &dyn Val| of.as_sizer().map(|sizer| *sizer.size().inner());
    match (a.get_type().kind(), b.get_type().kind()) {
        (Kind::List, Kind::List) | (Kind::Map, Kind::Map) if size(a) != size(b) => false,
        (Kind::List, Kind::List) => {
            let (Some(a), Some(b)) = (a.as_iterable(), b.as_iterable()) else { return false };
            let (mut a, mut b) = (a.iter(), b.iter());
            while let (Some(a), Some(b)) = (a.next(), b.next()) {
                if !is_equal(a, b) {
                    return false;
                }
            }
            true
        }
        (Kind::Map, Kind::Map) => {
            let (Some(keys), Some(one), Some(other)) = (a.as_iterable(), a.as_indexer(), b.as_indexer()) else {
                return false;
            };
            let mut keys = keys.iter();
            while let Some(key) = keys.next() {
                match (one.get(key), other.get(key)) {
                    (Ok(a), Ok(b)) if is_equal(&*a, &*b) => {}
                    _ => return false,
                }
            }
            true
        }
        _ => a.equals(b),
    }
}

/// Returns whether two JSON documents are equal by the rules of expressions.
pub(crate) fn is_same_json(one: &str, other: &str) -> bool {
    let read = |json| read::read(json, &mut 0);
    matches!((read(one), read(other)), (Ok(one), Ok(other)) if is_equal(&*one, &*other))
}

fn compare(operator: &str, of: &[CowVal<'_, '_>]) -> Result<Ordering, ExecutionError> {
    let (a, b) = (&*of[0], &*of[1]);
    if let Some((a, b)) = mixed_numbers(a, b) {
        return Ok(a.compare(&b));
    }
    let mismatch = || no_overload(operator, &[a, b]);
    a.as_comparer().ok_or_else(mismatch)?.compare(b).map_err(|_| mismatch())
}

fn is_in<'b, 'v>(of: Vec<CowVal<'b, 'v>>) -> CallResult<'b, 'v> {
    let mismatch = || no_overload("@in", &[&*of[0], &*of[1]]);
    match of[1].get_type().kind() {
        Kind::List => {
            let mut items = of[1].as_iterable().ok_or_else(mismatch)?.iter();
            let mut found = false;
            while let (false, Some(item)) = (found, items.next()) {
                found = is_equal(item, &*of[0]);
            }
            Ok(bool_value(found))
        }
        _ => {
            let key = to_cel_number(&*of[0]);
            let key = key.as_deref().unwrap_or(&*of[0]);
            of[1].as_container().ok_or_else(mismatch)?.contains(key).map(bool_value).map_err(|_| mismatch())
        }
    }
}

fn convert_index<'b, 'v>(mut of: Vec<CowVal<'b, 'v>>) -> CallResult<'b, 'v> {
    let given = of.swap_remove(0);
    Ok(to_cel_number(&*given).map_or(given, CowVal::Owned))
}

/// Converts a JSON number to the CEL number that indexes lists and maps; `None` if the value is not
/// a JSON number.
fn to_cel_number<'v>(value: &(dyn Val + '_)) -> Option<Box<dyn Val + 'v>> {
    let number = value.downcast_ref::<Number>()?;
    Some(match number {
        Number::Whole(whole) => match (i64::try_from(*whole), u64::try_from(*whole)) {
            (Ok(int), _) => Box::new(CelInt::from(int)),
            (Err(_), Ok(uint)) => Box::new(CelUInt::from(uint)),
            (Err(_), Err(_)) => Box::new(CelDouble::from(number.to_float())),
        },
        Number::Other(_) => Box::new(CelDouble::from(number.to_float())),
    })
}
