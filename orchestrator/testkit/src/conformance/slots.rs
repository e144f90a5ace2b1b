//! Slots and wait queues.

use stepladder_core::slot::{HeldSlot, Holder, Limit, Ticket};
use stepladder_core::{RunOrStep, Timestamp};

use super::TestedAdapter;
use super::fixtures::{holder, limit, run, start_of_next, ticket, ticket_of_run};
use stepladder_engine::ports::{Commit, LateWrite, Refusal, RefusalReason};

async fn try_acquire(on: &TestedAdapter, limit: &Limit, holder: &Holder) -> bool {
    on.try_acquire(&[limit], holder).await.is_empty()
}

fn full(free_at: Option<Timestamp>) -> Vec<Refusal> {
    vec![Refusal { limit: 0, reason: RefusalReason::Full { free_at } }]
}

fn behind(limit: usize) -> Refusal {
    Refusal { limit, reason: RefusalReason::Behind }
}

async fn enqueue(on: &TestedAdapter, limit: &Limit, ticket: Ticket) {
    on.enqueue(limit, ticket).await;
}

async fn release(on: &TestedAdapter, limit: &Limit, holder: Holder) {
    on.commit(Commit { after: vec![LateWrite::Release { limit: limit.clone(), holder }], ..Commit::default() }).await;
}

async fn tickets(on: &TestedAdapter, limit: &Limit) -> Vec<Ticket> {
    on.first_tickets(limit, 100).await
}

async fn holders(on: &TestedAdapter, limit: &Limit) -> Vec<Holder> {
    let mut holders: Vec<_> = on.held_slots(limit).await.into_iter().map(|holding| holding.holder).collect();
    holders.sort_unstable();
    holders
}

/// A free slot can be acquired. Then the store lists its holder, and when the lease expires.
pub async fn a_free_slot_is_acquired(on: TestedAdapter) {
    let two = limit("orders", 2);
    assert!(on.held_slots(&two).await.is_empty());
    assert!(try_acquire(&on, &two, &holder(1, "pay", 1)).await);
    let holding = HeldSlot { holder: holder(1, "pay", 1), lease_until: start_of_next(1) };
    assert_eq!(on.held_slots(&two).await, [holding]);
    assert!(try_acquire(&on, &two, &holder(1, "ship", 1)).await);
    assert!(!try_acquire(&on, &two, &holder(2, "pay", 1)).await);
}

/// A refusal at a full limit contains the time at which the first lease expires.
pub async fn a_full_limit_reports_the_earliest_lease_end(on: TestedAdapter) {
    let two = limit("orders", 2);
    for (n, lease) in [(1, start_of_next(2)), (2, start_of_next(1))] {
        let refused = on.try_acquire_until(&[&two], &holder(n, "pay", 1), lease, on.now()).await;
        assert_eq!(refused, []);
    }
    let refused = on.try_acquire_until(&[&two], &holder(3, "pay", 1), start_of_next(1), on.now()).await;
    assert_eq!(refused, full(Some(start_of_next(1))));
    assert_eq!(on.try_acquire(&[&limit("none", 0)], &holder(3, "pay", 1)).await, full(None));
}

/// A release by another attempt, another step or another run has no effect.
pub async fn rule_20_only_the_holder_releases_its_slot(on: TestedAdapter) {
    let one = limit("orders", 1);
    assert!(try_acquire(&on, &one, &holder(1, "pay", 2)).await);
    for other in [holder(1, "pay", 1), holder(1, "ship", 2), holder(2, "pay", 2)] {
        release(&on, &one, other).await;
        assert_eq!(holders(&on, &one).await, [holder(1, "pay", 2)]);
    }
    release(&on, &one, holder(1, "pay", 2)).await;
    assert!(holders(&on, &one).await.is_empty());
    release(&on, &limit("unknown", 1), holder(1, "pay", 2)).await;
}

/// A holder that acquires its slot again keeps the slot and gets the new lease. It does not wait
/// behind tickets.
pub async fn a_holder_keeps_its_slot_with_the_new_lease(on: TestedAdapter) {
    let one = limit("orders", 1);
    assert!(try_acquire(&on, &one, &holder(1, "pay", 1)).await);
    enqueue(&on, &one, ticket(2, "pay", 0)).await;
    let later: Timestamp = start_of_next(5);
    let refused = on.try_acquire_until(&[&one], &holder(1, "pay", 1), later, on.now()).await;
    assert_eq!(refused, []);
    let held = on.held_slots(&one).await;
    assert_eq!(held, [HeldSlot { holder: holder(1, "pay", 1), lease_until: later }]);
    assert_eq!(tickets(&on, &one).await.len(), 1);
}

