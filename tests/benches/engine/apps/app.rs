//! Starts the app, and registers it with the server.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::json;
use stepladder_tests::parts;

use crate::ours::server::BenchServer;

/// A running app. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct BenchApp {
    process: Child,
    /// Kept open, because Node.js may not print to a closed pipe.
    _output: BufReader<ChildStdout>,
}

impl BenchApp {
    /// Starts the app, and registers it.
    pub(super) async fn start(server: &BenchServer) -> Self {
        let script = include_str!("../../../bench/node/app.mjs");
        let mut command = Command::new("node");
        command.args(["--input-type=module", "-e", script]).current_dir(parts::node_folder());
        command.env("SERVER", server.url()).env("NODE_ENV", "production").env("NO_PROXY", "127.0.0.1,localhost");
        command.env_remove("INNGEST_DEV").env_remove("INNGEST_SIGNING_KEY");
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("node starts");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let app = Self { process, _output: output };
        let url = format!("http://127.0.0.1:{}/api/inngest", line.trim());
        let (status, answer) = server.api().post("/v1/apps", json!({ "url": url }).to_string()).await;
        assert!((200..300).contains(&status), "{answer}");
        app
    }

    /// Returns the id of the app's process.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for BenchApp {
    fn drop(&mut self) {
        // an error means that the process has already exited
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
