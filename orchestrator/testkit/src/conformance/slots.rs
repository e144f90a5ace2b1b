//! Slots and lines.

use stepladder_core::slot::{HeldSlot, Holder, Limit, Ticket};
use stepladder_core::{RunOrStep, Timestamp};

use super::Subject;
use super::given::{holder, limit, place, run, start_of_next, ticket_of_run};
use stepladder_engine::ports::{AcquireResult, Commit, LateWrite};

async fn take(on: &Subject, limit: &Limit, holder: &Holder) -> bool {
    let taken = on.backend.acquire(limit, holder, start_of_next(1), on.now()).await.expect("an answer");
    taken == AcquireResult::Acquired
}

async fn park(on: &Subject, limit: &Limit, place: Ticket) {
    on.backend.enqueue(limit, place).await.expect("a place");
}

async fn release(on: &Subject, limit: &Limit, holder: Holder) {
    on.done(Commit { after: vec![LateWrite::Release { limit: limit.clone(), holder }], ..Commit::default() }).await;
}

async fn line(on: &Subject, limit: &Limit) -> Vec<Ticket> {
    on.backend.tickets(limit, 100).await.expect("a line")
}

async fn holders(on: &Subject, limit: &Limit) -> Vec<Holder> {
    let mut holders: Vec<_> =
        on.backend.holders(limit).await.expect("holders").into_iter().map(|holding| holding.holder).collect();
    holders.sort_unstable();
    holders
}

/// And shows who has it, and until when.
pub async fn a_free_slot_is_taken(on: Subject) {
    let two = limit("orders", 2);
    assert!(on.backend.holders(&two).await.expect("holders").is_empty());
    assert!(take(&on, &two, &holder(1, "pay", 1)).await);
    let holding = HeldSlot { holder: holder(1, "pay", 1), lease_until: start_of_next(1) };
    assert_eq!(on.backend.holders(&two).await.expect("holders"), [holding]);
    assert!(take(&on, &two, &holder(1, "ship", 1)).await);
    assert!(!take(&on, &two, &holder(2, "pay", 1)).await);
}

/// The first that ends.
pub async fn a_full_limit_says_when_a_lease_ends(on: Subject) {
    let two = limit("orders", 2);
    for (n, lease) in [(1, start_of_next(2)), (2, start_of_next(1))] {
        let taken = on.backend.acquire(&two, &holder(n, "pay", 1), lease, on.now()).await.expect("a slot");
        assert_eq!(taken, AcquireResult::Acquired);
    }
    let refused = on.backend.acquire(&two, &holder(3, "pay", 1), start_of_next(1), on.now()).await.expect("an answer");
    assert_eq!(refused, AcquireResult::Full { free_at: Some(start_of_next(1)) });
    let none = on.backend.acquire(&limit("none", 0), &holder(3, "pay", 1), start_of_next(1), on.now()).await;
    assert_eq!(none.expect("an answer"), AcquireResult::Full { free_at: None });
}

/// Another attempt, step or run gives back nothing.
pub async fn rule_20_only_the_holder_gives_back(on: Subject) {
    let one = limit("orders", 1);
    assert!(take(&on, &one, &holder(1, "pay", 2)).await);
    for other in [holder(1, "pay", 1), holder(1, "ship", 2), holder(2, "pay", 2)] {
        release(&on, &one, other).await;
        assert_eq!(holders(&on, &one).await, [holder(1, "pay", 2)]);
    }
    release(&on, &one, holder(1, "pay", 2)).await;
    assert!(holders(&on, &one).await.is_empty());
    release(&on, &limit("unknown", 1), holder(1, "pay", 2)).await;
}

/// It needs no second slot, and passes any line.
pub async fn a_holder_keeps_its_slot_with_the_new_lease(on: Subject) {
    let one = limit("orders", 1);
    assert!(take(&on, &one, &holder(1, "pay", 1)).await);
    park(&on, &one, place(2, "pay", 0)).await;
    let later: Timestamp = start_of_next(5);
    let taken = on.backend.acquire(&one, &holder(1, "pay", 1), later, on.now()).await.expect("an answer");
    assert_eq!(taken, AcquireResult::Acquired);
    let held = on.backend.holders(&one).await.expect("holders");
    assert_eq!(held, [HeldSlot { holder: holder(1, "pay", 1), lease_until: later }]);
    assert_eq!(line(&on, &one).await.len(), 1);
}

