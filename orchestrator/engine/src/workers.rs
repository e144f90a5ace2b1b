//! Workers: pull wakes from the queue and let the engine hop, many at a time; sweep once a minute;
//! and keep an eye on bodies that do not stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::{Engine, permanent};

/// The minute between sweeps.
const SWEEP: Duration = Duration::from_secs(60);
/// How often the supervisor looks.
const SUPERVISE: Duration = Duration::from_secs(1);
/// The same after a permanent error. A thread that sleeps longer would keep the process from
/// ending.
const SUPERVISE_LATER: Duration = Duration::from_secs(5);
/// How long a worker waits after the queue failed, and at most where the error is permanent.
const QUEUE_FAILED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The running workers of a process.
pub struct Workers {
    engine: Arc<Engine>,
    stop: watch::Sender<bool>,
    puller: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    slots: Arc<Semaphore>,
    n: u32,
    supervised: Arc<AtomicBool>,
}

impl Workers {
    /// Starts pulling, with at most `n` hops side by side. Must be called within a tokio runtime.
    pub fn start(engine: Arc<Engine>, n: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let slots = Arc::new(Semaphore::new(n));
        let puller = tokio::spawn(pull(engine.clone(), slots.clone(), n, stopped.clone()));
        let sweeper = tokio::spawn(sweep(engine.clone(), stopped));
        let supervised = Arc::new(AtomicBool::new(true));
        supervise(engine.clone(), supervised.clone());
        Self { engine, stop, puller, sweeper, slots, n: u32::try_from(n).unwrap_or(u32::MAX), supervised }
    }

    /// Stops pulling and lets running hops end within `grace`. The next process takes over the
    /// rest, as after a crash. Returns whether everything ended.
    pub async fn stop(self, grace: Duration) -> bool {
        self.engine.stop();
        self.stop.send_replace(true);
        self.supervised.store(false, Ordering::Relaxed);
        let everything = async {
            // the puller may be waiting for the queue; what it has received is either hopping or
            // comes again
            self.puller.abort();
            self.sweeper.abort();
            self.slots.acquire_many(self.n).await.is_ok()
        };
        tokio::time::timeout(grace, everything).await.unwrap_or(false)
    }
}

async fn pull(engine: Arc<Engine>, slots: Arc<Semaphore>, n: usize, stopped: watch::Receiver<bool>) {
    let mut wait = QUEUE_FAILED.0;
    while !*stopped.borrow() {
        let Ok(first) = slots.clone().acquire_owned().await else { return };
        let more = slots.available_permits().min(n);
        let deliveries = match engine.runtime.backend.receive(1 + more, engine.config().visibility()).await {
            Ok(deliveries) => deliveries,
            Err(error) => {
                wait = match permanent::report("receive wakes", None, &error) {
                    true => (wait * 2).min(QUEUE_FAILED.1),
                    false => {
                        tracing::warn!(%error, "the queue failed; trying again");
                        QUEUE_FAILED.0
                    }
                };
                engine.runtime.clock.sleep_until(engine.now() + wait).await;
                continue;
            }
        };
        wait = QUEUE_FAILED.0;
        let mut permit = Some(first);
        for delivery in deliveries {
            let permit = match permit.take() {
                Some(permit) => permit,
                None => match slots.clone().acquire_owned().await {
                    Ok(permit) => permit,
                    Err(_) => return,
                },
            };
            let engine = engine.clone();
            tokio::spawn(async move {
                let run = delivery.wake.run;
                if let Err(error) = engine.hop(delivery).await {
                    tracing::error!(%run, %error, "a hop failed; the queue delivers its wake again");
                }
                drop(permit);
            });
        }
    }
}

async fn sweep(engine: Arc<Engine>, stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        match engine.sweep().await {
            Ok(swept) => tracing::debug!(?swept, "swept"),
            Err(error) if permanent::report("sweep", None, &error) => {}
            Err(error) => tracing::warn!(%error, "a sweep failed; the next begins where it did"),
        }
        engine.runtime.clock.sleep_until(engine.now() + SWEEP).await;
    }
}

/// The supervisor has a thread of its own: bodies that block may have taken all of the runtime's.
fn supervise(engine: Arc<Engine>, on: Arc<AtomicBool>) {
    let look = move || {
        let mut wait = SUPERVISE;
        while on.load(Ordering::Relaxed) {
            std::thread::sleep(wait);
            wait = SUPERVISE;
            match futures::executor::block_on(engine.expel_overdue()) {
                Ok(expelled) => {
                    for (run, step) in expelled {
                        tracing::error!(%run, %step, "a step blocks its thread past its time-out; its run goes on without it");
                    }
                }
                Err(error) if permanent::report("fail a step that blocks its thread", None, &error) => {
                    wait = SUPERVISE_LATER;
                }
                Err(error) => tracing::warn!(%error, "the supervisor could not write; it tries again"),
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("supervisor".into()).spawn(look) {
        tracing::error!(%error, "no supervisor: steps that block their thread are not noticed");
    }
}
