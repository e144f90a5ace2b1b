//! Kills a process while it writes. All commits that were reported as done must be stored, and no
//! commit may be stored in part.
//!
//! The test has its own `main`, because it is also the program that is killed: the variable
//! [`CHILD`] then contains the path of the data file.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::Duration;

use stepladder_core::{AttemptReport, Fact, Record, RunId, Timestamp, Wake, WakeCause, json};
use stepladder_engine::ports::{Commit, CommitResult, Commits, JournalAppend, Journals, Queue};
use stepladder_sqlite::{Sqlite, SqliteOptions};

/// The environment variable with the path of the data file. It is set only for the process that is
/// killed.
const CHILD: &str = "STEPLADDER_KILLED_CHILD_DB";
const WRITERS: u64 = 8;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match std::env::var_os(CHILD) {
        Some(db) => runtime.block_on(write_until_killed(Path::new(&db))),
        None => runtime.block_on(answered_commits_survive_a_kill_and_none_is_stored_in_part()),
    }
}

fn run(writer: u64) -> RunId {
    RunId::new(Timestamp::from_millis(0), u128::from(writer))
}

fn wake(writer: u64, seq: u64) -> Wake {
    Wake { run: run(writer), cause: WakeCause::Step(seq.to_string().into()), group: "f".into() }
}

/// Runs several writers. Each appends to a run of its own, two entries and a wake at a time, and
/// prints each finished commit. A writer that fails ends the process, so that the test does not
/// wait for more output.
async fn write_until_killed(db: &Path) {
    let sqlite = std::sync::Arc::new(Sqlite::open(db, SqliteOptions::default()).expect("a data file"));
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
                    report: AttemptReport::default(),
                };
                let entries = vec![fact.into_entry(Timestamp::from_millis(0)); 2];
                let record = Record { seq, token: u128::from(seq), code: "1".into(), entries };
                let append = Some(JournalAppend { run: run(writer), record }.into());
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

async fn answered_commits_survive_a_kill_and_none_is_stored_in_part() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("dev.db");
    let mut answered: HashMap<u64, u64> = HashMap::new();
    // the numbers of finished commits before a kill: some before the first checkpoint of the log,
    // some after several
    for answers in [1, 7, 100, 1_500, 3_000, 2] {
        let program = std::env::current_exe().expect("a program");
        let mut child = Command::new(program).env(CHILD, &db).stdout(Stdio::piped()).spawn().expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut killed = false;
        for (n, line) in lines.enumerate() {
            if n + 1 >= answers && !killed {
                child.kill().expect("the process ends");
                killed = true;
            }
            // the kill may have truncated the last line
            let Some((writer, seq)) = line.as_deref().ok().and_then(|line| line.split_once(' ')) else { continue };
            let (Ok(writer), Ok(seq)) = (writer.parse::<u64>(), seq.parse::<u64>()) else { continue };
            let latest = answered.entry(writer).or_default();
            *latest = seq.max(*latest);
        }
        assert!(killed, "the process ended before the kill: {:?}", child.wait());
        child.wait().expect("the process has ended");
        check_file(&db, &answered).await;
    }
    println!("answered_commits_survive_a_kill_and_none_is_stored_in_part ... ok");
}

async fn check_file(db: &Path, answered: &HashMap<u64, u64>) {
    // the lock on the data file ended with the killed process
    let sqlite = Sqlite::open(db, SqliteOptions::default()).expect("a data file");
    let mut records = 0;
    for writer in 0..WRITERS {
        let journal = sqlite.read(run(writer), 0).await.expect("a journal");
        for (n, record) in journal.iter().enumerate() {
            assert_eq!((record.seq, record.entries.len()), (2 * n as u64, 2), "a journal without gaps");
        }
        if let Some(latest) = answered.get(&writer) {
            let last = journal.last().map(|record| record.seq);
            assert!(last >= Some(*latest), "run {writer}: {latest} was answered, {last:?} is stored");
        }
        records += journal.len();
    }
    // each record was committed with its wake
    let mut wakes = 0;
    // all wakes are due, so a queue that does not return at the first poll is empty
    while let Poll::Ready(more) = futures::poll!(std::pin::pin!(sqlite.receive(1_000, Duration::from_secs(600)))) {
        wakes += more.expect("a queue").len();
    }
    assert_eq!(wakes, records, "wakes, and records in the journals");
}
