//! ministack: SQS, DynamoDB and Lambda on this machine, with time that a test moves.
//!
//! It is kinder than AWS where it takes a delay above 900 s and a group's name above 128 characters, and keeps the order
//! of a standard queue; it is harsher where it refuses a receipt handle that was superseded or used. It never
//! throttles: [`crate::aws_faults`] does.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::aws_json::{AwsJson, REGION, plain_client};
use crate::binary;
use crate::parts::{free_port, python_program};
use crate::tied::Tied;

/// Servers that a test has given back. They stay until the process ends.
static IDLE: Mutex<Vec<Server>> = Mutex::new(Vec::new());

/// The file that `python/sitecustomize.py` maps.
const OFFSET: &str = "offset";

#[derive(Debug)]
struct Server {
    port: u16,
    /// How far its time is ahead.
    offset: Mutex<Duration>,
    process: Tied,
}

/// A ministack that nobody else has: its time is the test's own. Starting takes a second, so a dropped one goes to the
/// next test that asks, emptied.
#[derive(Debug)]
pub struct Ministack {
    /// There until it is dropped.
    server: Option<Server>,
}

impl Ministack {
    /// One without queues, tables or functions. Its time is not behind this machine's, but may be ahead of it.
    pub async fn start() -> Self {
        let idle = IDLE.lock().expect("no panic").pop();
        let server = match idle {
            Some(server) => server,
            None => Server::start().await,
        };
        let reset = plain_client().post(format!("{}/_ministack/reset", server.url())).send().await;
        assert!(reset.expect("ministack answers").status().is_success(), "{}", server.process.log());
        Self { server: Some(server) }
    }

    /// What `AWS_ENDPOINT_URL` is set to.
    pub fn url(&self) -> String {
        self.server().url()
    }

    /// A client of it.
    pub fn client(&self) -> AwsJson {
        AwsJson::new(self.url())
    }

    /// Its time moves on: what was due within `by` is due at the next request. The engine's own clock is another one,
    /// and so is that of a Lambda's process.
    pub fn advance(&self, by: Duration) {
        let mut offset = self.server().offset.lock().expect("no panic");
        *offset += by;
        let nanoseconds = u64::try_from(offset.as_nanos()).expect("less than 584 years");
        let file = OpenOptions::new().write(true).open(self.server().process.path().join(OFFSET));
        // in place: the other side has mapped it
        let written = file.and_then(|file| file.write_all_at(&nanoseconds.to_le_bytes(), 0));
        written.expect("a file in a folder of our own");
    }

    /// What it printed since its process began.
    pub fn log(&self) -> String {
        self.server().process.log()
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.server().process.id()
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        // after a panic it may be in any state, and its log is of use: it ends
        if let Some(server) = self.server.take().filter(|_| !std::thread::panicking()) {
            IDLE.lock().expect("no panic").push(server);
        }
    }
}

impl Server {
    async fn start() -> Self {
        let (port, folder) = (free_port(), Tied::folder("ministack"));
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(python_program("ministack"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("GATEWAY_PORT", port.to_string()).env("BIND_HOST", "127.0.0.1").env("MINISTACK_HOST", "127.0.0.1");
        command.env("LAMBDA_EXECUTOR", "local").env("AWS_ENDPOINT_URL", &url).env("MINISTACK_REGION", REGION);
        // a listener at a fixed port, on every interface, which two of them would fight for
        command.env("IOT_MTLS_ENABLED", "0");
        command.env("TMPDIR", folder.path()).env("STEPLADDER_TIME_OFFSET", folder.path().join(OFFSET));
        command.env("PYTHONPATH", binary::root().join("tests/python")).env("PYTHONDONTWRITEBYTECODE", "1");
        std::fs::write(folder.path().join(OFFSET), [0; 8]).expect("a file in a folder of our own");
        command.current_dir(folder.path());
        let process = Tied::start(&command, folder);
        let client = plain_client();
        let process = process.serving("ministack to answer", async || {
            let answer = client.get(format!("{url}/_ministack/health")).send().await.ok()?;
            answer.status().is_success().then_some(())
        });
        Self { port, offset: Mutex::default(), process: process.await }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