/// At the end of the lease, not before.
pub async fn dead_holders_are_reaped_by_who_asks(on: Subject) {
    let one = limit("orders", 1);
    let (end, next) = (start_of_next(1), start_of_next(2));
    assert!(take(&on, &one, &holder(1, "pay", 1)).await);
    let before = end - std::time::Duration::from_millis(1);
    let refused = on.backend.acquire(&one, &holder(2, "pay", 1), next, before).await.expect("an answer");
    assert_eq!(refused, AcquireResult::Full { free_at: Some(end) });
    let taken = on.backend.acquire(&one, &holder(2, "pay", 1), next, end).await.expect("an answer");
    assert_eq!(taken, AcquireResult::Acquired);
    assert_eq!(holders(&on, &one).await, [holder(2, "pay", 1)]);
}

/// A place below the number of free slots may take; one at or above it may not.
pub async fn rule_25_who_is_first_in_line_is_first_to_take(on: Subject) {
    let two = limit("orders", 2);
    for n in 1..=3 {
        park(&on, &two, place(n, "pay", n)).await;
    }
    assert!(!take(&on, &two, &holder(3, "pay", 1)).await);
    assert!(take(&on, &two, &holder(2, "pay", 1)).await);
    assert!(!take(&on, &two, &holder(3, "pay", 1)).await);
    assert!(take(&on, &two, &holder(1, "pay", 1)).await);
    assert!(!take(&on, &two, &holder(3, "pay", 1)).await);
    release(&on, &two, holder(2, "pay", 1)).await;
    assert!(take(&on, &two, &holder(3, "pay", 1)).await);
}

/// Who has no place waits while anyone does, even when slots are free.
pub async fn rule_25_nobody_passes_a_line(on: Subject) {
    let two = limit("orders", 2);
    park(&on, &two, place(1, "pay", 0)).await;
    let refused = on.backend.acquire(&two, &holder(2, "pay", 1), start_of_next(1), on.now()).await.expect("an answer");
    assert_eq!(refused, AcquireResult::Behind);
    // a place of the same run's other step is no place of this step
    assert!(!take(&on, &two, &holder(1, "ship", 1)).await);
    assert!(take(&on, &two, &holder(1, "pay", 1)).await);
    assert!(take(&on, &two, &holder(2, "pay", 1)).await);
}

/// Taking is leaving; being refused is not.
pub async fn who_takes_leaves_the_line(on: Subject) {
    let one = limit("orders", 1);
    park(&on, &one, place(1, "pay", 0)).await;
    park(&on, &one, place(2, "pay", 1)).await;
    assert!(!take(&on, &one, &holder(2, "pay", 1)).await);
    assert_eq!(on.backend.position(&one, run(2)).await.expect("a position"), Some(1));
    assert!(take(&on, &one, &holder(1, "pay", 1)).await);
    assert_eq!(line(&on, &one).await, [place(2, "pay", 1)]);
    assert_eq!(on.backend.position(&one, run(1)).await.expect("a position"), None);
    assert_eq!(on.backend.position(&one, run(2)).await.expect("a position"), Some(0));
}

/// Whatever the step's name; the place is used up with it.
pub async fn an_arrivals_place_serves_the_first_step(on: Subject) {
    let two = limit("orders", 2);
    park(&on, &two, ticket_of_run(1, 0)).await;
    park(&on, &two, ticket_of_run(2, 1)).await;
    park(&on, &two, ticket_of_run(3, 2)).await;
    assert!(!take(&on, &two, &holder(3, "pay", 1)).await);
    assert!(take(&on, &two, &holder(1, "pay", 1)).await);
    assert_eq!(line(&on, &two).await, [ticket_of_run(2, 1), ticket_of_run(3, 2)]);
    // its next step is a newcomer
    assert!(!take(&on, &two, &holder(1, "ship", 1)).await);
    assert!(take(&on, &two, &holder(2, "pay", 1)).await);
}

