//! Runs npm's `@copilotkit/aimock`, an OpenAI-compatible server that responds with fixtures and
//! records its requests.

use std::fs::File;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::parts::{free_port, package_file, wait_until_listening};

/// A running aimock. Its process ends with the test.
#[derive(Debug)]
pub struct AiMock {
    port: u16,
    _process: Child,
    _folder: TempDir,
}

impl AiMock {
    /// Starts a server that responds to every chat completion with this content.
    pub async fn start(content: &Value) -> Self {
        let folder = tempfile::Builder::new().prefix("stepladder-aimock-").tempdir().expect("a temporary folder");
        let fixtures = folder.path().join("fixtures.json");
        let all = json!({"fixtures": [{"match": {"endpoint": "chat"}, "response": {"content": content.to_string()}}]});
        std::fs::write(&fixtures, all.to_string()).expect("a file in a folder of our own");
        let (port, log) = (free_port(), folder.path().join("log"));
        let file = File::create(&log).expect("a file in a folder of our own");
        let mut command = Command::new("node");
        command.arg(package_file(".bin/llmock")).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        command.arg("-f").arg(&fixtures).args(["--journal-max", "0"]);
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file).kill_on_drop(true);
        let mut process = command.spawn().expect("node starts");
        wait_until_listening(&mut process, port, &log).await;
        Self { port, _process: process, _folder: folder }
    }

    /// Returns the URL of aimock, for `OPENAI_BASE_URL`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Returns the bodies of the requests for chat completions, oldest first.
    pub async fn requests(&self) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/__aimock/journal?path=/v1/chat/completions", self.port);
        let client = crate::aws_json::http_builder().no_proxy().build().expect("a client without options");
        let answer = client.get(url).send().await.expect("aimock answers");
        let journal: Value = answer.json().await.expect("its journal is JSON");
        let entries = journal.as_array().or_else(|| journal["entries"].as_array());
        let entries = entries.unwrap_or_else(|| panic!("no journal: {journal}"));
        entries.iter().map(|entry| entry["body"].clone()).collect()
    }
}
