//! A stand-in for Lambda's event source mapping between a queue and a Lambda function. Each time
//! the test calls it, it receives one batch, invokes the function with the records, and deletes the
//! messages that did not fail.
//!
//! It does not retry, split or filter. A failed message is received again when the queue makes it
//! visible.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::aws_json::{AwsJson, REGION};
use crate::lambda_api::{InvocationOutcome, LambdaApi};

/// A mapping between one queue and one Lambda function.
#[derive(Clone, Debug)]
pub struct LambdaPump {
    client: AwsJson,
    queue: String,
    api: LambdaApi,
    /// The maximum number of messages in an invocation, from 1 to 10.
    pub batch_size: usize,
    /// The timeout of the Lambda function.
    pub timeout: Duration,
}

/// The result of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchResult {
    /// The ids of the messages that were deleted.
    pub deleted: Vec<String>,
    /// The ids of the messages that failed and will become visible again.
    pub failed: Vec<String>,
    /// The result of the invocation.
    pub outcome: InvocationOutcome,
}

impl LambdaPump {
    /// Creates a stand-in for the mapping of the queue at the URL `queue`. The queue service is at
    /// `endpoint`. A batch has up to ten messages, and the timeout is thirty seconds.
    pub fn new(endpoint: impl Into<String>, queue: impl Into<String>, api: LambdaApi) -> Self {
        let (batch_size, timeout) = (10, Duration::from_secs(30));
        Self { client: AwsJson::new(endpoint), queue: queue.into(), api, batch_size, timeout }
    }

    /// Receives one batch and invokes the function. Returns `None` if there was no message.
    pub async fn pump(&self) -> Option<BatchResult> {
        let (messages, pumped) = self.invoke().await?;
        self.delete(messages.iter().filter(|message| pumped.deleted.contains(&to_text(&message["MessageId"])))).await;
        Some(pumped)
    }

    /// Receives one batch, invokes the function, and drops the response: no message is deleted, and
    /// all will become visible again.
    pub async fn pump_and_lose(&self) -> Option<BatchResult> {
        let (_, BatchResult { deleted, mut failed, outcome }) = self.invoke().await?;
        failed.extend(deleted);
        Some(BatchResult { deleted: Vec::new(), failed, outcome })
    }

    /// Receives one batch and invokes the function. Returns the messages and the result.
    async fn invoke(&self) -> Option<(Vec<Value>, BatchResult)> {
        let messages = self.receive().await;
        if messages.is_empty() {
            return None;
        }
        let records: Vec<_> = messages.iter().map(|message| self.record(message)).collect();
        let outcome = self.api.invoke(&json!({"Records": records}), self.timeout).await;
        let all: Vec<_> = messages.iter().map(|message| to_text(&message["MessageId"])).collect();
        let failed = failed_ids(&outcome, &all);
        let deleted: Vec<_> = all.into_iter().filter(|id| !failed.contains(id)).collect();
        Some((messages, BatchResult { deleted, failed, outcome }))
    }

    /// Handles batches until the queue has no visible message. Returns the result of each batch.
    pub async fn drain(&self) -> Vec<BatchResult> {
        let mut all = Vec::new();
        while let Some(pumped) = self.pump().await {
            all.push(pumped);
        }
        all
    }

    async fn receive(&self) -> Vec<Value> {
        let asked = json!({
            "QueueUrl": self.queue,
            "MaxNumberOfMessages": self.batch_size,
            "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        });
        let answer = self.client.sqs("ReceiveMessage", &asked).await.expect("an answer").expect("the queue is there");
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    async fn delete(&self, messages: impl Iterator<Item = &Value>) {
        let entries: Vec<_> = messages
            .enumerate()
            .map(|(n, message)| json!({"Id": n.to_string(), "ReceiptHandle": message["ReceiptHandle"]}))
            .collect();
        if !entries.is_empty() {
            let asked = json!({"QueueUrl": self.queue, "Entries": entries});
            // the queue refuses a receipt handle if the message was received again in the meantime
            self.client.sqs("DeleteMessageBatch", &asked).await.expect("an answer").expect("the queue is there");
        }
    }

    /// Converts a message to a record of the event:
    /// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event>.
    fn record(&self, message: &Value) -> Value {
        let parts: Vec<_> = self.queue.rsplit('/').take(2).collect();
        let [name, account] = parts.as_slice() else { panic!("{} is no address of a queue", self.queue) };
        let attributes: Map<_, _> = message["MessageAttributes"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), message_attribute(value)))
            .collect();
        json!({
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": attributes,
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:{REGION}:{account}:{name}"),
            "awsRegion": REGION,
        })
    }
}

fn message_attribute(value: &Value) -> Value {
    let mut attribute = json!({"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]});
    for (from, to) in [("StringValue", "stringValue"), ("BinaryValue", "binaryValue")] {
        if let Some(value) = value.get(from) {
            attribute[to] = value.clone();
        }
    }
    attribute
}

/// Returns the messages that failed, by the rules of `ReportBatchItemFailures`: all messages after
/// an error, after a timeout or if an id is unknown.
fn failed_ids(outcome: &InvocationOutcome, all: &[String]) -> Vec<String> {
    let response = match outcome {
        InvocationOutcome::Response(response) => response,
        InvocationOutcome::Error(_) | InvocationOutcome::TimedOut => return all.to_vec(),
    };
    let items = response["batchItemFailures"].as_array().cloned().unwrap_or_default();
    let reported: Vec<_> = items.iter().map(|item| to_text(&item["itemIdentifier"])).collect();
    if reported.iter().all(|id| all.contains(id)) { reported } else { all.to_vec() }
}

fn to_text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
