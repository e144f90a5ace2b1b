//! Tests of attempts that start in a hop, and of attempts that a hop hands to other hops.

use stepladder_core::WakeCause;
use stepladder_core::decide::ReadyStep;
use stepladder_core::hop::{EarlyWrite, Effect, Finished, Input, LateWrite, LogEvent, OverdueAttempt};
use stepladder_core::journal::Fact;
use stepladder_core::limits::INTERRUPTIONS;

use crate::world::{HopSetup, PROCESS, START, body, failure, later_wakes, seconds, started, succeeded};

#[test]
fn a_body_executes_only_after_its_start_is_written() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(world.facts(), ["StepStarted"]);
    assert!(world.executed().is_empty());
    world.written();
    assert_eq!(world.executed(), ["a".into()]);
}

#[test]
fn rule_2_a_rejected_start_is_decided_again() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]);
    world.overtaken_by(vec![started("a", 1, START + seconds(600))]);
    assert!(matches!(&world.effects[..], [Effect::Log(LogEvent::Overtaken), Effect::Close, Effect::Open(_)]));
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![body("a")]);
    assert!(world.executed().is_empty() && world.write().acknowledges);
}

#[test]
fn rule_3_a_body_does_not_start_when_its_lease_has_ended() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]);
    let Fact::StepStarted { lease_until, .. } = world.write().entries[0].fact.clone() else { unreachable!() };
    world.now = lease_until;
    world.written();
    assert!(world.executed().is_empty());
    assert_eq!(world.facts(), ["AttemptInterrupted"], "the attempt uses no retry");
    assert_eq!(world.write().wakes[0].cause, WakeCause::Fresh(None));
    assert!(world.write().acknowledges && world.written().is_done());
}

#[test]
fn rule_4_of_a_rejected_write_only_the_outcome_is_written_again() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]).want_steps(vec![body("b")]);
    assert_eq!(world.facts(), ["StepSucceeded", "StepStarted"]);
    world.overtaken_by(vec![Fact::SleepStarted { step: "x".into(), until: START }]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
    world.written();
    assert!(matches!(world.open_question(), Effect::Open(_)), "b may no longer be wanted");
}

#[test]
fn rule_4_an_outcome_that_the_journal_refuses_is_dropped() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().succeed(&["a"]).want_steps(vec![body("b")]);
    world.overtaken_by(vec![Fact::AttemptInterrupted { step: "a".into(), attempt: 1 }]);
    assert!(matches!(world.open_question(), Effect::Open(_)), "nothing is left to write");
}

/// Returns the cause of a wake.
fn cause_of(early: &EarlyWrite) -> Option<WakeCause> {
    match early {
        EarlyWrite::Wake { wake, .. } => Some(wake.cause.clone()),
        _ => None,
    }
}

#[test]
fn rule_9_a_fan_out_sends_its_wakes_before_the_entry_and_only_once() {
    let names = ["a", "b", "c", "d", "e"];
    let many = || names.iter().map(|name| body(name)).collect::<Vec<_>>();
    let mut world = HopSetup::new().polled();
    world.want_steps(many());
    assert_eq!(world.facts(), ["StepsWoken"; 2], "an invocation executes four steps at the same time");
    let causes: Vec<WakeCause> = world.write().before.iter().filter_map(cause_of).collect();
    assert_eq!(causes, ["a", "e"].map(|first| WakeCause::Step(first.into())));
    world.written();
    world.want_steps(many());
    assert!(world.write().acknowledges && world.write().before.is_empty(), "the steps have wakes of their own");

    let mut watched = HopSetup::new().woken(WakeCause::Watchdog).polled();
    watched.want_steps(many()).written().want_steps(many());
    assert!(watched.write().acknowledges && watched.write().entries.is_empty(), "not even with the watchdog's wake");

    let history = vec![Fact::StepsWoken { steps: names.map(Into::into).to_vec(), together: false }];
    let mut again = HopSetup::new().with_history(history).redelivered().polled();
    again.want_steps(many());
    assert!(again.write().before.is_empty() && again.write().wakes.is_empty(), "{:?}", again.write());
}

#[test]
fn rule_9_a_woken_step_starts_with_its_own_wake() {
    let history = vec![Fact::StepsWoken { steps: vec!["a".into(), "b".into()], together: false }];
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Step("b".into())).polled();
    world.want_steps(vec![body("a"), body("b")]);
    world.written();
    assert_eq!(world.executed(), ["b".into()]);
}

#[test]
fn rule_9_steps_with_one_wake_start_together() {
    let group =
        |steps: &[&str]| Fact::StepsWoken { steps: steps.iter().map(|step| (*step).into()).collect(), together: true };
    let history = vec![group(&["a", "b", "c"]), group(&["d", "e"])];
    let wants = || ["a", "b", "c", "d", "e"].map(body).to_vec();
    for (named, executed) in [("a", vec!["a", "b", "c"]), ("d", vec!["d", "e"]), ("b", vec!["b"])] {
        let setup = HopSetup::new().with_history(history.clone());
        let mut world = setup.woken(WakeCause::Step(named.into())).polled();
        world.want_steps(wants()).written();
        assert_eq!(world.executed(), executed.into_iter().map(Into::into).collect::<Vec<_>>(), "the wake of {named}");
    }
}

