//! Tests of the function version that a run keeps, and of the log lines of its handler.

use stepladder_core::decide::Operation;
use stepladder_core::hop::{Catalog, EarlyWrite, Effect, FunctionVersion, Input, LogEvent, PollResult, Polled};
use stepladder_core::journal::{Fact, Failure};
use stepladder_core::report::{HandlerLogLine, LogLevel, LogLine};
use stepladder_core::{Label, Spec, json};

use crate::world::{HopFixture, HopSetup, START, body, failure, seconds, started, want};

/// Returns a hop that opens its function. These versions of the function are registered.
fn opened(setup: &HopSetup, versions: &[&str]) -> HopFixture {
    let of = |version: &&str| FunctionVersion {
        spec: Spec::new("f"),
        version: Some((*version).into()),
        executes_in_poll: false,
    };
    let mut world = setup.begin_in(Catalog::new(versions.iter().map(of)));
    world.load();
    world.answer_until(|effect| matches!(effect, Effect::Open(_)));
    world
}

fn version(world: &HopFixture) -> &str {
    let Effect::Open(opening) = world.open_question() else { panic!("{:?}", world.open_question()) };
    opening.version.as_deref().unwrap_or_default()
}

/// Returns the poll result of a function that has logged this line and wants the body of one step.
fn logs(text: &str, (after, nth): (u64, u32), wanted: &str) -> Input {
    let lines = vec![HandlerLogLine { after, nth, line: LogLine::new(LogLevel::Info, text, None) }];
    let result = PollResult::Wanted(vec![body(wanted)]);
    Input::Polled(Box::new(Polled { lines, ..result.into() }))
}

#[test]
fn rule_6_a_run_goes_on_under_its_own_version() {
    let mut setup =
        HopSetup::new().with_history(vec![Fact::VersionChosen { version: "1".into() }, started("a", 1, START)]);
    setup.version = Some("2");
    let world = setup.polled();
    assert!(world.logged.iter().any(|event| matches!(event, LogEvent::OtherVersion { .. })));
}

#[test]
fn a_run_chooses_its_version_with_its_first_entry() {
    let mut world = HopSetup { version: Some("2"), ..HopSetup::new() }.polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(world.facts(), ["VersionChosen", "StepStarted"]);
}

#[test]
fn a_run_begins_under_the_newest_version_in_whatever_order_they_are_registered() {
    for versions in [["2", "10", "9"], ["10", "9", "2"], ["9", "2", "10"]] {
        assert_eq!(version(&opened(&HopSetup::new(), &versions)), "10");
    }
}

#[test]
fn rule_6_a_run_goes_on_under_its_own_version_while_that_is_registered() {
    let begun = |own: &str| {
        HopSetup::new().with_history(vec![Fact::VersionChosen { version: own.into() }, started("a", 1, START)])
    };
    for own in ["1", "2", "3"] {
        let world = opened(&begun(own), &["3", "1", "2"]);
        assert_eq!(version(&world), own);
        assert!(!world.logged.iter().any(|event| matches!(event, LogEvent::OtherVersion { .. })));
    }
}

#[test]
fn a_run_that_another_hop_has_started_goes_on_under_the_version_of_that_hop() {
    let mut world = opened(&HopSetup::new(), &["1", "2"]);
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![body("a")]);
    world.overtaken_by(vec![Fact::VersionChosen { version: "1".into() }, started("a", 1, START + seconds(600))]);
    assert_eq!(version(&world), "1");
}

#[test]
fn a_version_is_chosen_once_with_an_entry_and_not_while_the_run_collects_events() {
    let versioned = || HopSetup { version: Some("2"), ..HopSetup::new() };
    let mut delayed = versioned();
    delayed.created.begins_at = Some(START + seconds(30));
    assert!(delayed.loaded().write().entries.is_empty(), "no entry, no version");
    let mut collecting = versioned();
    collecting.created.collects = true;
    let mut collecting = collecting.loaded();
    collecting.answer_until(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!(collecting.facts(), ["CollectingEnded"]);
    let mut world = versioned().polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]).want_steps(vec![body("b")]);
    assert_eq!(world.facts(), ["StepSucceeded", "StepStarted"], "the version is in the journal");
}

#[test]
fn log_lines_follow_the_outcomes_and_precede_the_rest() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]);
    let lines = vec![HandlerLogLine { after: 1, nth: 0, line: LogLine::new(LogLevel::Info, "a is done", None) }];
    let result = PollResult::Wanted(vec![body("b")]);
    world.on(Input::Polled(Box::new(Polled { lines, ..result.into() })));
    assert_eq!(world.facts(), ["StepSucceeded", "LogWritten", "StepStarted"]);
    world.written();
    assert!(world.logged.iter().any(|event| matches!(event, LogEvent::Lines(_))));
}

#[test]
fn a_log_line_that_the_journal_has_is_not_recorded_again() {
    let line = HandlerLogLine { after: 0, nth: 0, line: LogLine::new(LogLevel::Info, "begun", None) };
    let history = vec![Fact::LogWritten { attempt: 1, lines: vec![line] }];
    let mut world = HopSetup::new().with_history(history).polled();
    let mut new = world.clone();
    world.on(logs("begun", (0, 0), "a"));
    assert_eq!(world.facts(), ["StepStarted"]);
    new.on(logs("going on", (0, 1), "a"));
    assert_eq!(new.facts(), ["LogWritten", "StepStarted"]);
}

