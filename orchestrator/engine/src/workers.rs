//! The workers of a server process. They receive wakes and execute hops concurrently. They also
//! sweep once a minute, and fail the steps with bodies that do not stop at their timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::{Engine, permanent};

/// The time between two sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How often the supervisor checks the executing bodies.
const SUPERVISOR_INTERVAL: Duration = Duration::from_secs(1);
/// How long the supervisor waits after a permanent error. A longer wait of its thread would delay
/// the end of the process.
const SUPERVISOR_INTERVAL_AFTER_ERROR: Duration = Duration::from_secs(5);
/// How long to wait after the queue failed: at first, and at most after repeated permanent errors.
const QUEUE_RETRY_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The running workers of a process.
pub struct Workers {
    engine: Arc<Engine>,
    stop: watch::Sender<bool>,
    receiver: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    slots: Arc<Semaphore>,
    n: u32,
    supervised: Arc<AtomicBool>,
}

impl Workers {
    /// Starts to receive wakes, and executes at most `n` hops at the same time. Must be called
    /// within a tokio runtime.
    pub fn start(engine: Arc<Engine>, n: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let slots = Arc::new(Semaphore::new(n));
        let receiver = tokio::spawn(receive_wakes(engine.clone(), slots.clone(), n, stopped.clone()));
        let sweeper = tokio::spawn(sweep(engine.clone(), stopped));
        let supervised = Arc::new(AtomicBool::new(true));
        supervise(engine.clone(), supervised.clone());
        Self { engine, stop, receiver, sweeper, slots, n: u32::try_from(n).unwrap_or(u32::MAX), supervised }
    }

    /// Stops receiving wakes, and waits until the running hops have ended, but at most for `grace`.
    /// The next process continues the remaining runs, as after a crash. Returns whether all hops
    /// ended.
    pub async fn stop(self, grace: Duration) -> bool {
        self.engine.stop();
        self.stop.send_replace(true);
        self.supervised.store(false, Ordering::Relaxed);
        let everything = async {
            // the receiver may be waiting for the queue, so it is aborted; each wake that it has
            // received is either being handled or will be delivered again
            self.receiver.abort();
            self.sweeper.abort();
            self.slots.acquire_many(self.n).await.is_ok()
        };
        tokio::time::timeout(grace, everything).await.unwrap_or(false)
    }
}

async fn receive_wakes(engine: Arc<Engine>, slots: Arc<Semaphore>, n: usize, stopped: watch::Receiver<bool>) {
    let mut wait = QUEUE_RETRY_WAITS.0;
    while !*stopped.borrow() {
        let Ok(first) = slots.clone().acquire_owned().await else { return };
        let more = slots.available_permits().min(n);
        let deliveries = match engine.runtime.backend.receive(1 + more, engine.config().visibility()).await {
            Ok(deliveries) => deliveries,
            Err(error) => {
                wait = match permanent::report_failure("receive wakes", None, &error) {
                    true => (wait * 2).min(QUEUE_RETRY_WAITS.1),
                    false => {
                        tracing::warn!(%error, "the queue failed; it is called again");
                        QUEUE_RETRY_WAITS.0
                    }
                };
                engine.runtime.clock.sleep_until(engine.now() + wait).await;
                continue;
            }
        };
        wait = QUEUE_RETRY_WAITS.0;
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
            // boxed, because a spawned future is moved several times
            tokio::spawn(Box::pin(async move {
                let run = delivery.wake.run;
                if let Err(error) = engine.hop(delivery).await {
                    tracing::error!(%run, %error, "a hop failed; the queue delivers its wake again");
                }
                drop(permit);
            }));
        }
    }
}

async fn sweep(engine: Arc<Engine>, stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        match engine.sweep().await {
            Ok(swept) => tracing::debug!(?swept, "swept"),
            Err(error) if permanent::report_failure("sweep", None, &error) => {}
            Err(error) => tracing::warn!(%error, "a sweep failed; the next one begins where it began"),
        }
        engine.runtime.clock.sleep_until(engine.now() + SWEEP_INTERVAL).await;
    }
}

/// Starts the supervisor on a separate thread, because bodies that block may occupy all threads of
/// the runtime.
fn supervise(engine: Arc<Engine>, on: Arc<AtomicBool>) {
    let check = move || {
        let mut wait = SUPERVISOR_INTERVAL;
        while on.load(Ordering::Relaxed) {
            std::thread::sleep(wait);
            wait = SUPERVISOR_INTERVAL;
            match futures::executor::block_on(engine.expel_overdue()) {
                Ok(expelled) => {
                    for (run, step) in expelled {
                        tracing::error!(%run, %step, "a step blocks its thread past its timeout; its run continues without it");
                    }
                }
                Err(error) if permanent::report_failure("fail a step that blocks its thread", None, &error) => {
                    wait = SUPERVISOR_INTERVAL_AFTER_ERROR;
                }
                Err(error) => tracing::warn!(%error, "the supervisor could not write; it will try again"),
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("supervisor".into()).spawn(check) {
        tracing::error!(%error, "the supervisor could not start; steps that block their thread are not noticed");
    }
}
