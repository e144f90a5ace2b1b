//! Combinations of options that make no sense. An app with such a function does not start, and the
//! error names the options.

use std::time::Duration;

use stepladder_sdk::NewEvent;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, compile};

use crate::{JobEvent, MINUTE, SECOND, working_handler};

async fn counting_handler(_: Context, events: Vec<Event<JobEvent>>) -> Result<usize> {
    Ok(events.len())
}

fn refusal_sentence(function: Function) -> String {
    let function = match compile(function, &SharedData::default()) {
        Err(fault) => return fault,
        Ok(mut compiled) => compiled.remove(0),
    };
    function.spec().problem().unwrap_or_else(|| panic!("it is not refused"))
}

fn new_function() -> Function {
    Function::new("f", working_handler)
}

fn batch_function() -> Function {
    Function::batch("f", Batch::new(10, MINUTE), counting_handler)
}

fn cron_function() -> Function {
    async fn tick_handler(_: Context, tick: Event<Tick>) -> Result<stepladder_sdk::Timestamp> {
        Ok(tick.data.at)
    }
    Function::new("f", tick_handler).cron("@hourly")
}

#[test]
fn a_cron_schedule_needs_a_handler_that_takes_ticks() {
    assert!(compile(cron_function(), &SharedData::default()).is_ok());
    for function in [new_function().cron("@hourly"), batch_function().cron("@hourly")] {
        let error = compile(function, &SharedData::default()).err().unwrap_or_default();
        assert_eq!(error, "function `f` has a cron schedule; its handler must take an `Event<Tick>`");
    }
}

#[test]
fn an_impossible_combination_is_refused_by_name() {
    let debounced = || new_function().debounce(Debounce::new(SECOND));
    for (function, one, other) in [
        (batch_function().debounce(Debounce::new(SECOND)), "a batch", "a debounce"),
        (batch_function().throttle(Rate::new(1, SECOND)), "a batch", "a throttle"),
        (batch_function().rate_limit(Rate::new(1, SECOND)), "a batch", "a rate limit"),
        (batch_function().singleton(Singleton::skip()), "a batch", "a singleton"),
        (batch_function().idempotency("event.data.n"), "a batch", "an idempotency key"),
        (batch_function().cancel_on(CancelOn::named("a/b")), "a batch", "events that cancel it"),
        (batch_function().concurrency(Concurrency::limit(1)).priority("1"), "a batch", "a priority"),
        (debounced().throttle(Rate::new(1, SECOND)), "a debounce", "a throttle"),
        (debounced().singleton(Singleton::replace()), "a debounce", "a singleton"),
        (cron_function().debounce(Debounce::new(SECOND)), "a debounce", "a cron line"),
    ] {
        let said = refusal_sentence(function);
        assert!(said.starts_with("function `f` has") && said.contains(one) && said.contains(other), "{said}");
    }
}

#[test]
fn settings_without_a_meaning_are_refused_with_the_reason() {
    for (function, says) in [
        (new_function().throttle(Rate::new(0, SECOND)), "no start at all"),
        (new_function().throttle(Rate::new(1, SECOND).burst(0)), "no start at all"),
        (new_function().rate_limit(Rate::new(1, Duration::ZERO)), "period"),
        (new_function().rate_limit(Rate::new(1, Duration::from_secs(32 * 86_400))), "at most"),
        (new_function().debounce(Debounce::new(MINUTE).max_wait(SECOND)), "never be waited out"),
        (Function::batch("f", Batch::new(0, MINUTE), counting_handler), "use 1 to 1000"),
        (Function::batch("f", Batch::new(1_001, MINUTE), counting_handler), "use 1 to 1000"),
        (new_function().priority("1"), "no line to be first in"),
        (new_function().timeouts(Timeouts::new().start(Duration::ZERO)), "no time at all"),
        (new_function().cancel_on(CancelOn::named("")), "is empty"),
        (new_function().concurrency(Concurrency::limit(1).shared("a/b")), "no `/`"),
        (
            new_function().example(&NewEvent::new("other/event", stepladder_core::json::null())),
            "`other/event`, which does not start it",
        ),
        (
            new_function().example(&NewEvent::new(JobEvent::NAME, stepladder_core::json::null())),
            "must be a JSON object",
        ),
        (new_function().throttle(Rate::new(1, SECOND).key("event.data.")), "`event.data.`: is not CEL at character 12"),
    ] {
        let said = refusal_sentence(function);
        assert!(said.contains(says) && said.contains("`f`"), "{said}");
    }
}

