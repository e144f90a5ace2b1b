//! Runs ministack, an emulator of SQS, DynamoDB and Lambda, with a clock that tests can advance.
//!
//! It differs from AWS. It accepts a delay above 900 s and a group's name above 128 characters, and
//! keeps the order of a standard queue. It refuses a receipt handle that was replaced or used. It
//! never throttles; [`crate::aws_faults`] injects that.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::aws_json::{AwsJson, REGION, plain_client};
use crate::binary;
use crate::owned_server::OwnedServer;
use crate::parts::{free_port, python_program};

/// The servers that tests no longer use. They run until the process ends.
static IDLE: Mutex<Vec<Server>> = Mutex::new(Vec::new());

/// The file that `python/sitecustomize.py` maps.
const OFFSET: &str = "offset";

#[derive(Debug)]
struct Server {
    port: u16,
    /// How far its clock is ahead.
    offset: Mutex<Duration>,
    process: OwnedServer,
}

/// A ministack that only one test uses, so that the test can advance its clock. Starting takes a
/// second, so a dropped one is emptied and reused by the next test.
#[derive(Debug)]
pub struct Ministack {
    /// `Some` until it is dropped.
    server: Option<Server>,
}

impl Ministack {
    /// Returns a ministack without queues, tables or functions. Its clock may be ahead of this
    /// machine's, and is never behind.
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

    /// Returns the value for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        self.server().url()
    }

    /// Returns a client of its services.
    pub fn client(&self) -> AwsJson {
        AwsJson::new(self.url())
    }

    /// Advances its clock. This changes neither the engine's clock nor the clocks of Lambda
    /// processes.
    pub fn advance(&self, by: Duration) {
        let mut offset = self.server().offset.lock().expect("no panic");
        *offset += by;
        let nanoseconds = u64::try_from(offset.as_nanos()).expect("less than 584 years");
        let file = OpenOptions::new().write(true).open(self.server().process.path().join(OFFSET));
        // written in place, because the emulator has mapped the file into memory
        let written = file.and_then(|file| file.write_all_at(&nanoseconds.to_le_bytes(), 0));
        written.expect("a file in a folder of our own");
    }

    /// Returns what it has printed since its process started.
    pub fn log(&self) -> String {
        self.server().process.log()
    }

    /// Returns the id of its process.
    pub fn process(&self) -> u32 {
        self.server().process.id()
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        // after a panic it may be in any state, so it is not reused
        if let Some(server) = self.server.take().filter(|_| !std::thread::panicking()) {
            IDLE.lock().expect("no panic").push(server);
        }
    }
}

impl Server {
    async fn start() -> Self {
        let (port, folder) = (free_port(), OwnedServer::folder("ministack"));
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(python_program("ministack"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("GATEWAY_PORT", port.to_string()).env("BIND_HOST", "127.0.0.1").env("MINISTACK_HOST", "127.0.0.1");
        command.env("LAMBDA_EXECUTOR", "local").env("AWS_ENDPOINT_URL", &url).env("MINISTACK_REGION", REGION);
        // disables a listener at a fixed port, which two servers could not both use
        command.env("IOT_MTLS_ENABLED", "0");
        command.env("TMPDIR", folder.path()).env("STEPLADDER_TIME_OFFSET", folder.path().join(OFFSET));
        command.env("PYTHONPATH", binary::root().join("tests/python")).env("PYTHONDONTWRITEBYTECODE", "1");
        std::fs::write(folder.path().join(OFFSET), [0; 8]).expect("a file in a folder of our own");
        command.current_dir(folder.path());
        let process = OwnedServer::start(&command, folder);
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
