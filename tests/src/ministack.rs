//! Runs ministack, an emulator of SQS, DynamoDB and Lambda, with a clock that tests can advance.
//!
//! It differs from AWS: it accepts delays above 900 s and group names above 128 characters, keeps
//! the order of a standard queue, and refuses a receipt handle that was replaced or used. It never
//! throttles; [`crate::aws_faults`] injects throttling.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::aws_json::{AwsJson, REGION, plain_client};
use crate::binary;
use crate::owned_server::OwnedServer;
use crate::parts::{free_port, python_program};

/// Servers that no test uses at the moment. They run until the test process ends.
static IDLE: Mutex<Vec<MinistackProcess>> = Mutex::new(Vec::new());

/// The file from which `python/sitecustomize.py` reads how far the clock is ahead.
const OFFSET: &str = "offset";

#[derive(Debug)]
struct MinistackProcess {
    port: u16,
    /// How far the server's clock is ahead of the machine's.
    offset: Mutex<Duration>,
    process: OwnedServer,
}

/// A ministack that only one test uses, so that the test can advance its clock. Starting a server
/// takes a second, so the server of a dropped `Ministack` is emptied and used for the next one.
#[derive(Debug)]
pub struct Ministack {
    /// The server; `None` only while this value is dropped.
    server: Option<MinistackProcess>,
}

impl Ministack {
    /// Returns a ministack without queues, tables and functions. Its clock may be ahead of this
    /// machine's, but is never behind.
    pub async fn start() -> Self {
        let idle = IDLE.lock().expect("no panic").pop();
        let server = match idle {
            Some(server) => server,
            None => MinistackProcess::start().await,
        };
        let reset = plain_client().post(format!("{}/_ministack/reset", server.url())).send().await;
        assert!(reset.expect("ministack answers").status().is_success(), "{}", server.process.log());
        Self { server: Some(server) }
    }

    /// Returns the URL of the emulator, for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        self.server().url()
    }

    /// Returns a client of the emulated services.
    pub fn client(&self) -> AwsJson {
        AwsJson::new(self.url())
    }

    /// Advances the emulator's clock. The clocks of the engine and of Lambda processes do not
    /// change.
    pub fn advance(&self, by: Duration) {
        let mut offset = self.server().offset.lock().expect("no panic");
        *offset += by;
        let nanoseconds = u64::try_from(offset.as_nanos()).expect("less than 584 years");
        let file = OpenOptions::new().write(true).open(self.server().process.folder_path().join(OFFSET));
        // written in place, because the emulator has mapped this file into memory
        let written = file.and_then(|file| file.write_all_at(&nanoseconds.to_le_bytes(), 0));
        written.expect("a file in a folder of our own");
    }

    /// Returns what the emulator has printed since its process started.
    pub fn log(&self) -> String {
        self.server().process.log()
    }

    /// Returns the id of the emulator's process.
    pub fn process_id(&self) -> u32 {
        self.server().process.id()
    }

    /// Lets a command use this emulator instead of the account of the machine's owner.
    pub fn name_to(&self, command: &mut tokio::process::Command) {
        let command = command.as_std_mut();
        forget_account(command);
        command.env("AWS_ENDPOINT_URL", self.url()).env("AWS_DEFAULT_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    }

    fn server(&self) -> &MinistackProcess {
        self.server.as_ref().expect("there until it is dropped")
    }
}

fn forget_account(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        // after a panic, the server may be in any state, so it is not reused
        if let Some(server) = self.server.take().filter(|_| !std::thread::panicking()) {
            IDLE.lock().expect("no panic").push(server);
        }
    }
}

impl MinistackProcess {
    async fn start() -> Self {
        let (port, folder) = (free_port(), OwnedServer::folder("ministack"));
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(python_program("ministack"));
        forget_account(&mut command);
        command.env("GATEWAY_PORT", port.to_string()).env("BIND_HOST", "127.0.0.1").env("MINISTACK_HOST", "127.0.0.1");
        command.env("LAMBDA_EXECUTOR", "local").env("AWS_ENDPOINT_URL", &url).env("MINISTACK_REGION", REGION);
        // disables a listener on a fixed port, which two servers could not share
        command.env("IOT_MTLS_ENABLED", "0");
        command.env("TMPDIR", folder.path()).env("STEPLADDER_TIME_OFFSET", folder.path().join(OFFSET));
        command.env("PYTHONPATH", binary::root().join("tests/python")).env("PYTHONDONTWRITEBYTECODE", "1");
        std::fs::write(folder.path().join(OFFSET), [0; 8]).expect("a file in a folder of our own");
        command.current_dir(folder.path());
        let process = OwnedServer::start(&command, folder);
        let client = plain_client();
        let process = process.wait_until_serving("ministack to answer", async || {
            let answer = client.get(format!("{url}/_ministack/health")).send().await.ok()?;
            answer.status().is_success().then_some(())
        });
        Self { port, offset: Mutex::default(), process: process.await }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
