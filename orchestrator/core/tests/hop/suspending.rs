//! Tests of hops in which no body starts: tickets that are no longer needed, and entries that other
//! hops wrote meanwhile.

use stepladder_core::decide::{Operation, Want};
use stepladder_core::hop::{Effect, Input, LateWrite, LogEvent, SlotAnswer, TicketSearch, WriteResult};
use stepladder_core::journal::{Fact, Failure, Record};
use stepladder_core::slot::Limit;
use stepladder_core::{AttemptReport, RunOrStep, WakeCause};

use crate::world::{HopFixture, HopSetup, START, body, later_wakes, seconds, started, succeeded, want};

fn queued(joined: bool, is_new: bool) -> Input {
    Input::Slots(SlotAnswer::Queued { key: "f/0".into(), joined, is_new })
}

/// Returns a hop that has just put the step `a` into its wait queue.
fn enqueued() -> HopFixture {
    let mut world = HopSetup::new().one_at_a_time().polled();
    world.want_steps(vec![body("a")]);
    world.on(queued(true, true));
    assert!(matches!(world.open_question(), Effect::ReadOn));
    world
}

fn nap() -> Want {
    want("nap", Operation::SleepFor(seconds(600)))
}

fn napping() -> Fact {
    Fact::SleepStarted { step: "nap".into(), until: START + seconds(600) }
}

/// Returns a hop with a wake for the ticket of the step `a`, and the limits of that step. The hop
/// is looking up the ticket.
fn looks_up(mut history: Vec<Fact>) -> (HopFixture, Vec<Limit>) {
    history.push(napping());
    let setup = HopSetup::new().one_at_a_time().with_history(history);
    let mut world = setup.woken(WakeCause::Step("a".into())).polled();
    world.want_steps(vec![body("a"), nap()]);
    let Effect::FindTickets { limits, place } = world.open_question().clone() else {
        panic!("{:?}", world.open_question())
    };
    assert_eq!(place, TicketSearch::OwnAtHead(RunOrStep::Step("a".into())));
    (world, limits)
}

fn causes(world: &HopFixture) -> Vec<WakeCause> {
    world.write().wakes.iter().map(|wake| wake.cause.clone()).collect()
}

#[test]
fn rule_21_a_step_that_another_hop_has_settled_leaves_the_queue_without_a_wake() {
    let mut world = enqueued();
    let (entries, now) = (vec![started("a", 1, START + seconds(100)), succeeded("a", 1)], world.now);
    let record = world.append(entries.into_iter().map(|fact| fact.into_entry(now)).collect());
    world.on(Input::Entries(vec![record]));
    assert!(matches!(&world.write().after[..], [LateWrite::Dequeue { .. }]));
    assert!(world.write().wakes.is_empty());
}

#[test]
fn rule_21_a_step_that_no_hop_has_started_stays_in_the_queue() {
    for fact in [napping(), Fact::StepsWoken { steps: vec!["a".into()], together: false }] {
        let mut world = enqueued();
        let record = world.append(vec![fact.into_entry(START)]);
        world.on(Input::Entries(vec![record]));
        assert!(matches!(world.open_question(), Effect::Open(_)), "all is decided again: {:?}", world.open_question());
    }
}

#[test]
fn rule_21_a_step_is_reported_once_however_often_it_is_enqueued() {
    let mut world = enqueued();
    let record = world.append(vec![napping().into_entry(START)]);
    world.on(Input::Entries(vec![record]));
    world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
    world.want_steps(vec![body("a")]).on(queued(true, true));
    let is_reported = |event: &&LogEvent| matches!(event, LogEvent::Enqueued { .. });
    assert_eq!(world.logged.iter().filter(is_reported).count(), 1);
}

#[test]
fn a_step_is_reported_as_enqueued_when_its_ticket_is_new_or_its_run_arrives() {
    let arrived = HopSetup::new().one_at_a_time();
    for (setup, joined, is_new, reports) in [
        (arrived.clone(), true, true, true),
        (arrived.clone(), true, false, false),
        (arrived.clone(), false, false, true),
        (arrived.clone().redelivered(), false, false, false),
        (arrived.clone().woken(WakeCause::Next), false, false, false),
        (arrived.woken(WakeCause::Next), true, true, true),
    ] {
        let mut world = setup.polled();
        world.want_steps(vec![body("a")]).on(queued(joined, is_new));
        let reported = world.logged.iter().any(|event| matches!(event, LogEvent::Enqueued { .. }));
        assert_eq!(reported, reports, "{joined} {is_new}");
        assert_eq!(
            matches!(world.open_question(), Effect::ReadOn),
            joined,
            "rule 21: only a new position needs a second look"
        );
    }
}