#[test]
fn rule_14_a_takeover_goes_on_under_a_new_wake() {
    let history = vec![started("a", 1, START)];
    let mut world = HopSetup::new().with_history(history).redelivered().polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(world.write().wakes[0].cause, WakeCause::Lease);
    assert!(world.write().acknowledges && world.write().entries.is_empty());
    assert!(world.written().is_done());
}

#[test]
fn rule_14_the_journal_counts_a_takeover() {
    let history = vec![started("a", 1, START)];
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Lease).polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(world.facts(), ["StepStarted"]);
    world.written();
    let interrupted = |event: &LogEvent| matches!(event, LogEvent::AttemptEnded { entry, .. } if entry.fact.name() == "AttemptInterrupted");
    assert!(world.logged.iter().any(interrupted));
}

#[test]
fn rule_14_ten_interruptions_in_a_row_fail_the_step() {
    let history = (1..=INTERRUPTIONS).map(|attempt| started("a", attempt, START)).collect();
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Lease).polled();
    world.want_steps(vec![body("a")]);
    assert_eq!(world.facts(), ["StepRefused"]);
}

#[test]
fn the_attempt_of_a_dead_process_is_interrupted_where_no_other_can_live() {
    let mut setup = HopSetup::new().one_at_a_time().with_history(vec![started("a", 1, START + seconds(600))]);
    setup.worker.is_alone = true;
    let mut world = setup.polled();
    world.want_steps(vec![body("a")]);
    assert!(matches!(world.open_question(), Effect::FindHolders(_)));
    world.on(Input::Holders(Vec::new()));
    assert_eq!(world.facts(), ["AttemptInterrupted"]);
}

#[test]
fn an_attempt_is_stopped_at_its_time_out() {
    let mut world = HopSetup::new().spec(|spec| spec.timeout = seconds(10)).polled();
    world.want_steps(vec![body("a")]).written();
    let expires = world.now + seconds(10);
    assert!(matches!(world.open_question(), Effect::AwaitAttempts(until) if *until == expires));
    world.now = expires;
    world.on(Input::TimeIs);
    assert!(matches!(&world.effects[..], [Effect::Stop { .. }, Effect::AwaitAttempts(_)]));
    world.on(Input::TimeIs);
    assert_eq!(world.effects.len(), 1, "once");
}

#[test]
fn a_sleep_that_is_due_is_decided_while_a_body_executes() {
    let until = START + seconds(60);
    let history = vec![Fact::SleepStarted { step: "nap".into(), until }];
    let nap = || crate::world::want("nap", stepladder_core::decide::Operation::SleepFor(seconds(60)));
    let mut world = HopSetup::new().with_history(history).polled();
    world.want_steps(vec![body("a"), nap()]).written();
    assert!(matches!(world.open_question(), Effect::AwaitAttempts(alarm) if *alarm <= until));
    world.now = until;
    world.on(Input::TimeIs);
    while !matches!(world.open_question(), Effect::Poll(_)) {
        world.on(Input::TimeIs);
    }
    world.want_steps(vec![nap()]);
    assert_eq!(world.facts(), ["SleepEnded"]);
}

#[test]
fn an_attempt_is_stopped_at_its_time_out_although_a_sleep_is_due_then() {
    let expires = START + seconds(61);
    let history = vec![Fact::SleepStarted { step: "nap".into(), until: expires }];
    let mut world = HopSetup::new().with_history(history).polled();
    let nap = crate::world::want("nap", stepladder_core::decide::Operation::SleepUntil(expires));
    world.want_steps(vec![body("a"), nap]).written();
    world.now = expires;
    world.on(Input::TimeIs);
    assert!(matches!(&world.effects[..], [Effect::Stop { .. }, Effect::Poll(_)]), "{:?}", world.effects);
}

#[test]
fn a_failure_is_retried_until_the_retries_are_used_up() {
    let mut world = HopSetup::new().spec(|spec| spec.retry.retries = 0).polled();
    world.want_steps(vec![body("a")]).written().fail("a");
    assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1), "the failure is final");
    world.return_from_handler(Err(failure("boom")));
    assert_eq!(world.facts(), ["StepFailed", "RunFailed"]);
}

#[test]
fn while_another_attempt_runs_elsewhere_its_lease_is_watched_after_a_failure() {
    let lease = START + seconds(100);
    let history = vec![started("b", 1, lease)];
    let mut world = HopSetup::new().with_history(history).polled();
    world.want_steps(vec![body("a"), body("b")]).written().fail("a");
    assert!(!world.write().acknowledges, "rule 10: the wake must leave a copy");
    world.written();
    world.want_steps(vec![body("a"), body("b")]);
    let causes: Vec<WakeCause> = later_wakes(world.write()).into_iter().map(|(cause, _)| cause).collect();
    assert_eq!(causes, [WakeCause::Lease]);
}

