//! A memory adapter that refuses calls with an error chosen by the test, while a switch is on.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_engine::ports::*;
use stepladder_engine::{Engine, clock::Clock};
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use stepladder_testkit::memory::Memory;

use super::EngineFixture;

type RefusalFilter = Box<dyn Fn(&StorageCall<'_>) -> Option<StoreError> + Send + Sync>;

/// The adapter. Its queue does not support `put_back`, like a queue that counts deliveries.
pub struct RefusingBackend {
    memory: Arc<Memory>,
    filter: RefusalFilter,
    refuses: Arc<AtomicBool>,
    /// Whether a refused commit is carried out up to its entries, as on a store without
    /// transactions.
    tears: bool,
    /// The error with which the commit must fail after its first parts are carried out.
    torn: Mutex<Option<StoreError>>,
}

/// Creates the adapter and its switch. The switch is on.
pub fn refusing(
    memory: &Arc<Memory>,
    filter: impl Fn(&StorageCall<'_>) -> Option<StoreError> + Send + Sync + 'static,
) -> (Arc<InterceptedBackend<RefusingBackend>>, Arc<AtomicBool>) {
    refusing_or_tearing(memory, filter, false)
}

/// Like `refusing`, but a refused commit is carried out up to and including its entries.
pub fn tearing(
    memory: &Arc<Memory>,
    filter: impl Fn(&StorageCall<'_>) -> Option<StoreError> + Send + Sync + 'static,
) -> (Arc<InterceptedBackend<RefusingBackend>>, Arc<AtomicBool>) {
    refusing_or_tearing(memory, filter, true)
}

fn refusing_or_tearing(
    memory: &Arc<Memory>,
    filter: impl Fn(&StorageCall<'_>) -> Option<StoreError> + Send + Sync + 'static,
    tears: bool,
) -> (Arc<InterceptedBackend<RefusingBackend>>, Arc<AtomicBool>) {
    let (refuses, filter) = (Arc::new(AtomicBool::new(true)), Box::new(filter));
    let refusing =
        RefusingBackend { memory: memory.clone(), filter, refuses: refuses.clone(), tears, torn: Mutex::default() };
    (Arc::new(InterceptedBackend(refusing)), refuses)
}

impl RefusingBackend {
    fn refusal(&self, call: &StorageCall<'_>) -> Option<StoreError> {
        self.refuses.load(SeqCst).then(|| (self.filter)(call)).flatten()
    }
}

pub fn denied_error() -> StoreError {
    StoreError::Refused("PutItem: AccessDeniedException: no".into())
}

#[async_trait]
impl Intercept for RefusingBackend {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    fn amend(&self, commit: Commit) -> Commit {
        let refused = self.refusal(&StorageCall { commit: Some(&commit), ..StorageCall::new("commit", &commit) });
        match refused.filter(|_| self.tears) {
            None => commit,
            error => {
                *self.torn.lock().unwrap() = error;
                Commit { after: Vec::new(), wakes: Vec::new(), acks: Vec::new(), ..commit }
            }
        }
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        let torn = call.commit.and_then(|_| self.torn.lock().unwrap().take());
        match torn {
            Some(error) => reply.await.and(Err(error)),
            None => match self.refusal(&call) {
                Some(error) => Err(error),
                None => reply.await,
            },
        }
    }
}

/// Delivers the next visible wake up to `times` times, as a queue does that delivers a failed wake
/// again when its visibility timeout ends. Returns whether each hop succeeded.
pub async fn deliver_times(world: &EngineFixture, engine: &Engine, times: usize) -> Vec<bool> {
    let mut results = Vec::new();
    for _ in 0..times {
        let Some(due) = world.memory.next_due() else { break };
        world.clock.set(due.max(world.clock.now()));
        let visibility = engine.config().visibility();
        let received = tokio::time::timeout(Duration::from_millis(1), world.memory.receive(1, visibility)).await;
        let delivery = received.expect("one is visible").expect("received").remove(0);
        results.push(engine.hop(delivery).await.is_ok());
    }
    results
}
