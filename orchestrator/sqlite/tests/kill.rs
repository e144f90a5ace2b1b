//! A process is killed while it writes. Whatever it was told is done must be there; nothing may be there by half.
//!
//! This is a program of its own, not a list of test functions: started with a folder in [`CHILD`], it is the process
//! that is killed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::Duration;

use stepladder_core::{Fact, Record, Report, RunId, Timestamp, Wake, WakeCause, json};
use stepladder_engine::ports::{Commit, CommitResult, Commits, JournalAppend, Journals, Queue};
use stepladder_sqlite::{Options, Sqlite};

/// The environment variable that makes this the process that is killed: the data file.
const CHILD: &str = "STEPLADDER_KILLED_CHILD_DB";
const WRITERS: u64 = 8;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match std::env::var_os(CHILD) {
        Some(db) => runtime.block_on(write_until_killed(Path::new(&db))),
        None => runtime.block_on(what_was_answered_survives_a_kill_and_nothing_is_there_by_half()),
    }
}

fn run(writer: u64) -> RunId {
    RunId::new(Timestamp::from_millis(0), u128::from(writer))
}

fn wake(writer: u64, seq: u64) -> Wake {
    Wake { run: run(writer), cause: WakeCause::Step(seq.to_string().into()), group: "f".into() }
}

/// Each writer appends to its run, two entries and a wake at a time, and says so when it is told that it is done. A writer
/// ends only by a failure, and the process with it: whoever reads its output waits for no more.
async fn write_until_killed(db: &Path) {
    let sqlite = std::sync::Arc::new(Sqlite::open(db, Options::default()).expect("a data file"));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let sqlite = sqlite.clone();
        writers.spawn(async move {
            let mut seq = sqlite.read(run(writer), 0).await.expect("a journal").last().map_or(0, Record::next);
            loop {
                let fact = Fact::StepSucceeded {
                    step: "s".into(),
                    attempt: 1,
                    output: json::null(),
                    report: Report::default(),
                };
                let entries = vec![fact.at(Timestamp::from_millis(0)); 2];
                let record = Record { seq, token: u128::from(seq), code: "1".into(), entries };
                let append = Some(JournalAppend { run: run(writer), record });
                let commit = Commit { append, wakes: vec![wake(writer, seq)], ..Commit::default() };
                assert_eq!(sqlite.commit(commit).await.expect("a commit"), CommitResult::Done);
                println!("{writer} {seq}");
                seq += 2;
            }
        });
    }
    let ended: Option<Result<(), _>> = writers.join_next().await;
    panic!("a writer ended: {ended:?}");
}

async fn what_was_answered_survives_a_kill_and_nothing_is_there_by_half() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("dev.db");
    let mut answered: HashMap<u64, u64> = HashMap::new();
    // killed after so many answers: before the first checkpoint, and after some
    for answers in [1, 7, 100, 1_500, 3_000, 2] {
        let me = std::env::current_exe().expect("a program");
        let mut child = Command::new(me).env(CHILD, &db).stdout(Stdio::piped()).spawn().expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut killed = false;
        for (n, line) in lines.enumerate() {
            if n + 1 >= answers && !killed {
                child.kill().expect("the process ends");
                killed = true;
            }
            // a line may be cut off where the process was
            let Some((writer, seq)) = line.as_deref().ok().and_then(|line| line.split_once(' ')) else { continue };
            let (Ok(writer), Ok(seq)) = (writer.parse::<u64>(), seq.parse::<u64>()) else { continue };
            let latest = answered.entry(writer).or_default();
            *latest = seq.max(*latest);
        }
        assert!(killed, "the process ended by itself: {:?}", child.wait());
        child.wait().expect("the process has ended");
        check(&db, &answered).await;
    }
    println!("what_was_answered_survives_a_kill_and_nothing_is_there_by_half ... ok");
}

async fn check(db: &Path, answered: &HashMap<u64, u64>) {
    // the dead process's lock is gone with it
    let sqlite = Sqlite::open(db, Options::default()).expect("a data file");
    let mut records = 0;
    for writer in 0..WRITERS {
        let journal = sqlite.read(run(writer), 0).await.expect("a journal");
        for (n, record) in journal.iter().enumerate() {
            assert_eq!((record.seq, record.entries.len()), (2 * n as u64, 2), "a journal without gaps");
        }
        if let Some(latest) = answered.get(&writer) {
            let last = journal.last().map(|record| record.seq);
            assert!(last >= Some(*latest), "run {writer} was told {latest} and has {last:?}");
        }
        records += journal.len();
    }
    // each record came with its wake, all or nothing
    let mut wakes = 0;
    // all of them are due: an empty queue is one that does not answer at once
    while let Poll::Ready(more) = futures::poll!(std::pin::pin!(sqlite.receive(1_000, Duration::from_secs(600)))) {
        wakes += more.expect("a queue").len();
    }
    assert_eq!(wakes, records, "wakes, and records in the journals");
}