/// The slot of an expired lease can be acquired, but not before the lease expires.
pub async fn the_slot_of_an_expired_lease_can_be_acquired(on: TestedAdapter) {
    let one = limit("orders", 1);
    let (end, next) = (start_of_next(1), start_of_next(2));
    assert!(try_acquire(&on, &one, &holder(1, "pay", 1)).await);
    let before = end - std::time::Duration::from_millis(1);
    let refused = on.try_acquire_until(&[&one], &holder(2, "pay", 1), next, before).await;
    assert_eq!(refused, full(Some(end)));
    let refused = on.try_acquire_until(&[&one], &holder(2, "pay", 1), next, end).await;
    assert_eq!(refused, []);
    assert_eq!(holders(&on, &one).await, [holder(2, "pay", 1)]);
}

/// A ticket may acquire a slot only if fewer tickets are before it than there are free slots.
pub async fn rule_25_the_first_tickets_acquire_first(on: TestedAdapter) {
    let two = limit("orders", 2);
    for n in 1..=3 {
        enqueue(&on, &two, ticket(n, "pay", n)).await;
    }
    assert!(!try_acquire(&on, &two, &holder(3, "pay", 1)).await);
    assert!(try_acquire(&on, &two, &holder(2, "pay", 1)).await);
    assert!(!try_acquire(&on, &two, &holder(3, "pay", 1)).await);
    assert!(try_acquire(&on, &two, &holder(1, "pay", 1)).await);
    assert!(!try_acquire(&on, &two, &holder(3, "pay", 1)).await);
    release(&on, &two, holder(2, "pay", 1)).await;
    assert!(try_acquire(&on, &two, &holder(3, "pay", 1)).await);
}

/// A step without a ticket is refused while tickets wait, even if slots are free.
pub async fn rule_25_a_step_without_a_ticket_waits_behind_the_queue(on: TestedAdapter) {
    let two = limit("orders", 2);
    enqueue(&on, &two, ticket(1, "pay", 0)).await;
    let refused = on.try_acquire_until(&[&two], &holder(2, "pay", 1), start_of_next(1), on.now()).await;
    assert_eq!(refused, [behind(0)]);
    // The ticket of another step of the same run does not count.
    assert!(!try_acquire(&on, &two, &holder(1, "ship", 1)).await);
    assert!(try_acquire(&on, &two, &holder(1, "pay", 1)).await);
    assert!(try_acquire(&on, &two, &holder(2, "pay", 1)).await);
}

/// When a step acquires its slot, its ticket is removed. When a step is refused, its ticket stays.
pub async fn acquiring_a_slot_dequeues_the_ticket(on: TestedAdapter) {
    let one = limit("orders", 1);
    enqueue(&on, &one, ticket(1, "pay", 0)).await;
    enqueue(&on, &one, ticket(2, "pay", 1)).await;
    assert!(!try_acquire(&on, &one, &holder(2, "pay", 1)).await);
    assert_eq!(on.position(&one, run(2)).await, Some(1));
    assert!(try_acquire(&on, &one, &holder(1, "pay", 1)).await);
    assert_eq!(tickets(&on, &one).await, [ticket(2, "pay", 1)]);
    assert_eq!(on.position(&one, run(1)).await, None);
    assert_eq!(on.position(&one, run(2)).await, Some(0));
}

/// A ticket that a run got at its creation serves the first step of the run, whatever the step's
/// name.
pub async fn the_ticket_of_a_runs_arrival_serves_its_first_step(on: TestedAdapter) {
    let two = limit("orders", 2);
    enqueue(&on, &two, ticket_of_run(1, 0)).await;
    enqueue(&on, &two, ticket_of_run(2, 1)).await;
    enqueue(&on, &two, ticket_of_run(3, 2)).await;
    assert!(!try_acquire(&on, &two, &holder(3, "pay", 1)).await);
    assert!(try_acquire(&on, &two, &holder(1, "pay", 1)).await);
    assert_eq!(tickets(&on, &two).await, [ticket_of_run(2, 1), ticket_of_run(3, 2)]);
    // That ticket is used up, so the next step is refused.
    assert!(!try_acquire(&on, &two, &holder(1, "ship", 1)).await);
    assert!(try_acquire(&on, &two, &holder(2, "pay", 1)).await);
}