#[test]
fn a_journal_with_a_gap_gives_the_wake_back() {
    let gap = |world: &HopFixture| Record { seq: world.state().next + 1, ..world.records[0].clone() };
    let mut reading = enqueued();
    reading.on(Input::Entries(vec![gap(&reading)]));
    let mut writing = HopSetup::new().polled();
    writing.want_steps(vec![nap()]);
    let mut overtaken = writing.clone();
    writing.on(Input::Written(WriteResult::Done(Some(gap(&writing)))));
    overtaken.on(Input::Written(WriteResult::Conflict(vec![gap(&overtaken)])));
    for world in [reading, writing, overtaken] {
        assert!(matches!(world.open_question(), Effect::PutBack(_)), "{:?}", world.open_question());
        assert!(world.logged.iter().any(|event| matches!(event, LogEvent::StoreFailed(fault) if fault.is_permanent())));
    }
}

#[test]
fn rule_24_the_ticket_of_a_settled_step_goes_without_a_wake() {
    let (mut world, limits) = looks_up(vec![started("a", 1, START), succeeded("a", 1)]);
    let mut none = world.clone();
    world.on(Input::Tickets(limits));
    assert!(matches!(&world.write().after[..], [LateWrite::Dequeue { .. }]));
    assert!(world.write().wakes.is_empty() && world.write().before.is_empty(), "{:?}", world.write());
    none.on(Input::Tickets(vec![]));
    assert!(none.write().after.is_empty() && none.write().acknowledges);
}

#[test]
fn rule_24_a_step_that_waits_for_its_retry_is_woken_then_if_its_ticket_goes() {
    let (error, report) = (Failure::new("boom"), AttemptReport::default());
    let retry_at = START + seconds(200);
    let failed = Fact::StepFailed { step: "a".into(), attempt: 1, error, retry_at: Some(retry_at), report };
    let (mut world, limits) = looks_up(vec![started("a", 1, START), failed]);
    world.on(Input::Tickets(limits));
    assert_eq!(later_wakes(world.write()), [(WakeCause::Step("a".into()), retry_at)]);
    assert!(world.write().wakes.is_empty());
}

#[test]
fn rule_24_a_step_that_executes_elsewhere_is_woken_once_more_if_its_ticket_goes() {
    let (mut world, limits) = looks_up(vec![started("a", 1, START + seconds(100))]);
    world.on(Input::Tickets(limits));
    assert_eq!(causes(&world), [WakeCause::Step("a".into())], "its next attempt may rely on the ticket");
}

#[test]
fn rule_24_the_ticket_of_a_step_that_is_enqueued_stays() {
    let setup = HopSetup::new().one_at_a_time().woken(WakeCause::Step("a".into()));
    let mut world = setup.polled();
    world.want_steps(vec![body("a")]);
    world.on(queued(false, false));
    assert!(world.write().acknowledges && world.write().after.is_empty(), "{:?}", world.write());
}

#[test]
fn rule_24_a_step_that_came_due_during_the_look_up_is_woken_if_the_ticket_goes() {
    for (seconds, woken) in [(599, vec![]), (600, vec![WakeCause::Next])] {
        let mut world = HopSetup::new().one_at_a_time().with_history(vec![napping()]).woken(WakeCause::Slot).polled();
        world.want_steps(vec![nap()]);
        let Effect::FindTickets { limits, .. } = world.open_question().clone() else {
            panic!("{:?}", world.open_question())
        };
        world.now = START + crate::world::seconds(seconds);
        world.on(Input::Tickets(limits));
        assert_eq!(causes(&world), woken);
    }
}

#[test]
fn a_wake_for_a_step_is_for_no_ticket_without_a_limit() {
    let history = vec![started("a", 1, START), succeeded("a", 1), napping()];
    let mut world = HopSetup::new().with_history(history).woken(WakeCause::Step("a".into())).polled();
    world.want_steps(vec![nap()]);
    assert!(world.write().acknowledges);
}

#[test]
fn rule_24_a_run_that_has_executed_a_step_has_no_ticket_of_its_own() {
    let history = vec![started("a", 1, START), succeeded("a", 1), napping()];
    let mut world = HopSetup::new().one_at_a_time().with_history(history).woken(WakeCause::Slot).polled();
    world.want_steps(vec![nap()]);
    assert!(world.write().acknowledges && world.write().after.is_empty());
}

#[test]
fn many_steps_of_a_run_that_has_executed_one_leave_its_ticket_alone() {
    let names: Vec<String> = ["b", "c", "d", "e", "f"].map(Into::into).to_vec();
    let fan_out = |history| {
        let mut world = HopSetup::new().one_at_a_time().with_history(history).polled();
        world.want_steps(names.iter().map(|name| body(name)).collect());
        assert_eq!(world.facts(), ["StepsWoken"; 2]);
        world
    };
    let ticket =
        |world: &HopFixture| world.write().after.iter().any(|after| matches!(after, LateWrite::Dequeue { .. }));
    assert!(ticket(&fan_out(vec![])), "each step has its own ticket from here on");
    assert!(!ticket(&fan_out(vec![started("a", 1, START), succeeded("a", 1)])));
}
