//! Runs Amazon's DynamoDB Local, in memory. It defines the expected behaviour of conditions,
//! transactions, limits and paging. It never throttles and leaves nothing unprocessed;
//! [`crate::aws_faults`] injects that.

use std::process::Command;

use serde_json::json;
use tokio::sync::OnceCell;

use crate::aws_json::AwsJson;
use crate::owned_server::OwnedServer;
use crate::parts::{free_port, package_file};

/// A running DynamoDB Local.
#[derive(Debug)]
pub struct DynamoDbLocal {
    port: u16,
    process: OwnedServer,
}

impl DynamoDbLocal {
    /// Returns the server that all tests of this process share, because it takes a second and 200
    /// MB. Tests name their tables by [`crate::aws_json::fresh_name`]. The server ends with the
    /// process, even if that is killed.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<DynamoDbLocal> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Starts a separate server, which ends when it is dropped.
    pub async fn start() -> Self {
        let emulator = package_file("amplify-dynamodb-simulator/emulator");
        let port = free_port();
        let mut command = Command::new("java");
        // memory is limited, because Java would use a quarter of the machine's. The other options
        // halve the start time
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
        command.arg("-Djava.library.path=./DynamoDBLocal_lib").args(["-jar", "DynamoDBLocal.jar"]);
        command.args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()]);
        command.current_dir(emulator);
        let process = OwnedServer::start(&command, OwnedServer::folder("dynamodb"));
        let client = AwsJson::new(format!("http://127.0.0.1:{port}"));
        let process = process.serving("DynamoDB Local to answer", async || {
            client.dynamodb("ListTables", &json!({})).await?.ok().map(|_| ())
        });
        Self { port, process: process.await }
    }

    /// Returns the value for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the id of its process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }
}
