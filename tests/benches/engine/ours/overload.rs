//! A server that is sent more than it can serve, for minutes: what it accepts and what it pushes back, the memory that it
//! takes up, and how soon it is as quick as before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use stepladder_tests::Api;
use stepladder_tests::load::{Answers, Load};

use super::ASK;
use super::server::Server;
use crate::options::STEPS_OF_MANY;
use crate::process::{memory, peak_memory};

/// The clients, none of which waits when it is pushed back.
pub(crate) const LOAD: Load = Load { clients: 64, batch: 10 };
/// An event's first step starts this soon on a server that is not busy.
pub(crate) const SOON: Duration = Duration::from_millis(100);

/// What was seen.
#[derive(Debug)]
pub(crate) struct Overload {
    /// How long it was sent more than it could serve.
    pub(crate) lasted: Duration,
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    /// What `Retry-After` said, in seconds.
    pub(crate) waits: Option<(u64, u64)>,
    /// The most memory, and what it was after a quarter of the time, in bytes.
    pub(crate) memory: (Option<u64>, Option<u64>),
    /// From the end of the overload until no run was left.
    pub(crate) until_empty: Duration,
    /// From the end of the overload until an event was sent whose first step started [`SOON`].
    pub(crate) until_soon: Duration,
}

impl Overload {
    /// Steps a second, from the first event to the end of the last run.
    pub(crate) fn steps_a_second(&self) -> f64 {
        (self.accepted * STEPS_OF_MANY) as f64 / (self.lasted + self.until_empty).as_secs_f64()
    }
}

/// Overloads a server of its own for so long.
pub(crate) async fn measure(lasts: Duration) -> Overload {
    let server = Server::start("step").await;
    let (api, pid) = (server.api(), server.pid());
    let begun = Instant::now();
    let early = AtomicU64::new(0);
    let enough = |_: &Answers| {
        if begun.elapsed() >= lasts / 4 && early.load(Ordering::Relaxed) == 0 {
            early.store(memory(pid).unwrap_or(0), Ordering::Relaxed);
        }
        begun.elapsed() >= lasts
    };
    let answers = LOAD.send(&api, |n| json!({"name": "bench/three", "data": {"n": n}}), enough).await;
    let lasted = begun.elapsed();
    let over = Instant::now();
    let left = async {
        while !is_idle(&api).await {
            tokio::time::sleep(ASK * 5).await;
        }
        over.elapsed()
    };
    let (until_empty, (until_soon, probes)) = futures::join!(left, quick(&api, over));
    // the last of the probes may have ended after the look that found nothing
    while !is_idle(&api).await {
        tokio::time::sleep(ASK).await;
    }
    let runs = api.number_of_runs().await;
    assert_eq!(runs, answers.accepted.len() + probes, "each accepted event has its run, and no other has");
    let early = Some(early.into_inner()).filter(|bytes| *bytes > 0);
    Overload {
        lasted,
        accepted: answers.accepted.len(),
        refused: answers.refused.len(),
        waits: answers.waits,
        memory: (peak_memory(&[pid]), early),
        until_empty,
        until_soon,
    }
}

async fn is_idle(api: &Api) -> bool {
    for status in ["Running", "Scheduled"] {
        let (_, page) = api.get(&format!("/v1/runs?status={status}&limit=1")).await;
        if !page["data"].as_array().expect("a list").is_empty() {
            return false;
        }
    }
    true
}

/// Sends one event after the other until the first step of one starts soon: when that one was sent, and how many were
/// accepted.
async fn quick(api: &Api, over: Instant) -> (Duration, usize) {
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
        tokio::time::sleep(ASK * 5).await;
    }
}

/// How long after its run's creation the first step of an event's run started, by the server's clock.
async fn first_step(api: &Api, event: &str) -> Duration {
    let run = api.run_of(event).await;
    loop {
        let journal = api.journal(&run).await;
        if let (Some(created), Some(started)) = (journal.first_at("RunCreated"), journal.first_at("StepStarted")) {
            let at = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
            return Duration::try_from(at(started).duration_since(at(created))).unwrap_or_default();
        }
        tokio::time::sleep(ASK * 5).await;
    }
}
