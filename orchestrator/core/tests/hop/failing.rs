//! Tests of storage failures, wakes without a run, and functions that are not registered.

use stepladder_core::hop::{Catalog, Effect, Input, LogEvent, StoreFault};
use stepladder_core::{WakeCause, json};

use crate::world::{HopFixture, HopSetup, START, body, later_wakes, seconds};

fn refused_answer() -> Input {
    Input::StoreFailed(StoreFault::Refused("no permission".into()))
}

#[test]
fn rule_13_the_queue_delivers_the_wake_again_after_a_failure() {
    for receives in [1, 5] {
        let mut world = HopSetup { receives, ..HopSetup::new() }.begin();
        world.fail_executor();
        assert!(matches!(world.open_question(), Effect::PutBack(due) if *due == world.now + seconds(2)), "{receives}");
        world.on(Input::PutBack(true));
        assert!(world.is_done() && world.fault().is_none());
    }
}

#[test]
fn rule_13_where_the_queue_cannot_delay_a_copy_is_written_and_the_wake_is_acknowledged() {
    let mut world = HopSetup::new().begin();
    world.fail_executor();
    world.on(Input::PutBack(false));
    assert_eq!(later_wakes(world.write()), [(WakeCause::Again, world.now + seconds(10))]);
    assert!(world.write().acknowledges);
    world.written();
    assert!(world.is_done() && world.fault().is_none());
}

#[test]
fn rule_13_without_the_copy_the_queue_counts_the_delivery() {
    let mut world = HopSetup::new().begin();
    world.fail_executor();
    world.on(Input::PutBack(false)).fail_executor();
    assert!(world.logged.iter().any(|event| matches!(event, LogEvent::SendFailed(_))));
    assert!(world.is_done() && world.fault().is_some());
}

#[test]
fn rule_34_the_delay_after_a_lasting_error_grows_with_each_delivery() {
    for (receives, wait) in [(1, 2), (2, 4), (5, 32), (50, 300)] {
        let mut world = HopSetup { receives, ..HopSetup::new() }.begin();
        world.on(refused_answer());
        assert!(
            matches!(world.open_question(), Effect::PutBack(due) if *due == world.now + seconds(wait)),
            "{receives}"
        );
    }
}

#[test]
fn rule_34_a_lasting_error_is_reported_as_such() {
    let worlds = [HopSetup::new().begin(), HopSetup::new().loaded(), HopSetup::new().polled()];
    for mut world in worlds {
        world.on(refused_answer());
        let reports = |event: &LogEvent| matches!(event, LogEvent::StoreFailed(StoreFault::Refused(_)));
        assert!(world.logged.iter().any(reports) && matches!(world.open_question(), Effect::PutBack(_)));
    }
}

#[test]
fn rule_34_a_lasting_error_ends_in_the_dead_letters() {
    let mut world = HopSetup::new().begin();
    world.on(refused_answer());
    world.on(Input::PutBack(false));
    assert!(world.is_done());
    assert!(matches!(world.fault(), Some(StoreFault::Refused(_))));
}

#[test]
fn outcomes_of_executing_bodies_are_saved_before_the_hop_fails() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a"), body("b")]).written().succeed(&["a"]);
    world.fail_executor();
    assert!(matches!(world.open_question(), Effect::AwaitAttempts(_)), "b executes");
    world.succeed(&["b"]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
    world.written();
    assert!(matches!(world.open_question(), Effect::PutBack(_)));
}

#[test]
fn a_start_that_cannot_be_written_does_not_lose_the_outcome_before_it() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]).want_steps(vec![body("b")]);
    world.fail_executor();
    assert_eq!(world.facts(), ["StepSucceeded"]);
    assert!(world.logged.iter().any(|event| matches!(event, LogEvent::StartsFailed(_))));
}

#[test]
fn outcomes_are_kept_when_the_function_wants_something_that_fails() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]);
    let events = vec![stepladder_core::NewEvent::new("x", json::empty_object())];
    world.want_steps(vec![crate::world::want("s", stepladder_core::decide::Operation::Send(events))]);
    assert!(matches!(world.open_question(), Effect::Send(_)));
    world.fail_executor();
    assert_eq!(world.facts(), ["StepSucceeded"]);
    world.written();
    assert!(matches!(world.open_question(), Effect::PutBack(_)));
}

#[test]
fn a_single_process_repeats_a_write_of_outcomes_while_their_lease_lasts() {
    for is_alone in [false, true] {
        let mut setup = HopSetup::new();
        setup.worker.is_alone = is_alone;
        let mut world = setup.polled();
        world.want_steps(vec![body("a")]);
        assert_eq!(world.write().repeat_until, None, "a start would be late");
        world.written().succeed(&["a"]);
        let mut further = world.clone();
        further.want_steps(vec![body("b")]);
        assert_eq!((further.write().entries.len(), further.write().repeat_until), (2, None), "the start would be late");
        world.return_from_handler(Ok(json::null()));
        assert_eq!(world.write().repeat_until, is_alone.then_some(world.now + seconds(125)));
    }
}

#[test]
fn an_answer_to_another_question_does_not_lose_the_wake() {
    let mut world = HopSetup::new().polled();
    world.on(Input::Paused(true));
    assert!(matches!(world.open_question(), Effect::PutBack(_)));
}

