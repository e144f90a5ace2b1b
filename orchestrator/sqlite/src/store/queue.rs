//! Receives wakes from memory, so that receiving a wake writes nothing.

use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::Timestamp;
use stepladder_engine::local::MAX_DELAY;
use stepladder_engine::ports::{Backlog, Delivery, Queue, Receipt, StoreResult};

use crate::Sqlite;

#[async_trait]
impl Queue for Sqlite {
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>> {
        loop {
            let arrival = self.memory.arrivals.notified();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            let due = {
                let mut messages = self.memory.messages();
                let received = messages.receive(self.clock.now(), max, visibility);
                if !received.is_empty() {
                    return Ok(received);
                }
                messages.next_due().unwrap_or(Timestamp::MAX)
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
        let tickets = self.memory.wait_queues().ticket_count();
        let mut messages = self.memory.messages();
        let due = messages.due_count(self.clock.now());
        Some(Backlog { due, waiting: messages.len() - due + tickets, served: messages.served_count() })
    }

    async fn put_back(&self, receipt: &Receipt, due: Timestamp) -> StoreResult<bool> {
        self.memory.messages().put_back(receipt, due);
        // a receiver that waits for the next due wake may now have to return earlier
        self.memory.arrivals.notify_waiters();
        Ok(true)
    }
}
