//! `kill -9`, again and again, while events keep arriving.

use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::Value;
use stepladder_tests::wait::LIMIT;
use stepladder_tests::{Api, Server};

use crate::chance::Chance;
use crate::clients::{Clients, Heard};
use crate::journals::Stored;
use crate::verdict::{self, Sum};
use crate::{ledger, setting, trial};

/// One kill of so many comes while the server is starting.
const EARLY: u64 = 5;
/// How long a server lives at most, once it serves.
const LIFE: Duration = Duration::from_millis(400);
/// How long it takes at most to start, when all goes well: an early kill comes within this.
const START: Duration = Duration::from_millis(60);
/// How long a sender waits at most between requests.
const PAUSE: Duration = Duration::from_millis(60);

/// How often it is asked whether all runs have ended.
const ASK: Duration = Duration::from_millis(100);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("killed_again_and_again_at_one_step_an_invocation", || killed_again_and_again("step")),
        trial("killed_again_and_again_within_budget", || killed_again_and_again("budget")),
    ]
}

async fn killed_again_and_again(pace: &str) {
    let mut chance = Chance::of_this_run();
    let kills = setting("STEPLADDER_KILLS", 15).div_ceil(2);
    let mut server = server(pace);
    server.start().await;
    let clients = Clients::start(&server, 2, PAUSE, &mut chance);
    let (begun, mut early) = (Instant::now(), 0);
    for _ in 0..kills {
        // the moment is what is tried here
        tokio::time::sleep(chance.shorter_than(LIFE)).await;
        server.kill().await;
        while chance.below(EARLY) == 0 {
            server.launch();
            tokio::time::sleep(chance.shorter_than(START)).await;
            server.kill().await;
            early += 1;
        }
        server.start().await;
        clients.moved(&server);
    }
    let took = begun.elapsed();
    let (heard, sum) = settled(&mut server, clients).await;
    server.assert_no_error_logged();
    let Sum { runs, entries, interrupted, bodies } = sum;
    println!(
        "{pace}: {kills} kills of a serving and {early} of a starting server in {took:.1?}; {} orders accepted, {} requests \
         unanswered, {} ends of runs told; {runs} runs, {entries} entries, {bodies} bodies executed, {interrupted} interrupted",
        heard.accepted.len(),
        heard.unanswered,
        heard.ended.len(),
    );
    assert!(interrupted > 0, "no kill hit a body");
}

/// The app, with what its bodies write to.
pub(crate) fn server(pace: &str) -> Server {
    let server = Server::of(std::env::current_exe().expect("a program knows its own path"));
    let ledger = server.folder().join("ledger");
    let server = server.variable(ledger::LEDGER, ledger.to_str().expect("a path of letters"));
    ["--quiet", "--retry-delay", "20ms", "--pace", pace].into_iter().fold(server, Server::argument)
}

/// The clients stop, the runs end by themselves, the server is killed, and what it leaves is judged.
pub(crate) async fn settled(server: &mut Server, clients: Clients) -> (Heard, Sum) {
    let heard = clients.stop().await;
    let api = server.api();
    wait_while_bodies_run(&api, &server.folder().join("ledger")).await;
    server.kill().await;
    let lines = ledger::read(&server.folder().join("ledger"));
    let stored = Stored::read(&server.db()).await;
    let sum = verdict::check_orders(&stored, &heard, &lines).await;
    (heard, sum)
}

/// Waits until no run lives, as long as that takes, while bodies begin. Where none does for long, the runs that are left
/// are told.
async fn wait_while_bodies_run(api: &Api, ledger: &Path) {
    let written = || std::fs::metadata(ledger).map_or(0, |file| file.len());
    let (mut before, mut since) = (written(), Instant::now());
    loop {
        let left = [live(api, "Scheduled").await, live(api, "Running").await].concat();
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
        tokio::time::sleep(ASK).await;
    }
}

/// A few runs that have a status.
async fn live(api: &Api, status: &str) -> Vec<Value> {
    let (code, body) = api.get(&format!("/v1/runs?status={status}&limit=3")).await;
    assert_eq!(code, 200, "{body}");
    body["data"].as_array().expect("data").clone()
}
