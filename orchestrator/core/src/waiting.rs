//! Waiting for events: what a step waits for, whether an event is that, and what the index of those who wait is kept by.
//!
//! What is deliberately not here: whether a run still waits. That is its journal's to say; an index may be stale.

use std::fmt;
use std::slice;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::expr::{self, EventValues, ExprCache, Scope};
use crate::limits::{KEY_BYTES, name_problem};
use crate::sentence::shortened;
use crate::system::wait_problem;
use crate::{Event, RunId, StepId, Timestamp};

/// What a step waits for: an event of one of these names that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventWait {
    /// The names.
    pub events: Vec<Arc<str>>,
    /// Which of the events of these names.
    pub matching: EventMatch,
}

/// Which events fulfil a wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventMatch {
    /// All.
    Any,
    /// Those whose `data` has this value in this field. Found through an index, however many wait.
    Field(Field),
    /// Those of which this CEL expression is true: `event` is the event that started the run, `async` the one that
    /// arrives. Looked at one by one.
    When(Arc<str>),
    /// Those that match each of these, of which none is [`All`](Self::All) itself.
    All(Vec<EventMatch>),
}

impl EventMatch {
    /// Those that match both.
    #[must_use]
    pub fn and(self, other: EventMatch) -> EventMatch {
        match (self, other) {
            (EventMatch::Any, one) | (one, EventMatch::Any) => one,
            (one, other) => EventMatch::All([one.conditions(), other.conditions()].concat()),
        }
    }

    /// The conditions that it is made of.
    fn conditions(&self) -> &[EventMatch] {
        match self {
            EventMatch::All(each) => each,
            one => slice::from_ref(one),
        }
    }
}

/// The path of a field in an event's data. `data.id` and `event.data.id` are `id`, as Inngest writes it; a field that is called
/// `data` itself is `data.data`.
pub fn field_path(path: &str) -> &str {
    let path = path.strip_prefix("event.data.").or_else(|| path.strip_prefix("async.data.")).unwrap_or(path);
    path.strip_prefix("data.").unwrap_or(path)
}

/// A field of an event's `data`, and the value that it has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Field {
    /// Names of fields with dots between: `brief.id` is `id` in `brief`.
    pub path: Arc<str>,
    /// The value as JSON, in the one form that [`Field::new`] gives it.
    pub value: Arc<str>,
}

/// Where the index keeps one who waits: under the value of a field, or (`None`) among those who are looked at one by one.
pub type SubscriptionKey = Option<Field>;

/// One who waits, as the index knows him.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subscription {
    /// The name of the events.
    pub event: Arc<str>,
    /// Where the index keeps him.
    #[serde(rename = "bucket")]
    pub key: SubscriptionKey,
    /// The run that waits.
    pub run: RunId,
    /// In which step.
    pub step: StepId,
    /// Until when.
    pub until: Timestamp,
}

/// What is to be looked at when an event of a name arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribedFields {
    /// The fields by whose values some may wait.
    pub fields: Vec<Arc<str>>,
    /// Whether there may be some who are looked at one by one.
    pub each: bool,
}

impl SubscribedFields {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && !self.each
    }
}

impl Field {
    /// A field, by its [path](field_path), with a value: a text, a number, a boolean or null.
    ///
    /// # Errors
    /// A sentence when the value cannot be written as JSON or is a list or a map, or the field or its value is longer than
    /// 1 KiB.
    pub fn new(path: &str, value: &(impl Serialize + ?Sized)) -> Result<Self, String> {
        let json =
            serde_json::to_string(value).map_err(|e| format!("the value of `{}` is not JSON: {e}", shortened(path)))?;
        let value = expr::indexed_scalar(&json)
            .ok_or_else(|| "an event is matched by a text, a number, a boolean or null".to_owned())?;
        let field = Self { path: field_path(path).into(), value: value.into() };
        field.problem().map_or(Ok(field), Err)
    }

    fn problem(&self) -> Option<String> {
        let Self { path, value } = self;
        path_problem(path).or_else(|| {
            let bytes = value.len();
            (bytes > KEY_BYTES).then(|| format!("a value of {bytes} bytes; at most {KEY_BYTES} are allowed"))
        })
    }
}

/// Why a path is none, as a sentence; `None` when it is one.
pub(crate) fn path_problem(path: &str) -> Option<String> {
    if path.split('.').any(str::is_empty) {
        return Some(format!("`{}` is no field; use names with dots between", shortened(path)));
    }
    let bytes = path.len();
    (bytes > KEY_BYTES).then(|| format!("a field of {bytes} bytes; at most {KEY_BYTES} are allowed"))
}

