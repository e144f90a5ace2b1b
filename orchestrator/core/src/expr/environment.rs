//! The functions that expressions may call: CEL's standard ones, on numbers of JSON as well, and on times.

use std::sync::{Arc, LazyLock};

use cel::common::functions::Function;
use cel::common::types::{CelBool, CelDouble, CelInt, CelString, CelType, CelUInt, DYN_TYPE, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};
use regex_lite::Regex;

use super::number::{NUMBER, Number};
use super::operators::{self, Given, truth};
use super::scope::unfit;
use super::time;

static SHARED: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut declare = Declare(Env::stdlib());
    operators::declare(&mut declare);
    conversions(&mut declare);
    time::declare(&mut declare);
    Arc::new(declare.0)
});

/// The environment of all expressions.
pub(super) fn shared() -> Arc<Env> {
    SHARED.clone()
}

/// An environment that is being made. A name that is declared twice stays what it was: a test calls each function.
pub(super) struct Declare(pub(super) Env);

impl Declare {
    /// A function that takes anything.
    pub(super) fn of_any(&mut self, name: &str, arguments: usize, function: Function) {
        self.of(name, name, (0..arguments).map(|_| DYN_TYPE).collect(), function);
    }

    /// A function that takes values of these types; `id` tells it from others of its name.
    pub(super) fn of(&mut self, name: &str, id: &str, types: Vec<Type>, function: Function) {
        let declared = self.0.add_overload(name, id, types, function);
        debug_assert!(declared.is_ok(), "{declared:?}");
    }

    /// A function that is called on a value of a type.
    pub(super) fn on(&mut self, target: Type, name: &str, id: &str, types: Vec<Type>, function: Function) {
        let declared = self.0.add_member_overload(name, id, target, types, function);
        debug_assert!(declared.is_ok(), "{declared:?}");
    }
}

fn conversions(declare: &mut Declare) {
    declare.of("int", "number_to_int", vec![NUMBER], |of| {
        converted("int", &of, |number| number.truncated().map(|int| CowVal::owned(CelInt::from(int))))
    });
    declare.of("uint", "number_to_uint", vec![NUMBER], |of| {
        let uint = |number: &Number| match number {
            Number::Whole(whole) => u64::try_from(*whole).ok(),
            Number::Other(_) => u64::try_from(number.truncated()?).ok(),
        };
        converted("uint", &of, |number| uint(number).map(|uint| CowVal::owned(CelUInt::from(uint))))
    });
    declare.of("double", "number_to_double", vec![NUMBER], |of| {
        converted("double", &of, |number| Some(CowVal::owned(CelDouble::from(number.float()))))
    });
    declare.of("string", "number_to_string", vec![NUMBER], |of| {
        converted("string", &of, |number| number.plain().map(|text| CowVal::owned(CelString::from(text))))
    });
    declare.of_any("@type", 1, |of| {
        let whole = of[0].downcast_ref::<Number>().map(|number| matches!(number, Number::Whole(_)));
        Ok(CowVal::owned(match whole {
            Some(true) => CelType::new_static("int"),
            Some(false) => CelType::new_static("double"),
            None => CelType::from(of[0].get_type()),
        }))
    });
    declare.of("@matches", "@matches", vec![STRING_TYPE, PATTERN], |of| {
        match (of[0].downcast_ref::<CelString>(), of[1].downcast_ref::<Pattern>()) {
            (Some(text), Some(Pattern(regex))) => Ok(truth(regex.is_match(text.inner()))),
            _ => Err(unfit("matches", &[&*of[0], &*of[1]])),
        }
    });
}

fn converted<'b, 'v>(
    to: &str,
    of: &[CowVal<'b, 'v>],
    convert: impl Fn(&Number) -> Option<CowVal<'b, 'v>>,
) -> Given<'b, 'v> {
    let number = of[0].downcast_ref::<Number>();
    number.and_then(convert).ok_or_else(|| ExecutionError::function_error(to, "the number is out of range"))
}

const PATTERN: Type = Type::new_unspecified_type("pattern");
static PATTERN_TYPE: Type = PATTERN;

/// A regular expression that was compiled with its expression.
#[derive(Clone, Debug)]
pub(super) struct Pattern(pub(super) Regex);

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN_TYPE
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

/// The truth that a value is, if it is one.
pub(super) fn as_truth(value: &dyn Val) -> Option<bool> {
    value.downcast_ref::<CelBool>().map(|truth| *truth.inner())
}
