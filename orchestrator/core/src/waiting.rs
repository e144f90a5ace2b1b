//! Waits for events: what a step waits for, whether an event matches, and where the index of
//! subscriptions stores the wait.
//!
//! Only the journal says whether a run still waits. An entry of the index may be stale.

use std::fmt;
use std::slice;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::expr::{self, EventValues, ExprCache, ExprScope};
use crate::limits::{KEY_BYTES, name_problem};
use crate::sentence::shortened;
use crate::system::wait_problem;
use crate::{Event, OwnStep, RunId, StepId, Timestamp};

/// What a step waits for: an event that has one of these names and matches the condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventWait {
    /// The names of the events.
    pub events: Vec<Arc<str>>,
    /// The condition that an event with one of these names must meet.
    pub matching: EventMatch,
}

/// The condition of a wait: which events end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventMatch {
    /// Every event with one of the names matches.
    Any,
    /// Events with this value in this field of `data`. An index finds the wait, even among many
    /// subscriptions.
    Field(EventField),
    /// Events for which this CEL expression is true. `event` is the event that started the run, and
    /// `async` is the arriving event. The expression is evaluated for each subscription.
    When(Arc<str>),
    /// Events that match all of these conditions. None of the conditions is [`All`](Self::All)
    /// itself.
    All(Vec<EventMatch>),
}

impl EventMatch {
    /// Returns the condition that is true for events that match both conditions.
    #[must_use]
    pub fn and(self, other: EventMatch) -> EventMatch {
        match (self, other) {
            (EventMatch::Any, one) | (one, EventMatch::Any) => one,
            (one, other) => EventMatch::All([one.conditions(), other.conditions()].concat()),
        }
    }

    /// Returns the parts of the condition that must all be true.
    fn conditions(&self) -> &[EventMatch] {
        match self {
            EventMatch::All(each) => each,
            one => slice::from_ref(one),
        }
    }
}

/// Returns the path of a field within an event's data. `data.id` and `event.data.id` mean `id`, as
/// in Inngest. For a field that is itself named `data`, write `data.data`.
pub fn field_path(path: &str) -> &str {
    let path = path.strip_prefix("event.data.").or_else(|| path.strip_prefix("async.data.")).unwrap_or(path);
    path.strip_prefix("data.").unwrap_or(path)
}

/// A field of an event's `data`, with its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventField {
    /// Field names separated by dots: `brief.id` is the field `id` in `brief`.
    pub path: Arc<str>,
    /// The value as JSON, in the normal form of [`EventField::new`].
    pub value: Arc<str>,
}

/// The key of a subscription in the index: the value of a field, or `None` if each event must be
/// compared with the subscription.
pub type SubscriptionKey = Option<EventField>;

/// An entry in the index of subscriptions: a step of a run waits for an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subscription {
    /// The name of the events.
    pub event: Arc<str>,
    /// The key of the entry in the index.
    #[serde(rename = "bucket")]
    pub key: SubscriptionKey,
    /// The run that waits.
    pub run: RunId,
    /// The step that waits.
    pub step: StepId,
    /// The time at which the wait ends without an event.
    pub until: Timestamp,
}

impl Subscription {
    /// Returns whether a matching event cancels the run. Otherwise the event ends the wait of a
    /// step.
    pub fn cancels_run(&self) -> bool {
        matches!(OwnStep::from_id(&self.step), Some(OwnStep::CancelOn(_)))
    }
}

/// The parts of the index that must be searched for events with one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribedFields {
    /// The fields with values that index subscriptions.
    pub fields: Vec<Arc<str>>,
    /// Whether there may be subscriptions that are not indexed by a field. They are compared one by
    /// one.
    pub each: bool,
}

impl SubscribedFields {
    /// Returns whether there are no subscriptions to search for.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && !self.each
    }
}