#[test]
fn what_an_earlier_attempt_of_the_handler_logged_is_not_recorded_after_it() {
    let logged = || {
        let mut world = HopSetup::new().polled();
        world.want_steps(vec![body("a"), body("b")]).written().succeed(&["a"]);
        world.written().on(logs("a is done", (1, 0), "c"));
        assert_eq!(world.facts(), ["LogWritten", "StepStarted"]);
        world
    };
    let failed = Fact::HandlerFailed { attempt: 1, error: Failure::new("boom"), retry_at: START + seconds(60) };
    for (fact, facts) in [
        (failed, vec!["StepSucceeded", "RunCompleted"]),
        (Fact::RunAdmitted, vec!["StepSucceeded", "LogWritten", "RunCompleted"]),
    ] {
        let mut world = logged();
        world.overtaken_by(vec![fact]);
        // the body of `b` still executes, so the handler's execution continues
        world.want_steps(vec![]).succeed(&["b"]).return_from_handler(Ok(json::null()));
        assert_eq!(world.facts(), facts);
    }
}

#[test]
fn a_run_of_an_unknown_function_has_no_version() {
    let state = HopSetup::new().begin().state();
    assert!(Catalog::default().for_run(&state).is_none());
    let known =
        Catalog::new([FunctionVersion { spec: Spec::new("f"), version: Some("1".into()), executes_in_poll: false }]);
    let chosen = known.for_run(&state).unwrap();
    assert_eq!((chosen.function.version.as_deref(), chosen.is_other_version), (Some("1"), false));
}

#[test]
fn the_log_lines_of_a_rejected_write_are_left_to_the_replay() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]);
    world.on(logs("a is done", (1, 0), "b"));
    world.overtaken_by(vec![Fact::SleepStarted { step: "x".into(), until: START }]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
}

#[test]
fn a_write_is_reported_by_what_it_says() {
    let kinds = |world: &HopFixture| -> Vec<String> {
        world
            .logged
            .iter()
            .map(|event| format!("{event:?}").split([' ', '(', '{']).next().unwrap().to_owned())
            .collect()
    };
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written();
    world.now = world.now + seconds(5);
    world.fail("a");
    assert_eq!(kinds(&world), ["RunStarted", "AttemptStarted"], "what is not written is not reported");
    world.written();
    assert!(matches!(&world.logged[2], LogEvent::AttemptEnded { took, .. } if *took == seconds(5)));
    assert_eq!(kinds(&world), ["RunStarted", "AttemptStarted", "AttemptEnded"]);
    let mut later = HopSetup::new().with_history(vec![started("a", 1, START)]).polled();
    later.want_steps(vec![body("b")]).written();
    assert_eq!(kinds(&later), ["AttemptStarted"], "the run has started before");
    for (result, logged) in
        [(Ok(json::null()), vec!["RunStarted", "RunEnded"]), (Err(failure("boom")), vec!["RunStarted"])]
    {
        let mut world = HopSetup::new().polled();
        world.return_from_handler(result).written();
        assert_eq!(kinds(&world), logged);
    }
    let mut delayed = HopSetup::new().spec(|spec| spec.flow.start_within = Some(seconds(0))).loaded();
    delayed.written();
    assert_eq!(kinds(&delayed), ["RunEnded"], "a run that is cancelled before its start has not started");
}

#[test]
fn functions_that_are_registered_during_a_hop_are_known_to_it() {
    let mut loading = HopSetup::new().begin_in(Catalog::default());
    loading.learn(&["f"]);
    loading.load();
    assert!(matches!(loading.open_question(), Effect::AskIfPaused), "{:?}", loading.open_question());
    let mut world = HopSetup::new().polled();
    world.learn(&["f", "g"]);
    let call = Operation::Invoke {
        function: "g".into(),
        input: json::empty_object(),
        bound: false,
        timeout: None,
        user: None,
    };
    world.want_steps(vec![want("c", call)]);
    assert_eq!(world.facts(), ["InvokeStarted"], "g is called");
    world.written();
    assert!(matches!(world.open_question(), Effect::StartRun(_)));
}

/// Returns the poll result of a function that has added these labels and wants a step.
fn labels(added: &[(&str, &str)]) -> Input {
    let labels = added.iter().map(|(key, value)| Label::new(key, value).unwrap()).collect();
    let result = PollResult::Wanted(vec![body("b")]);
    Input::Polled(Box::new(Polled { labels, ..result.into() }))
}

#[test]
fn labels_are_indexed_and_recorded_once() {
    let history = vec![Fact::LabelsAdded { labels: vec![Label::new("plan", "pro").unwrap()] }];
    let mut world = HopSetup::new().with_history(history).polled();
    world.on(labels(&[("plan", "pro"), ("region", "eu")]));
    assert_eq!(world.facts(), ["LabelsAdded", "StepStarted"]);
    let Effect::Write(write) = world.open_question() else { panic!("{:?}", world.open_question()) };
    let Fact::LabelsAdded { labels } = &write.entries[0].fact else { panic!("{write:?}") };
    assert_eq!(labels.iter().map(ToString::to_string).collect::<Vec<_>>(), ["region=eu"]);
    let is_index = |write: &&EarlyWrite| matches!(write, EarlyWrite::AddLabel { .. });
    assert_eq!(write.before.iter().filter(is_index).count(), 1);
}

#[test]
fn a_run_has_at_most_eight_labels_whatever_its_function_adds() {
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(|key| (key, "x"));
    let mut world = HopSetup::new().polled();
    world.on(labels(&keys));
    let Effect::Write(write) = world.open_question() else { panic!("{:?}", world.open_question()) };
    let Fact::LabelsAdded { labels } = &write.entries[0].fact else { panic!("{write:?}") };
    assert_eq!(labels.len(), 8);
}
