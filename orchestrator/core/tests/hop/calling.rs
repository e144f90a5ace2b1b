//! Tests of steps that call other functions.

use stepladder_core::decide::Operation;
use stepladder_core::hop::{Effect, FoundRun, Input, LogEvent};
use stepladder_core::journal::{Fact, Outcome};
use stepladder_core::limits::{EVENT_BYTES, OUTCOME_BYTES};
use stepladder_core::{AttemptReport, Json, NewEvent, Spec, StepId, WakeCause, json};

use crate::world::{HopFixture, HopSetup, START, later_wakes, run, seconds, started, want};

fn call(bound: bool) -> Operation {
    Operation::Invoke { function: "g".into(), input: json::empty_object(), bound, timeout: None, user: None }
}

fn with_g() -> HopSetup {
    HopSetup { others: vec![Spec::new("g")], ..HopSetup::new() }
}

fn called(function: &str) -> Fact {
    let child = run().invoked_by("c", START);
    Fact::InvokeStarted {
        step: "c".into(),
        function: function.into(),
        child,
        input: json::null(),
        bound: false,
        until: None,
        user: None,
    }
}

/// Returns a hop that looks up the run of a call which an earlier hop recorded.
fn looking_after(function: &str, setup: HopSetup) -> HopFixture {
    let mut world = setup.with_history(vec![called(function)]).polled();
    world.want_steps(vec![want("c", call(false))]);
    assert!(matches!(world.open_question(), Effect::FindRun(of) if *of == run().invoked_by("c", START)));
    world
}

/// Returns the code and the message of the error with which the hop refuses a step.
fn refusal(world: &HopFixture) -> (String, &str) {
    let [entry] = &world.write().entries[..] else { panic!("{:?}", world.write()) };
    let Fact::StepRefused { error, .. } = &entry.fact else { panic!("{entry:?}") };
    (error.code().unwrap_or_default().to_owned(), &error.message)
}

#[test]
fn rule_19_a_call_is_written_before_its_run_is_created() {
    let mut world = with_g().polled();
    world.want_steps(vec![want("c", call(false))]);
    assert_eq!(world.facts(), ["InvokeStarted"]);
    world.written();
    let Effect::StartRun(start) = world.open_question() else { panic!("{:?}", world.open_question()) };
    assert_eq!(start.0, run().invoked_by("c", START), "the id derives from the caller and the step");
    world.on(Input::Done);
    assert!(matches!(world.open_question(), Effect::Poll(_)));
}

#[test]
fn rule_15_a_call_whose_run_is_missing_creates_it_again() {
    let child = run().invoked_by("c", START);
    let history = vec![Fact::InvokeStarted {
        step: "c".into(),
        function: "g".into(),
        child,
        input: json::null(),
        bound: false,
        until: None,
        user: None,
    }];
    let mut world = with_g().with_history(history).woken(WakeCause::ChildEnded).polled();
    world.want_steps(vec![want("c", call(false))]);
    assert!(matches!(world.open_question(), Effect::FindRun(of) if *of == child));
    let mut missing = world.clone();
    missing.on(Input::Found(None));
    assert!(matches!(missing.open_question(), Effect::StartRun(_)));
    world.on(Input::Found(Some(FoundRun { next: 5, end: Some(Outcome::Value(json::null())) })));
    assert_eq!(world.facts(), ["InvokeEnded"]);
}

#[test]
fn a_call_of_an_unknown_function_ends_as_it_starts() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![want("c", call(false))]);
    assert_eq!(world.facts(), ["InvokeStarted", "InvokeEnded"]);
    world.written();
    assert!(matches!(world.open_question(), Effect::Poll(_)), "no run is created");
}

#[test]
fn a_call_with_a_name_or_an_input_that_no_event_may_have_is_refused() {
    let text = |bytes: usize| json::to_json(&serde_json::json!({"x": "x".repeat(bytes)})).unwrap();
    let mut setup = with_g();
    setup.created.event.user = Some(text(EVENT_BYTES / 2));
    for (function, input, why) in [
        ("", json::empty_object(), "cannot call: the name of the function is empty"),
        ("g", json::null(), "cannot call: its input must be a JSON object"),
        ("g", text(EVENT_BYTES / 2), "cannot call: its input and the event's `user` have"),
    ] {
        let mut world = setup.polled();
        world.want_steps(vec![want(
            "c",
            Operation::Invoke { function: function.into(), input, bound: false, timeout: None, user: None },
        )]);
        let (code, message) = refusal(&world);
        assert!(code == "bad-event" && message.contains(why), "{code} {message}");
        world.written();
        assert!(matches!(world.open_question(), Effect::Poll(_)), "no run is created");
    }
}

#[test]
fn rule_33_a_run_without_room_makes_no_call_and_sends_no_event() {
    let output: Json = json::to_json(&"x".repeat(OUTCOME_BYTES - 2)).unwrap();
    let step = |n: u32| StepId::from(format!("s{n}"));
    let of = |n| {
        let succeeded =
            Fact::StepSucceeded { step: step(n), attempt: 1, output: output.clone(), report: AttemptReport::default() };
        [started(&step(n), 1, START), succeeded]
    };
    let full = with_g().with_history((0..8).flat_map(of).collect());
    for wanted in [call(false), Operation::Send(vec![NewEvent::new("x", json::empty_object())])] {
        let mut world = full.polled();
        world.want_steps(vec![want("c", wanted)]);
        let (code, message) = refusal(&world);
        assert!(code == "too-large" && message.contains("step `c` was not begun"), "{code} {message}");
    }
}

