//! Tests of function configs, in JSON and compiled.

use std::time::Duration;

use proptest::prelude::*;
use stepladder_core::flow::{CancelMatch, SingletonMode};
use stepladder_core::function::{CancelCondition, CronConfig, FunctionConfig, TimeoutsConfig, TriggerConfig};
use stepladder_core::json;
use stepladder_core::missed::MissedTicks;
use stepladder_core::spec::CountedUnit;

/// A function config in which every field is set. The config does not compile, because a batch
/// excludes most other settings.
const EVERY_FIELD: &str = r#"{
    "id": "sync", "name": "Sync a client", "version": "2",
    "triggers": [
        {"event": "client/created", "conditions": ["event.data.plan == 'pro'", "event.data.seats > 3 // many"]},
        {"event": "client/updated"}
    ],
    "cron": {"schedules": ["0 9 * * MON-FRI"], "time_zone": "Europe/Berlin", "jitter": "2m", "missed_ticks": "run_all"},
    "retry": {"retries": 2, "backoff": {"exponential": {"first": "1s", "max": "1m 30s"}}, "non_retryable": ["TypeError"]},
    "timeout": "1h 30m",
    "concurrency": [
        {"limit": 3, "of": "runs", "key": "event.data.client"}, {"limit": 5, "of": "steps", "shared": "api"}
    ],
    "throttle": {"limit": 10, "period": "1m", "burst": 2, "key": "event.data.client"},
    "rate_limit": {"limit": 1, "period": "1s"},
    "debounce": {"period": "10s", "max_wait": "2m", "key": "event.data.doc"},
    "batch": {"size": 100, "timeout": "500ms", "key": "event.data.page"},
    "singleton": {"mode": "replace", "key": "event.data.client"},
    "idempotency": "event.data.order",
    "priority": "event.data.plan == 'pro' ? 120 : 0",
    "cancel_on": [
        {"event": "client/deleted", "conditions": [{"same_field": "client"}, {"cel": "async.data.all"}], "timeout": "24h"}
    ],
    "timeouts": {"start": "1m", "finish": "1h"},
    "on_failure": "sync/on-failure",
    "example": {"name": "client/created", "data": {"plan": "pro", "seats": 1.10}, "id": "a", "ts": 1700000000000,
        "user": {"id": 7}}
}"#;

/// Returns a config in which every field is set except `batch` and `debounce`, which exclude many
/// of the others.
fn without_collecting() -> FunctionConfig {
    let config = FunctionConfig::decode(EVERY_FIELD).unwrap();
    FunctionConfig { batch: None, debounce: None, ..config }
}

fn bad() -> String {
    "evnt.id".to_owned()
}

