//! Steps that wait for slots: what a refused step leaves behind, and what a release promotes.

use stepladder_core::OwnStep;
use stepladder_core::slot::{Holder, Limit, Ticket};

use super::TestedAdapter;
use super::fixtures::{acquire_request, holder, limit, run, start_of_next, ticket, ticket_of_run};
use stepladder_engine::ports::{
    AcquireRequest, AcquireResult, Commit, LateWrite, OwnTickets, QueueHead, QueuedStep, RefusalReason,
};

/// Acquires for step `pay` of run number `n`, which waits with a ticket of its own.
async fn acquire(on: &TestedAdapter, limits: &[&Limit], n: u64) -> AcquireResult {
    let request = acquire_request(limits, &holder(n, "pay", 1), Some(ticket(n, "pay", n)));
    on.backend.acquire(request).await.expect("an answer")
}

async fn acquires(on: &TestedAdapter, limits: &[&Limit], n: u64) -> bool {
    acquire(on, limits, n).await == AcquireResult::Acquired { left: Vec::new() }
}

async fn queued(on: &TestedAdapter, limits: &[&Limit], n: u64) -> QueuedStep {
    match acquire(on, limits, n).await {
        AcquireResult::Queued(queued) => *queued,
        other => panic!("{other:?}"),
    }
}

fn full(n: u64) -> RefusalReason {
    RefusalReason::Full { free_at: Some(start_of_next(n)) }
}

/// The answer names the queue, why its limit refuses, and its first ticket.
pub async fn a_refused_step_is_enqueued_once(on: TestedAdapter) {
    let one = limit("orders", 1);
    assert!(acquires(&on, &[&one], 1).await);
    let second = queued(&on, &[&one], 2).await;
    assert_eq!((&second.limit, second.reason, second.first), (&one, full(1), Some(ticket(2, "pay", 2))));
    assert!(second.is_new && second.joined && second.left.is_empty());
    assert!(!queued(&on, &[&one], 2).await.is_new);
    let third = queued(&on, &[&one], 3).await;
    assert_eq!((third.first, third.is_new), (Some(ticket(2, "pay", 2)), true));
    assert_eq!(on.first_tickets(&one, 9).await, [ticket(2, "pay", 2), ticket(3, "pay", 3)]);
}

/// A step without a ticket is behind all others. Once it has one, the free slots may be enough.
pub async fn rule_21_a_step_tries_again_after_it_was_enqueued(on: TestedAdapter) {
    let two = limit("orders", 2);
    on.enqueue(&two, ticket(1, "pay", 0)).await;
    assert!(acquires(&on, &[&two], 2).await);
    assert_eq!(on.first_tickets(&two, 9).await, [ticket(1, "pay", 0)]);
    let behind = queued(&on, &[&two], 3).await;
    assert_eq!((behind.reason, behind.first), (RefusalReason::Behind, Some(ticket(1, "pay", 0))));
    assert!(acquires(&on, &[&two], 1).await);
}

/// A step stays in the queue of the limit that refuses it. If that limit has a slot and another one
/// refuses, the step moves there and keeps its time.
pub async fn a_step_waits_in_one_queue_only(on: TestedAdapter) {
    let (few, many) = (limit("few", 1), limit("many", 1));
    let both = [&few, &many];
    assert!(acquires(&on, &[&few], 1).await);
    assert_eq!(queued(&on, &both, 3).await.limit, few);
    assert!(acquires(&on, &[&many], 2).await);
    let stays = queued(&on, &both, 3).await;
    assert_eq!((&stays.limit, stays.joined, stays.is_new, &stays.left[..]), (&few, false, false, &[][..]));
    on.backend.release(vec![(few.clone(), holder(1, "pay", 1))], &[], on.now()).await.expect("released");
    let later =
        AcquireRequest { ticket: Some(ticket(3, "pay", 50)), ..acquire_request(&both, &holder(3, "pay", 1), None) };
    let moved = match on.backend.acquire(later).await.expect("an answer") {
        AcquireResult::Queued(moved) => *moved,
        other => panic!("{other:?}"),
    };
    assert_eq!((moved.limit, moved.joined, moved.is_new, moved.left), (many.clone(), true, false, vec![few.clone()]));
    assert_eq!(on.first_tickets(&few, 9).await, []);
    assert_eq!(on.first_tickets(&many, 9).await, [ticket(3, "pay", 3)]);
    assert!(on.held_slots(&few).await.is_empty());
}

