//! Tests of the writer: grouped jobs, syncs, and the isolation of failed jobs.

use std::sync::mpsc;

use stepladder_engine::local::QueueMessages;

use super::*;

fn start_writer() -> (tempfile::TempDir, JobWriter) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Connection::open(folder.path().join("t.db")).expect("a database");
    db.pragma_update(None, "journal_mode", "wal").expect("a journal");
    db.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)").expect("a table");
    let memory = Arc::new(MemoryState::new(QueueMessages::default(), Default::default()));
    (folder, JobWriter::start(db, memory).expect("a thread"))
}

/// Keeps the writer busy until the returned sender is dropped. Jobs that are submitted in the
/// meantime form one group.
fn block_writer(writer: &JobWriter) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (busy, is_busy) = mpsc::channel();
    writer.run_in_background(move |_| {
        busy.send(()).expect("the test waits");
        // this returns once the sender is dropped
        let _ = released.recv();
        Ok(())
    });
    is_busy.recv().expect("the writer is busy");
    release
}

fn insert_number(n: i64) -> impl FnMut(&WriteTransaction<'_>) -> Result<(), SqliteError> + Send + 'static {
    move |db| {
        db.execute("INSERT INTO t (n) VALUES (?1)", [n])?;
        Ok(())
    }
}

async fn stored_numbers(writer: &JobWriter) -> Vec<i64> {
    let rows = |db: &WriteTransaction<'_>| {
        let mut query = db.prepare("SELECT n FROM t ORDER BY n")?;
        let rows = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
        Ok(rows)
    };
    writer.run(Durability::NextSync, rows, |_, _| {}).await.expect("rows")
}

fn synchronous_setting(db: &WriteTransaction<'_>) -> Result<i64, SqliteError> {
    Ok(db.query_row("PRAGMA synchronous", [], |row| row.get(0))?)
}

/// Values of `PRAGMA synchronous` (<https://sqlite.org/pragma.html#pragma_synchronous>).
const NORMAL: i64 = 1;
const FULL: i64 = 2;

#[tokio::test]
async fn a_group_is_synced_if_one_job_requires_it() {
    let (_folder, writer) = start_writer();
    let level = async |durability| writer.run(durability, synchronous_setting, |_, _| {}).await.expect("a level");
    assert_eq!(level(Durability::NextSync).await, NORMAL);
    assert_eq!(level(Durability::Synced).await, FULL);
    assert_eq!(level(Durability::NextSync).await, NORMAL);
    let release = block_writer(&writer);
    let both = async { futures::join!(level(Durability::NextSync), level(Durability::Synced)) };
    futures::pin_mut!(both);
    assert!(futures::poll!(&mut both).is_pending());
    drop(release);
    assert_eq!(both.await, (FULL, FULL));
}

#[tokio::test]
async fn a_failed_job_does_not_fail_its_group() {
    let (_folder, writer) = start_writer();
    let bad = |db: &WriteTransaction<'_>| {
        db.execute("INSERT INTO t (n) VALUES (20)", [])?;
        db.execute("INSERT INTO missing (n) VALUES (1)", [])?;
        Ok(())
    };
    let release = block_writer(&writer);
    let run = async || {
        futures::join!(
            writer.run(Durability::Synced, insert_number(1), |_, _| {}),
            writer.run(Durability::Synced, bad, |_, _| {}),
            writer.run(Durability::Synced, insert_number(3), |_, _| {}),
        )
    };
    let run = run();
    futures::pin_mut!(run);
    assert!(futures::poll!(&mut run).is_pending());
    drop(release);
    let (first, second, third) = run.await;
    assert!(first.is_ok() && third.is_ok());
    assert!(second.expect_err("no such table").to_string().contains("missing"));
    assert_eq!(stored_numbers(&writer).await, [1, 3]);
}

