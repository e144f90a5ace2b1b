//! Lists dead letters and moves them back to their queue.
//!
//! A message is received, then sent to its queue, and then deleted. A crash in between leaves two
//! copies, but never none. SQS offers `StartMessageMoveTask` for this purpose, but it does not
//! report what it moves, and an event without an id would get a new id. Here an event keeps the
//! identity of its first message (rule 15), which is stored in a message attribute.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use futures::future::try_join_all;
use stepladder_core::Timestamp;
use stepladder_engine::ports::queues::{DeadLetter, DeadLetterContent, DeadLetterQueue, RedriveBounds, RedriveReport};
use stepladder_engine::ports::{StoreError, StoreResult};

use super::events::EventsMessage;
use super::message::decode;
use crate::Aws;
use crate::error::request_error;

/// The message attribute with the id of the first message of an event.
pub const MESSAGE_ID: &str = "stepladder-message-id";
/// The message attribute with the time at which the first message was sent, in milliseconds since
/// 1970.
pub const SENT_AT: &str = "stepladder-sent-at";

/// How long a message that is being moved is invisible to other receivers.
const VISIBILITY: Duration = Duration::from_secs(60);

/// A redrive that is in progress.
#[derive(Default)]
pub(super) struct Redrive {
    pub(super) report: RedriveReport,
    /// The receipt handles of the dead letters that were not moved.
    handles: Vec<String>,
    /// Whether the redrive stopped at its bounds, before it had read all dead letters.
    pub(super) is_cut_short: bool,
}

impl Aws {
    /// Moves dead letters back to their queue, or lists them. Dead letters that were not moved
    /// become visible to other receivers immediately.
    pub(super) async fn redrive_visibly(
        &self,
        queue: DeadLetterQueue,
        most: usize,
        dry_run: bool,
    ) -> StoreResult<RedriveReport> {
        let redrive = self.redrive_within(queue, RedriveBounds { most, within: Duration::MAX }, dry_run).await?;
        let dead = self.dead_letters_url(queue)?;
        try_join_all(redrive.handles.iter().map(|handle| self.make_visible(dead, handle))).await?;
        Ok(redrive.report)
    }

