//! Conversions of a registration that the TypeScript package 4.24 has sent, and of senseless ones.

use serde_json::{Value, json};
use stepladder_core::function::CancelCondition;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(100);

/// The registration of an app, as the package sends it. Its debounce is at another function,
/// because the engine allows no debounce beside a throttle.
fn recorded() -> Value {
    serde_json::from_str(include_str!("registration-4.24.json")).unwrap()
}

fn configs(registration: &Value) -> Result<Vec<FunctionConfig>, RegistrationError> {
    Registration::decode(registration.to_string().as_bytes())?.configs(|_| TIMEOUT)
}

#[test]
fn a_registration_of_the_package_becomes_configs() {
    let configs = configs(&recorded()).unwrap();
    let ids: Vec<&str> = configs.iter().map(|config| &*config.id).collect();
    assert_eq!(
        ids,
        ["shop-hello-world", "shop-everything", "shop-everything-failure", "shop-batch", "shop-rl", "shop-ops"]
    );
    let [hello, everything, failure, batch, limited, debounced] = &configs[..] else { panic!("{configs:?}") };
    assert_eq!((hello.retry.retries, hello.timeout), (4, TIMEOUT));
    let trigger =
        TriggerConfig { conditions: vec!["event.data.n > 1".into()], ..TriggerConfig::new("test/hello.world") };
    assert_eq!(hello.triggers, [trigger]);

    assert_eq!((everything.name.as_deref(), everything.retry.retries), (Some("Every thing"), 2));
    assert_eq!(everything.cron.schedules, ["0 9 * * *"]);
    assert_eq!(everything.cron.time_zone.as_deref(), Some("Europe/Berlin"));
    let limits: Vec<_> =
        everything.concurrency.iter().map(|c| (c.limit, c.key.as_deref(), c.shared.as_deref())).collect();
    assert_eq!(limits, [(2, Some("event.data.a"), None), (3, Some("\"x\""), Some("inngest-account \"x\""))]);
    let throttle = everything.throttle.as_ref().unwrap();
    assert_eq!((throttle.limit, throttle.period, throttle.burst), (1, Duration::from_secs(5), Some(2)));
    let debounce = debounced.debounce.as_ref().unwrap();
    assert_eq!((debounce.period, debounce.max_wait), (Duration::from_secs(3), Some(Duration::from_secs(60))));
    assert_eq!(everything.priority.as_deref(), Some("event.data.p"));
    assert_eq!(everything.idempotency.as_deref(), Some("event.data.id"));
    assert_eq!(everything.timeouts.start, Some(Duration::from_secs(10)));
    assert_eq!(everything.singleton.as_ref().map(|singleton| singleton.mode), Some(SingletonMode::Skip));
    assert_eq!(everything.cancel_on[0].timeout, Some(Duration::from_secs(3_600)));
    let same_id = CancelCondition::Cel("event.data.id == async.data.id".into());
    assert_eq!(everything.cancel_on[1].conditions, [same_id]);

    assert_eq!((&*failure.triggers[0].event, failure.retry.retries), ("inngest/function.failed", 1));
    let batch = batch.batch.as_ref().unwrap();
    assert_eq!((batch.size, batch.timeout), (10, Duration::from_secs(5)));
    assert_eq!((limited.rate_limit.as_ref().unwrap().limit, limited.concurrency[0].limit), (1, 5));
}

/// Returns the sentence for the registration after a change of its first function.
fn sentence(change: impl FnOnce(&mut Value)) -> String {
    let mut registration = recorded();
    change(&mut registration["functions"][0]);
    configs(&registration).expect_err("it is refused").to_string()
}

#[test]
fn a_senseless_registration_is_refused_with_the_function_and_the_field() {
    let runtime = |field: &'static str, value: &'static str| {
        move |function: &mut Value| function["steps"]["step"]["runtime"][field] = value.into()
    };
    let trigger = |trigger: Value| move |function: &mut Value| function["triggers"] = json!([trigger]);
    for (sentence, field, says) in [
        (sentence(runtime("type", "ws")), "steps.step.runtime.type", "connect"),
        (sentence(runtime("type", "grpc")), "steps.step.runtime.type", "is not supported"),
        (sentence(runtime("url", "http://other/api")), "steps.step.runtime.url", "not at the app's `url`"),
        (sentence(runtime("url", "file:///x")), "steps.step.runtime.url", "begins with http"),
        (sentence(trigger(json!({"event": "user/*"}))), "triggers[0].event", "wildcards"),
        (sentence(trigger(json!({"event": "a", "cron": "* * * * *"}))), "triggers[0]", "either"),
        (
            sentence(trigger(json!({"cron": "* * * * *", "expression": "true"}))),
            "triggers[0].expression",
            "no expression",
        ),
        (sentence(trigger(json!({"event": "a", "jitter": "1s"}))), "triggers[0].jitter", "only a cron"),
        (
            sentence(|function| {
                function["triggers"] = json!([{"cron": "0 9 * * *"}, {"cron": "TZ=Asia/Tokyo 0 9 * * *"}])
            }),
            "triggers",
            "several time zones",
        ),
        (sentence(|function| function["steps"]["step"]["retries"] = json!({"attempts": 21})), "attempts", "at most 20"),
        (sentence(|function| function["timeouts"] = json!({"start": "soon"})), "timeouts.start", "is no duration"),
        (sentence(|function| function["id"] = "shop-ops".into()), "id", "two functions"),
    ] {
        assert!(sentence.contains("`shop-hello-world`") || sentence.contains("`shop-ops`"), "{sentence}");
        assert!(sentence.contains(field) && sentence.contains(says), "{field}, {says}: {sentence}");
    }
    let bad_expression = sentence(trigger(json!({"event": "a", "expression": "event.data."})));
    assert!(bad_expression.contains("the filter of function `shop-hello-world`"), "{bad_expression}");
}

#[test]
fn an_app_without_an_address_is_refused() {
    for url in ["", "localhost", "ws://localhost/x"] {
        let mut registration = recorded();
        registration["url"] = url.into();
        let sentence = configs(&registration).unwrap_err().to_string();
        assert!(sentence.contains("app `shop`: field `url`"), "{sentence}");
    }
}

#[test]
fn an_unlimited_concurrency_is_no_limit() {
    for (concurrency, limits) in
        [(json!(0), 0), (json!(3), 1), (json!({"limit": 3}), 1), (json!([{"limit": 0}, {"limit": 1}]), 1)]
    {
        let mut registration = recorded();
        registration["functions"][0]["concurrency"] = concurrency;
        assert_eq!(configs(&registration).unwrap()[0].concurrency.len(), limits);
    }
}
