//! A memory that refuses calls for a reason that lasts, for as long as the test says.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_engine::ports::*;
use stepladder_engine::{Engine, clock::Clock};
use stepladder_testkit::intercept::{Call, Intercept, Intercepted};
use stepladder_testkit::memory::Memory;

use super::World;

type Which = Box<dyn Fn(&Call<'_>) -> Option<StoreError> + Send + Sync>;

/// Its queue takes no wake back, like one that counts deliveries.
pub struct Refusing {
    memory: Arc<Memory>,
    which: Which,
    refuses: Arc<AtomicBool>,
    /// Whether of a refused commit all up to the entry is carried out, as on a store without transactions.
    tears: bool,
    /// What the commit is refused with that is being carried out in part.
    torn: Mutex<Option<StoreError>>,
}

/// The switch is on at first.
pub fn refusing(
    memory: &Arc<Memory>,
    which: impl Fn(&Call<'_>) -> Option<StoreError> + Send + Sync + 'static,
) -> (Arc<Intercepted<Refusing>>, Arc<AtomicBool>) {
    refusing_or_tearing(memory, which, false)
}

/// The same, but of a commit that is refused all up to the entry is carried out.
pub fn tearing(
    memory: &Arc<Memory>,
    which: impl Fn(&Call<'_>) -> Option<StoreError> + Send + Sync + 'static,
) -> (Arc<Intercepted<Refusing>>, Arc<AtomicBool>) {
    refusing_or_tearing(memory, which, true)
}

fn refusing_or_tearing(
    memory: &Arc<Memory>,
    which: impl Fn(&Call<'_>) -> Option<StoreError> + Send + Sync + 'static,
    tears: bool,
) -> (Arc<Intercepted<Refusing>>, Arc<AtomicBool>) {
    let (refuses, which) = (Arc::new(AtomicBool::new(true)), Box::new(which));
    let refusing = Refusing { memory: memory.clone(), which, refuses: refuses.clone(), tears, torn: Mutex::default() };
    (Arc::new(Intercepted(refusing)), refuses)
}

impl Refusing {
    fn refusal(&self, call: &Call<'_>) -> Option<StoreError> {
        self.refuses.load(SeqCst).then(|| (self.which)(call)).flatten()
    }
}

pub fn denied() -> StoreError {
    StoreError::Refused("PutItem: AccessDeniedException: no".into())
}

#[async_trait]
impl Intercept for Refusing {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    fn amend(&self, commit: Commit) -> Commit {
        let refused = self.refusal(&Call { name: "commit", asked: &commit, commit: Some(&commit) });
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
        call: Call<'a>,
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

/// Delivers the wake that is visible next up to `times` times, as a queue does that takes failed messages back when their
/// visibility is over. Returns whether each hop succeeded; a hop that did ends the wake.
pub async fn deliver(world: &World, engine: &Engine, times: usize) -> Vec<bool> {
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