/// If both the step and its run have a ticket, acquiring the slot removes only the ticket that was
/// used.
pub async fn the_ticket_of_a_step_is_used_before_that_of_the_arrival(on: TestedAdapter) {
    let one = limit("orders", 1);
    enqueue(&on, &one, ticket(1, "pay", 0)).await;
    enqueue(&on, &one, ticket_of_run(1, 1)).await;
    assert!(try_acquire(&on, &one, &holder(1, "pay", 1)).await);
    assert_eq!(tickets(&on, &one).await, [ticket_of_run(1, 1)]);
}

/// If both the step and its run have a ticket, the one that is further ahead counts.
pub async fn a_step_is_not_behind_the_arrival_of_its_run(on: TestedAdapter) {
    let one = limit("orders", 1);
    enqueue(&on, &one, ticket_of_run(1, 0)).await;
    enqueue(&on, &one, ticket(1, "pay", 1)).await;
    assert!(try_acquire(&on, &one, &holder(1, "pay", 1)).await);
    assert_eq!(tickets(&on, &one).await, [ticket(1, "pay", 1)]);
}

/// Two hops that start the same attempt at the same time hold one slot each. Each hop releases only
/// its own slot.
pub async fn rule_20_hops_of_one_attempt_hold_a_slot_each(on: TestedAdapter) {
    let (one, two) = (limit("few", 1), limit("orders", 2));
    let (first, second) =
        (holder(1, "pay", 1), Holder::Attempt { run: run(1), step: "pay".into(), attempt: 1, hop: u64::MAX });
    assert!(try_acquire(&on, &one, &first).await && try_acquire(&on, &two, &first).await);
    assert!(!try_acquire(&on, &one, &second).await);
    assert!(try_acquire(&on, &two, &second).await);
    release(&on, &two, second).await;
    assert_eq!(holders(&on, &two).await, [first]);
}

/// The slots of several limits are acquired all together or not at all. A refusal names the limits
/// that are full.
pub async fn rule_25_slots_of_several_limits_are_acquired_together(on: TestedAdapter) {
    let (one, two) = (limit("few", 1), limit("orders", 2));
    let ask = async |n: u64| on.try_acquire(&[&one, &two], &holder(n, "pay", 1)).await;
    enqueue(&on, &one, ticket(1, "pay", 0)).await;
    assert_eq!(ask(2).await, [behind(0)]);
    assert!(holders(&on, &two).await.is_empty());
    assert_eq!(ask(1).await, []);
    assert!(tickets(&on, &one).await.is_empty());
    // A holder may acquire again.
    assert_eq!(ask(1).await, []);
    let full = |limit| Refusal { limit, reason: RefusalReason::Full { free_at: Some(start_of_next(1)) } };
    assert_eq!(ask(2).await, [full(0)]);
    assert!(try_acquire(&on, &two, &holder(4, "pay", 1)).await);
    assert_eq!(ask(2).await, [full(0), full(1)]);
    assert_eq!(ask(1).await, []);
    release(&on, &two, holder(4, "pay", 1)).await;
    release(&on, &one, holder(1, "pay", 1)).await;
    assert!(try_acquire(&on, &two, &holder(3, "pay", 1)).await);
    assert_eq!(ask(2).await, [full(1)]);
    assert!(holders(&on, &one).await.is_empty());
}

/// Enqueuing a ticket again does not change its queue time.
pub async fn a_ticket_keeps_its_position(on: TestedAdapter) {
    let one = limit("orders", 1);
    enqueue(&on, &one, ticket(1, "pay", 5)).await;
    enqueue(&on, &one, ticket(2, "pay", 6)).await;
    enqueue(&on, &one, ticket(1, "pay", 9)).await;
    enqueue(&on, &one, ticket(2, "pay", 1)).await;
    assert_eq!(tickets(&on, &one).await, [ticket(1, "pay", 5), ticket(2, "pay", 6)]);
    // Another step of the same run gets its own ticket.
    enqueue(&on, &one, ticket(1, "ship", 7)).await;
    assert_eq!(tickets(&on, &one).await.len(), 3);
    assert_eq!(on.position(&one, run(1)).await, Some(0));
}

