//! The queue of wakes in memory. The adapter's clock decides when a wake is visible.

use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::{EventId, Timestamp};

use super::Memory;
use stepladder_engine::local::MAX_DELAY;
use stepladder_engine::ports::{Backlog, Delivery, Queue, Receipt, StoreResult};

#[async_trait]
impl Queue for Memory {
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>> {
        loop {
            let arrival = self.arrivals.notified();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            let due = {
                let mut inner = self.lock();
                let deliveries = inner.queue.receive(self.now(), max, visibility);
                if !deliveries.is_empty() {
                    inner.counts.receives += deliveries.len() as u64;
                    return Ok(deliveries);
                }
                inner.queue.next_due().unwrap_or(Timestamp::MAX)
            };
            tokio::select! {
                () = arrival => {}
                () = self.clock.sleep_until(due) => {}
            }
        }
    }

    fn max_delay(&self) -> Duration {
        MAX_DELAY
    }

    fn backlog(&self) -> Option<Backlog> {
        let mut inner = self.lock();
        let due = inner.queue.due_count(self.now());
        let waiting = inner.queue.len() - due + inner.wait_queues.ticket_count();
        Some(Backlog { due, waiting, served: inner.queue.served_count() })
    }

    async fn postpone(&self, events: Vec<EventId>) -> StoreResult<bool> {
        self.lock().postponed.extend(events);
        Ok(true)
    }

    async fn put_back(&self, receipt: &Receipt, due: Timestamp) -> StoreResult<bool> {
        self.lock().queue.put_back(receipt, due);
        self.arrivals.notify_waiters();
        Ok(true)
    }
}