fn fields(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_config_is_written_as_it_was_read() {
    let config = FunctionConfig::decode(EVERY_FIELD).unwrap();
    let written = json::to_json(&config).unwrap();
    assert_eq!(fields(written.get()), fields(EVERY_FIELD));
    assert!(written.get().contains("1.10"), "the example's numbers keep their digits: {written}");
    assert_eq!(FunctionConfig::decode(written.get()), Ok(config));
}

#[test]
fn a_name_that_is_not_retried_must_be_a_name() {
    let mut config = FunctionConfig::new("f");
    config.retry.non_retryable = vec!["TypeError".into(), "".into()];
    let error = config.compile().unwrap_err();
    assert_eq!(error.field(), Some("retry.non_retryable[1]"));
    assert_eq!(error.to_string(), "an error name that function `f` does not retry is empty");
}

#[test]
fn a_config_needs_an_id_alone() {
    let config = FunctionConfig::decode(r#"{"id":"f"}"#).unwrap();
    assert_eq!(config, FunctionConfig::new("f"));
    let spec = config.compile().unwrap();
    assert_eq!((spec.retry.retries, spec.timeout), (4, Duration::from_secs(60)));
    let written = json::to_json(&config).unwrap();
    assert_eq!(written.get(), r#"{"id":"f","retry":{"retries":4,"backoff":"default"},"timeout":"1m"}"#);
}

#[test]
fn the_config_of_the_documents_is_valid() {
    let page = include_str!("../../../docs/registered-functions.md");
    let block = page.split_once("```json\n").and_then(|(_, rest)| rest.split_once("```")).expect("a config").0;
    let spec = FunctionConfig::decode(block).unwrap().compile().unwrap();
    assert_eq!((&*spec.id, spec.flow.cancel_on.len()), ("ship-order", 1));
}

#[test]
fn every_field_is_compiled() {
    let spec = without_collecting().compile().unwrap();
    assert_eq!(
        (&*spec.id, spec.name.as_deref(), spec.on_failure.as_deref()),
        ("sync", Some("Sync a client"), Some("sync/on-failure"))
    );
    let conditions: Vec<_> =
        spec.triggers.iter().map(|t| t.condition.as_ref().map(|c| c.source().to_owned())).collect();
    let both = "(event.data.plan == 'pro'\n) && (event.data.seats > 3 // many\n)";
    assert_eq!(conditions, [Some(both.to_owned()), None]);
    assert_eq!(format!("{:?}", spec.schedule.lines), "[0 9 * * MON-FRI (Europe/Berlin)]");
    assert_eq!((spec.schedule.jitter, spec.schedule.missed_ticks), (Duration::from_secs(120), MissedTicks::RunAll));
    assert_eq!((spec.retry.retries, spec.retry.backoff.longest()), (2, Duration::from_secs(90)));
    assert_eq!(spec.retry.non_retryable.iter().map(|name| &**name).collect::<Vec<_>>(), ["TypeError"]);
    assert_eq!(spec.timeout, Duration::from_secs(5_400));
    let limits: Vec<_> =
        spec.concurrency.iter().map(|c| (c.limit, c.of, c.key.is_some(), c.shared.as_deref())).collect();
    assert_eq!(limits, [(3, CountedUnit::Runs, true, None), (5, CountedUnit::Steps, false, Some("api"))]);
    let flow = &spec.flow;
    let throttle = flow.throttle.as_ref().unwrap();
    assert_eq!((throttle.limit, throttle.burst, throttle.key.is_some()), (10, 2, true));
    let rate = flow.rate_limit.as_ref().unwrap();
    assert_eq!((rate.limit, rate.burst, rate.period), (1, 1, Duration::from_secs(1)));
    assert_eq!(flow.singleton.as_ref().map(|s| (s.mode, s.key.is_some())), Some((SingletonMode::Replace, true)));
    assert!(flow.idempotency.is_some() && flow.priority.is_some());
    assert_eq!(
        (flow.start_within, flow.finish_within),
        (Some(Duration::from_secs(60)), Some(Duration::from_secs(3_600)))
    );
    let [cancel] = flow.cancel_on.as_slice() else { panic!("{:?}", flow.cancel_on) };
    let CancelMatch::All(all) = &cancel.matching else { panic!("{cancel:?}") };
    assert!(matches!(all.as_slice(), [CancelMatch::Field(field), CancelMatch::When(_)] if &**field == "client"));
    assert_eq!(cancel.within, Some(Duration::from_secs(86_400)));
    let example = spec.example.unwrap();
    assert_eq!((&*example.name, example.ts.unwrap().as_millis()), ("client/created", 1_700_000_000_000));
}

#[test]
fn a_collecting_function_is_compiled() {
    let text = r#"{"id":"f","triggers":[{"event":"a/b"}],"batch":{"size":9,"timeout":"PT1M","key":"event.id"}}"#;
    let batch = FunctionConfig::decode(text).unwrap().compile().unwrap().flow.batch.unwrap();
    assert_eq!((batch.size, batch.timeout, batch.key.is_some()), (9, Duration::from_secs(60), true));
    let text = r#"{"id":"f","triggers":[{"event":"a/b"}],"debounce":{"period":"1d","max_wait":"1w"}}"#;
    let debounce = FunctionConfig::decode(text).unwrap().compile().unwrap().flow.debounce.unwrap();
    assert_eq!((debounce.period.as_secs(), debounce.longest.unwrap().as_secs()), (86_400, 604_800));
}

#[test]
fn an_error_of_compilation_names_the_function_and_the_field() {
    let with = |change: fn(&mut FunctionConfig)| {
        let mut config = without_collecting();
        change(&mut config);
        config.compile().unwrap_err()
    };
    for (error, field) in [
        (with(|f| f.version = Some("".into())), "version"),
        (with(|f| f.name = Some("a\0".into())), "name"),
        (with(|f| f.triggers[1].conditions = vec![bad()]), "triggers[1].conditions"),
        (with(|f| f.cron.schedules[0] = "* *".into()), "cron.schedules[0]"),
        (with(|f| f.cron.time_zone = Some("Mars".into())), "cron.schedules[0]"),
        (with(|f| f.cron.schedules.clear()), "cron.time_zone"),
        (
            with(|f| f.cron = CronConfig { missed_ticks: Some(MissedTicks::Skip), ..CronConfig::default() }),
            "cron.missed_ticks",
        ),
        (with(|f| f.concurrency[0].key = Some(bad())), "concurrency[0].key"),
        (with(|f| f.throttle.as_mut().unwrap().key = Some(bad())), "throttle.key"),
        (with(|f| f.rate_limit.as_mut().unwrap().key = Some(bad())), "rate_limit.key"),
        (with(|f| f.singleton.as_mut().unwrap().key = Some(bad())), "singleton.key"),
        (with(|f| f.idempotency = Some(bad())), "idempotency"),
        (with(|f| f.priority = Some(bad())), "priority"),
        (with(|f| f.cancel_on[0].conditions[1] = CancelCondition::Cel(bad())), "cancel_on[0].conditions[1]"),
    ] {
        assert_eq!((error.function(), error.field()), (Some("sync"), Some(field)), "{error}");
        assert!(error.to_string().contains("function `sync`"), "{error}");
    }
    // options that exclude each other give an error that names no field
    for (error, says) in [
        (with(|f| f.concurrency[0].limit = 0), "function `sync` has a concurrency limit of 0; use at least 1"),
        (
            with(|f| f.triggers = vec![TriggerConfig::new("a/b")]),
            "the example of function `sync` is an event `client/created`",
        ),
        (
            with(|f| f.timeouts = TimeoutsConfig { start: Some(Duration::ZERO), finish: None }),
            "function `sync` is to start",
        ),
    ] {
        assert!(error.to_string().starts_with(says) && error.field().is_none(), "{error}");
    }
}

#[test]
fn an_error_of_reading_names_the_function_and_the_field() {
    for (fields, field, says) in [
        (r#""throttle":{"limit":1,"period":"1s","bust":2}"#, "throttle.bust", "has an unknown field `throttle.bust`"),
        (r#""concurency":[]"#, "concurency", "has an unknown field `concurency`; remove it, or correct its name"),
        (r#""triggers":[{"event":"a/b","if":"true"}]"#, "triggers[0].if", "unknown field `triggers[0].if`"),
        (
            r#""timeout":30"#,
            "timeout",
            "field `timeout` of function `f`: invalid type: integer `30`, expected a duration",
        ),
        (r#""timeout":"30""#, "timeout", "`30` is no duration; use numbers with units"),
        (r#""timeout":"-30s""#, "timeout", "`-30s` is no duration"),
        (r#""timeout":"1 month""#, "timeout", "`1 month` is no duration"),
        (r#""retry":{"retries":-1}"#, "retry.retries", "field `retry.retries` of function `f`: invalid value"),
        (r#""retry":{"backoff":"often"}"#, "retry.backoff", "unknown variant `often`"),
        (r#""throttle":{"limit":1}"#, "throttle", "missing field `period`"),
        (r#""cron":{"missed_ticks":"all"}"#, "cron.missed_ticks", "expected one of `skip`, `run_once`, `run_all`"),
        (r#""timeouts":{"start":true}"#, "timeouts.start", "expected a duration"),
        (r#""singleton":{"mode":"both"}"#, "singleton.mode", "`skip` or `replace`"),
    ] {
        let error = FunctionConfig::decode(&format!(r#"{{"id":"f",{fields}}}"#)).unwrap_err();
        assert_eq!((error.function(), error.field()), (Some("f"), Some(field)), "{error}");
        assert!(error.to_string().contains("function `f`") && error.to_string().contains(says), "{error}");
    }
    for (text, says) in [
        ("{", "a function without a readable id: EOF"),
        (r#"{"name":"f"}"#, "a function without a readable id: missing field `id`"),
        (r#"{"id":"f"} {}"#, "trailing characters"),
        ("{\"id\":\"f\",\"name\":\"\\u0000\"}", "contains a NUL character"),
    ] {
        let error = FunctionConfig::decode(text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_stored_config_of_a_newer_version_is_read_and_its_new_fields_are_named() {
    let text = r#"{"id":"f","region":"eu","throttle":{"limit":1,"period":"1s","smooth":{"by":2}}}"#;
    let stored = FunctionConfig::decode_stored(text).unwrap();
    assert_eq!(stored.unknown_fields, ["region", "throttle.smooth"]);
    assert_eq!(stored.config, FunctionConfig::decode(r#"{"id":"f","throttle":{"limit":1,"period":"1s"}}"#).unwrap());
    let error = FunctionConfig::decode_stored(r#"{"id":"f","retry":{"backoff":{"jagged":{}}}}"#).unwrap_err();
    assert_eq!((error.function(), error.field()), (Some("f"), Some("retry.backoff")), "{error}");
}

proptest! {
    #[test]
    fn every_duration_survives_its_text(seconds in prop_oneof![0..200_000_u64, 0..i64::MAX as u64], nanos in 0..1_000_000_000_u32) {
        let config = FunctionConfig { timeout: Duration::new(seconds, nanos), ..FunctionConfig::new("f") };
        let written = json::to_json(&config).unwrap();
        prop_assert_eq!(FunctionConfig::decode(written.get()), Ok(config));
    }
}
