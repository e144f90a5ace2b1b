//! The writing thread: groups, syncs, and failures that stay with whom they befell.

use std::sync::mpsc;

use stepladder_engine::local::Messages;

use super::*;

fn writer() -> (tempfile::TempDir, Writer) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Connection::open(folder.path().join("t.db")).expect("a database");
    db.pragma_update(None, "journal_mode", "wal").expect("a journal");
    db.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)").expect("a table");
    let held = Arc::new(Held::new(Messages::default(), Default::default()));
    (folder, Writer::start(db, held).expect("a thread"))
}

/// Keeps the writer busy until the sender is dropped: whatever is handed in meanwhile becomes one group.
fn hold(writer: &Writer) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (busy, is_busy) = mpsc::channel();
    writer.owe(move |_| {
        busy.send(()).expect("somebody waits");
        // ends when the sender is dropped
        let _ = held.recv();
        Ok(())
    });
    is_busy.recv().expect("the writer is busy");
    release
}

fn insert(n: i64) -> impl FnMut(&Connection) -> Result<(), Fault> + Send + 'static {
    move |db| {
        db.execute("INSERT INTO t (n) VALUES (?1)", [n])?;
        Ok(())
    }
}

async fn rows(writer: &Writer) -> Vec<i64> {
    let rows = |db: &Connection| {
        let mut query = db.prepare("SELECT n FROM t ORDER BY n")?;
        let rows = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
        Ok(rows)
    };
    writer.run(Sync::WithTheNext, rows, |_, _| {}).await.expect("rows")
}

fn synchronous(db: &Connection) -> Result<i64, Fault> {
    Ok(db.query_row("PRAGMA synchronous", [], |row| row.get(0))?)
}

/// What `PRAGMA synchronous` says (<https://sqlite.org/pragma.html#pragma_synchronous>).
const NORMAL: i64 = 1;
const FULL: i64 = 2;

#[tokio::test]
async fn a_group_is_synced_when_one_of_it_asks_for_it() {
    let (_folder, writer) = writer();
    let ask = async |sync| writer.run(sync, synchronous, |_, _| {}).await.expect("a level");
    assert_eq!(ask(Sync::WithTheNext).await, NORMAL);
    assert_eq!(ask(Sync::Synced).await, FULL);
    assert_eq!(ask(Sync::WithTheNext).await, NORMAL);
    let release = hold(&writer);
    let both = async { futures::join!(ask(Sync::WithTheNext), ask(Sync::Synced)) };
    futures::pin_mut!(both);
    assert!(futures::poll!(&mut both).is_pending());
    drop(release);
    assert_eq!(both.await, (FULL, FULL));
}

#[tokio::test]
async fn one_jobs_failure_is_not_its_neighbours() {
    let (_folder, writer) = writer();
    let bad = |db: &Connection| {
        db.execute("INSERT INTO t (n) VALUES (20)", [])?;
        db.execute("INSERT INTO missing (n) VALUES (1)", [])?;
        Ok(())
    };
    let release = hold(&writer);
    let run = async || {
        futures::join!(
            writer.run(Sync::Synced, insert(1), |_, _| {}),
            writer.run(Sync::Synced, bad, |_, _| {}),
            writer.run(Sync::Synced, insert(3), |_, _| {}),
        )
    };
    let run = run();
    futures::pin_mut!(run);
    assert!(futures::poll!(&mut run).is_pending());
    drop(release);
    let (first, second, third) = run.await;
    assert!(first.is_ok() && third.is_ok());
    assert!(second.expect_err("no such table").to_string().contains("missing"));
    assert_eq!(rows(&writer).await, [1, 3]);
}

#[tokio::test]
async fn memory_follows_only_what_was_committed() {
    let (_folder, writer) = writer();
    let (told, heard) = mpsc::channel();
    let told_too = told.clone();
    writer.run(Sync::Synced, insert(1), move |(), _| told.send("first").expect("heard")).await.expect("a row");
    let again = writer.run(Sync::Synced, insert(1), move |(), _| told_too.send("second").expect("heard")).await;
    assert!(again.is_err());
    assert_eq!(heard.iter().collect::<Vec<_>>(), ["first"]);
}

#[tokio::test]
async fn what_is_owed_is_tried_again_until_it_succeeds() {
    let (_folder, writer) = writer();
    writer.run(Sync::Synced, insert(1), |_, _| {}).await.expect("a row");
    // in the way of what is owed, until it is taken out
    writer.owe(insert(1));
    writer.owe(insert(2));
    let remove = |db: &Connection| Ok(db.execute("DELETE FROM t WHERE n = 1", [])?);
    writer.run(Sync::Synced, remove, |_, _| {}).await.expect("the row is gone");
    assert_eq!(rows(&writer).await, [1, 2]);
}

#[tokio::test]
async fn a_full_disk_is_said_and_outlived() {
    let (_folder, writer) = writer();
    let limit = |pages: i64| {
        move |db: &Connection| {
            db.pragma_update(None, "max_page_count", pages)?;
            Ok(())
        }
    };
    let fill = |db: &Connection| {
        db.execute("CREATE TABLE large AS SELECT zeroblob(1000000)", [])?;
        Ok(())
    };
    writer.run(Sync::Synced, limit(10), |_, _| {}).await.expect("a limit");
    let full = writer.run(Sync::Synced, fill, |_, _| {}).await.expect_err("no room");
    assert!(matches!(&full, StoreError::Unavailable(why) if why.contains("the disk is full")), "{full}");
    writer.run(Sync::Synced, limit(10_000), |_, _| {}).await.expect("a limit");
    writer.run(Sync::Synced, fill, |_, _| {}).await.expect("there is room again");
}

#[tokio::test]
async fn a_writer_that_died_answers_instead_of_keeping_people_waiting() {
    let (_folder, writer) = writer();
    let die = |_: &Connection| -> Result<(), Fault> { panic!("as a broken job would") };
    assert!(writer.run(Sync::Synced, die, |_, _| {}).await.is_err());
    let late = writer.run(Sync::Synced, insert(1), |_, _| {}).await.expect_err("nobody writes");
    assert!(late.to_string().contains("closed"), "{late}");
}

#[tokio::test]
async fn a_lone_commit_is_written_where_it_is_unless_the_disk_is_slow_or_somebody_writes() {
    let (_folder, writer) = writer();
    let thread = |_: &Connection| Ok(std::thread::current().id());
    let here = std::thread::current().id();
    assert_eq!(writer.run_here(Sync::Synced, thread, |_, _| {}).await.expect("a thread"), here);
    lock(&writer.writing).takes = std::time::Duration::from_secs(1);
    assert_ne!(writer.run_here(Sync::Synced, thread, |_, _| {}).await.expect("a thread"), here);
    // the writing thread answers a moment before it is done
    drop(lock(&writer.writing));
    assert_eq!(writer.run_here(Sync::WithTheNext, thread, |_, _| {}).await.expect("a thread"), here);
    let release = hold(&writer);
    let waits = writer.run_here(Sync::WithTheNext, thread, |_, _| {});
    futures::pin_mut!(waits);
    assert!(futures::poll!(&mut waits).is_pending());
    drop(release);
    assert_ne!(waits.await.expect("a thread"), here);
}
