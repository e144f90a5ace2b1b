//! Gives every phase every input. The hop must continue or put its wake back. It must not panic,
//! and must not stop and lose its wake.

use std::collections::BTreeSet;

use stepladder_core::decide::Operation;
use stepladder_core::flow::Rate;
use stepladder_core::hop::{
    Effect, Finished, Input, LoadedRun, PollResult, SlotAnswer, StoreFault, TicketSearch, WriteResult,
};
use stepladder_core::journal::{Fact, NewRun, RunOrigin};
use stepladder_core::spec::{Concurrency, Trigger};
use stepladder_core::system::INNGEST_FINISHED;
use stepladder_core::{NewEvent, RunId, Spec, WakeCause, json};

use crate::world::{HopFixture, HopSetup, START, body, event, failure, polled, run, seconds, started, want};

/// Returns an input of every kind.
fn inputs(world: &HopFixture) -> Vec<(&'static str, Input)> {
    let loaded = LoadedRun { run: world.state(), worker_timeout: seconds(120), longest_step: seconds(115) };
    vec![
        ("Loaded(None)", Input::Loaded(None)),
        ("Loaded(run)", Input::Loaded(Some(Box::new(loaded)))),
        ("Done", Input::Done),
        ("Written(done)", Input::Written(WriteResult::Done(None))),
        ("Written(conflict)", Input::Written(WriteResult::Conflict(Vec::new()))),
        ("Entries", Input::Entries(Vec::new())),
        ("Paused(true)", Input::Paused(true)),
        ("Paused(false)", Input::Paused(false)),
        ("Admission(later)", Input::Admission(Some(world.now + seconds(60)))),
        ("Admission(now)", Input::Admission(None)),
        ("Found", Input::Found(None)),
        ("Tickets", Input::Tickets(Vec::new())),
        ("Holders", Input::Holders(Vec::new())),
        ("Slots(acquired)", Input::Slots(SlotAnswer::Acquired)),
        ("Slots(queued)", Input::Slots(SlotAnswer::Queued { key: "k".into(), joined: true, is_new: true })),
        ("Inbox", Input::Inbox(vec![(event(9).id, Some(event(9)))])),
        ("Opened(ok)", Input::Opened(Ok(0))),
        ("Opened(failure)", Input::Opened(Err(Box::new(failure("no").failure)))),
        ("Polled(wanted)", polled(PollResult::Wanted(vec![body("z")]))),
        ("Polled(ended)", polled(PollResult::Ended(Ok(json::null())))),
        ("Sent", Input::Sent(Vec::new())),
        ("Finished", Input::Finished(Finished::default())),
        ("TimeIs", Input::TimeIs),
        ("PutBack(true)", Input::PutBack(true)),
        ("PutBack(false)", Input::PutBack(false)),
        ("StoreFailed", Input::StoreFailed(StoreFault::Unavailable("throttled".into()))),
        ("StoreFailed(lasting)", Input::StoreFailed(StoreFault::Refused("no permission".into()))),
        ("Unreachable", Input::Unreachable(crate::world::unreachable())),
    ]
}

