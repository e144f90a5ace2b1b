//! The queue of wakes on SQS: sends wakes (also with a delay), receives them, and acknowledges
//! them.
//!
//! SQS is used as a standard queue, so wakes may arrive twice and in any order, as the engine
//! expects. `MessageGroupId` makes the queue fair: if a function, or a key of a limit, sends very
//! many wakes, the others are not delayed.
//!
//! A Lambda function does not receive wakes here: its event source mapping receives them, and the
//! response of the invocation acknowledges them.

pub(crate) mod addresses;
pub(crate) mod dead_letters;
pub(crate) mod depths;
pub(crate) mod events;
pub(crate) mod message;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue, SendMessageBatchRequestEntry,
};
use futures::future::try_join_all;
use stepladder_core::{EventId, Timestamp, Wake};
use stepladder_engine::ports::{Delivery, Queue, Receipt, StoreError, StoreResult};

use crate::Aws;
use crate::error::{is_transient, part_error, request_error};
use message::{MessageParameters, decode, envelope};

/// The maximum number of entries in one batch.
const MAX_BATCH: usize = 10;

/// How long a receiver waits for a message, in seconds: the maximum that SQS allows.
const LONG_POLL: i32 = 20;

/// The receipt of a message that was received here.
struct ReceiptHandle(String);

/// The receipt of a message that came with an invocation of a Lambda function.
struct AcknowledgedByResponse;

/// Returns the receipt of a wake that came with an invocation of a Lambda function. A commit
/// ignores it, because the response of the invocation acknowledges the wake.
pub fn invocation_receipt() -> Receipt {
    Receipt::new(AcknowledgedByResponse)
}

#[async_trait]
impl Queue for Aws {
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>> {
        loop {
            let received = self.receive_within(max, visibility, LONG_POLL).await?;
            if !received.is_empty() {
                return Ok(received);
            }
        }
    }

    fn max_delay(&self) -> Duration {
        Duration::from_secs(u64::from(message::MAX_DELAY_SECONDS))
    }

    async fn postpone(&self, events: Vec<EventId>) -> StoreResult<bool> {
        self.send_stored(events, Duration::ZERO).await.map(|()| true)
    }
}