/// Only the place that was used is left.
pub async fn the_place_of_the_step_goes_before_that_of_the_arrival(on: Subject) {
    let one = limit("orders", 1);
    park(&on, &one, place(1, "pay", 0)).await;
    park(&on, &one, ticket_of_run(1, 1)).await;
    assert!(take(&on, &one, &holder(1, "pay", 1)).await);
    assert_eq!(line(&on, &one).await, [ticket_of_run(1, 1)]);
}

/// Nobody stands in his own way: of a step's place and that of its run's arrival, the first counts.
pub async fn a_step_is_not_behind_the_arrival_of_its_run(on: Subject) {
    let one = limit("orders", 1);
    park(&on, &one, ticket_of_run(1, 0)).await;
    park(&on, &one, place(1, "pay", 1)).await;
    assert!(take(&on, &one, &holder(1, "pay", 1)).await);
    assert_eq!(line(&on, &one).await, [place(1, "pay", 1)]);
}

/// Two hops that are about to start the same attempt hold a slot each; one gives back its own.
pub async fn rule_20_hops_of_one_attempt_hold_a_slot_each(on: Subject) {
    let (one, two) = (limit("few", 1), limit("orders", 2));
    let (first, second) =
        (holder(1, "pay", 1), Holder::Attempt { run: run(1), step: "pay".into(), attempt: 1, hop: u64::MAX });
    assert!(take(&on, &one, &first).await && take(&on, &two, &first).await);
    assert!(!take(&on, &one, &second).await);
    assert!(take(&on, &two, &second).await);
    release(&on, &two, second).await;
    assert_eq!(holders(&on, &two).await, [first]);
}

/// All of them or none, and each under its own rules; who is refused is told by which limits.
pub async fn rule_25_slots_of_several_limits_are_taken_together(on: Subject) {
    let (one, two) = (limit("few", 1), limit("orders", 2));
    let both = [one.clone(), two.clone()];
    let ask = |n: u64| {
        let (on, both) = (&on, &both);
        async move {
            on.backend.acquire_all(both, &holder(n, "pay", 1), start_of_next(1), on.now()).await.expect("an answer")
        }
    };
    park(&on, &one, place(1, "pay", 0)).await;
    assert_eq!(ask(2).await, Err(vec![(0, AcquireResult::Behind)]));
    assert!(holders(&on, &two).await.is_empty());
    assert_eq!(ask(1).await, Ok(()));
    assert!(line(&on, &one).await.is_empty());
    // again: it holds on
    assert_eq!(ask(1).await, Ok(()));
    let full = || AcquireResult::Full { free_at: Some(start_of_next(1)) };
    assert_eq!(ask(2).await, Err(vec![(0, full())]));
    assert!(take(&on, &two, &holder(4, "pay", 1)).await);
    assert_eq!(ask(2).await, Err(vec![(0, full()), (1, full())]));
    assert_eq!(ask(1).await, Ok(()));
    release(&on, &two, holder(4, "pay", 1)).await;
    release(&on, &one, holder(1, "pay", 1)).await;
    assert!(take(&on, &two, &holder(3, "pay", 1)).await);
    assert_eq!(ask(2).await, Err(vec![(1, full())]));
    assert!(holders(&on, &one).await.is_empty());
}

/// However often, and whenever, it is asked for again.
pub async fn a_place_in_line_is_kept(on: Subject) {
    let one = limit("orders", 1);
    park(&on, &one, place(1, "pay", 5)).await;
    park(&on, &one, place(2, "pay", 6)).await;
    park(&on, &one, place(1, "pay", 9)).await;
    park(&on, &one, place(2, "pay", 1)).await;
    assert_eq!(line(&on, &one).await, [place(1, "pay", 5), place(2, "pay", 6)]);
    // another step of the run has a place of its own
    park(&on, &one, place(1, "ship", 7)).await;
    assert_eq!(line(&on, &one).await.len(), 3);
    assert_eq!(on.backend.position(&one, run(1)).await.expect("a position"), Some(0));
}

