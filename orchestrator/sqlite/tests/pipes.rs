//! Tests that a pipe in the place of a data file is rejected. The test is alone in its file: until
//! its child process executes `mkfifo`, it holds copies of all file locks of this process, so other
//! tests would find their closed files in use.
#![cfg(unix)]

use std::fs;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use stepladder_sqlite::{Sqlite, SqliteOptions};

#[test]
fn a_pipe_is_rejected_without_waiting_for_its_other_end() {
    for pipe in ["a.db", "a.db.lock", "a.db-wal"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        if pipe != "a.db" {
            drop(Sqlite::open(&path, SqliteOptions::default()).expect("a data file"));
        }
        let pipe = folder.path().join(pipe);
        // removes the file that the previous round may have created
        let _ = fs::remove_file(&pipe);
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is everywhere").success());
        let (answer, answered) = mpsc::channel();
        std::thread::spawn(move || {
            let Err(error) = Sqlite::open(&path, SqliteOptions::default()) else { panic!("it was opened") };
            answer.send(error.to_string())
        });
        let sentence = answered.recv_timeout(Duration::from_secs(30)).expect("it waits for the pipe's other end");
        assert!(sentence.contains("is a pipe") && sentence.contains(&*pipe.to_string_lossy()), "{sentence}");
    }
}
