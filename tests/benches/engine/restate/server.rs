//! Starts Restate's two processes: the server, and the functions that the server calls.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use stepladder_tests::parts::free_port;
use stepladder_tests::{ApiClient, wait_for};
use tempfile::TempDir;

use super::RestateInstallation;

/// A running server with its functions. Dropping it ends both processes and removes their files.
#[derive(Debug)]
pub(super) struct RestateServer {
    server: KilledOnDrop,
    functions: KilledOnDrop,
    ingress: u16,
    _folder: TempDir,
}

/// A process that is killed when this value is dropped.
#[derive(Debug)]
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // an error means that the process has already exited
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl RestateServer {
    /// Starts both processes, registers the functions with the server, and waits until a function
    /// responds.
    pub(super) async fn start(parts: &RestateInstallation) -> Self {
        let folder = tempfile::Builder::new().prefix("stepladder-bench-").tempdir().expect("a temporary folder");
        let (functions, port) = start_functions(parts, folder.path());
        let (ingress, admin) = (free_port(), free_port());
        let mut command = Command::new(&parts.server);
        command.args(["--no-logo", "--listen-mode", "tcp", "--bind-ip", "127.0.0.1", "--bind-port"]);
        command.arg(free_port().to_string()).arg("--base-dir").arg(folder.path().join("data"));
        command.env("RESTATE_INGRESS__BIND_PORT", ingress.to_string());
        command.env("RESTATE_ADMIN__BIND_PORT", admin.to_string());
        command.env("RESTATE_DISABLE_TELEMETRY", "true").env("RUST_LOG", "error");
        let server = KilledOnDrop(
            with_log_file(&mut command, folder.path(), "server").spawn().expect("Restate's server starts"),
        );

        let admin = ApiClient::new(&format!("http://127.0.0.1:{admin}"));
        let deployment = json!({"uri": format!("http://127.0.0.1:{port}")}).to_string();
        wait_for("Restate's functions to be registered", async || {
            let registered = admin.try_post("/deployments", deployment.clone()).await;
            registered.ok().filter(|(status, _)| (200..300).contains(status))
        })
        .await;
        let server = Self { server, functions, ingress, _folder: folder };
        let api = server.api();
        wait_for("an answer of Restate", async || {
            api.try_post("/bench/three", "0").await.ok().filter(|answer| answer.0 == 200)
        })
        .await;
        server
    }

    /// Returns a client of the server's functions.
    pub(super) fn api(&self) -> ApiClient {
        ApiClient::new(&format!("http://127.0.0.1:{}", self.ingress))
    }

    /// Returns the ids of both processes. Both are measured, because our server executes its
    /// functions itself.
    pub(super) fn pids(&self) -> [u32; 2] {
        [self.server.0.id(), self.functions.0.id()]
    }
}

fn start_functions(parts: &RestateInstallation, folder: &Path) -> (KilledOnDrop, u16) {
    let mut command = Command::new("node");
    command.arg(&parts.functions).env("NODE_ENV", "production").env("RESTATE_LOGGING", "ERROR");
    let command = with_log_file(&mut command, folder, "functions").stdout(Stdio::piped());
    let mut process = KilledOnDrop(command.spawn().expect("node starts"));
    let output = process.0.stdout.take().expect("it is piped");
    let said = BufReader::new(output).lines().map_while(Result::ok).next();
    let port = said.and_then(|line| line.trim().parse().ok()).expect("the functions say where they are");
    (process, port)
}

/// Redirects the output to a file, because printing to a terminal would slow the process down.
fn with_log_file<'a>(command: &'a mut Command, folder: &Path, name: &str) -> &'a mut Command {
    let log = |kind: &str| File::create(folder.join(format!("{name}.{kind}"))).expect("a file in a folder of our own");
    command.stdin(Stdio::null()).stdout(log("out")).stderr(log("err"))
}