/// Until the first step of a run starts, its steps share the ticket of the run's creation. A step
/// with its own wake gets its own ticket, and may use that of the creation.
pub async fn the_first_steps_of_a_run_share_a_ticket(on: TestedAdapter) {
    let one = limit("orders", 1);
    on.enqueue(&one, ticket_of_run(2, 0)).await;
    assert_eq!(on.try_acquire(&[&one], &holder(1, "pay", 1)).await.len(), 1, "others wait");
    let ask = async |step: &str, own| {
        let request = acquire_request(&[&one], &holder(2, step, 1), Some(ticket(2, step, 9)));
        on.backend.acquire(AcquireRequest { own, ..request }).await.expect("an answer")
    };
    let is_queued = |answer: &AcquireResult, newly: bool| matches!(answer, AcquireResult::Queued(queued) if queued.is_new == newly && queued.joined == newly);
    assert_eq!(ask("pay", OwnTickets::OfRun).await, AcquireResult::Acquired { left: Vec::new() });
    on.enqueue(&one, ticket_of_run(2, 0)).await;
    assert!(is_queued(&ask("ship", OwnTickets::OfRun).await, false));
    assert!(is_queued(&ask("wrap", OwnTickets::OfStepOrCreation).await, true));
    assert_eq!(on.first_tickets(&one, 9).await, [ticket_of_run(2, 0), ticket(2, "wrap", 9)]);
}

/// A step of a run starts only after the executor was called, so the call does not wait behind it.
/// The step keeps its ticket, and the call loses its own.
pub async fn a_call_does_not_wait_behind_a_step_of_its_run(on: TestedAdapter) {
    let (one, call) = (limit("orders", 1), OwnStep::Call.id());
    for (n, step, after) in [(1, "pay", 0), (2, "pay", 1), (1, &*call, 2)] {
        on.enqueue(&one, ticket(n, step, after)).await;
    }
    assert_eq!(on.try_acquire(&[&one], &holder(2, &call, 1)).await.len(), 1, "another run comes first");
    assert_eq!(on.try_acquire(&[&one], &holder(1, &call, 1)).await, []);
    assert_eq!(on.first_tickets(&one, 9).await, [ticket(1, "pay", 0), ticket(2, "pay", 1)]);
}

/// As many tickets are returned as there are free slots. Without a free slot, the first ticket is
/// returned with the end of the first lease.
pub async fn rule_24_a_release_returns_the_tickets_to_promote(on: TestedAdapter) {
    let (two, runs) = (limit("orders", 2), limit("runs", 1));
    for n in [1, 2] {
        assert!(acquires(&on, &[&two], n).await);
    }
    let whole = Holder::Run(run(1));
    assert_eq!(on.try_acquire_until(&[&runs], &whole, stepladder_core::Timestamp::MAX, on.now()).await, []);
    for n in [3, 4, 5] {
        queued(&on, &[&two], n).await;
    }
    let release = async |slots: Vec<(Limit, Holder)>| {
        let limits = [two.clone(), runs.clone()];
        on.backend.release(slots, &limits, on.now()).await.expect("released")
    };
    let third: Ticket = ticket(3, "pay", 3);
    let is_full = QueueHead::Full { first: Some(third.clone()), free_at: Some(start_of_next(1)) };
    let no_ticket = QueueHead::Full { first: None, free_at: None };
    assert_eq!(release(Vec::new()).await, [is_full.clone(), no_ticket.clone()]);
    assert_eq!(release(vec![(two.clone(), holder(9, "pay", 1))]).await, [is_full, no_ticket.clone()]);
    let freed = vec![(two.clone(), holder(1, "pay", 1))];
    assert_eq!(release(freed.clone()).await, [QueueHead::Free(vec![third.clone()]), no_ticket]);
    let all = vec![freed[0].clone(), (two.clone(), holder(2, "pay", 1)), (runs.clone(), whole)];
    let free = QueueHead::Free(vec![third, ticket(4, "pay", 4)]);
    assert_eq!(release(all).await, [free, QueueHead::Free(Vec::new())]);
    assert!(on.held_slots(&two).await.is_empty() && on.held_slots(&runs).await.is_empty());
}

/// The queue of a paused function has no slots. Each run is in it once, until it is removed.
pub async fn runs_of_a_paused_function_wait_without_slots(on: TestedAdapter) {
    let queue = stepladder_core::slot::pause_key("orders");
    for n in [2, 1, 2] {
        on.backend.enqueue_paused(&queue, ticket_of_run(n, n)).await.expect("a ticket");
    }
    let waiting = limit(&queue, 0);
    assert_eq!(on.first_tickets(&waiting, 9).await, [ticket_of_run(1, 1), ticket_of_run(2, 2)]);
    let leave =
        |n| Commit { after: vec![LateWrite::DequeuePaused { queue: queue.clone(), run: run(n) }], ..Commit::default() };
    for n in [1, 1, 3] {
        on.commit(leave(n)).await;
    }
    assert_eq!(on.first_tickets(&waiting, 9).await, [ticket_of_run(2, 2)]);
}
