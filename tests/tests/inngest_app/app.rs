//! The process of an app.

use std::process::Stdio;

use serde_json::Value;
use stepladder_tests::{ApiClient, ServerProcess, parts};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The package with which an app is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Package {
    TypeScript3,
    TypeScript4,
    Python,
}

/// A process that serves functions with an `inngest` package.
pub(crate) struct App {
    process: Child,
    port: u16,
}

impl Package {
    fn command(self) -> Command {
        let script = include_str!("app.mjs");
        match self {
            Self::TypeScript4 => node(script),
            Self::TypeScript3 => node(&script.replace("from \"inngest", "from \"inngest-3")),
            Self::Python => python(include_str!("app.py")),
        }
    }
}

/// Returns the command that executes a script with the packages.
pub(crate) fn node(script: &str) -> Command {
    let mut node = Command::new("node");
    node.args(["--input-type=module", "-e", script]).current_dir(parts::node_folder());
    node
}

/// Returns the command that executes a script with the packages for Python.
pub(crate) fn python(script: &str) -> Command {
    let mut python = Command::new(parts::python_program("python"));
    python.args(["-c", script]);
    python
}

impl App {
    /// Starts an app that sends its events to this server.
    pub(crate) async fn start(package: Package, server: &ServerProcess, variables: &[(&str, &str)]) -> Self {
        Self::start_command(package.command(), server.url(), variables).await
    }

    /// Starts an app that sends its events to the server at this address.
    pub(crate) async fn start_command(mut command: Command, server: &str, variables: &[(&str, &str)]) -> Self {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("INNGEST_") {
                command.env_remove(&name);
            }
        }
        command.env("SERVER", server).envs(variables.iter().copied());
        // requests to loopback must not go through the machine's proxy
        command.env("NO_PROXY", "127.0.0.1,localhost");
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the app starts");
        let mut line = String::new();
        let mut lines = BufReader::new(process.stdout.take().expect("its output"));
        lines.read_line(&mut line).await.expect("a line");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the app prints its port, not `{line}`"));
        Self { process, port }
    }

    /// Returns the port of the app.
    pub(crate) fn port(&self) -> String {
        self.port.to_string()
    }

    /// Returns the address of the process.
    pub(crate) fn root(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the address at which the app serves its functions.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api/inngest", self.port)
    }

    /// Kills the process, and waits until it has ended.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.expect("the process is ours");
    }

    /// Lets waiting bodies go on.
    pub(crate) async fn release(&self) {
        ApiClient::new(&format!("http://127.0.0.1:{}", self.port)).get("/release").await;
    }

    /// Returns how often the bodies of a run have been executed.
    pub(crate) async fn counts(&self, run: &Value, bodies: &[&str]) -> Vec<u64> {
        let api = ApiClient::new(&format!("http://127.0.0.1:{}", self.port));
        let (_, counts) = api.get("/counts").await;
        let run = run["run_id"].as_str().expect("a run");
        bodies.iter().map(|body| counts[format!("{run} {body}")].as_u64().unwrap_or(0)).collect()
    }
}
