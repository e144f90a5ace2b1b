//! Calls about slots: together as the port has them, or each operation on its own.

use async_trait::async_trait;
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket};
use stepladder_core::{RunId, RunOrStep, Timestamp};
use stepladder_engine::ports::*;

use super::{Intercept, InterceptedBackend, StorageCall};

/// Passes each operation to an intercept.
struct SingleCalls<'a, I> {
    intercept: &'a I,
    operations: &'a dyn SlotOperations,
}

macro_rules! single_calls {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl<I: Intercept> SlotOperations for SingleCalls<'_, I> {
            $(async fn $name(&self, $($arg: $ty),*) -> StoreResult<$out> {
                let arguments = ($($arg.to_owned(),)*);
                let call = StorageCall::new(stringify!($name), &arguments);
                self.intercept.around(call, self.operations.$name($($arg),*)).await
            })*
        }
    };
}

single_calls! {
    try_acquire(limits: &[Limit], holder: &Holder, lease_until: Timestamp, now: Timestamp) -> Vec<Refusal>;
    release_slot(limit: &Limit, holder: &Holder) -> ();
    holders(queue: &QueueKey) -> Vec<HeldSlot>;
    enqueue(limit: &Limit, ticket: Ticket) -> bool;
    enqueue_without_slots(queue: &QueueKey, ticket: Ticket) -> ();
    dequeue(limit: &Limit, ticket: &Ticket) -> ();
    first_tickets(queue: &QueueKey, n: usize) -> Vec<Ticket>;
    ticket(queue: &QueueKey, run: RunId, of: Option<&RunOrStep>) -> Option<Ticket>;
    count_before(queue: &QueueKey, ticket: &Ticket) -> usize;
}

#[async_trait]
impl<I: Intercept> Slots for InterceptedBackend<I> {
    async fn acquire(&self, request: AcquireRequest) -> StoreResult<AcquireResult> {
        if let Some(operations) = self.0.slot_operations() {
            return acquire_by_operations(&SingleCalls { intercept: &self.0, operations }, request).await;
        }
        let arguments = request.clone();
        let call = StorageCall { acquire: Some(&arguments), ..StorageCall::new("acquire", &arguments) };
        self.0.around(call, self.0.backend().acquire(request)).await
    }

    async fn release(
        &self,
        slots: Vec<(Limit, Holder)>,
        limits: &[Limit],
        now: Timestamp,
    ) -> StoreResult<Vec<QueueHead>> {
        if let Some(operations) = self.0.slot_operations() {
            return release_by_operations(&SingleCalls { intercept: &self.0, operations }, slots, limits, now).await;
        }
        let arguments = (slots.clone(), limits.to_owned(), now);
        // without slots to release, the call only reads
        let name = if slots.is_empty() { "snapshot" } else { "release" };
        let call = StorageCall::new(name, &arguments);
        self.0.around(call, self.0.backend().release(slots, limits, now)).await
    }

    async fn snapshot(&self, queue: &QueueKey, parts: SnapshotParts) -> StoreResult<Snapshot> {
        let arguments = (queue.clone(), parts.clone());
        let call = StorageCall::new("snapshot", &arguments);
        self.0.around(call, self.0.backend().snapshot(queue, parts)).await
    }

    async fn enqueue_paused(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()> {
        let arguments = (queue.clone(), ticket.clone());
        let call = StorageCall::new("enqueue_paused", &arguments);
        self.0.around(call, self.0.backend().enqueue_paused(queue, ticket)).await
    }
}
