//! The functions that expressions may call: CEL's standard functions, extended to JSON numbers and
//! to times.

use std::sync::{Arc, LazyLock};

use cel::common::functions::Function;
use cel::common::types::{CelBool, CelDouble, CelInt, CelString, CelType, CelUInt, DYN_TYPE, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};
use regex_lite::Regex;

use super::number::{NUMBER, Number};
use super::operators::{self, CallResult, bool_value};
use super::scope::no_overload;
use super::time;

static SHARED: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut declare = FunctionDeclarations(Env::stdlib());
    operators::declare(&mut declare);
    declare_conversions(&mut declare);
    time::declare(&mut declare);
    Arc::new(declare.0)
});

/// Returns the environment that all expressions share.
pub(super) fn shared_environment() -> Arc<Env> {
    SHARED.clone()
}

/// Declares functions in an environment. Declaring the same name twice has no effect, so a test
/// calls each function.
pub(super) struct FunctionDeclarations(pub(super) Env);

impl FunctionDeclarations {
    /// Declares a function that takes values of any type.
    pub(super) fn add_for_any_type(&mut self, name: &str, arguments: usize, function: Function) {
        self.add_function(name, name, (0..arguments).map(|_| DYN_TYPE).collect(), function);
    }

    /// Declares a function that takes values of these types. `id` distinguishes overloads with the
    /// same name.
    pub(super) fn add_function(&mut self, name: &str, id: &str, types: Vec<Type>, function: Function) {
        let declared = self.0.add_overload(name, id, types, function);
        debug_assert!(declared.is_ok(), "{declared:?}");
    }

    /// Declares a method of a type.
    pub(super) fn add_method(&mut self, target: Type, name: &str, id: &str, types: Vec<Type>, function: Function) {
        let declared = self.0.add_member_overload(name, id, target, types, function);
        debug_assert!(declared.is_ok(), "{declared:?}");
    }
}

fn declare_conversions(declare: &mut FunctionDeclarations) {
    declare.add_function("int", "number_to_int", vec![NUMBER], |of| {
        convert_number("int", &of, |number| number.truncate().map(|int| CowVal::owned(CelInt::from(int))))
    });
    declare.add_function("uint", "number_to_uint", vec![NUMBER], |of| {
        let uint = |number: &Number| match number {
            Number::Whole(whole) => u64::try_from(*whole).ok(),
            Number::Other(_) => u64::try_from(number.truncate()?).ok(),
        };
        convert_number("uint", &of, |number| uint(number).map(|uint| CowVal::owned(CelUInt::from(uint))))
    });
    declare.add_function("double", "number_to_double", vec![NUMBER], |of| {
        convert_number("double", &of, |number| Some(CowVal::owned(CelDouble::from(number.to_float()))))
    });
    declare.add_function("string", "number_to_string", vec![NUMBER], |of| {
        convert_number("string", &of, |number| number.to_plain_text().map(|text| CowVal::owned(CelString::from(text))))
    });
    declare.add_for_any_type("@type", 1, |of| {
        let whole = of[0].downcast_ref::<Number>().map(|number| matches!(number, Number::Whole(_)));
        Ok(CowVal::owned(match whole {
            Some(true) => CelType::new_static("int"),
            Some(false) => CelType::new_static("double"),
            None => CelType::from(of[0].get_type()),
        }))
    });
    declare.add_function("@matches", "@matches", vec![STRING_TYPE, PATTERN], |of| {
        match (of[0].downcast_ref::<CelString>(), of[1].downcast_ref::<CompiledPattern>()) {
            (Some(text), Some(CompiledPattern(regex))) => Ok(bool_value(regex.is_match(text.inner()))),
            _ => Err(no_overload("matches", &[&*of[0], &*of[1]])),
        }
    });
}

fn convert_number<'b, 'v>(
    to: &str,
    of: &[CowVal<'b, 'v>],
    convert: impl Fn(&Number) -> Option<CowVal<'b, 'v>>,
) -> CallResult<'b, 'v> {
    let number = of[0].downcast_ref::<Number>();
    number.and_then(convert).ok_or_else(|| ExecutionError::function_error(to, "the number is out of range"))
}

const PATTERN: Type = Type::new_unspecified_type("pattern");
static PATTERN_TYPE: Type = PATTERN;

/// A regular expression that was compiled together with the CEL expression around it.
#[derive(Clone, Debug)]
pub(super) struct CompiledPattern(pub(super) Regex);

impl Val for CompiledPattern {
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

impl StaticVal for CompiledPattern {}

/// Returns the boolean of a CEL value; `None` if it is not a boolean.
pub(super) fn as_truth(value: &dyn Val) -> Option<bool> {
    value.downcast_ref::<CelBool>().map(|truth| *truth.inner())
}
