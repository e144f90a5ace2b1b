//! Deploys the whole stack: `template.yaml` through CloudFormation to a [`Ministack`], which runs
//! the binary under test as the processes of the Lambda functions. Tests can observe only what the
//! owner of an account can observe: queues, HTTP, the table, logs.
//!
//! A Lambda function's process uses the machine's clock, which does not follow
//! [`Ministack::advance`]. The emulator enforces neither roles nor throttling nor the limits of an
//! invocation.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::api::ApiClient;
use crate::aws_json::AwsJson;
use crate::binary;
use crate::ministack::Ministack;
use crate::parts::python_program;
use crate::wait::wait_calmly;

/// The stack's name.
pub const STACK: &str = "ladder";

/// The event key, which [`ApiClient`] uses.
pub const EVENT_KEY: &str = "test-event-key";

/// The dashboard token.
pub const TOKEN: &str = "a-token-of-this-test";

/// A deployed stack.
#[derive(Debug)]
pub struct DeployedStack {
    stack: Ministack,
    outputs: BTreeMap<String, String>,
}

impl DeployedStack {
    /// Deploys a new stack with the keys and these additional parameters. If a parameter names a
    /// secret, its value here is the content of the secret.
    pub async fn start(parameters: &[(&str, String)]) -> Self {
        Self::start_project(binary::root(), parameters).await
    }

    /// Like [`Self::start`], with functions that have workers of their own: `list` is the content
    /// of `workers.toml`.
    pub async fn start_with_workers(list: &str, parameters: &[(&str, String)]) -> Self {
        let project = tempfile::Builder::new().prefix("stepladder-project-").tempdir().expect("a temporary folder");
        let infra = project.path().join("infra");
        std::fs::create_dir(&infra).expect("a folder in a folder of our own");
        for name in ["template.yaml", "infra/names.yaml", "infra/watch.yaml", "infra/workers"] {
            std::fs::copy(binary::root().join(name), project.path().join(name)).expect("a copy of a file");
        }
        std::fs::write(project.path().join("workers.toml"), list).expect("a file in a folder of our own");
        let mut command = Command::new(python_program("python"));
        let done = command.arg(infra.join("workers")).output().await.expect("Python starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self::start_project(project.path(), parameters).await
    }

    /// Like [`Self::start`], with the template in `project`.
    async fn start_project(project: &Path, parameters: &[(&str, String)]) -> Self {
        let stack = Ministack::start().await;
        let folder = tempfile::Builder::new().prefix("stepladder-deploy-").tempdir().expect("a temporary folder");
        let mut command = Command::new(python_program("python"));
        stack.name_to(&mut command);
        // otherwise SAM would store state in the user's home folder
        command.env("HOME", folder.path()).env("SAM_CLI_TELEMETRY", "0").env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg(binary::root().join("tests/python/deploy.py")).arg(folder.path().join("work"));
        std::fs::create_dir(folder.path().join("work")).expect("a folder in a folder of our own");
        // the emulator does not support saved queries, so there are no alarms and no dashboard
        command
            .env("PROJECT", project)
            .arg(binary::path())
            .args([STACK, "Watch=no"])
            .arg(format!("EventKeysSecret=another-event-key,{EVENT_KEY}"));
        command.arg(format!("DashboardTokenSecret={TOKEN}"));
        command.args(parameters.iter().map(|(name, value)| format!("{name}={value}")));
        let done = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("Python starts");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "the deployment ended with {}: {said}\n{}", done.status, stack.log());
        let outputs = serde_json::from_slice(&done.stdout).expect("the outputs are JSON");
        Self { stack, outputs }
    }