impl EventWait {
    /// What is wrong with it, as a sentence; `None` when nothing is.
    pub fn problem(&self, exprs: &ExprCache) -> Option<String> {
        if self.events.is_empty() {
            return Some("no event is named".into());
        }
        if let Some((name, fault)) =
            self.events.iter().find_map(|name| Some((name, name_problem(name).or_else(|| wait_problem(name))?)))
        {
            return Some(format!("the name `{}` of an event {fault}", shortened(name)));
        }
        self.matching.conditions().iter().find_map(|matching| match matching {
            EventMatch::Any | EventMatch::All(_) => None,
            EventMatch::Field(field) => field.problem(),
            EventMatch::When(source) => exprs.get(source).err().map(|bad| bad.to_string()),
        })
    }

    /// Where the index keeps it: of several fields, by the first.
    pub fn bucket(&self) -> SubscriptionKey {
        self.matching.conditions().iter().find_map(|matching| match matching {
            EventMatch::Field(field) => Some(field.clone()),
            EventMatch::Any | EventMatch::When(_) | EventMatch::All(_) => None,
        })
    }

    /// What the index gets for a step that waits for this: one for each name.
    pub fn subscriptions(&self, run: RunId, step: &StepId, until: Timestamp) -> impl Iterator<Item = Subscription> {
        let of = move |event: &Arc<str>| Subscription {
            event: event.clone(),
            key: self.bucket(),
            run,
            step: step.clone(),
            until,
        };
        self.events.iter().map(of)
    }

    /// Whether an event that arrives fulfils this wait of a run that `trigger` started. An expression that fails on the
    /// event (a field that is not there) is not true.
    pub fn is_fulfilled_by(&self, arriving: &ArrivingEvent<'_>, trigger: &Event, exprs: &ExprCache) -> bool {
        if !self.events.contains(&arriving.event.name) {
            return false;
        }
        self.matching.conditions().iter().all(|matching| match matching {
            EventMatch::Any => true,
            EventMatch::All(_) => false,
            EventMatch::Field(field) => arriving.value(&field.path).is_some_and(|value| value == *field.value),
            EventMatch::When(source) => exprs.get(source).is_ok_and(|expr| {
                let scope = Scope::with_async(trigger, &arriving.seen);
                expr.eval_bool(&scope).unwrap_or(false)
            }),
        })
    }
}

impl fmt::Display for EventWait {
    /// "event `a/b` where `data.id` is "7"".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.events.iter().enumerate() {
            write!(f, "{}`{name}`", if i == 0 { "event " } else { " or " })?;
        }
        let mut before = " where";
        for matching in self.matching.conditions() {
            match matching {
                EventMatch::Any | EventMatch::All(_) => continue,
                EventMatch::Field(Field { path, value }) => {
                    write!(f, "{before} `data.{path}` is {}", shortened(value))?
                }
                EventMatch::When(source) => write!(f, "{before} `{}`", shortened(source))?,
            }
            before = " and";
        }
        Ok(())
    }
}

/// An event on its arrival, looked into once for all who may wait for it.
pub struct ArrivingEvent<'a> {
    /// The event.
    pub event: &'a Event,
    seen: EventValues,
}

impl<'a> ArrivingEvent<'a> {
    /// This event.
    pub fn new(event: &'a Event) -> Self {
        Self { event, seen: EventValues::of(event) }
    }

    /// The value of a field, as [`Field`] keeps it; `None` where there is none, or a list or a map. Data that cannot be read
    /// has no fields.
    pub fn value(&self, path: &str) -> Option<String> {
        self.seen.indexed(path)
    }