#[test]
fn a_wake_without_a_run_is_acknowledged() {
    let mut world = HopSetup::new().begin();
    world.on(Input::Loaded(None));
    assert!(matches!(&world.effects[..], [Effect::Log(LogEvent::NoSuchRun), Effect::Write(_)]));
    assert!(world.write().acknowledges && world.write().before.is_empty());
    assert!(world.written().is_done());
}

#[test]
fn a_ticks_wake_creates_its_run() {
    let minute = START.as_millis() / 60_000;
    let mut world = HopSetup::new().woken(WakeCause::Tick(minute)).begin();
    world.on(Input::Loaded(None));
    assert!(matches!(world.open_question(), Effect::CreateTick { minute: of } if *of == minute));
    world.on(Input::Done);
    assert!(world.write().acknowledges);
}

#[test]
fn a_tick_waits_an_hour_for_a_worker_that_knows_its_function() {
    let minute = START.as_millis() / 60_000;
    let setup = HopSetup::new().woken(WakeCause::Tick(minute));
    let mut world = setup.begin_in(Catalog::default());
    world.on(Input::Loaded(None));
    assert_eq!(later_wakes(world.write()), [(WakeCause::Tick(minute), world.now + seconds(60))]);
    let mut late = HopSetup { now: START + seconds(3_660), ..setup }.begin_in(Catalog::default());
    late.on(Input::Loaded(None));
    assert!(late.write().acknowledges && late.write().before.is_empty());
}

#[test]
fn a_run_of_an_unknown_function_waits_longer_the_longer_it_stands_still() {
    for (quiet, wait) in [(1, 60), (3_000, 300), (100_000, 900)] {
        let setup = HopSetup { now: START + seconds(quiet), ..HopSetup::new() };
        let mut world = setup.begin_in(Catalog::default());
        world.load();
        assert!(matches!(&world.effects[..], [Effect::Log(LogEvent::Unregistered), Effect::Write(_)]));
        assert_eq!(later_wakes(world.write())[0].1, world.now + seconds(wait));
        assert!(world.write().acknowledges && world.written().is_done());
    }
}

#[test]
fn an_ended_run_of_an_unknown_function_is_marked() {
    let ended = vec![stepladder_core::Fact::RunCompleted { output: json::null() }];
    let mut world = HopSetup::new().with_history(ended).begin_in(Catalog::default());
    world.load();
    assert_eq!(world.write().after.len(), 1);
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn a_hop_shows_its_run_and_its_deadline_while_it_moves_the_run() {
    let shows = |world: &HopFixture| (world.hop().run().is_some(), world.hop().deadline(), world.hop().has_failed());
    let mut setup = HopSetup::new();
    let mut world = setup.begin();
    assert_eq!(shows(&world), (false, None, false));
    assert_eq!(world.hop().wake().cause, WakeCause::Created);
    world.load();
    assert_eq!(shows(&world), (true, Some(world.now + seconds(120)), false), "the time of a worker of its function");
    let mut failing = world.clone();
    failing.fail_executor();
    assert_eq!(shows(&failing), (false, None, true));
    failing.on(Input::PutBack(false));
    assert_eq!(shows(&failing), (false, None, true));
    failing.written();
    assert_eq!(shows(&failing), (false, None, false));
    setup.deadline = Some(setup.now + seconds(30));
    for world in [setup.begin(), setup.loaded(), setup.polled()] {
        assert_eq!(world.hop().deadline(), setup.deadline);
    }
}

#[test]
fn a_hop_keeps_its_run_only_if_it_is_over_and_has_not_failed() {
    let mut world = HopSetup::new().polled();
    let mut failed = world.clone();
    assert!(world.hop().clone().into_end().run.is_none(), "it goes on");
    world.return_from_handler(Ok(json::null())).written();
    assert!(world.hop().clone().into_end().run.is_some_and(|run| run.end.is_some()));
    failed.fail_executor();
    failed.on(Input::PutBack(true));
    assert!(failed.is_done() && failed.hop().clone().into_end().run.is_none());
}

#[test]
fn rule_13_a_queue_that_cannot_take_the_wake_back_counts_the_delivery() {
    let mut world = HopSetup::new().begin();
    world.fail_executor();
    world.on(refused_answer());
    assert!(world.is_done());
    assert!(matches!(world.fault(), Some(StoreFault::Refused(_))));
}

#[test]
fn an_answer_to_another_question_gives_the_wake_of_a_run_that_is_not_loaded_back() {
    let mut world = HopSetup::new().begin();
    world.on(Input::Sent(Vec::new()));
    assert!(matches!(world.open_question(), Effect::PutBack(_)));
}

#[test]
fn a_hop_that_is_over_ignores_every_input() {
    let mut world = HopSetup::new().polled();
    world.return_from_handler(Ok(json::null())).written();
    world.on(Input::Done);
    assert!(world.is_done() && world.effects.is_empty());
}

#[test]
fn a_storage_that_fails_while_a_body_executes_lets_it_end() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().fail_executor();
    assert!(matches!(world.open_question(), Effect::AwaitAttempts(_)));
    world.succeed(&["a"]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
}
