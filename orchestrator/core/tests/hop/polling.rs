//! The state that a check of a poll passes to the next check.

use stepladder_core::decide::{Operation, PollSchedule, StepOptions, Want};
use stepladder_core::hop::{AdvisedFailure, Effect, Finished, Input, StepResult};
use stepladder_core::journal::{Fact, Failure};
use stepladder_core::limits::POLL_STATE_BYTES;
use stepladder_core::retry::{Backoff, RetryAdvice};
use stepladder_core::{AttemptReport, ErrorCode, Json, WakeCause, json};

use crate::world::{HopFixture, HopSetup, START, seconds, started, want};

fn check() -> Want {
    let poll = PollSchedule { every: Backoff::Fixed(seconds(10)), timeout: seconds(100) };
    let backoff = Some(Backoff::Fixed(seconds(10)));
    want("p", Operation::Run(StepOptions { poll: Some(poll), backoff, ..StepOptions::default() }))
}

fn state(n: u32) -> Json {
    json::to_json(&n).unwrap()
}

/// Ends the check that is executing, with this failure.
fn finish_check(world: &mut HopFixture, failure: Failure) {
    let result = Err(AdvisedFailure { failure, retry: RetryAdvice::Default }.into());
    let results = vec![StepResult { step: "p".into(), result, report: AttemptReport::default() }];
    world.on(Input::Finished(Finished { results, dropped: vec![] }));
}

/// Begins the next hop, and returns it with the state that its check receives.
fn next_check(history: Vec<Fact>, nth: u64) -> (HopFixture, Option<String>) {
    let setup = HopSetup::new().with_history(history).woken(WakeCause::Due);
    let mut world = HopSetup { now: START + seconds(11 * nth), ..setup }.polled();
    world.want_steps(vec![check()]).written();
    let received = world.effects.iter().find_map(|effect| match effect {
        Effect::Run(attempts) => Some(attempts[0].ready.poll_state.as_ref().map(|state| state.get().to_owned())),
        _ => None,
    });
    (world, received.expect("a check starts"))
}

/// Returns the facts of the journal after its first one.
fn history_of(world: &HopFixture) -> Vec<Fact> {
    world.records.iter().flat_map(|record| record.entries.clone()).skip(1).map(|entry| entry.fact).collect()
}

#[test]
fn each_check_receives_the_state_of_the_last_check_without_an_error() {
    let (mut world, first) = next_check(Vec::new(), 0);
    assert_eq!(first, None, "the first check receives what the code says");
    let outcomes = [
        (Failure::not_yet_with(state(1)).unwrap(), Some("1")),
        (Failure::new("away"), Some("1")),
        (Failure::new("away"), Some("1")),
        (Failure::not_yet_with(state(2)).unwrap(), Some("2")),
    ];
    for (nth, (outcome, received)) in (1..).zip(outcomes) {
        finish_check(&mut world, outcome);
        assert_eq!(world.facts(), ["StepFailed"], "the state is part of the entry of its check");
        world.written();
        let (next, state) = next_check(history_of(&world), nth);
        assert_eq!(state.as_deref(), received, "check {nth}");
        world = next;
    }
}

#[test]
fn a_check_that_version_0_2_0_recorded_has_no_state() {
    let not_yet = r#"{"StepFailed":{"step":"p","attempt":1,"error":{"message":"not yet","code":"stepladder/not-yet"},"retry_at":1000000000}}"#;
    let history = vec![started("p", 1, START), serde_json::from_str(not_yet).unwrap()];
    assert_eq!(next_check(history, 1).1, None);
}

#[test]
fn a_check_that_was_interrupted_is_repeated_with_its_state() {
    let (mut world, _) = next_check(Vec::new(), 0);
    finish_check(&mut world, Failure::not_yet_with(state(1)).unwrap());
    world.written();
    let interrupted = history_of(&world).into_iter().chain([started("p", 2, START)]).collect();
    assert_eq!(next_check(interrupted, 2).1.as_deref(), Some("1"));
}

#[test]
fn rule_33_a_state_beyond_its_limit_fails_the_poll() {
    let of_bytes = |bytes: usize| json::to_json(&"x".repeat(bytes - 2)).unwrap();
    assert!(Failure::not_yet_with(of_bytes(POLL_STATE_BYTES)).is_ok());
    let (mut world, _) = next_check(Vec::new(), 0);
    // a front end that does not use `not_yet_with`
    finish_check(&mut world, Failure { data: Some(of_bytes(POLL_STATE_BYTES + 1)), ..Failure::not_yet() });
    world.return_from_handler(Ok(json::null()));
    let fact = &world.write().entries[0].fact;
    let Fact::StepFailed { error, retry_at: None, .. } = fact else { panic!("{fact:?}") };
    assert_eq!((error.code.clone(), error.data.is_none()), (Some(ErrorCode::TooLarge), true));
    assert!(error.message.contains("the state for the next check has 16385 bytes; at most 16384"), "{}", error.message);
}