/// Returns hops, at least one in each phase.
fn worlds() -> Vec<HopFixture> {
    let mut worlds = Vec::new();
    let mut visit = |mut world: HopFixture, most: usize| {
        for _ in 0..most {
            worlds.push(world.clone());
            if world.is_done() {
                break;
            }
            match world.open_question() {
                Effect::Poll(_) | Effect::AwaitAttempts(_) => break,
                _ => world.answer(),
            };
        }
        worlds.push(world);
    };
    let mut replacing = HopSetup::new().one_at_a_time();
    replacing.created.replaces = Some(RunId::new(START, 1));
    let origin = RunOrigin::Invoke { parent: RunId::new(START, 1), step: "c".into() };
    replacing.created = NewRun { bound: true, origin, ..replacing.created };
    let throttle = Rate { limit: 1, period: seconds(60), burst: 1, key: None };
    visit(replacing.clone().spec(|spec| spec.flow.throttle = Some(throttle)).begin(), 30);
    visit(replacing.redelivered().begin(), 30);
    let mut paused = HopSetup::new().one_at_a_time().loaded();
    paused.on(Input::Paused(true));
    visit(paused, 30);
    let limited = || HopSetup::new().spec(|spec| spec.concurrency.push(Concurrency::runs(1)));
    visit(limited().woken(WakeCause::Watchdog).begin(), 30);
    let mut queued = limited().woken(WakeCause::Watchdog).loaded();
    queued.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
    queued.on(Input::Slots(SlotAnswer::Queued { key: "k".into(), joined: true, is_new: true }));
    visit(queued, 30);

    // hops that have polled their function, in the phase to which each kind of wanted step leads
    let others = || vec![Spec::new("g")];
    let setup = || HopSetup { others: others(), ..HopSetup::new() }.one_at_a_time();
    let call = |bound| Operation::Invoke {
        function: "g".into(),
        input: json::empty_object(),
        bound,
        timeout: None,
        user: None,
    };
    let wants = [
        body("a"),
        want("nap", Operation::SleepFor(seconds(60))),
        want("send", Operation::Send(vec![NewEvent::new("x", json::empty_object())])),
        want("call", call(true)),
        want("signal", Operation::WaitForSignal { timeout: seconds(60), heartbeat: None, name: None }),
    ];
    for wanted in wants {
        let mut world = setup().polled();
        world.want_steps(vec![wanted]);
        visit(world, 30);
    }
    let child = run().invoked_by("call", START);
    let started_call = Fact::InvokeStarted {
        step: "call".into(),
        function: "g".into(),
        child,
        input: json::null(),
        bound: true,
        until: None,
        user: None,
    };
    let mut calling = setup().with_history(vec![started_call.clone()]).woken(WakeCause::Watchdog).polled();
    calling.want_steps(vec![want("call", call(true))]);
    visit(calling, 30);

    // hops with an executor that executes steps while it is polled
    let in_poll = HopSetup { executes_in_poll: true, ..setup() };
    visit(in_poll.begin(), 30);
    let mut enqueued = in_poll.loaded();
    enqueued.answer_until(|effect| matches!(effect, Effect::Acquire(_)));
    enqueued.on(Input::Slots(SlotAnswer::Queued { key: "k".into(), joined: true, is_new: true }));
    visit(enqueued, 30);

    // hops in the phases `Running`, `Saving` and `Draining`
    let mut executing = setup().polled();
    executing.want_steps(vec![body("a")]);
    executing.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    visit(executing.clone(), 1);
    executing.succeed(&["a"]).return_from_handler(Ok(json::null()));
    visit(executing, 30);
    let mut two = HopSetup::new().polled();
    two.want_steps(vec![body("a"), body("b")]).written().succeed(&["a"]);
    visit(two.clone(), 30);
    let mut saving = two.clone();
    saving.fail_executor();
    visit(saving.clone(), 1);
    saving.on(Input::Finished(Finished::default()));
    visit(saving, 1);
    let mut draining = HopSetup::new().one_at_a_time().spec(|spec| spec.concurrency[0].limit = 2).polled();
    draining.want_steps(vec![body("a"), body("b")]);
    draining.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    draining.succeed(&["a"]).overtaken_by(vec![Fact::RunCancelled { reason: "a user".into() }]);
    draining.answer_until(|effect| matches!(effect, Effect::AwaitAttempts(_)));
    visit(draining.clone(), 1);
    draining.succeed(&["b"]);
    visit(draining, 30);

    // a hop in the phase `Suspending`
    let mut waiting = setup().polled();
    waiting.want_steps(vec![body("a")]);
    waiting.on(Input::Slots(SlotAnswer::Queued { key: "k".into(), joined: true, is_new: true }));
    visit(waiting, 30);
    let nap = Fact::SleepStarted { step: "nap".into(), until: START + seconds(600) };
    let mut unused = setup().with_history(vec![nap]).woken(WakeCause::Slot).polled();
    unused.want_steps(vec![want("nap", Operation::SleepFor(seconds(600)))]);
    assert!(matches!(unused.open_question(), Effect::FindTickets { place: TicketSearch::OwnAtHead(_), .. }));
    visit(unused, 30);

    // hops that read the inbox, that repeat a write after a conflict, or that have ended
    let wait = stepladder_core::waiting::EventWait {
        events: vec!["go".into()],
        matching: stepladder_core::waiting::EventMatch::Any,
    };
    let awaited = Fact::EventAwaited { step: "w".into(), wait: wait.into(), until: START + seconds(600) };
    visit(HopSetup::new().with_history(vec![awaited]).woken(WakeCause::Offered).begin(), 30);
    let mut alone = HopSetup::new();
    alone.worker.is_alone = true;
    let mut patient = alone.polled();
    patient.want_steps(vec![body("a")]).written().succeed(&["a"]).return_from_handler(Ok(json::null()));
    patient.fail_executor();
    visit(patient, 30);
    let mut listener = Spec::new("l");
    listener.triggers.push(Trigger { event: INNGEST_FINISHED.into(), condition: None });
    let ended = Fact::RunFailed { error: failure("boom").failure };
    let ending = HopSetup { others: vec![listener, Spec::new("g"), Spec::new("h")], ..HopSetup::new() }.one_at_a_time();
    let ending = ending.spec(|spec| spec.on_failure = Some("h".into()));
    let ending = ending.with_history(vec![started("a", 1, START), started_call, ended]);
    visit(ending.clone().begin(), 30);
    visit(ending.redelivered().begin(), 30);

    // hops without a run, hops without a function, and hops with failing storage
    let minute = START.as_millis() / 60_000;
    let mut tick = HopSetup::new().woken(WakeCause::Tick(minute)).begin();
    tick.on(Input::Loaded(None));
    visit(tick, 30);
    let mut failing = HopSetup::new().begin();
    failing.fail_executor();
    visit(failing.clone(), 1);
    failing.on(Input::PutBack(false));
    visit(failing, 30);
    worlds
}

