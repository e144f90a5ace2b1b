//! The config that each method of the builder writes.

use stepladder_core::{NewEvent, json};
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::configs;
use stepladder_sdk::{FunctionFailed, MissedTicks};

use crate::{JobEvent, MINUTE, SECOND, working_handler};

async fn report(_: Context, _: Event<Tick>) -> Result<()> {
    Ok(())
}

async fn failed(_: Context, _: Event<FunctionFailed>) -> Result<()> {
    Ok(())
}

async fn counting_handler(_: Context, events: Vec<Event<JobEvent>>) -> Result<usize> {
    Ok(events.len())
}

/// Returns the fields of the config that are not those of a function without settings.
fn changed(function: Function) -> serde_json::Value {
    let fields = |function| serde_json::to_value(&configs(function).unwrap()[0]).unwrap();
    let plain = fields(Function::new("f", working_handler));
    let mut fields = fields(function);
    fields.as_object_mut().unwrap().retain(|field, value| plain.get(field) != Some(value));
    fields
}

fn new_function() -> Function {
    Function::new("f", working_handler)
}

#[test]
fn each_method_writes_its_field() {
    let job = JobEvent::NAME;
    let event = r#""conditions":["event.id != ''"]"#;
    for (function, fields) in [
        (new_function(), "{}".to_owned()),
        (new_function().version("2"), r#"{"version":"2"}"#.into()),
        (new_function().retries(0), r#"{"retry":{"retries":0,"backoff":"default"}}"#.into()),
        (new_function().backoff(Backoff::Fixed(SECOND)), r#"{"retry":{"retries":4,"backoff":{"fixed":"1s"}}}"#.into()),
        (new_function().timeout(MINUTE), "{}".into()),
        (new_function().timeout(90 * SECOND), r#"{"timeout":"1m 30s"}"#.into()),
        (new_function().filter("event.id != ''"), format!(r#"{{"triggers":[{{"event":"{job}",{event}}}]}}"#)),
        (new_function().on::<JobEvent>().filter("event.id != ''"), format!(r#"{{"triggers":[{{"event":"{job}",{event}}}]}}"#)),
        (new_function().filter("true").on::<JobEvent>().filter("event.id != ''"), format!(r#"{{"triggers":[{{"event":"{job}",{event}}}]}}"#)),
        (
            new_function().concurrency(Concurrency::limit(3)).concurrency(Concurrency::runs(1).key("event.id").shared("api")),
            r#"{"concurrency":[{"limit":3,"of":"steps"},{"limit":1,"of":"runs","key":"event.id","shared":"api"}]}"#.into(),
        ),
        (
            new_function().throttle(Rate::new(5, MINUTE).burst(2).key("event.id")),
            r#"{"throttle":{"limit":5,"period":"1m","burst":2,"key":"event.id"}}"#.into(),
        ),
        (new_function().rate_limit(Rate::new(5, MINUTE)), r#"{"rate_limit":{"limit":5,"period":"1m"}}"#.into()),
        (
            new_function().debounce(Debounce::new(SECOND).max_wait(MINUTE).key("event.id")),
            r#"{"debounce":{"period":"1s","max_wait":"1m","key":"event.id"}}"#.into(),
        ),
        (
            Function::batch("f", Batch::new(9, SECOND).key("event.id"), counting_handler),
            r#"{"batch":{"size":9,"timeout":"1s","key":"event.id"}}"#.into(),
        ),
        (new_function().singleton(Singleton::skip()), r#"{"singleton":{"mode":"skip"}}"#.into()),
        (new_function().singleton(Singleton::replace().key("event.id")), r#"{"singleton":{"mode":"replace","key":"event.id"}}"#.into()),
        (new_function().idempotency("event.id"), r#"{"idempotency":"event.id"}"#.into()),
        (new_function().priority("1"), r#"{"priority":"1"}"#.into()),
        (
            new_function().cancel_on(CancelOn::named("a/b").filter("true").matching("n").timeout(MINUTE)).cancel_on(CancelOn::named("c")),
            r#"{"cancel_on":[{"event":"a/b","conditions":[{"cel":"true"},{"same_field":"n"}],"timeout":"1m"},{"event":"c"}]}"#
                .into(),
        ),
        (new_function().timeouts(Timeouts::new().start(SECOND).finish(MINUTE)), r#"{"timeouts":{"start":"1s","finish":"1m"}}"#.into()),
        (new_function().on_failure(failed), r#"{"on_failure":"f/on-failure"}"#.into()),
        (new_function().example(&NewEvent::new(job, json::empty_object()).with_id("a")), format!(r#"{{"example":{{"name":"{job}","data":{{}},"id":"a"}}}}"#)),
    ] {
        let wanted: serde_json::Value = serde_json::from_str(&fields).unwrap();
        assert_eq!(changed(function), wanted);
    }
}

#[test]
fn schedules_write_their_fields() {
    let function = Function::new("f", report).cron("@hourly").cron("@daily").time_zone("Europe/Berlin").jitter(SECOND);
    let cron = &changed(function.missed_ticks(MissedTicks::Skip))["cron"];
    let wanted =
        r#"{"schedules":["@hourly","@daily"],"time_zone":"Europe/Berlin","jitter":"1s","missed_ticks":"skip"}"#;
    assert_eq!(*cron, serde_json::from_str::<serde_json::Value>(wanted).unwrap());
}

#[test]
fn an_on_failure_function_has_the_retries_the_timeout_and_the_version_of_its_function() {
    let function =
        new_function().retries(7).timeout(SECOND).version("3").concurrency(Concurrency::limit(1)).on_failure(failed);
    let [_, after] = configs(function).unwrap().try_into().unwrap();
    assert_eq!((&*after.id, after.retry.retries, after.timeout), ("f/on-failure", 7, SECOND));
    assert_eq!((after.version.as_deref(), after.triggers.len(), after.concurrency.len()), (Some("3"), 0, 0));
}