impl EventField {
    /// Creates a field from its [path](field_path) and its value, which is a string, a number, a
    /// boolean or null.
    ///
    /// # Errors
    /// A sentence. The value cannot be written as JSON, the value is a list or a map, or the path
    /// or the value exceeds 1 KiB.
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

/// Returns why a path is invalid, as a sentence; `None` if it is valid.
pub(crate) fn path_problem(path: &str) -> Option<String> {
    if path.split('.').any(str::is_empty) {
        return Some(format!("`{}` is no field; use names with dots between", shortened(path)));
    }
    let bytes = path.len();
    (bytes > KEY_BYTES).then(|| format!("a field of {bytes} bytes; at most {KEY_BYTES} are allowed"))
}

impl EventWait {
    /// Returns what is wrong with the wait, as a sentence; `None` if it is valid.
    pub fn problem(&self, exprs: &ExprCache) -> Option<String> {
        if self.events.is_empty() {
            return Some("no event is named".into());
        }
        if let Some((name, problem)) =
            self.events.iter().find_map(|name| Some((name, name_problem(name).or_else(|| wait_problem(name))?)))
        {
            return Some(format!("the name `{}` of an event {problem}", shortened(name)));
        }
        self.matching.conditions().iter().find_map(|matching| match matching {
            EventMatch::Any | EventMatch::All(_) => None,
            EventMatch::Field(field) => field.problem(),
            EventMatch::When(source) => exprs.get(source).err().map(|bad| bad.to_string()),
        })
    }

    /// Returns the key of the wait in the index. A wait for the values of several fields is indexed
    /// by the first of them.
    pub fn bucket(&self) -> SubscriptionKey {
        self.matching.conditions().iter().find_map(|matching| match matching {
            EventMatch::Field(field) => Some(field.clone()),
            EventMatch::Any | EventMatch::When(_) | EventMatch::All(_) => None,
        })
    }

    /// Returns the subscriptions of a step that has this wait: one for each event name.
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

    /// Returns whether an arriving event ends this wait. `trigger` is the event that started the
    /// waiting run. If the evaluation of an expression fails, for example because of a missing
    /// field, the event does not match.
    pub fn is_fulfilled_by(&self, arriving: &ArrivingEvent<'_>, trigger: &Event, exprs: &ExprCache) -> bool {
        if !self.events.contains(&arriving.event.name) {
            return false;
        }
        self.matching.conditions().iter().all(|matching| match matching {
            EventMatch::Any => true,
            EventMatch::All(_) => false,
            EventMatch::Field(field) => arriving.value(&field.path).is_some_and(|value| value == *field.value),
            EventMatch::When(source) => exprs.get(source).is_ok_and(|expr| {
                let scope = ExprScope::with_async(trigger, &arriving.values);
                expr.eval_bool(&scope).unwrap_or(false)
            }),
        })
    }
}

impl fmt::Display for EventWait {
    /// Writes a phrase such as "event `a/b` where `data.id` is "7"".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.events.iter().enumerate() {
            write!(f, "{}`{name}`", if i == 0 { "event " } else { " or " })?;
        }
        let mut before = " where";
        for matching in self.matching.conditions() {
            match matching {
                EventMatch::Any | EventMatch::All(_) => continue,
                EventMatch::Field(EventField { path, value }) => {
                    write!(f, "{before} `data.{path}` is {}", shortened(value))?
                }
                EventMatch::When(source) => write!(f, "{before} `{}`", shortened(source))?,
            }
            before = " and";
        }
        Ok(())
    }
}

/// An arriving event, parsed once for all subscriptions.
pub struct ArrivingEvent<'a> {
    /// The event that arrived.
    pub event: &'a Event,
    values: EventValues,
}

impl<'a> ArrivingEvent<'a> {
    /// Parses the data of this event.
    pub fn new(event: &'a Event) -> Self {
        Self { event, values: EventValues::of(event) }
    }

    /// Returns the value of a field as [`EventField`] stores it. Returns `None` if the field is
    /// missing or is a list or a map, or if the data cannot be parsed.
    pub fn value(&self, path: &str) -> Option<String> {
        self.values.index_form_of_field(path)
    }

