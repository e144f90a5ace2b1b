//! Amazon's own DynamoDB Local, in memory: the oracle for conditions, transactions, limits and paging. It never
//! throttles and leaves nothing unprocessed; [`crate::aws_faults`] does.

use std::process::Command;

use serde_json::json;
use tokio::sync::OnceCell;

use crate::aws_json::AwsJson;
use crate::parts::{free_port, package_file};
use crate::tied::Tied;

/// A running DynamoDB Local.
#[derive(Debug)]
pub struct DynamoDbLocal {
    port: u16,
    process: Tied,
}

impl DynamoDbLocal {
    /// The one of this test process: it takes a second and 200 MB, so tests share it and name their tables by
    /// [`crate::aws_json::fresh_name`]. It ends with the process, however that ends.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<DynamoDbLocal> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// One of the test's own, which ends when it is dropped.
    pub async fn start() -> Self {
        let emulator = package_file("amplify-dynamodb-simulator/emulator");
        let port = free_port();
        let mut command = Command::new("java");
        // bounded, for Java takes a quarter of the machine; the rest halves what its start costs
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
        command.arg("-Djava.library.path=./DynamoDBLocal_lib").args(["-jar", "DynamoDBLocal.jar"]);
        command.args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()]);
        command.current_dir(emulator);
        let process = Tied::start(&command, Tied::folder("dynamodb"));
        let client = AwsJson::new(format!("http://127.0.0.1:{port}"));
        let process = process.serving("DynamoDB Local to answer", async || {
            client.dynamodb("ListTables", &json!({})).await?.ok().map(|_| ())
        });
        Self { port, process: process.await }
    }

    /// What `AWS_ENDPOINT_URL_DYNAMODB` is set to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }
}
