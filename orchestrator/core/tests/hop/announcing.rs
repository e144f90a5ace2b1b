//! Tests of the events that announce a run's end: which functions receive them, and what they
//! contain.

use serde_json::{Value, json};
use stepladder_core::flow::{CancelMatch, CancelOn};
use stepladder_core::hop::{Catalog, Effect, FunctionVersion, Input, LateWrite, end_data};
use stepladder_core::journal::{Fact, Failure, NewRun, RunOrigin};
use stepladder_core::limits::EVENT_BYTES;
use stepladder_core::spec::Trigger;
use stepladder_core::state::{RunEnd, RunState};
use stepladder_core::system::{FUNCTION_FAILED, INNGEST_CANCELLED, INNGEST_FAILED, INNGEST_FINISHED};
use stepladder_core::{Event, Json, RunId, Spec, WakeCause};

use crate::world::{HopSetup, START, event, run};

fn json_of(value: &Value) -> Json {
    stepladder_core::json::to_json(value).unwrap()
}

fn completed(output: &Value) -> Fact {
    Fact::RunCompleted { output: json_of(output) }
}

fn failed() -> Fact {
    Fact::RunFailed { error: Failure::with_code("no \u{0}stock", "declined") }
}

fn cancelled() -> Fact {
    Fact::RunCancelled { reason: "a user".into() }
}

fn skipped() -> Fact {
    Fact::RunSkipped { reason: "a limit".into() }
}

/// Returns nested arrays of this depth. An event may have at most 100 levels, and its data is the
/// second of them.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!([]), |inner, _| json!([inner]))
}

/// Returns an event with a user and this many bytes of data.
fn large(n: u128, bytes: usize) -> Event {
    Event { data: json_of(&json!({"x": "x".repeat(bytes)})), ..deep(n, 2) }
}

/// Returns an event with a user and with data of this many levels.
fn deep(n: u128, levels: usize) -> Event {
    let (data, user) = (json_of(&json!({"x": nested(levels - 1)})), Some(json_of(&json!({"id": "u1"}))));
    Event { data, user, ..event(n) }
}

/// Returns the data of the event `name` that announces the end of a run. The run was created by
/// these events.
fn data(name: &str, events: Vec<Event>, end: Fact) -> Value {
    let mut events = events.into_iter();
    let mut setup = HopSetup::new();
    setup.created = NewRun { collects: true, ..NewRun::new("f".into(), events.next().unwrap(), RunOrigin::Event) };
    let join =
        |event: Event| Fact::EventJoined { event: event.into(), replaces: false, begins_at: None, closes: false };
    let world = setup.with_history(events.map(join).chain([end]).collect()).begin();
    let state: RunState = world.state();
    let end: RunEnd = state.end.clone().unwrap();
    serde_json::from_str(end_data(name, &state, &end).get()).unwrap()
}

fn listener(event: &str) -> Spec {
    let mut spec = Spec::new("l");
    spec.triggers.push(Trigger { event: event.into(), condition: None });
    spec
}

#[test]
fn the_error_has_its_name_its_stack_and_its_data_if_the_front_end_knows_them() {
    let details = json_of(&json!({"status": 402}));
    let (name, stack) = (Some("CardError".into()), Some("at pay".into()));
    let error = Failure { name, stack, data: Some(details), ..Failure::with_code("no", "declined") };
    let end = || Fact::RunFailed { error: error.clone() };
    let own =
        json!({"message": "no", "code": "declined", "name": "CardError", "stack": "at pay", "data": {"status": 402}});
    assert_eq!(data(FUNCTION_FAILED, vec![event(1)], end())["error"], own);
    let serialized = json!({"__serialized": true, "name": "CardError", "error": "no", "message": "no",
        "stack": "at pay", "code": "declined", "data": {"status": 402}});
    assert_eq!(data(INNGEST_FAILED, vec![event(1)], end())["error"], serialized);
}

#[test]
fn data_of_an_error_that_is_too_deep_for_an_event_is_left_out() {
    let deep =
        |levels| Fact::RunFailed { error: Failure { data: Some(json_of(&nested(levels))), ..Failure::new("no") } };
    for name in [FUNCTION_FAILED, INNGEST_FAILED] {
        let sent = data(name, vec![event(1)], deep(97));
        assert!(sent["error"]["data"].is_array());
        assert!(stepladder_core::event::data_problem(&json_of(&sent)).is_none());
        assert!(data(name, vec![event(1)], deep(98))["error"]["data"].is_null());
    }
}

#[test]
fn each_end_is_announced_under_the_names_that_functions_listen_to() {
    let names = [FUNCTION_FAILED, INNGEST_FAILED, INNGEST_FINISHED, INNGEST_CANCELLED];
    for (end, heard) in [
        (completed(&Value::Null), vec![INNGEST_FINISHED]),
        (failed(), vec![FUNCTION_FAILED, INNGEST_FAILED, INNGEST_FINISHED]),
        (cancelled(), vec![INNGEST_FINISHED, INNGEST_CANCELLED]),
        (skipped(), vec![]),
    ] {
        let end = RunEnd::from(&end.into_entry(START)).unwrap();
        for name in names {
            let mut cancels = Spec::new("c");
            cancels.flow.cancel_on.push(CancelOn { event: name.into(), matching: CancelMatch::Any, within: None });
            for spec in [listener(name), cancels] {
                let listeners =
                    Catalog::new([FunctionVersion { spec, version: None, executes_in_poll: false }]).listeners();
                let announced: Vec<&str> = listeners.names(&end.how).collect();
                assert_eq!(announced, Vec::from_iter(heard.contains(&name).then_some(name)), "{:?}", end.how);
            }
        }
    }
}

