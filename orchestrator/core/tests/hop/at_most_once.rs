//! Steps that start at most once: an attempt with an unknown outcome fails the step, and an error
//! that the body returned is an outcome.

use stepladder_core::decide::{Operation, StepOptions, Want};
use stepladder_core::hop::{
    AttemptError, Effect, ExecutedStep, Finished, Input, LateWrite, OverdueAttempt, PollResult, Polled, StepResult,
};
use stepladder_core::journal::{Fact, Failure};
use stepladder_core::limits::RUN_BYTES;
use stepladder_core::slot::{Holder, Limit};
use stepladder_core::{AttemptReport, ErrorCode, Refusal, Timestamp, WakeCause, json};

use crate::world::{HopFixture, HopSetup, START, failure, run, seconds, started, unreachable, want};

fn once(step: &str) -> Want {
    with_options(step, StepOptions::default())
}

/// Returns a step that starts at most once, with these further options.
fn with_options(step: &str, options: StepOptions) -> Want {
    want(step, Operation::Run(StepOptions { at_most_once: true, ..options }))
}

fn started_once(attempt: u32, lease_until: Timestamp) -> Fact {
    let Fact::StepStarted { step, worker, .. } = started("pay", attempt, lease_until) else { unreachable!() };
    Fact::StepStarted { step, attempt, lease_until, worker, at_most_once: true }
}

/// Gives the hop the result of the attempt of `pay`.
fn finish_attempt(world: &mut HopFixture, error: AttemptError) {
    let results = vec![StepResult { step: "pay".into(), result: Err(error), report: AttemptReport::default() }];
    world.on(Input::Finished(Finished { results, dropped: Vec::new() }));
}

/// Returns the failure in the last entry of the write that the hop wants.
fn written_failure(world: &HopFixture) -> (Failure, Option<Timestamp>) {
    match &world.write().entries.last().expect("an entry").fact {
        Fact::StepRefused { error, .. } => (error.clone(), None),
        Fact::StepFailed { error, retry_at, .. } => (error.clone(), *retry_at),
        other => panic!("{other:?}"),
    }
}

fn assert_outcome_unknown(world: &HopFixture, text: &str) {
    let (error, retry_at) = written_failure(world);
    assert_eq!((error.code.clone(), retry_at), (Some(ErrorCode::OutcomeUnknown), None));
    assert!(error.message.contains(text) && error.message.contains("starts at most once"), "{}", error.message);
}

#[test]
fn the_start_says_so_and_is_synced() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![once("pay")]);
    let start = &world.write().entries[0].fact;
    assert!(matches!(start, Fact::StepStarted { at_most_once: true, .. }));
    assert!(!start.is_bookkeeping(), "after a power cut, the step would start again");
    assert!(world.executed().is_empty());
    world.written();
    assert_eq!(world.executed(), ["pay".into()]);
}

#[test]
fn an_attempt_of_a_dead_worker_fails_the_step_after_its_lease() {
    for receives in [1, 2] {
        let setup = HopSetup::new().with_history(vec![started_once(1, START)]).woken(WakeCause::Lease);
        let mut world = HopSetup { receives, ..setup }.polled();
        world.want_steps(vec![once("pay")]);
        assert_eq!(world.facts(), ["StepRefused"]);
        assert_outcome_unknown(&world, "was interrupted");
        world.written();
        assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1), "the function goes on");
    }
}

#[test]
fn a_live_lease_is_awaited() {
    let history = vec![started_once(1, START + seconds(600))];
    let mut world = HopSetup::new().with_history(history).polled();
    world.want_steps(vec![once("pay")]);
    assert!(world.write().entries.is_empty() && world.write().acknowledges);
    assert_eq!(crate::world::later_wakes(world.write())[0].0, WakeCause::Lease);
}

#[test]
fn a_restarted_server_fails_the_step_at_once_and_releases_its_slots() {
    let mut setup = HopSetup::new().one_at_a_time().with_history(vec![started_once(1, START + seconds(600))]);
    setup.worker.is_alone = true;
    let mut world = setup.polled();
    world.want_steps(vec![once("pay")]);
    let limit = Limit { key: "f/0".into(), slots: 1 };
    let holder = Holder::Attempt { run: run(), step: "pay".into(), attempt: 1, hop: 3 };
    world.on(Input::Holders(vec![(limit, holder.clone())]));
    assert_eq!(world.facts(), ["AttemptInterrupted", "StepRefused"]);
    assert_outcome_unknown(&world, "was interrupted");
    assert!(matches!(&world.write().after[..], [LateWrite::Release { holder: of, .. }] if *of == holder));
    assert!(world.state().admits_all(&world.write().entries).is_ok());
}

