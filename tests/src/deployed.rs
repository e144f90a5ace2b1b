//! The whole stack, deployed: `template.yaml` through CloudFormation to a [`Ministack`], which runs the binary under test
//! as the functions' processes. What a test sees of it is what an account's owner sees: queues, HTTP, the table, logs.
//!
//! A function's process has the machine's clock, whatever [`Ministack::advance`] says; and roles, throttles and the
//! limits of an invocation are not what this emulator keeps to.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::api::Api;
use crate::aws_json::{AwsJson, REGION};
use crate::binary;
use crate::ministack::Ministack;
use crate::parts::python_program;
use crate::wait::wait_calmly;

/// The stack's name.
pub const STACK: &str = "ladder";

/// Who may send: [`Api`] sends with this key.
pub const EVENT_KEY: &str = "test-event-key";

/// Who may look.
pub const TOKEN: &str = "a-token-of-this-test";

/// A deployed stack.
#[derive(Debug)]
pub struct Deployed {
    stack: Ministack,
    outputs: BTreeMap<String, String>,
}

impl Deployed {
    /// A new stack, with these parameters of the template beside the keys. What a parameter that names a secret is given
    /// here is the secret itself.
    pub async fn start(parameters: &[(&str, String)]) -> Self {
        let stack = Ministack::start().await;
        let folder = tempfile::Builder::new().prefix("stepladder-deploy-").tempdir().expect("a temporary folder");
        let mut command = Command::new(python_program("python"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("AWS_ENDPOINT_URL", stack.url()).env("AWS_DEFAULT_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        // it would remember things at home
        command.env("HOME", folder.path()).env("SAM_CLI_TELEMETRY", "0").env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg(binary::root().join("tests/python/deploy.py")).arg(folder.path().join("work"));
        std::fs::create_dir(folder.path().join("work")).expect("a folder in a folder of our own");
        // no alarms and no dashboard: saved queries are among what the emulator does not take
        command
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

    /// An output of the template.
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("no output {name}: {:?}", self.outputs))
    }

    /// Its HTTP interface, for one who may look.
    pub fn api(&self) -> Api {
        self.stranger().with_token(TOKEN)
    }

    /// Its HTTP interface, for one who has no token.
    pub fn stranger(&self) -> Api {
        Api::new(&self.http_url())
    }

    /// Where its HTTP interface is.
    pub fn http_url(&self) -> String {
        // the emulator takes the API's host as a part of the path, too, which needs no name server
        let host = self.output("HttpUrl").split("://").nth(1).expect("an address");
        let id = host.split('.').next().expect("a host");
        format!("{}/_aws/execute-api/{id}/$default", self.stack.url())
    }

    /// Where everything is.
    pub fn endpoint(&self) -> String {
        self.stack.url()
    }

    /// A client of its queues, table and logs.
    pub fn client(&self) -> AwsJson {
        self.stack.client()
    }

    /// Queues' and the schedule's time moves on.
    pub fn advance(&self, by: Duration) {
        self.stack.advance(by);
    }

    /// Sends messages to the queue whose address is this output, in one request: their ids.
    pub async fn send(&self, queue: &str, bodies: &[String]) -> Vec<String> {
        let entries: Vec<_> =
            bodies.iter().enumerate().map(|(n, body)| json!({"Id": n.to_string(), "MessageBody": body})).collect();
        let asked = json!({"QueueUrl": self.output(queue), "Entries": entries});
        let answer =
            self.client().sqs("SendMessageBatch", &asked).await.expect("an answer").expect("the queue is there");
        let sent = answer["Successful"].as_array().expect("a list");
        assert_eq!(sent.len(), bodies.len(), "{answer}");
        sent.iter().map(|entry| entry["MessageId"].as_str().expect("text").to_owned()).collect()
    }

    /// How many messages are in the queue whose address is this output: those to be received, those being worked on, and
    /// those that are delayed.
    pub async fn messages(&self, queue: &str) -> [u64; 3] {
        let asked = json!({"QueueUrl": self.output(queue), "AttributeNames": ["All"]});
        let answer =
            self.client().sqs("GetQueueAttributes", &asked).await.expect("an answer").expect("the queue is there");
        ["", "NotVisible", "Delayed"].map(|which| {
            let count = &answer["Attributes"][format!("ApproximateNumberOfMessages{which}")];
            count.as_str().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count: {answer}"))
        })
    }

    /// Waits until nothing is in that queue: each message was taken, and its invocation succeeded.
    pub async fn until_empty(&self, queue: &str) {
        wait_calmly(&format!("{queue} to be empty"), async || (self.messages(queue).await == [0; 3]).then_some(()))
            .await;
    }

    /// What the function of this role has printed, each line read as the JSON that it has to be. The lines of Lambda
    /// itself are left out.
    pub async fn lines(&self, role: &str) -> Vec<Value> {
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

    /// A line of that function, waited for.
    pub async fn line(&self, role: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_calmly(&format!("the line of {role}: {what}"), async || {
            self.lines(role).await.into_iter().find(|line| is(line))
        })
        .await
    }
}
