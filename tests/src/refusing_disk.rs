//! A disk that a test can make full or read-only. A C library simulates the disk: it is compiled
//! here and preloaded into the server (`LD_PRELOAD`), and affects only the data file and the files
//! beside it. This needs Linux with glibc.

use std::fs::{File, remove_file};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::ServerProcess;

/// The source of the library, which documents the library's environment variables.
const SOURCE: &str = include_str!("refusing_disk.c");

/// A simulated disk for one server.
#[derive(Debug)]
pub struct RefusingDisk {
    folder: TempDir,
}

impl RefusingDisk {
    /// Creates a disk that accepts all writes.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("stepladder-disk-").tempdir().expect("a temporary folder");
        let disk = Self { folder };
        let source = disk.folder.path().join("disk.c");
        std::fs::write(&source, SOURCE).expect("a file in a folder of our own");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut compile = Command::new(compiler);
        compile.args(["-O1", "-shared", "-fPIC", "-o"]).arg(disk.library_path()).arg(&source).arg("-ldl");
        assert!(compile.status().expect("a C compiler").success(), "the library does not compile");
        disk
    }

    /// Makes the server use this disk for its data file.
    pub fn attach_to(&self, server: ServerProcess) -> ServerProcess {
        let text = |path: PathBuf| path.to_str().expect("a path of letters").to_owned();
        let files = text(server.db());
        server
            .variable("LD_PRELOAD", text(self.library_path()))
            .variable("REFUSING_DISK_FILES", files)
            .variable("REFUSING_DISK_FLAGS", text(self.folder.path().join("disk")))
    }

    /// Makes the disk full from now on.
    pub fn fill(&self) {
        self.write_flag("full");
    }

    /// Makes the disk read-only from now on.
    pub fn make_read_only(&self) {
        self.write_flag("read-only");
    }

    /// Makes the disk accept all writes from now on.
    pub fn accept_writes(&self) {
        for flag in ["full", "read-only"] {
            // an error means that the file does not exist, which is fine
            let _ = remove_file(self.flag_path(flag));
        }
    }

    fn write_flag(&self, flag: &str) {
        File::create(self.flag_path(flag)).expect("a file in a folder of our own");
    }

    fn flag_path(&self, flag: &str) -> PathBuf {
        self.folder.path().join(format!("disk.{flag}"))
    }

    fn library_path(&self) -> PathBuf {
        self.folder.path().join("disk.so")
    }
}

impl Default for RefusingDisk {
    fn default() -> Self {
        Self::new()
    }
}
