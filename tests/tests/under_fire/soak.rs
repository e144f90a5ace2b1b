//! Sends an hour's worth of events (36,000, ten per second) as fast as the server can end their
//! runs, and checks the server's memory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepladder_core::state::RunOutcome;
use stepladder_tests::{ApiClient, ServerProcess, wait_for};

use crate::journals::{StoredRuns, ending, is_of};
use crate::kills::server;
use crate::ledger::LEDGER;
use crate::{memory, setting, trial};

/// The number of events per request.
const BATCH: u64 = 10;
/// The maximum number of events with runs that have not ended. A longer queue would need more
/// memory, but this test looks for leaks of ended runs.
const UNDER_WAY: u64 = 200;
/// How many events share the key of a limit. New keys appear all the time, so the server must drop
/// unused keys.
const SHELF: u64 = 20;
/// The number of steps per run.
const STEPS: u64 = 2;
/// The number of parts for which the memory is printed.
const PARTS: u64 = 10;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("what_each_run_leaves_is_told_from_a_step", async || memory::what_each_run_leaves_is_told_from_a_step()),
        trial("memory_is_steady_over_many_events", memory_is_steady_over_many_events),
    ]
}

async fn memory_is_steady_over_many_events() {
    let events = setting("STEPLADDER_SOAK", 3_000).next_multiple_of(BATCH * PARTS);
    let mut server = server("step");
    server.start().await;
    let api = server.api();
    let mut ends = RunEndCounter::from_ledger(&server.folder().join("ledger"));
    let begun = Instant::now();
    let (mut sent, mut samples) = (0, Vec::new());
    while ends.seen < events {
        let room = (ends.seen + UNDER_WAY - sent).min(events - sent) / BATCH;
        let requests = (0..room).map(|request| sent + request * BATCH).map(|first| send(&api, first..first + BATCH));
        join_all(requests.collect::<Vec<_>>()).await;
        sent += room * BATCH;
        let before = ends.seen;
        wait_for("a run to end", async || (ends.count_new_ends() >= before + BATCH || ends.seen == sent).then_some(()))
            .await;
        samples.push((ends.seen, resident_memory(&server)));
    }
    let took = begun.elapsed();
    print_samples(events, took, &samples);
    check_memory(server, events).await;
    assert_eq!(memory::describe_growth(&samples, events), None);
}

async fn send(api: &ApiClient, items: std::ops::Range<u64>) {
    let event = |n| json!({"name": "fire/item", "id": format!("item-{n}"), "data": {"n": n, "shelf": n / SHELF}});
    let sent = api.send(&Value::Array(items.map(event).collect())).await;
    assert_eq!(sent.len() as u64, BATCH);
}

/// Counts the runs that have ended by reading the ledger, without requests to the server.
struct RunEndCounter {
    lines: BufReader<std::fs::File>,
    /// The start of a line that is not complete yet.
    line: String,
    seen: u64,
}

impl RunEndCounter {
    fn from_ledger(ledger: &Path) -> Self {
        let file = std::fs::File::open(ledger).unwrap_or_else(|error| panic!("{LEDGER}: {error}"));
        Self { lines: BufReader::new(file), line: String::new(), seen: 0 }
    }

    fn count_new_ends(&mut self) -> u64 {
        while self.lines.read_line(&mut self.line).expect("the ledger") > 0 {
            if self.line.ends_with('\n') {
                self.seen += u64::from(self.line.starts_with("end ") && self.line.ends_with(" pack\n"));
                self.line.clear();
            }
        }
        self.seen
    }
}

/// Returns the resident memory of the server in bytes.
fn resident_memory(server: &ServerProcess) -> u64 {
    let id = server.id().expect("it runs");
    let Ok(status) = std::fs::read_to_string(format!("/proc/{id}/status")) else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
}

fn print_samples(events: u64, took: Duration, samples: &[(u64, u64)]) {
    let rate = (events * STEPS) as f64 / took.as_secs_f64();
    println!("{events} events, {events} runs in {took:.1?}: {rate:.0} steps a second; MB of memory at each tenth:");
    let at = |part: u64| samples.iter().find(|(ended, _)| *ended >= events * part / PARTS);
    let memory = (1..=PARTS).filter_map(at).map(|(_, bytes)| format!("{:.1}", *bytes as f64 / 1e6));
    println!("  {}", memory.collect::<Vec<_>>().join("  "));
}

/// Checks that each event has one run, and that the run ended as expected.
async fn check_memory(mut server: ServerProcess, events: u64) {
    let api = server.api();
    wait_for("the last run to be written down", async || {
        let (_, body) = api.get("/v1/runs?status=Running&limit=1").await;
        body["data"].as_array().expect("data").is_empty().then_some(())
    })
    .await;
    server.assert_no_error_logged();
    server.kill().await;
    let stored = StoredRuns::read(&server.db()).await;
    assert_eq!(stepladder_proof::check(&stored.journals), [] as [String; 0]);
    assert_eq!(stored.journals.len() as u64, events);
    let right = |journal| is_of(journal, "item") && matches!(ending(journal), Some(RunOutcome::Completed(_)));
    assert!(stored.journals.iter().all(right), "a run ended in another way");
}