impl Aws {
    /// Receives at most 10 wakes that are visible in the steps queue now.
    ///
    /// # Errors
    /// SQS does not respond, or refuses the request.
    pub async fn receive_now(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>> {
        self.receive_within(max, visibility, 0).await
    }

    async fn receive_within(&self, max: usize, visibility: Duration, wait: i32) -> StoreResult<Vec<Delivery>> {
        let timeout = aws_sdk_sqs::config::timeout::TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(5 + u64::from(wait.unsigned_abs())))
            .build();
        let request = self
            .sqs
            .receive_message()
            .queue_url(&self.queues.steps)
            .max_number_of_messages(i32::try_from(max.min(MAX_BATCH)).unwrap_or(1))
            .visibility_timeout(i32::try_from(visibility.as_secs()).unwrap_or(i32::MAX))
            .wait_time_seconds(wait)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .customize()
            .config_override(aws_sdk_sqs::config::Config::builder().timeout_config(timeout));
        let answer = request.send().await.map_err(|e| request_error("ReceiveMessage", e))?;
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(parse_delivery).collect())
    }

    /// Sends wakes, each due at its time. A request contains at most 10 wakes for one queue.
    pub(crate) async fn send(&self, wakes: Vec<(Wake, Timestamp)>, now: Timestamp) -> StoreResult<()> {
        let mut by_queue: BTreeMap<&str, Vec<MessageParameters>> = BTreeMap::new();
        for (wake, due) in &wakes {
            by_queue.entry(self.queues.for_group(&wake.group)).or_default().push(envelope(wake, *due, now)?);
        }
        let batches = by_queue.iter().flat_map(|(queue, all)| all.chunks(MAX_BATCH).map(move |batch| (*queue, batch)));
        try_join_all(batches.map(|(queue, batch)| self.send_batch(queue, batch))).await.map(drop)
    }

    async fn send_batch(&self, queue: &str, batch: &[MessageParameters]) -> StoreResult<()> {
        let trace = (self.trace)().map(|header| {
            let value = MessageSystemAttributeValue::builder().data_type("String").string_value(header).build();
            value.map_err(StoreError::unreadable)
        });
        let trace = trace.transpose()?;
        if let [one] = batch {
            let mut request = self
                .sqs
                .send_message()
                .queue_url(queue)
                .message_body(&one.body)
                .message_group_id(&one.group)
                .delay_seconds(one.delay);
            if let Some(trace) = trace {
                request = request.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, trace);
            }
            return request.send().await.map(drop).map_err(|e| request_error("SendMessage", e));
        }
        let mut left: Vec<usize> = (0..batch.len()).collect();
        let mut round = 0;
        while !left.is_empty() {
            self.pause_before_round(&mut round, "SendMessageBatch", left.len()).await?;
            let entries = left.iter().map(|i| {
                let mut entry = SendMessageBatchRequestEntry::builder()
                    .id(i.to_string())
                    .message_body(&batch[*i].body)
                    .message_group_id(&batch[*i].group)
                    .delay_seconds(batch[*i].delay);
                if let Some(trace) = &trace {
                    let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
                    entry = entry.message_system_attributes(name, trace.clone());
                }
                entry.build().map_err(StoreError::unreadable)
            });
            let entries = entries.collect::<StoreResult<Vec<_>>>()?;
            let request = self.sqs.send_message_batch().queue_url(queue).set_entries(Some(entries));
            let answer = request.send().await.map_err(|e| request_error("SendMessageBatch", e))?;
            // a batch request may succeed only for some of its entries
            let is_permanent = |failed: &&BatchResultErrorEntry| failed.sender_fault && !is_transient(&failed.code);
            if let Some(failed) = answer.failed.iter().find(is_permanent) {
                return Err(part_error("SendMessageBatch", &failed.code, failed.message()));
            }
            left =
                answer.failed.iter().filter_map(|failed| failed.id.parse().ok()).filter(|i| *i < batch.len()).collect();
        }
        Ok(())
    }

    /// Deletes messages that this adapter received. A receipt is ignored if its message has been
    /// delivered again since.
    pub(crate) async fn acknowledge(&self, acks: Vec<Receipt>) -> StoreResult<()> {
        let own = acks.iter().filter_map(|receipt| receipt.value());
        let handles: Vec<String> = own.map(|ReceiptHandle(handle)| handle.clone()).collect();
        self.delete_messages(&self.queues.steps, &handles).await
    }

    /// Deletes messages that were received from a queue, at most 10 per request.
    async fn delete_messages(&self, queue: &str, handles: &[String]) -> StoreResult<()> {
        for batch in handles.chunks(MAX_BATCH) {
            let mut left: Vec<usize> = (0..batch.len()).collect();
            let mut round = 0;
            while !left.is_empty() {
                self.pause_before_round(&mut round, "DeleteMessageBatch", left.len()).await?;
                let entries = left.iter().map(|i| {
                    let entry = DeleteMessageBatchRequestEntry::builder().id(i.to_string()).receipt_handle(&batch[*i]);
                    entry.build().map_err(StoreError::unreadable)
                });
                let entries = entries.collect::<StoreResult<Vec<_>>>()?;
                let request = self.sqs.delete_message_batch().queue_url(queue).set_entries(Some(entries));
                let answer = request.send().await.map_err(|e| request_error("DeleteMessageBatch", e))?;
                let failed = answer.failed.iter().filter(|failed| !failed.sender_fault);
                left = failed.filter_map(|failed| failed.id.parse().ok()).filter(|i| *i < batch.len()).collect();
            }
        }
        Ok(())
    }
}

/// Converts a message to a delivery. A message that is not a wake is skipped and not deleted. The
/// queue then moves it to the dead letters, where an operator finds it.
fn parse_delivery(message: Message) -> Option<Delivery> {
    let (body, handle) = (message.body?, message.receipt_handle?);
    let wake = match decode(&body) {
        Ok(wake) => wake,
        Err(error) => {
            tracing::error!(%error, message = message.message_id, "a message of the steps queue is not a wake");
            return None;
        }
    };
    let count = message.attributes?.remove(&MessageSystemAttributeName::ApproximateReceiveCount);
    let receives = count.and_then(|count| count.parse().ok()).unwrap_or(1);
    Some(Delivery { wake, receipt: Receipt::new(ReceiptHandle(handle)), receives })
}