    /// Returns the value of an output of the template.
    pub fn stack_output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("no output {name}: {:?}", self.outputs))
    }

    /// Returns a client of the stack's HTTP interface that sends the dashboard token.
    pub fn api(&self) -> ApiClient {
        self.api_without_token().with_token(TOKEN)
    }

    /// Returns a client of the stack's HTTP interface that sends no dashboard token.
    pub fn api_without_token(&self) -> ApiClient {
        ApiClient::new(&self.http_url())
    }

    /// Returns the address of the stack's HTTP interface.
    pub fn http_url(&self) -> String {
        // the emulator also accepts the API's host name as a part of the path, which needs no DNS
        let host = self.stack_output("HttpUrl").split("://").nth(1).expect("an address");
        let id = host.split('.').next().expect("a host");
        format!("{}/_aws/execute-api/{id}/$default", self.stack.url())
    }

    /// Returns the endpoint of all emulated services.
    pub fn endpoint(&self) -> String {
        self.stack.url()
    }

    /// Returns a client of the stack's queues, table and logs.
    pub fn client(&self) -> AwsJson {
        self.stack.client()
    }

    /// Lets workers receive the wakes of a queue, or stops them.
    pub async fn set_workers(&self, queue: &str, enabled: bool) {
        let url = format!("{}/2015-03-31/event-source-mappings/", self.stack.url());
        let client = crate::http_builder().no_proxy().build().expect("a client");
        let listed = client.get(&url).send().await.expect("an answer").text().await.expect("text");
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        let mappings = listed["EventSourceMappings"].as_array().expect("a list");
        let of_queue = |mapping: &&Value| {
            mapping["EventSourceArn"].as_str().is_some_and(|arn| arn.ends_with(&format!(":{STACK}-{queue}")))
        };
        let id = mappings.iter().find(of_queue).unwrap_or_else(|| panic!("no workers of {queue}: {listed}"))["UUID"]
            .as_str()
            .expect("text");
        let body = json!({"Enabled": enabled}).to_string();
        let answer = client.put(format!("{url}{id}")).body(body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Returns the environment variables of this role's Lambda function.
    pub async fn environment(&self, role: &str) -> Value {
        let url = format!("{}/2015-03-31/functions/{STACK}-{role}/configuration", self.stack.url());
        let client = crate::http_builder().no_proxy().build().expect("a client");
        let answer = client.get(url).send().await.expect("an answer").text().await.expect("text");
        let configuration: Value = serde_json::from_str(&answer).expect("JSON");
        let variables = configuration["Environment"]["Variables"].clone();
        assert!(variables["STEPLADDER_ROLE"] == role, "{configuration}");
        variables
    }

    /// Advances the clock of the queues and of the schedule.
    pub fn advance(&self, by: Duration) {
        self.stack.advance(by);
    }

    /// Sends messages with one request to the queue at the address in the output `queue`. Returns
    /// the ids of the messages.
    pub async fn send(&self, queue: &str, bodies: &[String]) -> Vec<String> {
        let entries: Vec<_> =
            bodies.iter().enumerate().map(|(n, body)| json!({"Id": n.to_string(), "MessageBody": body})).collect();
        let asked = json!({"QueueUrl": self.stack_output(queue), "Entries": entries});
        let answer =
            self.client().sqs("SendMessageBatch", &asked).await.expect("an answer").expect("the queue is there");
        let sent = answer["Successful"].as_array().expect("a list");
        assert_eq!(sent.len(), bodies.len(), "{answer}");
        sent.iter().map(|entry| entry["MessageId"].as_str().expect("text").to_owned()).collect()
    }

    /// Returns how many messages are visible, received and delayed in the queue at the address in
    /// the output `queue`.
    pub async fn message_counts(&self, queue: &str) -> [u64; 3] {
        self.message_counts_at(self.stack_output(queue)).await
    }

    /// Returns the same of the queue at a URL.
    pub async fn message_counts_at(&self, url: &str) -> [u64; 3] {
        let asked = json!({"QueueUrl": url, "AttributeNames": ["All"]});
        let answer =
            self.client().sqs("GetQueueAttributes", &asked).await.expect("an answer").expect("the queue is there");
        ["", "NotVisible", "Delayed"].map(|which| {
            let count = &answer["Attributes"][format!("ApproximateNumberOfMessages{which}")];
            count.as_str().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count: {answer}"))
        })
    }

    /// Waits until the queue is empty, which means that every message was received and its
    /// invocation succeeded.
    pub async fn until_empty(&self, queue: &str) {
        wait_calmly(&format!("{queue} to be empty"), async || {
            (self.message_counts(queue).await == [0; 3]).then_some(())
        })
        .await;
    }

    /// Returns the log lines of this role's Lambda function, parsed as JSON. Lines written by
    /// Lambda itself are left out.
    pub async fn log_lines(&self, role: &str) -> Vec<Value> {
        let group = format!("/stepladder/{STACK}/{role}");
        let (mut lines, mut next) = (Vec::new(), Value::Null);
        loop {
            let mut asked = json!({"logGroupName": group});
            if next.is_string() {
                asked["nextToken"] = next;
            }
            let answer =
                self.client().logs("FilterLogEvents", &asked).await.expect("an answer").expect("the group is there");
            for event in answer["events"].as_array().into_iter().flatten() {
                let text = event["message"].as_str().expect("text").trim_end();
                let is_lambdas = ["START ", "END ", "REPORT "].iter().any(|start| text.starts_with(start));
                if !is_lambdas {
                    let line = serde_json::from_str(text);
                    lines.push(line.unwrap_or_else(|error| panic!("{role} printed what is no JSON: {error}: {text}")));
                }
            }
            next = answer["nextToken"].clone();
            if !next.is_string() {
                return lines;
            }
        }
    }

    /// Waits for a log line of this role's Lambda function for which `is` returns true. Returns the
    /// line.
    pub async fn wait_for_log_line(&self, role: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_calmly(&format!("the line of {role}: {what}"), async || {
            self.log_lines(role).await.into_iter().find(|line| is(line))
        })
        .await
    }
}
