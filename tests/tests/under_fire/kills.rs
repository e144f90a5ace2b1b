//! Kills the server (`kill -9`) many times while clients send events.

use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::Value;
use stepladder_tests::wait::LIMIT;
use stepladder_tests::{ApiClient, ServerProcess};

use crate::chance::SeededRandom;
use crate::clients::{ClientResponses, LoadClients};
use crate::journals::StoredRuns;
use crate::verdict::{self, JournalTotals};
use crate::{ledger, setting, trial};

/// One in this many kills comes while the server is starting.
const EARLY: u64 = 5;
/// The maximum time for which a started server runs before it is killed.
const LIFE: Duration = Duration::from_millis(400);
/// The usual time that the server takes to start. A kill during the start comes within this time.
const START: Duration = Duration::from_millis(60);
/// The maximum time that a sender waits between two requests.
const PAUSE: Duration = Duration::from_millis(60);

/// How often to check whether all runs have ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("killed_again_and_again_at_one_step_an_invocation", || killed_again_and_again("step")),
        trial("killed_again_and_again_within_budget", || killed_again_and_again("budget")),
    ]
}

async fn killed_again_and_again(pace: &str) {
    let mut chance = SeededRandom::of_this_run();
    let kills = setting("STEPLADDER_KILLS", 15).div_ceil(2);
    let mut server = server(pace);
    server.start().await;
    let clients = LoadClients::start(&server, 2, PAUSE, &mut chance);
    let (begun, mut early) = (Instant::now(), 0);
    for _ in 0..kills {
        // the kill must come at a random moment, so this test sleeps
        tokio::time::sleep(chance.shorter_than(LIFE)).await;
        server.kill().await;
        while chance.below(EARLY) == 0 {
            server.launch();
            tokio::time::sleep(chance.shorter_than(START)).await;
            server.kill().await;
            early += 1;
        }
        server.start().await;
        clients.use_new_server(&server);
    }
    let took = begun.elapsed();
    let (answers, sum) = settle_and_check(&mut server, clients).await;
    server.assert_no_error_logged();
    let JournalTotals { runs, entries, interrupted, bodies } = sum;
    println!(
        "{pace}: {kills} kills of a serving and {early} of a starting server in {took:.1?}; {} orders accepted, {} requests \
         unanswered, {} ends of runs told; {runs} runs, {entries} entries, {bodies} bodies executed, {interrupted} interrupted",
        answers.accepted.len(),
        answers.unanswered,
        answers.ended.len(),
    );
    assert!(interrupted > 0, "no kill hit a body");
}

/// Prepares the server with the app and the app's ledger.
pub(crate) fn server(pace: &str) -> ServerProcess {
    let server = ServerProcess::for_program(std::env::current_exe().expect("a program knows its own path"));
    let ledger = server.folder().join("ledger");
    let server = server.variable(ledger::LEDGER, ledger.to_str().expect("a path of letters"));
    ["--quiet", "--retry-delay", "20ms", "--pace", pace].into_iter().fold(server, ServerProcess::argument)
}

/// Stops the clients, waits until all runs have ended, kills the server, and checks the data file.
pub(crate) async fn settle_and_check(
    server: &mut ServerProcess,
    clients: LoadClients,
) -> (ClientResponses, JournalTotals) {
    let answers = clients.stop().await;
    let api = server.api();
    wait_while_bodies_run(&api, &server.folder().join("ledger")).await;
    server.kill().await;
    let lines = ledger::read(&server.folder().join("ledger"));
    let stored = StoredRuns::read(&server.db()).await;
    let sum = verdict::check_orders(&stored, &answers, &lines).await;
    (answers, sum)
}

/// Waits until no run is live. If no body starts or ends for a long time, panics with the live
/// runs.
async fn wait_while_bodies_run(api: &ApiClient, ledger: &Path) {
    let written = || std::fs::metadata(ledger).map_or(0, |file| file.len());
    let (mut before, mut since) = (written(), Instant::now());
    loop {
        // each list is read twice: a run may move from one to the other between the reads
        let mut left = Vec::new();
        for status in ["Running", "Scheduled", "Running", "Scheduled"] {
            left.extend(live_runs(api, status).await);
        }
        if left.is_empty() {
            return;
        }
        let now = written();
        if now > before {
            (before, since) = (now, Instant::now());
        }
        if since.elapsed() > LIMIT {
            for run in &left {
                let id = run["run_id"].as_str().expect("text");
                println!("{}\n{:#?}", api.run(id).await, api.journal(id).await.story());
            }
            panic!("for {LIMIT:?} no body has begun, and runs are left");
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Returns some runs with this status.
async fn live_runs(api: &ApiClient, status: &str) -> Vec<Value> {
    let (code, body) = api.get(&format!("/v1/runs?status={status}&limit=3")).await;
    assert_eq!(code, 200, "{body}");
    body["data"].as_array().expect("data").clone()
}