    /// Where the index may keep some who wait for this event.
    pub fn keys(&self, waited: &SubscribedFields) -> Vec<SubscriptionKey> {
        let of = |path: &Arc<str>| {
            let value = self.value(path)?.into();
            Some(Some(Field { path: path.clone(), value }))
        };
        waited.fields.iter().filter_map(of).chain(waited.each.then_some(None)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{EventId, NewEvent};

    fn event(name: &str, data: Value) -> Event {
        let now = Timestamp::from_millis(1_000);
        NewEvent::new(name, crate::json::to_json(&data).unwrap()).accept(EventId::new(now, 1), now)
    }

    fn wait(matching: EventMatch) -> EventWait {
        EventWait { events: vec!["brief/approved".into()], matching }
    }

    fn fulfils(matching: EventMatch, data: Value) -> bool {
        let trigger = event("brief/written", json!({"briefId": "b1", "words": 900}));
        let arriving = event("brief/approved", data);
        wait(matching).is_fulfilled_by(&ArrivingEvent::new(&arriving), &trigger, &ExprCache::default())
    }

    #[test]
    fn a_field_is_matched_by_value_however_the_number_is_written() {
        let by = |path: &str, value: Value| EventMatch::Field(Field::new(path, &value).unwrap());
        assert!(fulfils(by("brief.id", json!("b1")), json!({"brief": {"id": "b1"}})));
        assert!(!fulfils(by("brief.id", json!("b1")), json!({"brief": {"id": "b2"}})));
        assert!(!fulfils(by("brief.id", json!("b1")), json!({"brief": "b1"})));
        assert!(fulfils(by("n", json!(1)), json!({"n": 1.0})));
        assert!(fulfils(by("n", json!(-0.5)), json!({"n": -0.5})));
        assert!(!fulfils(by("n", json!(1)), json!({"n": "1"})));
        assert!(fulfils(by("gone", json!(null)), json!({"gone": null})));
        assert!(!fulfils(by("gone", json!(null)), json!({})));
    }

    #[test]
    fn an_expression_sees_both_events_and_a_missing_field_is_not_true() {
        let when = |source: &str| EventMatch::When(source.into());
        let same = when("async.data.briefId == event.data.briefId");
        assert!(fulfils(same.clone(), json!({"briefId": "b1"})));
        assert!(!fulfils(same.clone(), json!({"briefId": "b2"})));
        assert!(!fulfils(same, json!({})));
        assert!(fulfils(when("async.name == 'brief/approved' && event.data.words > async.data.n"), json!({"n": 5})));
    }

    #[test]
    fn the_index_looks_where_the_wait_was_put() {
        let waited = SubscribedFields { fields: vec!["briefId".into(), "none".into()], each: true };
        let arriving = event("brief/approved", json!({"briefId": "b1"}));
        let buckets = ArrivingEvent::new(&arriving).keys(&waited);
        let by = wait(EventMatch::Field(Field::new("briefId", &json!("b1")).unwrap()));
        assert_eq!(buckets, [by.bucket(), wait(EventMatch::Any).bucket()]);
    }

    #[test]
    fn what_cannot_be_waited_for_is_said() {
        assert!(Field::new("a", &json!([1])).is_err());
        assert!(Field::new("a..b", &json!(1)).unwrap_err().contains("no field"));
        assert!(Field::new("a", &json!("x".repeat(KEY_BYTES))).unwrap_err().contains("bytes"));
        assert!(wait(EventMatch::When("async.data.".into())).problem(&ExprCache::default()).is_some());
        assert_eq!(wait(EventMatch::Any).problem(&ExprCache::default()), None);
        assert!(
            EventWait { events: vec!["".into()], matching: EventMatch::Any }.problem(&ExprCache::default()).is_some()
        );
    }

    #[test]
    fn waits_that_version_0_2_0_wrote_are_fulfilled_as_before() {
        for (value, data) in [
            (r#"\"b1\""#, json!({"n": "b1"})),
            ("7", json!({"n": 7})),
            ("7", json!({"n": 7.0})),
            ("1.5", json!({"n": 1.5})),
            ("-0.5", json!({"n": -0.5})),
            ("1e-7", json!({"n": 1e-7})),
            ("1e+20", json!({"n": 1e20})),
            ("18446744073709551615", json!({"n": u64::MAX})),
            ("true", json!({"n": true})),
            ("null", json!({"n": null})),
        ] {
            let stored =
                format!(r#"{{"events":["brief/approved"],"matching":{{"Field":{{"path":"n","value":"{value}"}}}}}}"#);
            let stored: EventWait = serde_json::from_str(&stored).unwrap();
            let (trigger, arriving) = (event("brief/written", json!({})), event("brief/approved", data));
            let arriving = ArrivingEvent::new(&arriving);
            assert!(stored.is_fulfilled_by(&arriving, &trigger, &ExprCache::default()), "{value}");
            let waited = SubscribedFields { fields: vec!["n".into()], each: false };
            assert_eq!(arriving.keys(&waited), [stored.bucket()], "{value}");
        }
        // a path that it took at its word
        let stored = r#"{"events":["brief/approved"],"matching":{"Field":{"path":"data.id","value":"1"}}}"#;
        let stored: EventWait = serde_json::from_str(stored).unwrap();
        let arriving = event("brief/approved", json!({"data": {"id": 1}}));
        let trigger = event("brief/written", json!({}));
        assert!(stored.is_fulfilled_by(&ArrivingEvent::new(&arriving), &trigger, &ExprCache::default()));
    }

    #[test]
    fn a_wait_reads_as_a_sentence() {
        let by = wait(EventMatch::Field(Field::new("briefId", &json!("b1")).unwrap()));
        assert_eq!(by.to_string(), r#"event `brief/approved` where `data.briefId` is "b1""#);
        let both = EventWait {
            matching: by.matching.and(EventMatch::When("async.data.n > 1".into())),
            ..wait(EventMatch::Any)
        };
        assert_eq!(both.to_string(), r#"event `brief/approved` where `data.briefId` is "b1" and `async.data.n > 1`"#);
    }
}
