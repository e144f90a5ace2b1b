//! Overloads the real server. It must handle all accepted events, keep nothing of refused events,
//! use little memory, and be as fast as before afterwards.

mod stored;

use std::collections::HashSet;

use serde_json::{Value, json};
use stepladder_tests::load::{LoadResponses, LoadSize};
use stepladder_tests::{ServerProcess, wait_calmly, wait_for};

/// The maximum number of due wakes. It is so low that a short load exceeds it at once.
const BACKLOG: usize = 20;
/// The maximum memory of the server in bytes, about twice that of an idle server. `just load` shows
/// the memory over minutes of load.
const MEMORY: usize = 96 * 1024 * 1024;

fn event(n: usize) -> Value {
    json!({"name": "test/hello.world", "id": format!("load-{n}"), "data": {"name": "Ada", "padding": "x".repeat(1_024)}})
}

/// Returns whether enough events were accepted, and at least three times as many refused.
fn has_enough(answers: &LoadResponses) -> bool {
    let (accepted, refused) = (answers.accepted.len(), answers.refused.len());
    accepted >= 300 && refused >= 3 * accepted
}

#[tokio::test]
async fn under_overload_accepted_events_are_served_and_refused_ones_leave_nothing() {
    let mut server = ServerProcess::new().argument("--quiet").argument("--max-backlog").argument(BACKLOG.to_string());
    // with one hop at a time, the clients send several times more events than the server can
    // handle, on any machine
    server = server.argument("--concurrency").argument("1");
    server.start().await;
    let api = server.api();
    let answers = LoadSize { clients: 32, batch: 5 }.send_load(&api, event, has_enough).await;
    let (least, most) = answers.waits.expect("some were pushed back");
    assert!(1 <= least && most <= 60, "{least} to {most} s");

    // afterwards, the server handles all accepted events and accepts new ones
    let first = answers.accepted.first().expect("some were accepted");
    api.wait_for_end(&api.run_of(&first.1).await).await;
    for status in ["Scheduled", "Running"] {
        wait_calmly("the end of all runs", async || {
            let (_, page) = api.get(&format!("/v1/runs?status={status}&limit=1")).await;
            page["data"].as_array().expect("a list").is_empty().then_some(())
        })
        .await;
    }
    let after = api.send(&json!({"name": "test/hello.world", "id": "after"})).await.remove(0);
    assert_eq!(api.wait_for_end(&api.run_of(&after).await).await["status"], "Completed");
    if let Some(peak) = peak_memory(server.pid()) {
        assert!(peak < MEMORY, "the server took up {} MiB", peak >> 20);
    }
    server.assert_no_error_logged();
    assert!(server.interrupt().await.success());

    let stored = stored::read(&server.db()).await;
    assert_eq!(stepladder_proof::check(&stored.journals), Vec::<String>::new());
    let accepted: HashSet<&str> = answers.accepted.iter().map(|(_, id)| &**id).chain([&*after]).collect();
    assert_eq!(accepted.len(), answers.accepted.len() + 1, "each has an id of its own");
    let started: HashSet<&str> = stored.started.iter().map(|id| &**id).collect();
    assert_eq!(stored.started.len(), started.len(), "no event started two runs");
    assert_eq!(started, accepted, "each accepted event started its run, and no other did");
    assert_eq!(stepladder_proof::unfinished(&stored.journals), []);
    for (n, _) in &answers.accepted {
        assert!(stored.has(&format!("load-{n}")).await, "event {n} was accepted and is not stored");
    }
    for n in &answers.refused {
        assert!(!stored.has(&format!("load-{n}")).await, "event {n} was pushed back and is stored");
    }
}

#[tokio::test]
async fn the_send_command_waits_until_the_server_accepts() {
    // a single sleeping run stays within this limit, and the burst of events below exceeds it
    let mut server = ServerProcess::new().argument("--max-backlog").argument("1").argument("--quiet");
    server.start().await;
    let api = server.api();
    let burst: Vec<Value> = (0..2_000).map(|_| json!({"name": "test/hello.world"})).collect();
    let ids = api.send(&json!(burst)).await;
    let sent =
        server.client(&["send", "test/hello.world", "--id", "patient", "--json"]).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&sent.stderr).into_owned();
    assert!(sent.status.success(), "{said}");
    assert!(said.contains("the server is overloaded") && said.contains("retrying in"), "{said}");
    assert_eq!(api.runs_of("patient").await.len(), 1);
    wait_for("the last run of the burst", async || {
        let run = api.run_of(ids.last().expect("many")).await;
        (!api.run(&run).await["ended_at"].is_null()).then_some(())
    })
    .await;
}

/// Returns the peak memory of a process in bytes, on Linux.
fn peak_memory(pid: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}
