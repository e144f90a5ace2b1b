//! Each shape of the REST interface as JSON: field by field, in order.
//!
//! Clients outside this repository parse this JSON. A change that makes one of these tests fail
//! breaks such a client.

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepladder_api::*;
use stepladder_core::{EventId, Fact, Json, RunId, Timestamp};

const RUN: &str = "01KAVZ9Y3M0000000000000001";
const EVENT: &str = "01KAVZ9Y3M0000000000000002";

/// Parses a JSON document and serializes the value again. The result must be the same document.
fn round_trip<T: Serialize + DeserializeOwned>(text: &str) -> T {
    let value: T = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(serde_json::to_string(&value).unwrap(), text);
    value
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

#[test]
fn an_event_has_all_its_fields() {
    let text = format!(
        r#"{{"data":{{"id":"{EVENT}","name":"a/b","data":{{"n":1.00}},"ts":1767225600123,"user":{{"id":7}},"external_id":"mine","received_at":"2026-01-01T00:00:00.120Z"}}}}"#
    );
    let DataResponse { data } = round_trip::<DataResponse<Event>>(&text);
    assert_eq!(data.received_at, Time(Timestamp::from_millis(1_767_225_600_120)));
    let accepted = stepladder_core::Event {
        id: EVENT.parse().unwrap(),
        name: "a/b".into(),
        data: json(r#"{"n":1.00}"#),
        ts: Timestamp::from_millis(1_767_225_600_123),
        user: Some(json(r#"{"id":7}"#)),
        external_id: Some("mine".into()),
        received_at: Timestamp::from_millis(1_767_225_600_120),
        trace: None,
    };
    assert_eq!(serde_json::to_string(&DataResponse { data: Event::from(&accepted) }).unwrap(), text);
}

#[test]
fn an_event_leaves_out_a_user_and_a_senders_id_that_it_does_not_have() {
    round_trip::<Event>(&format!(
        r#"{{"id":"{EVENT}","name":"a/b","data":{{}},"ts":-1,"received_at":"2026-01-01T00:00:00.000Z"}}"#
    ));
}

#[test]
fn the_answer_to_events_has_ids_a_status_and_an_error_only_when_it_is_one() {
    let good = round_trip::<EventsResponse>(&format!(r#"{{"ids":["{EVENT}"],"status":200}}"#));
    assert_eq!(good.ids, [EVENT.parse::<EventId>().unwrap()]);
    round_trip::<EventsResponse>(r#"{"ids":[],"status":400,"error":"no"}"#);
}

#[test]
fn a_page_of_runs_has_a_cursor_or_null() {
    let run = |end: &str| {
        format!(
            r#"{{"run_id":"{RUN}","function_id":"f","status":"Completed","event_id":"{EVENT}","created_at":"2026-01-01T00:00:00.000Z","run_started_at":"2026-01-01T00:00:00.001Z",{end}}}"#
        )
    };
    let done = run(r#""ended_at":"2026-01-01T00:00:01.000Z","output":{"b":1,"a":2.50},"error":null"#);
    let failed = run(r#""ended_at":null,"output":null,"error":{"message":"no","code":"odd"}"#);
    let page = round_trip::<Page<Run>>(&format!(r#"{{"data":[{done},{failed}],"cursor":"{RUN}"}}"#));
    assert_eq!((page.data.len(), page.cursor), (2, Some(RUN.parse::<RunId>().unwrap())));
    round_trip::<Page<Run>>(r#"{"data":[],"cursor":null}"#);
    round_trip::<Page<RunRef>>(&format!(r#"{{"data":[{{"run_id":"{RUN}"}}],"cursor":null}}"#));
}

#[test]
fn a_run_in_full_has_its_event_steps_attempts_usage_and_log() {
    let at = "2026-01-01T00:00:00.000Z";
    let usage =
        r#"{"model":"m","input_tokens":1,"cached_input_tokens":0,"output_tokens":2,"micro_dollars":null}"#.to_owned();
    let attempts = format!(
        r#"[{{"attempt":1,"started_at":"{at}","ended_at":"{at}","error":{{"message":"no"}},"interrupted":false,"usage":[{usage}]}},{{"attempt":2,"started_at":"{at}","ended_at":null,"error":null,"interrupted":true}}]"#
    );
    let step = format!(
        r#"{{"id":"s","kind":"run","status":"Completed","output":7,"error":null,"started_at":"{at}","ended_at":"{at}","due":null,"child":null,"usage":[{usage}],"attempts":{attempts}}}"#
    );
    let wait = format!(
        r#"{{"id":"w","kind":"signal","status":"Awaiting","output":null,"error":null,"started_at":"{at}","ended_at":null,"due":"{at}","child":"{RUN}","awaits":"a signal","token":"t","attempts":[]}}"#
    );
    let logs = format!(
        r#"[{{"at":"{at}","level":"warn","message":"few","fields":{{"rows":7}},"step":"s","attempt":2}},{{"at":"{at}","level":"info","message":"begun","attempt":1}}]"#
    );
    let event = format!(r#"{{"id":"{EVENT}","name":"a","data":{{}},"ts":1,"received_at":"{at}"}}"#);
    let run = round_trip::<DataResponse<RunDetail>>(&format!(
        r#"{{"data":{{"run_id":"{RUN}","function_id":"f","status":"Running","event_id":"{EVENT}","created_at":"{at}","run_started_at":"{at}","ended_at":null,"output":null,"error":null,"origin":{{"Rerun":{{"of":"{RUN}"}}}},"event":{event},"waiting":"it waits","handler_errors":[{{"at":"{at}","error":{{"message":"no"}}}}],"version":"2","steps":[{step},{wait}],"logs":{logs}}}}}"#
    ));
    assert_eq!(run.data.steps[0].attempts.len(), 2);
}

#[test]
fn every_origin_has_its_name() {
    for text in [
        r#""Event""#.to_owned(),
        r#""Cron""#.to_owned(),
        format!(r#"{{"Invoke":{{"parent":"{RUN}","step":"s"}}}}"#),
        format!(r#"{{"Failure":{{"of":"{RUN}"}}}}"#),
        format!(r#"{{"Rerun":{{"of":"{RUN}"}}}}"#),
    ] {
        round_trip::<RunOrigin>(&text);
    }
}

#[test]
fn every_word_of_an_enum_is_the_one_that_is_printed() {
    for word in ["run", "sleep", "send", "invoke", "event", "signal"] {
        assert_eq!(round_trip::<StepKind>(&format!("\"{word}\"")).to_string(), word);
    }
    for word in
        ["Scheduled", "Running", "Retrying", "Sleeping", "Invoking", "Awaiting", "Completed", "Failed", "Abandoned"]
    {
        assert_eq!(round_trip::<StepStatus>(&format!("\"{word}\"")).to_string(), word);
    }
    for word in ["info", "warn", "error"] {
        assert_eq!(round_trip::<LogLevel>(&format!("\"{word}\"")).to_string(), word);
    }
}

#[test]
fn a_word_or_a_field_of_a_newer_server_does_no_harm() {
    assert_eq!(serde_json::from_str::<StepKind>("\"teleport\"").unwrap(), StepKind::Unknown);
    assert_eq!(serde_json::from_str::<StepStatus>("\"Floating\"").unwrap(), StepStatus::Unknown);
    assert_eq!(serde_json::from_str::<LogLevel>("\"trace\"").unwrap(), LogLevel::Unknown);
    assert_eq!(serde_json::from_str::<HeartbeatEffect>("\"doubled\"").unwrap(), HeartbeatEffect::Unknown);
    assert_eq!(serde_json::from_str::<LimitScope>("\"bytes\"").unwrap(), LimitScope::Unknown);
    let resumed: FunctionResumed = serde_json::from_str(r#"{"function_id":"f","woken":2,"new":[1]}"#).unwrap();
    assert_eq!(resumed.woken, 2);
}

#[test]
fn a_time_keeps_its_milliseconds_and_accepts_any_precision() {
    let time: Time = serde_json::from_str("\"2026-01-01T00:00:00.1239Z\"").unwrap();
    assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-01-01T00:00:00.123Z\"");
    assert!(serde_json::from_str::<Time>("\"soon\"").is_err());
}

#[test]
fn a_page_of_a_journal_has_numbered_facts() {
    let text = r#"{"data":[{"seq":4,"at":"2026-01-01T00:00:00.000Z","fact":{"StepsWoken":{"steps":["a"]}}}],"next":5}"#;
    round_trip::<JournalPage<Fact>>(text);
    assert_eq!(round_trip::<JournalPage<Json>>(text).next, Some(5));
    round_trip::<JournalPage<Fact>>(r#"{"data":[],"next":null}"#);
}

#[test]
fn a_function_has_its_triggers_schedules_and_limits() {
    round_trip::<DataResponse<Vec<Function>>>(
        r#"{"data":[{"id":"f","triggers":[{"event":"a","if":null},{"event":"b","if":"event.data.n > 1"}],"cron":[{"line":"0 9 * * MON","time_zone":"UTC"}],"retries":4,"non_retryable":["CardDeclined"],"timeout_ms":60000,"concurrency":[{"limit":3,"of":"steps","key":null,"shared":null},{"limit":1,"of":"runs","key":"event.data.id","shared":"api"}],"flow_control":["throttle: 2 in 1s"],"on_failure":"g","paused_since":"2026-01-01T00:00:00.000Z"}]}"#,
    );
    round_trip::<Function>(
        r#"{"id":"f","triggers":[],"retries":0,"timeout_ms":1,"concurrency":[],"flow_control":[],"on_failure":null,"paused_since":null}"#,
    );
}

#[test]
fn what_is_done_with_runs_and_functions_is_answered_in_few_fields() {
    round_trip::<DataResponse<RunCancelled>>(&format!(r#"{{"data":{{"run_id":"{RUN}","status":"Cancelled"}}}}"#));
    round_trip::<DataResponse<RunRef>>(&format!(r#"{{"data":{{"run_id":"{RUN}"}}}}"#));
    round_trip::<SignalHeartbeat>(&format!(
        r#"{{"run_id":"{RUN}","step":"s","effect":"recorded","next_before":"2026-01-01T00:00:00.000Z"}}"#
    ));
    for effect in ["recent", "early", "unneeded"] {
        round_trip::<SignalHeartbeat>(&format!(
            r#"{{"run_id":"{RUN}","step":"s","effect":"{effect}","next_before":null}}"#
        ));
    }
    round_trip::<SignalCompleted>(&format!(r#"{{"run_id":"{RUN}","step":"s","before":true}}"#));
    round_trip::<FunctionPaused>(r#"{"function_id":"f","paused_since":"2026-01-01T00:00:00.000Z"}"#);
    round_trip::<FunctionResumed>(r#"{"function_id":"f","woken":3}"#);
    round_trip::<ErrorResponse>(r#"{"error":"there is no such run"}"#);
    round_trip::<OmittedValue>(r#"{"stepladder_left_out":{"bytes":9,"href":"/runs/x/value?of=output"}}"#);
}

#[test]
fn requests_leave_out_what_is_not_given_and_refuse_unknown_fields() {
    round_trip::<NewEvent>(r#"{"name":"a/b","data":{"n":1},"id":"mine"}"#);
    round_trip::<NewEvent>(r#"{"name":"a/b"}"#);
    round_trip::<RerunRequest>("{}");
    round_trip::<RerunRequest>(r#"{"from_step":"s","input":{"n":1.0}}"#);
    round_trip::<RerunAllRequest>(r#"{"from_step":"s"}"#);
    round_trip::<SignalFailure>(r#"{"message":"no"}"#);
    round_trip::<SignalFailure>(r#"{"message":"no","name":"E","code":"c","stack":"at x","data":{"n":1.0}}"#);
    assert!(serde_json::from_str::<RerunRequest>(r#"{"fromStep":"s"}"#).is_err());
    assert!(serde_json::from_str::<RerunAllRequest>(r#"{"input":{}}"#).is_err());
    assert!(serde_json::from_str::<SignalFailure>(r#"{"message":"no","cause":"x"}"#).is_err());
    assert!(serde_json::from_str::<SignalFailure>(r#"{"name":"E"}"#).is_err());
}
