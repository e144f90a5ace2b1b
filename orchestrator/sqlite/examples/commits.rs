//! Measures the speed of commits:
//! `cargo run --release -p stepladder-sqlite --example commits [FOLDER]`.
//!
//! Each caller makes the writes of a step: an unsynced `StepStarted`, then a synced outcome with
//! the next wake and the acknowledgement of the previous one. The output has the synced commits per
//! second and the duration of a commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stepladder_core::{AttemptReport, Fact, Record, RunId, Timestamp, Wake, WakeCause, json};
use stepladder_engine::ports::{Commit, CommitResult, Commits, JournalAppend, Queue};
use stepladder_sqlite::{Sqlite, SqliteOptions};

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let path = std::path::Path::new(&folder).join(format!("commits-{}.db", std::process::id()));
    let sqlite = Arc::new(Sqlite::open(&path, SqliteOptions::default()).expect("a data file"));
    for (callers, steps) in [(1, 2_000), (8, 1_000), (64, 500), (256, 200)] {
        measure(&sqlite, callers, steps).await;
    }
    drop(sqlite);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

async fn measure(sqlite: &Arc<Sqlite>, callers: u128, steps: u64) {
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let sqlite = sqlite.clone();
            tokio::spawn(async move { commit_chain(&sqlite, RunId::new(now(), caller), steps).await })
        })
        .collect();
    let (mut synced, mut unsynced) = (Vec::new(), Vec::new());
    for task in tasks {
        let (s, u) = task.await.expect("a caller");
        synced.extend(s);
        unsynced.extend(u);
    }
    let rate = synced.len() as f64 / start.elapsed().as_secs_f64();
    println!(
        "{callers:>4} callers: {rate:>7.0} steps/s; synced p50 {:?} p99 {:?}; unsynced p50 {:?} p99 {:?}",
        percentile(&mut synced, 50),
        percentile(&mut synced, 99),
        percentile(&mut unsynced, 50),
        percentile(&mut unsynced, 99),
    );
}

async fn commit_chain(sqlite: &Sqlite, run: RunId, steps: u64) -> (Vec<Duration>, Vec<Duration>) {
    let (mut synced, mut unsynced) = (Vec::new(), Vec::new());
    let mut acks = Vec::new();
    for step in 0..steps {
        let started = Fact::StepStarted {
            step: "pay".into(),
            attempt: 1,
            lease_until: now(),
            worker: "w".into(),
            at_most_once: false,
        };
        let output = json::to_json("an outcome of about forty bytes of text").expect("JSON");
        let ended = Fact::StepSucceeded { step: "pay".into(), attempt: 1, output, report: AttemptReport::default() };
        let start = Instant::now();
        commit(sqlite, Commit { append: Some(append(run, 2 * step, started).into()), ..Commit::default() }).await;
        unsynced.push(start.elapsed());
        let wakes = vec![Wake { run, cause: WakeCause::Next, group: "orders".into() }];
        let start = Instant::now();
        commit(
            sqlite,
            Commit { append: Some(append(run, 2 * step + 1, ended).into()), wakes, acks, ..Commit::default() },
        )
        .await;
        synced.push(start.elapsed());
        // the wake may be another run's; each wake is acknowledged once
        let received = sqlite.receive(1, Duration::from_secs(60)).await.expect("a queue");
        acks = received.into_iter().map(|delivery| delivery.receipt).collect();
    }
    commit(sqlite, Commit { acks, ..Commit::default() }).await;
    (synced, unsynced)
}

async fn commit(sqlite: &Sqlite, commit: Commit) {
    assert_eq!(sqlite.commit(commit).await.expect("a commit"), CommitResult::Done);
}

fn append(run: RunId, seq: u64, fact: Fact) -> JournalAppend {
    let token = u128::from(seq) << 64 | 0x5eed;
    JournalAppend { run, record: Record { seq, token, code: "1".into(), entries: vec![fact.into_entry(now())] } }
}

fn now() -> Timestamp {
    use stepladder_engine::clock::{Clock, SystemClock};
    SystemClock.now()
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}