#[test]
fn limits_that_look_like_shared_ones_are_refused() {
    for id in ["account", "account/f"] {
        let limited = Function::new(id, working_handler).concurrency(Concurrency::limit(1));
        let said = refusal_sentence(limited);
        assert!(said.contains("as shared ones are") && said.contains(&format!("`{id}`")), "{said}");
    }
    assert!(
        compile(Function::new("accounts", working_handler).concurrency(Concurrency::limit(1)), &SharedData::default())
            .is_ok()
    );
}

#[test]
fn functions_that_share_a_limit_and_do_not_agree_are_named() {
    let specs: Vec<_> = [2, 3]
        .into_iter()
        .map(|n| {
            let function =
                Function::new(format!("f{n}"), working_handler).concurrency(Concurrency::limit(n).shared("api"));
            compile(function, &SharedData::default()).unwrap().remove(0).spec().clone()
        })
        .collect();
    let said = stepladder_core::spec::shared_limit_conflict(specs.iter()).unwrap();
    assert!(["`f2`", "`f3`", "`api`"].iter().all(|name| said.contains(name)), "{said}");
}

/// Regression test for <https://github.com/hatchet-dev/hatchet/issues/4380>: an expression with an
/// unknown name would fail on every event.
#[test]
fn an_expression_with_an_unknown_name_is_refused_when_the_app_starts() {
    let stopped = || CancelOn::named("job/stopped");
    for (function, what, says) in [
        (new_function().filter("evnt.data.plan == 'pro'"), "the filter of function `f`", "`evnt`"),
        (new_function().filter("data.plan == 'pro'"), "the filter of function `f`", "write `event.data`"),
        (
            new_function().filter("event.data.plan.startswith('p')"),
            "the filter of function `f`",
            "did you mean `startsWith`?",
        ),
        (
            new_function().filter("async.data.plan == 'pro'"),
            "the filter of function `f`",
            "`async` is the event that arrives",
        ),
        (new_function().on::<JobEvent>().filter("evnt.id == ''"), "the filter of function `f`", "`evnt`"),
        (
            new_function().concurrency(Concurrency::limit(1).key("evnt.data.client")),
            "the concurrency key of function `f`",
            "`evnt`",
        ),
        (new_function().throttle(Rate::new(1, SECOND).key("evnt.id")), "the throttle's key of function `f`", "`evnt`"),
        (
            new_function().rate_limit(Rate::new(1, SECOND).key("evnt.id")),
            "the rate limit's key of function `f`",
            "`evnt`",
        ),
        (new_function().debounce(Debounce::new(SECOND).key("evnt.id")), "the debounce's key of function `f`", "`evnt`"),
        (new_function().singleton(Singleton::skip().key("evnt.id")), "the singleton's key of function `f`", "`evnt`"),
        (new_function().idempotency("evnt.id"), "the idempotency key of function `f`", "`evnt`"),
        (new_function().priority("evnt.data.n"), "the priority of function `f`", "`evnt`"),
        (
            Function::batch("f", Batch::new(2, MINUTE).key("evnt.id"), counting_handler),
            "the batch's key of function `f`",
            "`evnt`",
        ),
        (
            new_function().cancel_on(stopped().filter("asnyc.data.client == event.data.client")),
            "the filter for being cancelled of function `f`",
            "did you mean `async`?",
        ),
    ] {
        let said = compile(function, &SharedData::default()).err().unwrap_or_default();
        assert!(said.starts_with(what) && said.contains(says) && said.contains("at character"), "{said}");
    }
    let known = new_function()
        .filter("timestamp(event.data.at) > timestamp('2020-01-01T00:00:00Z') && event.data.plan.matches('^p')");
    assert!(compile(known, &SharedData::default()).is_ok());
}

#[test]
fn an_invalid_field_is_refused_when_the_app_starts() {
    let said = refusal_sentence(new_function().cancel_on(CancelOn::named("job/stopped").matching("client..id")));
    assert_eq!(
        said,
        "function `f` is cancelled by an event with an invalid field: `client..id` is no field; use names with dots between"
    );
}