#[test]
fn an_attempt_that_the_function_dropped_is_not_repeated_by_the_next_attempt_of_the_handler() {
    let dropped = || Fact::StepAbandoned { step: "pay".into(), attempt: 1, report: AttemptReport::default() };
    let failed = || Fact::HandlerFailed { attempt: 1, error: Failure::new("no"), retry_at: START };
    for (first, second) in [(dropped(), failed()), (failed(), dropped())] {
        let history = vec![started_once(1, START + seconds(60)), first, second];
        let mut world = HopSetup::new().with_history(history).woken(WakeCause::Due).polled();
        world.want_steps(vec![once("pay")]);
        assert_eq!(world.facts(), ["StepRefused"]);
        assert_outcome_unknown(&world, "the function dropped it");
    }
}

#[test]
fn an_attempt_that_is_stopped_at_its_time_out_is_not_retried() {
    for stopped in [true, false] {
        let retries = StepOptions { retries: Some(3), timeout: Some(seconds(10)), ..StepOptions::default() };
        let mut world = HopSetup::new().polled();
        world.want_steps(vec![with_options("pay", retries)]).written();
        if stopped {
            world.now = world.now + seconds(10);
            world.on(Input::TimeIs);
            assert!(world.effects.iter().any(|effect| matches!(effect, Effect::Stop { .. })));
        }
        // an executor may stop an attempt by itself; its error then has the code `timeout`
        let code = if stopped { None } else { Some(ErrorCode::Timeout) };
        let mut error = failure("too slow");
        error.failure.code = code;
        finish_attempt(&mut world, error.into());
        world.return_from_handler(Ok(json::null()));
        let entry = &world.write().entries[0].fact;
        let Fact::StepFailed { error, retry_at: None, .. } = entry else { panic!("{entry:?}") };
        assert_eq!(error.code, Some(ErrorCode::OutcomeUnknown));
        assert!(error.message.contains("ran past its time-out of 10s"), "{}", error.message);
    }
}

#[test]
fn an_error_of_the_body_is_retried_only_if_the_step_sets_retries() {
    for (retries, again) in [(None, false), (Some(0), false), (Some(1), true)] {
        let mut world = HopSetup::new().polled();
        world.want_steps(vec![with_options("pay", StepOptions { retries, ..StepOptions::default() })]).written();
        world.fail("pay");
        if !again {
            assert!(matches!(world.open_question(), Effect::Poll(shown) if shown.len() == 1), "the error is final");
            continue;
        }
        let (error, retry_at) = written_failure(&world);
        assert_eq!((error.code, &*error.message), (None, "boom"));
        world.written();
        let mut setup = HopSetup::new().woken(WakeCause::Due);
        setup.now = retry_at.expect("a retry");
        setup.history = world.records.iter().flat_map(|r| r.entries.clone()).skip(1).map(|e| e.fact).collect();
        let mut next = setup.polled();
        next.want_steps(vec![with_options("pay", StepOptions { retries, ..StepOptions::default() })]).written();
        assert_eq!(next.executed(), ["pay".into()], "the body is known to have ended");
        next.fail("pay");
        assert!(matches!(next.open_question(), Effect::Poll(shown) if shown.len() == 1), "no retries are left");
    }
}

#[test]
fn a_lost_attempt_fails_the_step_and_one_that_was_not_sent_does_not() {
    let executing = |wanted: Want| {
        let mut world = HopSetup::new().polled();
        world.want_steps(vec![wanted]).written();
        world
    };
    let mut lost = executing(once("pay"));
    finish_attempt(&mut lost, AttemptError::Lost(unreachable()));
    lost.return_from_handler(Ok(json::null()));
    let Fact::StepFailed { error, retry_at: None, .. } = &lost.write().entries[0].fact else { panic!() };
    assert_eq!(error.code, Some(ErrorCode::OutcomeUnknown));
    assert!(error.message.contains("lost the connection to its executor: connection refused"), "{}", error.message);

    let mut repeated = executing(crate::world::body("pay"));
    finish_attempt(&mut repeated, AttemptError::Lost(unreachable()));
    assert_eq!(repeated.facts(), ["AttemptUnreachable"], "another step is executed again");

    let mut refused = executing(once("pay"));
    finish_attempt(&mut refused, AttemptError::Unreachable(unreachable()));
    assert_eq!(refused.facts(), ["AttemptUnreachable"]);
    let (_, due) = crate::world::later_wakes(refused.write())[0].clone();
    refused.written();
    let mut setup = HopSetup::new().woken(WakeCause::Due);
    setup.now = due;
    setup.history = refused.records.iter().flat_map(|r| r.entries.clone()).skip(1).map(|e| e.fact).collect();
    let mut next = setup.polled();
    next.want_steps(vec![once("pay")]).written();
    assert_eq!(next.executed(), ["pay".into()], "nothing was executed");
}