#[test]
fn every_phase_goes_on_or_gives_its_wake_back_at_every_input() {
    let mut pairs = BTreeSet::new();
    for world in worlds() {
        for (name, input) in inputs(&world) {
            let (before, was_done) = (world.phase(), world.is_done());
            let mut next = world.clone();
            next.on(input);
            pairs.insert((before, name, next.phase()));
            let questions = next.effects.iter().filter(|effect| effect.is_question()).count();
            let asks = next.effects.last().is_some_and(Effect::is_question);
            match next.is_done() {
                true => assert_eq!(questions, 0, "{before}, {name}: a hop that is done asks nothing"),
                false => assert!(asks && questions == 1, "{before}, {name}: {:?}", next.effects),
            }
            assert!(!was_done || next.effects.is_empty(), "{before}, {name}: a hop that is done does nothing");
        }
    }
    let phases: BTreeSet<&str> = pairs.iter().map(|(phase, ..)| *phase).collect();
    let all = [
        "Loading",
        "CreatingTick",
        "Acknowledging",
        "PuttingBack",
        "SendingAgain",
        "Admitting",
        "Preparing",
        "RunSlots",
        "Replaying",
        "Deciding",
        "Starting",
        "Suspending",
        "Writing",
        "Promoting",
        "Running",
        "Saving",
        "Draining",
        "Ending",
        "Done",
    ];
    for phase in all {
        assert!(phases.contains(phase), "no test hop is in phase {phase}; there are {phases:?}");
    }
}

#[test]
fn a_wrong_answer_never_acknowledges_the_wake() {
    for world in worlds().into_iter().filter(|world| !world.is_done()) {
        // neither input answers the question that the phase is asking
        let wrong = match world.open_question() {
            Effect::Load => Input::Sent(Vec::new()),
            _ => Input::Loaded(None),
        };
        let (phase, mut next) = (world.phase(), world);
        next.on(wrong);
        match phase {
            // these phases wait for their attempts before they put the wake back
            "Running" | "Saving" | "Draining" => {}
            _ => assert!(!next.is_done() || matches!(phase, "PuttingBack" | "SendingAgain"), "{phase}"),
        }
        let acknowledges =
            next.effects.iter().any(|effect| matches!(effect, Effect::Write(write) if write.acknowledges));
        assert!(!acknowledges, "{phase}");
    }
}