    /// Redrives dead letters within bounds. Dead letters that were not moved stay hidden for a
    /// minute, so that the next call reaches the ones behind them.
    pub(super) async fn redrive_within(
        &self,
        queue: DeadLetterQueue,
        bounds: RedriveBounds,
        dry_run: bool,
    ) -> StoreResult<Redrive> {
        let (dead, start) = (self.dead_letters_url(queue)?, Instant::now());
        let (mut redrive, mut seen) = (Redrive::default(), HashSet::new());
        loop {
            let left = bounds.most.saturating_sub(redrive.report.moved.len() + redrive.report.left.len());
            redrive.is_cut_short = left == 0 || start.elapsed() >= bounds.within;
            if redrive.is_cut_short {
                return Ok(redrive);
            }
            let mut messages = self.receive_dead(dead, left).await?;
            messages.retain(|message| seen.insert(message.message_id.clone().unwrap_or_default()));
            if messages.is_empty() {
                return Ok(redrive);
            }
            let (mut done, mut failed) = (Vec::new(), None);
            for message in messages {
                let letter = dead_letter(&message, queue);
                let handle = message.receipt_handle.clone().unwrap_or_default();
                if dry_run || matches!(letter.content, DeadLetterContent::Unreadable(_)) {
                    redrive.report.left.push(letter);
                    redrive.handles.push(handle);
                } else if let Err(error) = self.send_back(&message, &letter).await {
                    failed = Some(error);
                    break;
                } else {
                    redrive.report.moved.push(letter);
                    done.push(handle);
                }
            }
            self.delete_messages(dead, &done).await?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
    }

    fn dead_letters_url(&self, queue: DeadLetterQueue) -> StoreResult<&str> {
        let dead = match queue {
            DeadLetterQueue::Wakes => &self.queues.steps_dead_letters,
            DeadLetterQueue::Events => &self.queues.events_dead_letters,
        };
        dead.as_deref().ok_or_else(|| unknown_address("dead letters"))
    }

    /// Makes a received message visible to other receivers immediately.
    async fn make_visible(&self, dead: &str, handle: &str) -> StoreResult<()> {
        let request = self.sqs.change_message_visibility().queue_url(dead).receipt_handle(handle).visibility_timeout(0);
        request.send().await.map(drop).map_err(|e| request_error("ChangeMessageVisibility", e))
    }

    async fn receive_dead(&self, dead: &str, most: usize) -> StoreResult<Vec<Message>> {
        let request = self
            .sqs
            .receive_message()
            .queue_url(dead)
            .max_number_of_messages(i32::try_from(most.min(10)).unwrap_or(1))
            .visibility_timeout(VISIBILITY.as_secs() as i32)
            .wait_time_seconds(1)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_attribute_names("All");
        request
            .send()
            .await
            .map(|answer| answer.messages.unwrap_or_default())
            .map_err(|e| request_error("ReceiveMessage", e))
    }

    async fn send_back(&self, message: &Message, letter: &DeadLetter) -> StoreResult<()> {
        match &letter.content {
            DeadLetterContent::Wake(wake) => {
                let now = self.now();
                self.send(vec![(wake.clone(), now)], now).await
            }
            DeadLetterContent::Events(names) => {
                let queue = self.queues.events.as_deref().ok_or_else(|| unknown_address("events"))?;
                let group = names.first().map_or("events", String::as_str);
                let mut request = self
                    .sqs
                    .send_message()
                    .queue_url(queue)
                    .message_body(message.body().unwrap_or_default())
                    .message_group_id(super::message::group_id(group));
                let sent_at = letter.sent_at.unwrap_or_default().as_millis().to_string();
                for (name, value) in [(MESSAGE_ID, letter.message.clone()), (SENT_AT, sent_at)] {
                    let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
                    let value = value.map_err(StoreError::unreadable)?;
                    request = request.message_attributes(name, value);
                }
                request.send().await.map(drop).map_err(|e| request_error("SendMessage", e))
            }
            DeadLetterContent::Unreadable(_) => Ok(()),
        }
    }
}

fn dead_letter(message: &Message, queue: DeadLetterQueue) -> DeadLetter {
    let body = message.body().unwrap_or_default();
    let attribute =
        |name: &str| message.message_attributes().and_then(|all| all.get(name)).and_then(|a| a.string_value());
    let sent = message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp));
    let sent_at = attribute(SENT_AT).or(sent.map(String::as_str)).and_then(|ms| ms.parse().ok());
    let unreadable = || DeadLetterContent::Unreadable(body.chars().take(200).collect());
    DeadLetter {
        content: match queue {
            DeadLetterQueue::Wakes => decode(body).map_or_else(|_| unreadable(), DeadLetterContent::Wake),
            DeadLetterQueue::Events => event_names(body).map_or_else(unreadable, DeadLetterContent::Events),
        },
        sent_at: sent_at.map(Timestamp::from_millis),
        message: attribute(MESSAGE_ID).or(message.message_id()).unwrap_or_default().to_owned(),
    }
}

fn event_names(body: &str) -> Option<Vec<String>> {
    let events = match EventsMessage::parse(body).ok()? {
        EventsMessage::Sent(body) => stepladder_core::NewEvent::decode_all(body.as_bytes()),
        EventsMessage::RemainingEvents { events, .. } => stepladder_core::NewEvent::decode_all(events.as_bytes()),
        EventsMessage::StoredEvents(events) => return Some(events.iter().map(|id| format!("event {id}")).collect()),
    };
    let events = events.ok()?;
    Some(events.iter().map(|event| event.name.to_string()).collect())
}

fn unknown_address(queue: &str) -> StoreError {
    StoreError::Unreadable(
        format!("the table does not say where the queue of {queue} is; has the sweep run since the deployment?").into(),
    )
}