#[test]
fn a_start_that_came_too_late_is_handed_over_because_no_body_has_run() {
    let mut world = HopSetup::new().polled();
    world.want_steps(vec![once("pay")]);
    let Fact::StepStarted { lease_until, .. } = world.write().entries[0].fact.clone() else { unreachable!() };
    world.now = lease_until;
    world.written();
    assert_eq!(world.facts(), ["AttemptInterrupted"]);
    world.written();
    let mut setup = HopSetup::new().woken(WakeCause::Fresh(None));
    setup.now = lease_until;
    setup.history = world.records.iter().flat_map(|r| r.entries.clone()).skip(1).map(|e| e.fact).collect();
    let mut next = setup.polled();
    next.want_steps(vec![once("pay")]).written();
    assert_eq!(next.executed(), ["pay".into()]);
}

#[test]
fn a_body_that_blocks_its_thread_fails_the_step_without_a_retry() {
    let setup = HopSetup::new();
    let mut world = setup.polled();
    world.want_steps(vec![with_options("pay", StepOptions { retries: Some(3), ..StepOptions::default() })]).written();
    let attempts = world.effects.iter().find_map(|effect| match effect {
        Effect::Run(attempts) => Some(attempts.clone()),
        _ => None,
    });
    let attempt = attempts.expect("an attempt").remove(0);
    let overdue = OverdueAttempt {
        ready: &attempt.ready,
        holder: &attempt.holder,
        limits: &[],
        worker: &setup.worker,
        lease_until: attempt.lease_until,
    };
    let write = overdue.fail(&world.state(), world.now, 1).expect("the attempt is running");
    let Fact::StepFailed { error, retry_at: None, .. } = &write.entries[0].fact else { panic!("{write:?}") };
    assert_eq!(error.code, Some(ErrorCode::OutcomeUnknown));
    assert!(error.message.contains("it blocks its thread; it starts at most once"), "{}", error.message);
}

#[test]
fn an_executor_must_not_execute_the_step_while_it_is_polled() {
    let mut world = HopSetup { executes_in_poll: true, ..HopSetup::new() }.polled();
    let executed = vec![ExecutedStep { want: once("pay"), result: Ok(json::null()), report: AttemptReport::default() }];
    world.on(Input::Polled(Box::new(Polled { executed, ..PollResult::Wanted(Vec::new()).into() })));
    assert_eq!(world.facts(), ["CallEnded", "RunFailed"]);
    let Fact::RunFailed { error } = &world.write().entries[1].fact else { unreachable!() };
    assert_eq!(error.code, Some(ErrorCode::Nondeterminism));
    assert!(error.message.contains("step `pay` as executed, and it starts at most once"), "{}", error.message);

    let mut world = HopSetup { executes_in_poll: true, ..HopSetup::new() }.polled();
    world.want_steps(vec![once("pay")]);
    assert_eq!(world.facts(), ["CallEnded", "StepStarted"]);
    world.written();
    assert_eq!(world.executed(), ["pay".into()], "it executes as an attempt, after its start is written");
}

#[test]
fn a_run_without_room_says_that_the_step_may_have_taken_effect() {
    let output = json::to_json(&"x".repeat(RUN_BYTES / 8)).unwrap();
    let full = (0..8).map(|n| Fact::SignalReceived { step: format!("s{n}").into(), data: output.clone() });
    let history = full.chain([started_once(1, START)]).collect();
    let mut world = HopSetup::new().with_history(history).polled();
    world.want_steps(vec![once("pay")]);
    assert_outcome_unknown(&world, "was interrupted");
}

#[test]
fn the_journal_refuses_a_start_after_an_attempt_without_an_outcome() {
    let mut world = HopSetup::new().with_history(vec![started_once(1, START)]).loaded();
    let start = started_once(2, START + seconds(60)).into_entry(START + seconds(1));
    assert_eq!(world.state().admits(&start), Err(Refusal::StartsOnce("pay".into())));
    let failed = Fact::StepFailed {
        step: "pay".into(),
        attempt: 1,
        error: Failure::new("declined"),
        retry_at: Some(START),
        report: AttemptReport::default(),
    };
    world.append(vec![failed.into_entry(START)]);
    assert_eq!(world.state().admits(&start), Ok(()));
}