#[test]
fn rule_15_a_called_run_that_has_not_moved_is_created_again_only_by_a_repeated_wake() {
    let found = |next| Input::Found(Some(FoundRun { next, end: None }));
    let first = [WakeCause::ChildEnded, WakeCause::Next, WakeCause::Fresh(None)].map(|cause| with_g().woken(cause));
    let again =
        [WakeCause::Again, WakeCause::Lease, WakeCause::Watchdog, WakeCause::Tick(1), WakeCause::Step("c".into())];
    let again = again.map(|cause| with_g().woken(cause)).into_iter().chain([with_g().redelivered()]);
    for setup in first {
        let mut world = looking_after("g", setup);
        world.on(found(1));
        assert!(world.write().entries.is_empty() && world.write().acknowledges, "its creator wakes it");
    }
    for setup in again {
        let mut world = looking_after("g", setup);
        let mut moved = world.clone();
        world.on(found(1));
        assert!(matches!(world.open_question(), Effect::StartRun(_)), "{:?}", world.open_question());
        world.on(Input::Done);
        assert!(world.write().acknowledges);
        moved.on(found(2));
        assert!(moved.write().acknowledges, "it had its first wake");
    }
}

#[test]
fn a_called_run_that_ended_before_its_first_wake_ends_the_call() {
    let mut world = looking_after("g", with_g().woken(WakeCause::Again));
    world.on(Input::Found(Some(FoundRun { next: 1, end: Some(Outcome::Value(json::null())) })));
    assert_eq!(world.facts(), ["InvokeEnded"]);
}

#[test]
fn a_call_whose_function_is_not_registered_here_is_looked_after_again_later() {
    for (cause, copy) in [(WakeCause::ChildEnded, WakeCause::Again), (WakeCause::Watchdog, WakeCause::Watchdog)] {
        let mut world = looking_after("gone", with_g().woken(cause));
        world.on(Input::Found(None));
        assert!(world.logged.iter().any(|event| matches!(event, LogEvent::UnregisteredChild { .. })));
        assert_eq!(later_wakes(world.write()), [(copy, world.now + seconds(60))]);
        assert!(world.write().acknowledges);
    }
}

#[test]
fn a_call_past_its_timeout_fails_and_its_run_goes_on() {
    let until = START + seconds(601);
    let limited = || {
        let (function, input, timeout) = ("g".into(), json::empty_object(), Some(seconds(600)));
        want("c", Operation::Invoke { function, input, bound: false, timeout, user: None })
    };
    let mut world = with_g().polled();
    world.want_steps(vec![limited()]);
    assert_eq!(
        (world.facts(), later_wakes(world.write())),
        (vec!["InvokeStarted".to_owned()], vec![(WakeCause::Due, until)])
    );
    let started = world.write().entries[0].fact.clone();

    let mut woken = with_g().with_history(vec![started]).woken(WakeCause::Due).polled();
    woken.now = until;
    woken.want_steps(vec![limited()]);
    let found = |end| Input::Found(Some(FoundRun { next: 5, end }));
    let mut in_time = woken.clone();
    in_time.on(found(Some(Outcome::Value(json::null()))));
    assert_eq!(in_time.facts(), ["InvokeEnded"], "the outcome counts if it is there");
    let mut missing = woken.clone();
    missing.on(Input::Found(None));
    assert!(matches!(missing.open_question(), Effect::StartRun(_)), "the called run is created in any case");
    woken.on(found(None));
    assert_eq!(woken.facts(), ["WaitExpired"]);
    assert!(!format!("{:?}", woken.write()).contains("CancelRuns"), "nothing cancels the called run");
    woken.written();
    let Effect::Poll(revealed) = woken.open_question() else { panic!("{:?}", woken.open_question()) };
    let Outcome::Failed(error) = &revealed[0].outcome else { panic!("{revealed:?}") };
    assert_eq!(error.code(), Some("invoke-timeout"));
}

#[test]
fn a_call_may_name_the_user_of_the_called_run() {
    let ada = json::to_json(&serde_json::json!({"id": "ada"})).unwrap();
    let call = |user| {
        let function = "g".into();
        want("c", Operation::Invoke { function, input: json::empty_object(), bound: false, timeout: None, user })
    };
    let user_of = |user: Option<Json>| {
        let mut world = with_g().polled();
        world.want_steps(vec![call(user)]);
        world.written();
        let Effect::StartRun(start) = world.open_question() else { panic!("{:?}", world.open_question()) };
        start.1.event.user.clone()
    };
    assert_eq!(user_of(Some(ada.clone())).map(|user| user.get().to_owned()), Some(ada.get().to_owned()));
    assert!(user_of(None).is_none(), "by default that of the run's event, which has none");

    let mut world = with_g().polled();
    world.want_steps(vec![call(Some(json::null()))]);
    let (code, message) = refusal(&world);
    assert!(code == "bad-event" && message.contains("its `user` must be a JSON object"), "{code} {message}");
}