#[test]
fn the_start_names_the_process_and_the_end_of_its_lease() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]);
    let Fact::StepStarted { worker, lease_until, .. } = &world.write().entries[0].fact else { unreachable!() };
    assert_eq!((&**worker, *lease_until), (PROCESS, START + seconds(1) + seconds(125)));
}

#[test]
fn a_conflict_of_outcomes_keeps_the_wakes_of_their_retries() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![body("a")]).written().fail("a");
    let wakes = later_wakes(world.write());
    world.overtaken_by(vec![Fact::SleepStarted { step: "x".into(), until: START }]);
    assert_eq!((world.facts(), later_wakes(world.write())), (vec!["StepFailed".to_owned()], wakes));
}

#[test]
fn a_woken_step_is_retried_under_a_wake_of_its_own() {
    let history = vec![Fact::StepsWoken { steps: vec!["a".into()], together: false }];
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Step("a".into())).polled();
    world.want_steps(vec![body("a")]).written().fail("a");
    assert!(
        matches!(&world.write().before[..], [EarlyWrite::Wake { wake, .. }] if wake.cause == WakeCause::Step("a".into()))
    );
}

#[test]
fn a_replayed_outcome_is_not_executed_again() {
    let mut world = HopSetup::new().with_history(vec![started("a", 1, START), succeeded("a", 1)]).polled();
    world.want_steps(vec![body("b")]).written();
    assert_eq!(world.executed(), ["b".into()]);
}

#[test]
fn rule_29_a_body_that_does_not_stop_is_failed_with_its_slots_and_its_wake() {
    let mut setup = HopSetup::new().one_at_a_time();
    setup.worker.retry_delay = Some(seconds(3));
    let mut world = setup.polled();
    world.want_steps(vec![body("a")]);
    world.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    let Some(Effect::Run(attempts)) = world.effects.iter().find(|effect| matches!(effect, Effect::Run(_))) else {
        panic!("{:?}", world.effects)
    };
    let (state, attempt) = (world.state(), attempts[0].clone());
    let limits = [stepladder_core::slot::Limit { key: "f/0".into(), slots: 1 }];
    let (ready, holder) = (&attempt.ready, &attempt.holder);
    let lease_until = attempt.lease_until;
    let overdue = OverdueAttempt { ready, holder, limits: &limits, worker: &setup.worker, lease_until };
    let write = overdue.fail(&state, world.now, 1).expect("the attempt is running");
    assert!(state.admits_all(&write.entries).is_ok());
    assert_eq!(later_wakes(&write), [(WakeCause::Due, world.now + seconds(3))]);
    assert!(matches!(&write.after[..], [LateWrite::Release { holder: of, .. }] if of == holder));
    let woken = ReadyStep { woken: true, ..ready.clone() };
    let write = OverdueAttempt { ready: &woken, ..overdue }.fail(&state, world.now, 1).expect("as before");
    assert_eq!(later_wakes(&write), [(WakeCause::Step("a".into()), world.now + seconds(3))]);
    // the attempt was taken back, and another hop has started one with the same number
    let taken_back = Fact::AttemptUnreachable {
        step: "a".into(),
        attempt: 1,
        why: "no".into(),
        retry_at: world.now,
        hop: None,
        broken: false,
    };
    world.append(vec![taken_back.into_entry(world.now)]);
    assert!(overdue.fail(&world.state(), world.now, 1).is_none());
    for (lease, worker) in [(lease_until + seconds(1), PROCESS), (lease_until, "w2")] {
        let mut other = world.clone();
        let start = Fact::StepStarted {
            step: "a".into(),
            attempt: 1,
            lease_until: lease,
            worker: worker.into(),
            at_most_once: false,
        };
        other.append(vec![start.into_entry(world.now)]);
        assert!(overdue.fail(&other.state(), world.now, 1).is_none());
    }
}

#[test]
fn rule_14_a_takeover_beside_an_executing_attempt_is_left_to_a_new_wake() {
    let history = vec![started("b", 1, START + seconds(30))];
    let mut world = HopSetup::new().with_history(history).redelivered().polled();
    world.want_steps(vec![body("a"), body("b")]).written();
    assert_eq!(world.executed(), ["a".into()], "b is leased");
    world.now = START + seconds(31);
    world.on(Input::Finished(Finished::default()));
    world.want_steps(vec![body("b")]);
    assert_eq!(world.write().wakes.iter().map(|wake| wake.cause.clone()).collect::<Vec<_>>(), [WakeCause::Lease]);
    assert!(!world.write().acknowledges, "a goes on");
    world.written();
    world.want_steps(vec![body("b")]);
    assert!(matches!(world.open_question(), Effect::AwaitAttempts(_)), "{:?}", world.effects);
    world.succeed(&["a"]).want_steps(vec![body("b")]);
    assert_eq!(world.facts(), ["StepSucceeded"]);
    assert!(world.write().acknowledges && world.written().is_done());
}
