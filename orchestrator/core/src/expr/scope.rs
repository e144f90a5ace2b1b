//! What expressions see of events.

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

/// What expressions see of one event. Made once an event, used by every expression that is asked about it.
pub struct Scope {
    pub(super) context: Context<'static, 'static>,
    /// Of the event, or the larger of the two, in values.
    pub(super) size: f64,
    /// Why no expression can be asked about the event, as the end of a sentence.
    pub(super) fault: Option<String>,
}

impl Scope {
    /// The scope of an event.
    pub fn of(event: &Event) -> Self {
        let EventValues { value, size, fault } = EventValues::of(event);
        let mut context = Context::with_env(environment::shared());
        context.add_variable_as_val("event", Box::new(value));
        Self { context, size, fault: fault.map(|fault| format!("`event.{fault}")) }
    }

    /// The scope of a run that `event` started and that waits for another one, which is `async`.
    pub fn with_async(event: &Event, arriving: &EventValues) -> Self {
        let mut scope = Self::of(event);
        scope.context.add_variable_as_val("async", Box::new(arriving.value.clone()));
        scope.size = scope.size.max(arriving.size);
        scope.fault = scope.fault.or_else(|| arriving.fault.as_ref().map(|fault| format!("`async.{fault}")));
        scope
    }
}

/// An event as expressions see it: made once, shown in many scopes.
#[derive(Clone)]
pub struct EventValues {
    value: Shared,
    /// How large it is, in values.
    size: f64,
    /// Why no expression can be asked about it: the rest of a sentence that begins with its variable's name.
    fault: Option<String>,
}

impl EventValues {
    /// An event.
    pub fn of(event: &Event) -> Self {
        let (mut fault, mut values) = (None, 8);
        let mut value_of = |name: &str, json: &serde_json::value::RawValue| {
            read::read(json.get(), &mut values).unwrap_or_else(|why| {
                fault = Some(format!("{name}` cannot be read: {why}"));
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
        Self { value: Shared(Arc::new(CelMap::from(fields))), size: cost::size(values, bytes), fault }
    }

    /// The value of a field of its data in the form by which the index of waits knows it; `None` where there is none, or a
    /// list or a map, or more than [`KEY_BYTES`].
    pub(crate) fn indexed(&self, path: &str) -> Option<String> {
        let mut value: &dyn Val = self.value.0.inner().get(&CelMapKey::from("data"))?.as_ref();
        for name in path.split('.') {
            value = value.downcast_ref::<CelMap>()?.inner().get(&CelMapKey::from(name))?.as_ref();
        }
        scalar(value).filter(|text| text.len() <= KEY_BYTES)
    }
}

/// The form by which the index of waits knows the value of a JSON text; `None` for a list or a map.
pub(crate) fn indexed_scalar(json: &str) -> Option<String> {
    scalar(&*read::read(json, &mut 0).ok()?)
}

/// The form by which the index of waits knows a value: its JSON, one for each value. `None` for a list or a map.
fn scalar(value: &dyn Val) -> Option<String> {
    if let Some(number) = value.downcast_ref::<Number>() {
        return number.indexed();
    }
    if let Some(text) = value.downcast_ref::<CelString>() {
        return serde_json::to_string(text.inner()).ok();
    }
    if let Some(truth) = value.downcast_ref::<CelBool>() {
        return Some(truth.inner().to_string());
    }
    value.downcast_ref::<CelNull>().map(|_| "null".into())
}

/// A map that many scopes share.
#[derive(Clone, Debug)]
struct Shared(Arc<CelMap<'static>>);

impl Val for Shared {
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

impl StaticVal for Shared {}

/// What an overload gets when none of its types fits.
pub(super) fn unfit(function: &str, of: &[&dyn Val]) -> ExecutionError {
    let types = of.iter().map(|value| value.get_type().name().to_owned()).collect();
    ExecutionError::no_such_overload(function, types)
}