    /// Returns the index keys of all subscriptions that this event may match.
    pub fn subscription_keys(&self, waited: &SubscribedFields) -> Vec<SubscriptionKey> {
        let of = |path: &Arc<str>| {
            let value = self.value(path)?.into();
            Some(Some(EventField { path: path.clone(), value }))
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

    fn event_wait(matching: EventMatch) -> EventWait {
        EventWait { events: vec!["brief/approved".into()], matching }
    }

    fn is_fulfilled(matching: EventMatch, data: Value) -> bool {
        let trigger = event("brief/written", json!({"briefId": "b1", "words": 900}));
        let arriving = event("brief/approved", data);
        event_wait(matching).is_fulfilled_by(&ArrivingEvent::new(&arriving), &trigger, &ExprCache::default())
    }

    #[test]
    fn a_field_is_matched_by_value_however_the_number_is_written() {
        let by = |path: &str, value: Value| EventMatch::Field(EventField::new(path, &value).unwrap());
        assert!(is_fulfilled(by("brief.id", json!("b1")), json!({"brief": {"id": "b1"}})));
        assert!(!is_fulfilled(by("brief.id", json!("b1")), json!({"brief": {"id": "b2"}})));
        assert!(!is_fulfilled(by("brief.id", json!("b1")), json!({"brief": "b1"})));
        assert!(is_fulfilled(by("n", json!(1)), json!({"n": 1.0})));
        assert!(is_fulfilled(by("n", json!(-0.5)), json!({"n": -0.5})));
        assert!(!is_fulfilled(by("n", json!(1)), json!({"n": "1"})));
        assert!(is_fulfilled(by("gone", json!(null)), json!({"gone": null})));
        assert!(!is_fulfilled(by("gone", json!(null)), json!({})));
    }

    #[test]
    fn an_expression_sees_both_events_and_a_missing_field_is_not_true() {
        let when = |source: &str| EventMatch::When(source.into());
        let same = when("async.data.briefId == event.data.briefId");
        assert!(is_fulfilled(same.clone(), json!({"briefId": "b1"})));
        assert!(!is_fulfilled(same.clone(), json!({"briefId": "b2"})));
        assert!(!is_fulfilled(same, json!({})));
        assert!(is_fulfilled(
            when("async.name == 'brief/approved' && event.data.words > async.data.n"),
            json!({"n": 5})
        ));
    }

    #[test]
    fn an_event_finds_the_keys_of_its_subscriptions() {
        let waited = SubscribedFields { fields: vec!["briefId".into(), "none".into()], each: true };
        let arriving = event("brief/approved", json!({"briefId": "b1"}));
        let keys = ArrivingEvent::new(&arriving).subscription_keys(&waited);
        let by = event_wait(EventMatch::Field(EventField::new("briefId", &json!("b1")).unwrap()));
        assert_eq!(keys, [by.bucket(), event_wait(EventMatch::Any).bucket()]);
    }

    #[test]
    fn an_invalid_wait_is_refused_with_a_sentence() {
        assert!(EventField::new("a", &json!([1])).is_err());
        assert!(EventField::new("a..b", &json!(1)).unwrap_err().contains("no field"));
        assert!(EventField::new("a", &json!("x".repeat(KEY_BYTES))).unwrap_err().contains("bytes"));
        assert!(event_wait(EventMatch::When("async.data.".into())).problem(&ExprCache::default()).is_some());
        assert_eq!(event_wait(EventMatch::Any).problem(&ExprCache::default()), None);
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
            assert_eq!(arriving.subscription_keys(&waited), [stored.bucket()], "{value}");
        }
        // version 0.2.0 stored this path without stripping `data.`
        let stored = r#"{"events":["brief/approved"],"matching":{"Field":{"path":"data.id","value":"1"}}}"#;
        let stored: EventWait = serde_json::from_str(stored).unwrap();
        let arriving = event("brief/approved", json!({"data": {"id": 1}}));
        let trigger = event("brief/written", json!({}));
        assert!(stored.is_fulfilled_by(&ArrivingEvent::new(&arriving), &trigger, &ExprCache::default()));
    }

    #[test]
    fn a_wait_reads_as_a_sentence() {
        let by = event_wait(EventMatch::Field(EventField::new("briefId", &json!("b1")).unwrap()));
        assert_eq!(by.to_string(), r#"event `brief/approved` where `data.briefId` is "b1""#);
        let both = EventWait {
            matching: by.matching.and(EventMatch::When("async.data.n > 1".into())),
            ..event_wait(EventMatch::Any)
        };
        assert_eq!(both.to_string(), r#"event `brief/approved` where `data.briefId` is "b1" and `async.data.n > 1`"#);
    }
}
