//! Data files: which files are accepted, how they are named, which permissions they have, and that
//! a rejected file is not changed.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use stepladder_core::{RunId, Timestamp, Wake, WakeCause};
use stepladder_engine::ports::{Commit, Commits, Queue};
use stepladder_sqlite::{OpenError, Sqlite, SqliteOptions};
use tempfile::TempDir;

/// The ASCII codes of "Stld".
const APPLICATION_ID: i32 = 0x5374_6c64;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    (folder, path)
}

fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, SqliteOptions::default()).expect("a data file")
}

/// Returns the sentence with which a data file at this path is rejected.
fn rejection_sentence(path: impl AsRef<Path>) -> String {
    let Err(error) = Sqlite::open(path, SqliteOptions::default()) else { panic!("it was opened") };
    let sentence = error.to_string();
    assert!(!sentence.contains('\n'), "{sentence}");
    sentence
}

fn file_names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("a listing");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

async fn send(sqlite: &Sqlite) {
    let wake = Wake { run: RunId::new(Timestamp::from_millis(1), 1), cause: WakeCause::Next, group: "f".into() };
    sqlite.commit(Commit { wakes: vec![wake], ..Commit::default() }).await.expect("a commit");
}

#[test]
fn rule_30_a_file_has_one_opener_under_all_of_its_names() {
    let (folder, path) = folder();
    let first = open(&path);
    let (by_symlink, by_hard_link) = (folder.path().join("symbolic.db"), folder.path().join("hard.db"));
    symlink(&path, &by_symlink).expect("a link");
    fs::hard_link(&path, &by_hard_link).expect("a link");
    fs::create_dir(folder.path().join("sub")).expect("a folder");
    for name in [&by_symlink, &by_hard_link, &folder.path().join("sub/../a.db")] {
        let Err(error) = Sqlite::open(name, SqliteOptions::default()) else { panic!("{} was opened", name.display()) };
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    }
    drop(first);
    drop(open(&by_symlink));
    drop(open(&path));
    // the write-ahead log is named after the target of a symbolic link, not after the link
    assert!(file_names(&folder).iter().all(|name| !name.starts_with("symbolic.db-")), "{:?}", file_names(&folder));
}

#[tokio::test]
async fn changes_in_the_log_of_another_hard_link_are_not_lost() {
    let (_before, path) = folder();
    let sqlite = open(&path);
    send(&sqlite).await;
    // copies the files as a crash would leave them: the wake is only in the write-ahead log
    let (folder, copy) = folder();
    fs::copy(&path, &copy).expect("a copy");
    fs::copy(path.with_extension("db-wal"), folder.path().join("a.db-wal")).expect("a copy");
    drop(sqlite);
    let other = folder.path().join("b.db");
    fs::hard_link(&copy, &other).expect("a link");
    let sentence = rejection_sentence(&other);
    assert!(sentence.contains("a.db") && sentence.contains("last changes"), "{sentence}");
    let received = open(&copy).receive(10, Duration::from_secs(150)).await.expect("a queue");
    assert_eq!(received.len(), 1);
    // closing the database removes its write-ahead log
    drop(open(&other));
}

/// Creates a database with these statements, as another program could. With `log`, the changes stay
/// in the write-ahead log.
fn foreign_database(statements: &str, log: bool) -> (TempDir, PathBuf) {
    let (folder, path) = folder();
    let db = Connection::open(&path).expect("a database");
    db.execute_batch(statements).expect("a database of another program");
    if !log {
        return (folder, path);
    }
    let (copied, copy) = self::folder();
    fs::copy(&path, &copy).expect("a copy");
    fs::copy(path.with_extension("db-wal"), copied.path().join("a.db-wal")).expect("a copy");
    (copied, copy)
}

#[test]
fn a_database_of_another_program_is_rejected_and_not_changed() {
    let tables = "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('milk');";
    let wal = "PRAGMA journal_mode = wal; ";
    for (make, log) in [
        (tables.to_owned(), false),
        (format!("{tables} PRAGMA user_version = 3"), false),
        // this table has the same name as one of Stepladder's
        ("CREATE TABLE journal (day TEXT)".to_owned(), false),
        ("PRAGMA application_id = 42".to_owned(), false),
        (format!("{wal}{tables}"), false),
        (format!("{wal}{tables}"), true),
    ] {
        let (folder, path) = foreign_database(&make, log);
        let (before, beside) = (fs::read(&path).expect("a file"), file_names(&folder));
        let sentence = rejection_sentence(&path);
        assert!(sentence.contains("of another program") && sentence.contains("a.db"), "{make}: {sentence}");
        assert_eq!(fs::read(&path).expect("a file"), before, "{make}");
        let after: Vec<_> = file_names(&folder).into_iter().filter(|name| !name.ends_with("-shm")).collect();
        let beside: Vec<_> = beside.into_iter().filter(|name| !name.ends_with("-shm")).collect();
        assert_eq!(after, beside, "{make}");
    }
}

#[tokio::test]
async fn a_file_of_version_0_2_0_is_opened_and_gets_an_application_id() {
    let (_folder, path) = folder();
    let sqlite = open(&path);
    send(&sqlite).await;
    drop(sqlite);
    let id = |db: &Connection| -> i32 { db.query_row("PRAGMA application_id", [], |row| row.get(0)).expect("an id") };
    let db = Connection::open(&path).expect("a database");
    assert_eq!(id(&db), APPLICATION_ID);
    db.pragma_update(None, "application_id", 0).expect("no id");
    drop(db);
    let sqlite = open(&path);
    assert_eq!(sqlite.receive(10, Duration::from_secs(150)).await.expect("a queue").len(), 1);
    drop(sqlite);
    assert_eq!(id(&Connection::open(&path).expect("a database")), APPLICATION_ID);
}

#[test]
fn only_the_owner_can_read_the_data() {
    let (folder, path) = folder();
    let sqlite = open(&path);
    let mode = |name: &str| fs::metadata(folder.path().join(name)).expect(name).permissions().mode() & 0o777;
    for name in ["a.db", "a.db-wal", "a.db-shm", "a.db.lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    drop(sqlite);
    // the permissions of an existing file are kept
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("rights");
    drop(open(&path));
    assert_eq!(mode("a.db"), 0o640);
}

#[test]
fn a_path_that_names_no_file_is_rejected() {
    for (name, reason) in [(":memory:", "kept in memory"), ("file:dev.db", "`file:`"), ("", "empty")] {
        let sentence = rejection_sentence(name);
        assert!(sentence.contains(reason), "{sentence}");
    }
}
