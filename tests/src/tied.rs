//! A server of the tests' own that ends with them: when it is dropped, and also when the test process ends without
//! dropping anything, by a kill or because it keeps the server in a static.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::wait::wait_for;

/// Becomes the program (`exec`), beside a watcher that waits for the end of its standard input, whose other end only
/// the test process holds; then it removes the folder and kills the process group, itself included.
const WRAPPER: &str = r#"
exec 3<&0
( cat <&3 >/dev/null; rm -rf "$TIED_FOLDER"; kill -KILL 0 ) &
exec 3<&-
exec "$@" </dev/null
"#;

/// A running server with a folder of its own.
#[derive(Debug)]
pub struct Tied {
    // dropped first: the watcher may remove the folder, too
    process: Child,
    folder: TempDir,
}

impl Tied {
    /// A temporary folder for [`Tied::start`].
    pub fn folder(name: &str) -> TempDir {
        tempfile::Builder::new().prefix(&format!("stepladder-{name}-")).tempdir().expect("a temporary folder")
    }

    /// Starts `command` in a process group of its own; what it prints goes to `log` in the folder.
    pub fn start(command: &Command, folder: TempDir) -> Self {
        let log = File::create(folder.path().join("log")).expect("a file in a folder of our own");
        let mut wrapper = Command::new("sh");
        wrapper.args(["-c", WRAPPER, "sh"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapper.env(name, value),
                None => wrapper.env_remove(name),
            };
        }
        if let Some(current) = command.get_current_dir() {
            wrapper.current_dir(current);
        }
        wrapper.env("TIED_FOLDER", folder.path()).process_group(0).stdin(Stdio::piped());
        wrapper.stdout(log.try_clone().expect("a file")).stderr(log);
        Self { process: wrapper.spawn().expect("sh starts"), folder }
    }

    /// Waits until it serves, as `look` sees it; panics with what it printed when it ends first.
    pub async fn serving(mut self, what: &str, mut look: impl AsyncFnMut() -> Option<()>) -> Self {
        wait_for(what, async || {
            if let Some(status) = self.process.try_wait().expect("the process is ours") {
                panic!("{what}: it ended with {status}:\n{}", self.log());
            }
            look().await
        })
        .await;
        self
    }

    /// Its process, which leads a process group.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it keeps what it writes.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        // a log that cannot be read is an empty one: the panic that shows it has its own words
        let _ = File::open(self.path().join("log")).and_then(|mut file| file.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        // the watcher sees its input end and kills what the server started, too
        drop(self.process.stdin.take());
        // an error here means that it ended already
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