#[tokio::test]
async fn memory_changes_only_after_a_commit() {
    let (_folder, writer) = start_writer();
    let (sender, calls) = mpsc::channel();
    let second_sender = sender.clone();
    writer
        .run(Durability::Synced, insert_number(1), move |(), _| sender.send("first").expect("a receiver"))
        .await
        .expect("a row");
    let again = writer
        .run(Durability::Synced, insert_number(1), move |(), _| second_sender.send("second").expect("a receiver"))
        .await;
    assert!(again.is_err());
    assert_eq!(calls.iter().collect::<Vec<_>>(), ["first"]);
}

#[tokio::test]
async fn a_background_job_is_retried_until_it_succeeds() {
    let (_folder, writer) = start_writer();
    writer.run(Durability::Synced, insert_number(1), |_, _| {}).await.expect("a row");
    // this job fails until the row is deleted
    writer.run_in_background(insert_number(1));
    writer.run_in_background(insert_number(2));
    let remove = |db: &WriteTransaction<'_>| Ok(db.execute("DELETE FROM t WHERE n = 1", [])?);
    writer.run(Durability::Synced, remove, |_, _| {}).await.expect("the row is gone");
    assert_eq!(stored_numbers(&writer).await, [1, 2]);
}

#[tokio::test]
async fn a_full_disk_is_reported_and_writes_succeed_once_there_is_space() {
    let (_folder, writer) = start_writer();
    let limit = |pages: i64| {
        move |db: &WriteTransaction<'_>| {
            db.pragma_update(None, "max_page_count", pages)?;
            Ok(())
        }
    };
    let fill = |db: &WriteTransaction<'_>| {
        db.execute("CREATE TABLE large AS SELECT zeroblob(1000000)", [])?;
        Ok(())
    };
    writer.run(Durability::Synced, limit(10), |_, _| {}).await.expect("a limit");
    let full = writer.run(Durability::Synced, fill, |_, _| {}).await.expect_err("no room");
    assert!(matches!(&full, StoreError::Unavailable(why) if why.as_str().contains("the disk is full")), "{full}");
    writer.run(Durability::Synced, limit(10_000), |_, _| {}).await.expect("a limit");
    writer.run(Durability::Synced, fill, |_, _| {}).await.expect("there is room again");
}

#[tokio::test]
async fn after_a_panic_of_the_writer_callers_get_an_error() {
    let (_folder, writer) = start_writer();
    let die = |_: &WriteTransaction<'_>| -> Result<(), SqliteError> { panic!("as a broken job would") };
    assert!(writer.run(Durability::Synced, die, |_, _| {}).await.is_err());
    let late = writer.run(Durability::Synced, insert_number(1), |_, _| {}).await.expect_err("the writer is dead");
    assert!(late.to_string().contains("closed"), "{late}");
}

#[tokio::test]
async fn a_single_commit_is_written_on_its_callers_thread_unless_the_disk_is_slow_or_the_writer_busy() {
    let (_folder, writer) = start_writer();
    let thread = |_: &WriteTransaction<'_>| Ok(std::thread::current().id());
    let here = std::thread::current().id();
    assert_eq!(writer.run_here(Durability::Synced, thread, |_, _| {}).await.expect("a thread"), here);
    writer.connection.lock().sync_time = std::time::Duration::from_secs(1);
    assert_ne!(writer.run_here(Durability::Synced, thread, |_, _| {}).await.expect("a thread"), here);
    // the writer sends the result shortly before it unlocks the connection
    drop(writer.connection.lock());
    assert_eq!(writer.run_here(Durability::NextSync, thread, |_, _| {}).await.expect("a thread"), here);
    let release = block_writer(&writer);
    let waits = writer.run_here(Durability::NextSync, thread, |_, _| {});
    futures::pin_mut!(waits);
    assert!(futures::poll!(&mut waits).is_pending());
    drop(release);
    assert_ne!(waits.await.expect("a thread"), here);
}