#[test]
fn the_end_of_a_run_of_an_unknown_function_is_announced_before_it_is_acknowledged() {
    let parent = RunId::new(START, 1);
    let mut setup = HopSetup::new().with_history(vec![completed(&Value::Null)]);
    setup.created.origin = RunOrigin::Invoke { parent, step: "call".into() };
    let catalog =
        Catalog::new([FunctionVersion { spec: listener(INNGEST_FINISHED), version: None, executes_in_poll: false }]);
    let mut world = setup.begin_in(catalog);
    world.load();
    assert!(matches!(world.open_question(), Effect::AnnounceEnd(_)));
    assert_eq!((world.phase(), world.hop().run().map(|state| state.run)), ("Announcing", Some(run())));
    world.on(Input::Done);
    assert!(matches!(&world.write().after[..], [LateWrite::MarkEnded { .. }]));
    assert_eq!((world.write().wakes[0].run, &world.write().wakes[0].cause), (parent, &WakeCause::ChildEnded));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_failure_event_has_the_error_and_the_event_of_the_run() {
    let data = data(FUNCTION_FAILED, vec![event(1)], failed());
    assert_eq!((&data["functionId"], &data["runId"]), (&json!("f"), &json!(run().to_string())));
    assert_eq!(data["error"], json!({"message": "no \u{fffd}stock", "code": "declined"}));
    assert_eq!((&data["event"]["name"], data.get("omitted")), (&json!("go"), None));
}

#[test]
fn an_event_of_inngest_has_the_result_or_the_error_or_the_reason() {
    let of = |end| data(INNGEST_FINISHED, vec![event(1), event(2)], end);
    let done = of(completed(&json!({"n": 1})));
    assert_eq!((&done["function_id"], &done["run_id"]), (&json!("f"), &json!(run().to_string())));
    assert_eq!((&done["result"], done.get("error"), done.get("reason")), (&json!({"n": 1}), None, None));
    let ids: Vec<&Value> = done["events"].as_array().unwrap().iter().map(|event| &event["id"]).collect();
    assert_eq!(ids, [&json!(event(1).id.to_string()), &json!(event(2).id.to_string())]);
    assert_eq!(&done["event"]["id"], ids[0]);
    let failed = of(failed());
    let error = json!({"__serialized": true, "name": "Error", "error": "no \u{fffd}stock", "message": "no \u{fffd}stock",
        "code": "declined"});
    assert_eq!((&failed["error"], failed.get("result"), failed.get("reason")), (&error, None, None));
    let cancelled = of(cancelled());
    assert_eq!(
        (&cancelled["reason"], &cancelled["error"]["message"]),
        (&json!("a user"), &json!("function cancelled"))
    );
}

#[test]
fn parts_that_do_not_fit_into_an_event_are_left_out_and_named() {
    let one = |levels| vec![deep(1, levels)];
    for (name, events, end, omitted) in [
        (FUNCTION_FAILED, one(2), failed(), Value::Null),
        (FUNCTION_FAILED, one(98), failed(), json!(["event.data"])),
        (INNGEST_FINISHED, one(2), completed(&nested(2)), Value::Null),
        (INNGEST_FINISHED, vec![deep(1, 2), deep(2, 98)], completed(&nested(2)), json!(["events"])),
        (INNGEST_FINISHED, one(2), completed(&nested(99)), json!(["events", "result"])),
        (INNGEST_FINISHED, one(98), completed(&nested(99)), json!(["events", "result", "event.data"])),
        (INNGEST_FINISHED, one(98), failed(), json!(["events", "event.data"])),
        (INNGEST_FINISHED, vec![large(1, EVENT_BYTES / 2)], completed(&nested(2)), json!(["events"])),
        (INNGEST_CANCELLED, vec![deep(1, 2), deep(2, 98)], cancelled(), json!(["events"])),
    ] {
        let data = data(name, events, end);
        assert_eq!(data.get("omitted").unwrap_or(&Value::Null), &omitted, "{name}");
        let leaves_out = |part: &str| omitted.as_array().is_some_and(|parts| parts.contains(&json!(part)));
        assert_eq!(data.get("events").is_none(), leaves_out("events") || name == FUNCTION_FAILED, "{name} {omitted}");
        let is_bare = data["event"]["data"] == json!({}) && data["event"]["user"].is_null();
        assert_eq!(is_bare, leaves_out("event.data"), "{name} {omitted}");
        let has_result = name == INNGEST_FINISHED && data.get("error").is_none() && !leaves_out("result");
        assert_eq!(data.get("result").is_some(), has_result, "{name} {omitted}");
    }
}

#[test]
fn a_reason_that_fits_into_no_event_is_announced_without_all_other_parts() {
    // databases cannot store a NUL character, so no event may contain one
    let data = data(INNGEST_CANCELLED, vec![deep(1, 2)], Fact::RunCancelled { reason: "a \u{0} user".into() });
    assert_eq!(data["omitted"], json!(["events", "event.data"]));
}