/// Of several, the one that is served first; none for who does not wait.
pub async fn the_first_place_of_a_run_is_found(on: Subject) {
    let one = limit("orders", 1);
    let of = async |n| on.backend.ticket(&one, run(n), None).await.expect("a place");
    let of_part = async |n, of| on.backend.ticket(&one, run(n), Some(of)).await.expect("a place");
    let of_step = async |n, step: &str| of_part(n, RunOrStep::Step(step.into())).await;
    assert_eq!(of(1).await, None);
    for place in [place(2, "pay", 0), place(1, "pay", 9), place(1, "ship", 3), ticket_of_run(1, 5)] {
        park(&on, &one, place).await;
    }
    assert_eq!(of(1).await, Some(place(1, "ship", 3)));
    assert_eq!(of(2).await, Some(place(2, "pay", 0)));
    assert_eq!(of(3).await, None);
    assert_eq!(of_step(1, "pay").await, Some(place(1, "pay", 9)));
    assert_eq!(of_part(1, RunOrStep::Run).await, Some(ticket_of_run(1, 5)));
    assert_eq!((of_step(1, "wrap").await, of_step(2, "ship").await), (None, None));
    assert_eq!(on.backend.ticket(&limit("orders:eu", 1), run(1), None).await.expect("a place"), None);
    assert!(take(&on, &one, &holder(2, "pay", 1)).await);
    assert_eq!(of(2).await, None);
}

/// Whoever joined first by the clock, then whose event came first.
pub async fn lines_are_served_by_time_then_by_event(on: Subject) {
    let one = limit("orders", 1);
    for place in [place(3, "pay", 1), place(2, "pay", 1), place(9, "pay", 0), place(1, "pay", 2)] {
        park(&on, &one, place).await;
    }
    let order: Vec<_> = line(&on, &one).await.into_iter().map(|place| place.run).collect();
    assert_eq!(order, [run(9), run(2), run(3), run(1)]);
    let first: Vec<_> = on.backend.tickets(&one, 2).await.expect("a line").into_iter().map(|place| place.run).collect();
    assert_eq!(first, [run(9), run(2)]);
}

/// Nothing happens to who has no place.
pub async fn leaving_gives_up_one_place_or_all(on: Subject) {
    let one = limit("orders", 1);
    for place in [place(1, "pay", 0), place(1, "ship", 1), ticket_of_run(1, 2), place(2, "pay", 3)] {
        park(&on, &one, place).await;
    }
    let leave = |n, step: Option<&str>| Commit {
        after: vec![LateWrite::Dequeue {
            limit: one.clone(),
            run: run(n),
            of: step.map(|step| RunOrStep::Step(step.into())),
        }],
        ..Commit::default()
    };
    on.done(leave(1, Some("pay"))).await;
    assert_eq!(line(&on, &one).await, [place(1, "ship", 1), ticket_of_run(1, 2), place(2, "pay", 3)]);
    on.done(leave(1, Some("pay"))).await;
    on.done(leave(3, None)).await;
    assert_eq!(line(&on, &one).await.len(), 3);
    on.done(leave(1, None)).await;
    assert_eq!(line(&on, &one).await, [place(2, "pay", 3)]);
}

/// The same run may hold one of each.
pub async fn limits_of_other_keys_are_other_slots(on: Subject) {
    let (eu, us) = (limit("orders:eu", 1), limit("orders:us", 1));
    park(&on, &us, place(2, "pay", 0)).await;
    assert!(take(&on, &eu, &holder(1, "pay", 1)).await);
    assert!(!take(&on, &us, &holder(1, "pay", 1)).await);
    release(&on, &us, holder(1, "pay", 1)).await;
    assert_eq!(holders(&on, &eu).await.len(), 1);
    assert_eq!(on.backend.position(&eu, run(2)).await.expect("a position"), None);
}
