//! The server under test as a process. It starts on a free port with a separate data file. Tests
//! can kill it, as a power failure would, and start it again with the same file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::database::DatabaseStub;
use crate::openai::OpenAiStub;
use crate::wait::{LIMIT, wait_for};
use crate::{ApiClient, binary};

/// A server, running or not. Dropping it kills the process and removes the folder.
#[derive(Debug)]
pub struct ServerProcess {
    folder: TempDir,
    program: Option<PathBuf>,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
    discovers: bool,
    /// The port; a free one at each start if it is 0.
    port: u16,
    process: Option<Child>,
    starts: usize,
    url: String,
}

impl ServerProcess {
    /// Prepares a server. Its process does not get those environment variables of this process that
    /// would configure it.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("stepladder-test-").tempdir().expect("a temporary folder");
        let (variables, arguments) = (Vec::new(), Vec::new());
        let (process, starts, url) = (None, 0, String::new());
        Self { folder, program: None, variables, arguments, discovers: false, port: 0, process, starts, url }
    }

    /// Like [`ServerProcess::new`], for another program: an app with functions of the test.
    pub fn for_program(program: impl Into<PathBuf>) -> Self {
        Self { program: Some(program.into()), ..Self::new() }
    }

    /// Starts a server with default settings and short retry delays.
    pub async fn without_services() -> Self {
        let mut server = Self::new().argument("--retry-delay").argument("20ms");
        server.start().await;
        server
    }

    /// Starts a server with functions that call these services, with short retry delays.
    pub async fn with_services(ai: &OpenAiStub, database: &DatabaseStub) -> Self {
        let mut server = Self::new()
            .variable("OPENAI_API_KEY", "sk-a-key-of-this-test")
            .variable("OPENAI_BASE_URL", ai.url())
            .variable("SUPABASE_URL", database.url())
            .variable("SUPABASE_SERVICE_ROLE_KEY", "a-role-key-of-this-test")
            .argument("--retry-delay")
            .argument("20ms");
        server.start().await;
        server
    }

    /// Sets an environment variable of the server.
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Adds an argument to the command `dev`.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Lets the server look for apps on this machine.
    pub fn discovering(self) -> Self {
        Self { discovers: true, ..self }
    }

    /// Lets the server listen on this port at each start, so that an app still finds it.
    pub fn listening_on(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Starts the process, and waits until the server accepts requests. Unless the port is set, it
    /// is a new one.
    pub async fn start(&mut self) {
        self.launch();
        let mut process = self.process.take().expect("it was launched");
        self.url = wait_for("the server's address on its standard output", async || {
            if let Some(status) = process.try_wait().expect("the process is ours") {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            address(&self.log())
        })
        .await;
        self.process = Some(process);
        let api = self.api();
        wait_for("the server's health", async || api.try_get("/health").await.ok().filter(|answer| answer.0 == 200))
            .await;
    }

    /// Starts the process without waiting.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        self.starts += 1;
        let file = |kind: &str| File::create(self.log_path(kind)).expect("a file in a folder of our own");
        let mut command = self.command();
        command.args(["dev", "--port", &self.port.to_string(), "--db"]).arg(self.db()).args(&self.arguments);
        if !self.discovers {
            // it must not find what else listens on the machine
            command.arg("--no-discovery");
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        self.process = Some(command.kill_on_drop(true).spawn().expect("the binary starts"));
    }

    /// Waits until the process exits by itself. Returns the exit status.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        let end = tokio::time::timeout(LIMIT, process.wait()).await;
        end.unwrap_or_else(|_| panic!("the server runs on:\n{}", self.log())).expect("the process is ours")
    }

    /// Returns the id of the server's process, if it is running.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref()?.id()
    }

    /// Kills the process (`kill -9`), and waits until it has ended.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().await.expect("the process is ours");
    }

    /// Kills the process when the n-th write from now reaches the data file. Returns `false` if
    /// `over` returned `true` before that.
    ///
    /// Writes are detected in the index of SQLite's write-ahead log: the 4 bytes at offset 16 are
    /// the number of the last valid frame (<https://sqlite.org/walformat.html>).
    pub async fn kill_at_write(&mut self, n: usize, over: impl Fn() -> bool + Send + 'static) -> bool {
        let mut process = self.process.take().expect("it runs");
        let index = File::open(self.folder.path().join("dev.db-shm")).expect("the data file is open");
        let last_frame = move || {
            let mut frame = [0; 4];
            index.read_exact_at(&mut frame, 16).expect("the index has a header");
            frame
        };
        let watching = tokio::task::spawn_blocking(move || {
            let (mut last, mut writes) = (last_frame(), 0);
            while writes < n && !over() {
                let now = last_frame();
                writes += usize::from(now != last);
                last = now;
            }
            if writes == n {
                process.start_kill().expect("the process is ours");
            }
            (process, writes == n)
        });
        let (mut process, came) = watching.await.expect("no panic");
        if came {
            process.wait().await.expect("the process is ours");
        } else {
            self.process = Some(process);
        }
        came
    }

    /// Kills the process and starts it again with the same data file.
    pub async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.start().await;
    }

    /// Ends the process as Ctrl-C does. Returns the exit status.
    pub async fn interrupt(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        let id = process.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().await.expect("kill is everywhere");
        assert!(sent.success(), "the signal was not sent");
        process.wait().await.expect("the process is ours")
    }

    /// Returns the id of the server's process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().and_then(Child::id).expect("it runs")
    }

    /// Returns a client of the server's HTTP interface.
    pub fn api(&self) -> ApiClient {
        ApiClient::new(&self.url)
    }

    /// Returns the server's address, without a final slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the port on which the server listens.
    pub fn port(&self) -> u16 {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok());
        port.expect("an address ends with its port")
    }

    /// Returns the path of the data file.
    pub fn db(&self) -> PathBuf {
        self.folder.path().join("dev.db")
    }

    /// Returns the server's folder, which is removed when the server is dropped.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns everything that the server has printed since its last start: standard output, then
    /// standard error.
    pub fn log(&self) -> String {
        let read = |kind: &str| std::fs::read(self.log_path(kind)).unwrap_or_default();
        let text = [read("out"), read("err")].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Panics if the server has logged an error since its last start, or if one of its threads has
    /// panicked.
    pub fn assert_no_error_logged(&self) {
        let log = self.log();
        let bad = log.lines().find(|line| line.contains("ERROR") || line.contains("panicked at"));
        assert_eq!(bad, None, "in the log:\n{log}");
    }

    /// Returns a command of the binary that is a client of this server.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.args(arguments).env("STEPLADDER_URL", &self.url).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn command(&self) -> Command {
        match &self.program {
            Some(program) => command_of(program),
            None => command(),
        }
    }

    fn log_path(&self, kind: &str) -> PathBuf {
        self.folder.path().join(format!("{}.{kind}", self.starts))
    }
}

impl Default for ServerProcess {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the binary as a command, without the environment variables that would configure it.
pub fn command() -> Command {
    command_of(binary::path())
}

fn command_of(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let heard = ["STEPLADDER_", "OPENAI_", "SUPABASE_", "AWS_", "OTEL_", "RUST_LOG", "CLICOLOR"];
        if heard.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    // requests to loopback must not go through the machine's proxy
    command.env("NO_PROXY", "127.0.0.1,localhost").env_remove("NO_COLOR").kill_on_drop(true);
    command
}

/// Returns the address in `Stepladder is ready: http://localhost:8288`, with 127.0.0.1 instead of
/// localhost, because an IP address needs no DNS.
fn address(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("ready: http://")?;
    let (_, port) = rest.split_once(':')?;
    let end = port.find(|letter: char| !letter.is_ascii_digit())?;
    Some(format!("http://127.0.0.1:{}", &port[..end]))
}
