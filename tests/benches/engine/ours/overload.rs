//! Overloads a server for minutes. Measures what the server accepts and refuses, its memory, and
//! how long it takes to become as fast as before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use stepladder_tests::ApiClient;
use stepladder_tests::load::{LoadResponses, LoadSize};

use super::CHECK_INTERVAL;
use super::server::BenchServer;
use crate::options::STEPS_OF_MANY;
use crate::process::{peak_memory, resident_memory};

/// The load. The server cannot accept all of these events and must refuse some. A client does not
/// wait after a refusal.
pub(crate) const LOAD: LoadSize = LoadSize { clients: 64, batch: 10 };
/// On an idle server, a run's first step starts within this time after the creation of the run.
pub(crate) const SOON: Duration = Duration::from_millis(100);

/// The figures of an overload.
#[derive(Debug)]
pub(crate) struct OverloadFigures {
    /// How long the overload lasted.
    pub(crate) lasted: Duration,
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    /// The shortest and longest `Retry-After`, in seconds; `None` if no request was refused.
    pub(crate) waits: Option<(u64, u64)>,
    /// The peak memory, and the memory after a quarter of the overload, in bytes.
    pub(crate) memory: (Option<u64>, Option<u64>),
    /// The time from the end of the overload until all runs had ended.
    pub(crate) until_empty: Duration,
    /// The time from the end of the overload until an event led to a first step within [`SOON`]. It
    /// ends when this event is sent.
    pub(crate) until_soon: Duration,
}

impl OverloadFigures {
    /// Returns the steps per second, from the first event to the end of the last run.
    pub(crate) fn steps_a_second(&self) -> f64 {
        (self.accepted * STEPS_OF_MANY) as f64 / (self.lasted + self.until_empty).as_secs_f64()
    }
}

/// Starts a server and overloads it for this time.
pub(crate) async fn measure(lasts: Duration) -> OverloadFigures {
    let server = BenchServer::start("step").await;
    let (api, pid) = (server.api(), server.pid());
    let begun = Instant::now();
    let early = AtomicU64::new(0);
    let enough = |_: &LoadResponses| {
        if begun.elapsed() >= lasts / 4 && early.load(Ordering::Relaxed) == 0 {
            early.store(resident_memory(pid).unwrap_or(0), Ordering::Relaxed);
        }
        begun.elapsed() >= lasts
    };
    let answers = LOAD.send_load(&api, |n| json!({"name": "bench/three", "data": {"n": n}}), enough).await;
    let lasted = begun.elapsed();
    let over = Instant::now();
    let left = async {
        while !is_idle(&api).await {
            tokio::time::sleep(CHECK_INTERVAL * 5).await;
        }
        over.elapsed()
    };
    let (until_empty, (until_soon, probes)) = futures::join!(left, time_until_quick(&api, over));
    // the run of the last probing event may not have ended yet
    while !is_idle(&api).await {
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
    let runs = api.number_of_runs().await;
    assert_eq!(runs, answers.accepted.len() + probes, "each accepted event has a run, and no other event has one");
    let early = Some(early.into_inner()).filter(|bytes| *bytes > 0);
    OverloadFigures {
        lasted,
        accepted: answers.accepted.len(),
        refused: answers.refused.len(),
        waits: answers.waits,
        memory: (peak_memory(&[pid]), early),
        until_empty,
        until_soon,
    }
}

async fn is_idle(api: &ApiClient) -> bool {
    for status in ["Running", "Scheduled"] {
        let (_, page) = api.get(&format!("/v1/runs?status={status}&limit=1")).await;
        if !page["data"].as_array().expect("a list").is_empty() {
            return false;
        }
    }
    true
}

/// Sends one event at a time until the first step of its run starts within [`SOON`]. Returns the
/// time until that event was sent, and the number of accepted events.
async fn time_until_quick(api: &ApiClient, over: Instant) -> (Duration, usize) {
    let mut accepted = 0;
    loop {
        let sent = over.elapsed();
        let event = json!({"name": "bench/three", "data": {"n": 0}}).to_string();
        let (status, body) = api.post("/e/test", event).await;
        if status == 200 {
            accepted += 1;
            if first_step(api, body["ids"][0].as_str().expect("an id")).await <= SOON {
                return (sent, accepted);
            }
        }
        tokio::time::sleep(CHECK_INTERVAL * 5).await;
    }
}

/// Returns the time from the creation of an event's run to the start of the run's first step, by
/// the server's clock.
async fn first_step(api: &ApiClient, event: &str) -> Duration {
    let run = api.run_of(event).await;
    loop {
        let journal = api.journal(&run).await;
        if let (Some(created), Some(started)) = (journal.first_at("RunCreated"), journal.first_at("StepStarted")) {
            let at = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
            return Duration::try_from(at(started).duration_since(at(created))).unwrap_or_default();
        }
        tokio::time::sleep(CHECK_INTERVAL * 5).await;
    }
}
