//! Runs Amazon's DynamoDB Local, in memory. It is the reference for conditions, transactions,
//! limits and paging. It never throttles and processes every entry of a batch;
//! [`crate::aws_faults`] injects these faults.

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
    /// Returns the server that all tests of this process share, because starting a server takes a
    /// second and 200 MB. Tests name their tables with [`crate::aws_json::fresh_name`]. The server
    /// ends with the test process, even if that process is killed.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<DynamoDbLocal> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Starts a separate server that ends when the returned value is dropped.
    pub async fn start() -> Self {
        let emulator = package_file("amplify-dynamodb-simulator/emulator");
        let port = free_port();
        let mut command = Command::new("java");
        // -Xmx limits the memory, because Java would use up to a quarter of the machine's; the
        // other options halve the start time
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
        command.arg("-Djava.library.path=./DynamoDBLocal_lib").args(["-jar", "DynamoDBLocal.jar"]);
        command.args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()]);
        command.current_dir(emulator);
        let process = OwnedServer::start(&command, OwnedServer::folder("dynamodb"));
        let client = AwsJson::new(format!("http://127.0.0.1:{port}"));
        let process = process.wait_until_serving("DynamoDB Local to answer", async || {
            client.dynamodb("ListTables", &json!({})).await?.ok().map(|_| ())
        });
        Self { port, process: process.await }
    }

    /// Returns the URL of the server, for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the id of the server's process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }
}
