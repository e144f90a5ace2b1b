//! Starts this executable again as the server: `dev` on a free port, with a separate data file.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use stepladder_tests::{ApiClient, wait_for};
use tempfile::TempDir;

/// A running server. Dropping it ends the process and removes the data file.
#[derive(Debug)]
pub(crate) struct BenchServer {
    process: Child,
    /// Kept open, because the server exits if it cannot write to standard output.
    _output: BufReader<ChildStdout>,
    url: String,
    data_file: PathBuf,
    _folder: TempDir,
}

impl BenchServer {
    /// Starts a server with this pace, and waits until it accepts requests.
    pub(crate) async fn start(pace: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("stepladder-bench-").tempdir().expect("a temporary folder");
        let data_file = folder.path().join("bench.db");
        let mut command = Command::new(std::env::current_exe().expect("a program knows its own path"));
        command.args(["dev", "--quiet", "--port", "0", "--no-discovery", "--pace", pace, "--db"]).arg(&data_file);
        command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        for name in ["STEPLADDER_EVENT_KEYS", "STEPLADDER_DASHBOARD_TOKEN"] {
            command.env_remove(name);
        }
        let mut process = command.spawn().expect("this program starts");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let ready = output.by_ref().lines().map_while(Result::ok).find_map(|line| port(&line));
        let url = format!("http://127.0.0.1:{}", ready.expect("the server says where it is"));
        let server = Self { process, _output: output, url, data_file, _folder: folder };
        let api = server.api();
        wait_for("the server's health", async || api.try_get("/health").await.ok().filter(|a| a.0 == 200)).await;
        server
    }

    /// Returns a client of the server.
    pub(crate) fn api(&self) -> ApiClient {
        ApiClient::new(&self.url)
    }

    /// Returns the address of the server.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the path of the server's data file.
    pub(crate) fn data_file(&self) -> &Path {
        &self.data_file
    }

    /// Returns the id of the server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for BenchServer {
    fn drop(&mut self) {
        // an error means that the process has already exited
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the port in `Stepladder is ready: http://localhost:8288`.
fn port(line: &str) -> Option<u16> {
    line.split_once("ready: http://localhost:")?.1.trim().parse().ok()
}
