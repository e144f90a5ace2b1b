//! The process of an app.

use std::process::Stdio;

use serde_json::Value;
use stepladder_tests::{ApiClient, ServerProcess, parts};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const SCRIPT: &str = include_str!("app.mjs");

/// A Node.js process that serves functions with the `inngest` package.
pub(crate) struct App {
    process: Child,
    port: u16,
}

impl App {
    /// Starts an app that sends its events to this server.
    pub(crate) async fn start(server: &ServerProcess, variables: &[(&str, &str)]) -> Self {
        let mut node = Command::new("node");
        node.args(["--input-type=module", "-e", SCRIPT]).current_dir(parts::node_folder());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("INNGEST_") {
                node.env_remove(&name);
            }
        }
        node.env("SERVER", server.url()).envs(variables.iter().copied());
        let mut process =
            node.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("node starts");
        let mut line = String::new();
        let mut lines = BufReader::new(process.stdout.take().expect("its output"));
        lines.read_line(&mut line).await.expect("a line");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the app prints its port, not `{line}`"));
        Self { process, port }
    }

    /// Returns the address at which the app serves its functions.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api/inngest", self.port)
    }

    /// Kills the process, and waits until it has ended.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.expect("the process is ours");
    }

    /// Returns how often the bodies of a run have been executed.
    pub(crate) async fn counts(&self, run: &Value, bodies: &[&str]) -> Vec<u64> {
        let api = ApiClient::new(&format!("http://127.0.0.1:{}", self.port));
        let (_, counts) = api.get("/counts").await;
        let run = run["run_id"].as_str().expect("a run");
        bodies.iter().map(|body| counts[format!("{run} {body}")].as_u64().unwrap_or(0)).collect()
    }
}
