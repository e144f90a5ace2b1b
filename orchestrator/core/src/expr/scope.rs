//! The variables of an evaluation: events as CEL values.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::traits::{Container, Indexer, Iterable, Sizer};
use cel::common::types::{CelBool, CelInt, CelMap, CelMapKey, CelNull, CelString, Type};
use cel::common::value::{StaticVal, Val};
use cel::{Context, ExecutionError};

use super::number::Number;
use super::{cost, environment, read};
use crate::Event;
use crate::limits::KEY_BYTES;

/// The variables of an evaluation. A scope is created once per event, and all expressions on the
/// event share it.
pub struct ExprScope {
    pub(super) context: Context<'static, 'static>,
    /// The size of the event, in values. With two events, this is the size of the larger one.
    pub(super) size: f64,
    /// Why no expression can be evaluated on the event, as the end of a sentence; `None` if
    /// expressions can be evaluated.
    pub(super) problem: Option<String>,
}

impl ExprScope {
    /// Creates the scope of an event.
    pub fn of(event: &Event) -> Self {
        let EventValues { value, size, problem } = EventValues::of(event);
        let mut context = Context::with_env(environment::shared_environment());
        context.add_variable_as_val("event", Box::new(value));
        Self { context, size, problem: problem.map(|problem| format!("`event.{problem}")) }
    }

    /// Creates the scope of a wait: `event` started the run, and `arriving` is the variable
    /// `async`.
    pub fn with_async(event: &Event, arriving: &EventValues) -> Self {
        let mut scope = Self::of(event);
        scope.context.add_variable_as_val("async", Box::new(arriving.value.clone()));
        scope.size = scope.size.max(arriving.size);
        scope.problem = scope.problem.or_else(|| arriving.problem.as_ref().map(|problem| format!("`async.{problem}")));
        scope
    }
}

/// An event as a CEL value, which several scopes can share.
#[derive(Clone)]
pub struct EventValues {
    value: SharedMap,
    /// The size of the event, in JSON values. It bounds the cost of an expression.
    size: f64,
    /// Why no expression can be evaluated on the event, as the end of a sentence that starts with
    /// the variable's name.
    problem: Option<String>,
}

impl EventValues {
    /// Reads the JSON of an event.
    pub fn of(event: &Event) -> Self {
        let (mut problem, mut values) = (None, 8);
        let mut value_of = |name: &str, json: &serde_json::value::RawValue| {
            read::read(json.get(), &mut values).unwrap_or_else(|why| {
                problem = Some(format!("{name}` cannot be read: {why}"));
                Box::new(CelNull)
            })
        };
        let user = event.user.as_deref().map_or_else(|| Box::new(CelNull) as _, |user| value_of("user", user));
        let fields: [(&'static str, Box<dyn Val>); 5] = [
            ("id", Box::new(CelString::from(event.id.to_string()))),
            ("name", Box::new(CelString::from(event.name.to_string()))),
            ("data", value_of("data", &event.data)),
            ("ts", Box::new(CelInt::from(event.ts.as_millis()))),
            ("user", user),
        ];
        let fields: HashMap<CelMapKey<'static>, Box<dyn Val>> =
            fields.into_iter().map(|(name, value)| (CelMapKey::from(name), value)).collect();
        let bytes = event.data.get().len() + event.user.as_deref().map_or(0, |user| user.get().len());
        Self { value: SharedMap(Arc::new(CelMap::from(fields))), size: cost::estimate_size(values, bytes), problem }
    }

    /// Returns a field of the event's data as the index of subscriptions stores it. Returns `None`
    /// if the field is missing, is a list or a map, or is larger than [`KEY_BYTES`].
    pub(crate) fn index_form_of_field(&self, path: &str) -> Option<String> {
        let mut value: &dyn Val = self.value.0.inner().get(&CelMapKey::from("data"))?.as_ref();
        for name in path.split('.') {
            value = value.downcast_ref::<CelMap>()?.inner().get(&CelMapKey::from(name))?.as_ref();
        }
        index_form(value).filter(|text| text.len() <= KEY_BYTES)
    }
}

/// Returns the value of a JSON document as the index of subscriptions stores it; `None` for a list
/// or a map.
pub(crate) fn indexed_scalar(json: &str) -> Option<String> {
    index_form(&*read::read(json, &mut 0).ok()?)
}

/// Returns a value as the index of subscriptions stores it: as JSON, with exactly one form per
/// value. Returns `None` for a list or a map.
fn index_form(value: &dyn Val) -> Option<String> {
    if let Some(number) = value.downcast_ref::<Number>() {
        return number.to_index_form();
    }
    if let Some(text) = value.downcast_ref::<CelString>() {
        return serde_json::to_string(text.inner()).ok();
    }
    if let Some(truth) = value.downcast_ref::<CelBool>() {
        return Some(truth.inner().to_string());
    }
    value.downcast_ref::<CelNull>().map(|_| "null".into())
}

/// A map of event fields that several scopes share.
#[derive(Clone, Debug)]
struct SharedMap(Arc<CelMap<'static>>);

impl Val for SharedMap {
    fn get_type(&self) -> &Type {
        CelMap::cel_type()
    }

    fn cel_type() -> &'static Type {
        CelMap::cel_type()
    }

    fn as_container(&self) -> Option<&dyn Container> {
        self.0.as_container()
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        self.0.as_indexer()
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        self.0.as_iterable()
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        self.0.as_sizer()
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for SharedMap {}

/// Returns CEL's error for a function that has no overload for the types of these values.
pub(super) fn no_overload(function: &str, of: &[&dyn Val]) -> ExecutionError {
    let types = of.iter().map(|value| value.get_type().name().to_owned()).collect();
    ExecutionError::no_such_overload(function, types)
}
