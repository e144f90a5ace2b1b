//! A server process that ends together with its test: when this value is dropped, and also if the
//! test process is killed or keeps the value in a static.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::wait::wait_for;

/// A shell script that starts a watcher in the background and then becomes the server program
/// (`exec`). The watcher reads its standard input until the end, which comes when the test process
/// closes that input or dies. Then the watcher removes the folder and kills the process group,
/// including itself.
const WRAPPER: &str = r#"
exec 3<&0
( cat <&3 >/dev/null; rm -rf "$TIED_FOLDER"; kill -KILL 0 ) &
exec 3<&-
exec "$@" </dev/null
"#;

/// A running server, with a folder that no other server uses.
#[derive(Debug)]
pub struct OwnedServer {
    // dropped before `folder`, because the watcher may also be removing the folder
    process: Child,
    folder: TempDir,
}

impl OwnedServer {
    /// Creates a temporary folder for [`OwnedServer::start`].
    pub fn folder(name: &str) -> TempDir {
        tempfile::Builder::new().prefix(&format!("stepladder-{name}-")).tempdir().expect("a temporary folder")
    }

    /// Starts `command` in a separate process group. Its output goes to the file `log` in the
    /// folder.
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

    /// Waits until `look` returns `Some`. If the process ends first, panics with the process's log.
    pub async fn wait_until_serving(mut self, what: &str, mut look: impl AsyncFnMut() -> Option<()>) -> Self {
        wait_for(what, async || {
            if let Some(status) = self.process.try_wait().expect("the process is ours") {
                panic!("{what}: it ended with {status}:\n{}", self.log());
            }
            look().await
        })
        .await;
        self
    }

    /// Returns the id of the server's process, which is the leader of its process group.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the server's folder.
    pub fn folder_path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns what the server has printed so far.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        // an unreadable log counts as empty, because the log is only used in messages of panics
        let _ = File::open(self.folder_path().join("log")).and_then(|mut file| file.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for OwnedServer {
    fn drop(&mut self) {
        // closes the watcher's input, so that the watcher kills the server's child processes, too
        drop(self.process.stdin.take());
        // an error means that the process has ended already
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