/// Of several tickets of a run, the first one is returned. A run without tickets has none.
pub async fn the_first_ticket_of_a_run_is_found(on: TestedAdapter) {
    let one = limit("orders", 1);
    let of = async |n| on.ticket(&one, run(n), None).await;
    let of_part = async |n, of| on.ticket(&one, run(n), Some(of)).await;
    let of_step = async |n, step: &str| of_part(n, RunOrStep::Step(step.into())).await;
    assert_eq!(of(1).await, None);
    for ticket in [ticket(2, "pay", 0), ticket(1, "pay", 9), ticket(1, "ship", 3), ticket_of_run(1, 5)] {
        enqueue(&on, &one, ticket).await;
    }
    assert_eq!(of(1).await, Some(ticket(1, "ship", 3)));
    assert_eq!(of(2).await, Some(ticket(2, "pay", 0)));
    assert_eq!(of(3).await, None);
    assert_eq!(of_step(1, "pay").await, Some(ticket(1, "pay", 9)));
    assert_eq!(of_part(1, RunOrStep::Run).await, Some(ticket_of_run(1, 5)));
    assert_eq!((of_step(1, "wrap").await, of_step(2, "ship").await), (None, None));
    assert_eq!(on.ticket(&limit("orders:eu", 1), run(1), None).await, None);
    assert!(try_acquire(&on, &one, &holder(2, "pay", 1)).await);
    assert_eq!(of(2).await, None);
}

/// Tickets are ordered by their queue times. Tickets with equal times are ordered by the events of
/// their runs.
pub async fn tickets_are_ordered_by_time_then_by_event(on: TestedAdapter) {
    let one = limit("orders", 1);
    for ticket in [ticket(3, "pay", 1), ticket(2, "pay", 1), ticket(9, "pay", 0), ticket(1, "pay", 2)] {
        enqueue(&on, &one, ticket).await;
    }
    let order: Vec<_> = tickets(&on, &one).await.into_iter().map(|ticket| ticket.run).collect();
    assert_eq!(order, [run(9), run(2), run(3), run(1)]);
    let first: Vec<_> = on.first_tickets(&one, 2).await.into_iter().map(|ticket| ticket.run).collect();
    assert_eq!(first, [run(9), run(2)]);
}

/// Removes one ticket of a run, or all of them. Removing a ticket that does not exist has no
/// effect.
pub async fn one_ticket_or_all_tickets_of_a_run_are_dequeued(on: TestedAdapter) {
    let one = limit("orders", 1);
    for ticket in [ticket(1, "pay", 0), ticket(1, "ship", 1), ticket_of_run(1, 2), ticket(2, "pay", 3)] {
        enqueue(&on, &one, ticket).await;
    }
    let leave = |n, step: Option<&str>| Commit {
        after: vec![LateWrite::Dequeue {
            limit: one.clone(),
            run: run(n),
            of: step.map(|step| RunOrStep::Step(step.into())),
        }],
        ..Commit::default()
    };
    on.commit(leave(1, Some("pay"))).await;
    assert_eq!(tickets(&on, &one).await, [ticket(1, "ship", 1), ticket_of_run(1, 2), ticket(2, "pay", 3)]);
    on.commit(leave(1, Some("pay"))).await;
    on.commit(leave(3, None)).await;
    assert_eq!(tickets(&on, &one).await.len(), 3);
    on.commit(leave(1, None)).await;
    assert_eq!(tickets(&on, &one).await, [ticket(2, "pay", 3)]);
}

/// A run may hold a slot of each of several limits.
pub async fn limits_with_different_keys_are_independent(on: TestedAdapter) {
    let (eu, us) = (limit("orders:eu", 1), limit("orders:us", 1));
    enqueue(&on, &us, ticket(2, "pay", 0)).await;
    assert!(try_acquire(&on, &eu, &holder(1, "pay", 1)).await);
    assert!(!try_acquire(&on, &us, &holder(1, "pay", 1)).await);
    release(&on, &us, holder(1, "pay", 1)).await;
    assert_eq!(holders(&on, &eu).await.len(), 1);
    assert_eq!(on.position(&eu, run(2)).await, None);
}
