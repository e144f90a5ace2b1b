//! Dead letters: what they were, and back to their queue.
//!
//! Received, sent, then deleted: a crash between leaves a message twice, never not at all. SQS has a task of its own for
//! this (`StartMessageMoveTask`); it tells nothing of what it moves, and gives an event that has no id a new one. Here
//! an event keeps the identity of its first message (rule 15), in a message attribute.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use futures::future::try_join_all;
use stepladder_core::{Timestamp, Wake};
use stepladder_engine::ports::queues::RedriveBounds;
use stepladder_engine::ports::{StoreError, StoreResult};

use super::events::EventsMessage;
use super::message::decode;
use crate::Aws;
use crate::fault::unavailable;

/// The message attribute that holds the id of the message that an event first came with.
pub const MESSAGE_ID: &str = "stepladder-message-id";
/// The message attribute that holds when that was sent: milliseconds since 1970.
pub const SENT_AT: &str = "stepladder-sent-at";
/// How long a message that is being moved stays invisible to others.
const VISIBILITY: Duration = Duration::from_secs(60);

/// A dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// What it was.
    pub what: What,
    /// When its message was first sent.
    pub sent_at: Option<Timestamp>,
    /// The message's id.
    pub message: String,
}

/// What a dead letter was.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A wake.
    Wake(Wake),
    /// Events, by their names.
    Events(Vec<String>),
    /// Something that nobody here can read; its beginning.
    Unreadable(String),
}

/// What became of the dead letters of a queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redriven {
    /// Those that were moved back.
    pub moved: Vec<DeadLetter>,
    /// Those that are left where they were: nobody could read them the next time either.
    pub left: Vec<DeadLetter>,
    /// What stands for those that are left.
    handles: Vec<String>,
    /// Whether the bounds ended it.
    pub(super) cut_short: bool,
}

/// Which dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letters {
    /// Of the steps queue.
    Wakes,
    /// Of the events queue.
    Events,
}

impl Aws {
    /// Moves up to `most` dead letters back; with `only_look`, tells what they are and leaves them where they are. Those
    /// that are left are visible to others at once.
    ///
    /// # Errors
    /// When a queue does not answer; what was moved by then is moved.
    pub async fn redrive(&self, letters: Letters, most: usize, only_look: bool) -> StoreResult<Redriven> {
        let redriven = self.go_through(letters, RedriveBounds { most, within: Duration::MAX }, only_look).await?;
        let dead = self.dead_letters(letters)?;
        try_join_all(redriven.handles.iter().map(|handle| self.show_again(dead, handle))).await?;
        Ok(redriven)
    }

    /// The same, within bounds, and those that are left stay hidden from others for a minute: who asks again at once gets
    /// at letters behind them.
    pub(super) async fn go_through(
        &self,
        letters: Letters,
        bounds: RedriveBounds,
        only_look: bool,
    ) -> StoreResult<Redriven> {
        let (dead, begun) = (self.dead_letters(letters)?, Instant::now());
        let (mut redriven, mut seen) = (Redriven::default(), HashSet::new());
        loop {
            let left = bounds.most.saturating_sub(redriven.moved.len() + redriven.left.len());
            redriven.cut_short = left == 0 || begun.elapsed() >= bounds.within;
            if redriven.cut_short {
                return Ok(redriven);
            }
            let mut messages = self.take_dead(dead, left).await?;
            messages.retain(|message| seen.insert(message.message_id.clone().unwrap_or_default()));
            if messages.is_empty() {
                return Ok(redriven);
            }
            let (mut done, mut failed) = (Vec::new(), None);
            for message in messages {
                let letter = letter(&message, letters);
                let handle = message.receipt_handle.clone().unwrap_or_default();
                if only_look || matches!(letter.what, What::Unreadable(_)) {
                    redriven.left.push(letter);
                    redriven.handles.push(handle);
                } else if let Err(error) = self.send_back(&message, &letter).await {
                    failed = Some(error);
                    break;
                } else {
                    redriven.moved.push(letter);
                    done.push(handle);
                }
            }
            self.delete_messages(dead, &done).await?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
    }

    fn dead_letters(&self, letters: Letters) -> StoreResult<&str> {
        let dead = match letters {
            Letters::Wakes => &self.queues.steps_dead_letters,
            Letters::Events => &self.queues.events_dead_letters,
        };
        dead.as_deref().ok_or_else(|| unknown("dead letters"))
    }

    /// A message that stays is visible to others at once.
    async fn show_again(&self, dead: &str, handle: &str) -> StoreResult<()> {
        let request = self.sqs.change_message_visibility().queue_url(dead).receipt_handle(handle).visibility_timeout(0);
        request.send().await.map(drop).map_err(|e| unavailable("ChangeMessageVisibility", &e))
    }

    async fn take_dead(&self, dead: &str, most: usize) -> StoreResult<Vec<Message>> {
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
            .map_err(|e| unavailable("ReceiveMessage", &e))
    }

    async fn send_back(&self, message: &Message, letter: &DeadLetter) -> StoreResult<()> {
        match &letter.what {
            What::Wake(wake) => {
                let now = self.now();
                self.send(vec![(wake.clone(), now)], now).await
            }
            What::Events(names) => {
                let queue = self.queues.events.as_deref().ok_or_else(|| unknown("events"))?;
                let group = names.first().map_or("events", String::as_str);
                let mut request = self
                    .sqs
                    .send_message()
                    .queue_url(queue)
                    .message_body(message.body().unwrap_or_default())
                    .message_group_id(super::message::group(group));
                let sent_at = letter.sent_at.unwrap_or_default().as_millis().to_string();
                for (name, value) in [(MESSAGE_ID, letter.message.clone()), (SENT_AT, sent_at)] {
                    let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
                    let value = value.map_err(|e| StoreError::Unreadable(e.to_string()))?;
                    request = request.message_attributes(name, value);
                }
                request.send().await.map(drop).map_err(|e| unavailable("SendMessage", &e))
            }
            What::Unreadable(_) => Ok(()),
        }
    }
}

fn letter(message: &Message, letters: Letters) -> DeadLetter {
    let body = message.body().unwrap_or_default();
    let attribute =
        |name: &str| message.message_attributes().and_then(|all| all.get(name)).and_then(|a| a.string_value());
    let sent = message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp));
    let sent_at = attribute(SENT_AT).or(sent.map(String::as_str)).and_then(|ms| ms.parse().ok());
    let unreadable = || What::Unreadable(body.chars().take(200).collect());
    DeadLetter {
        what: match letters {
            Letters::Wakes => decode(body).map_or_else(|_| unreadable(), What::Wake),
            Letters::Events => names(body).map_or_else(unreadable, What::Events),
        },
        sent_at: sent_at.map(Timestamp::from_millis),
        message: attribute(MESSAGE_ID).or(message.message_id()).unwrap_or_default().to_owned(),
    }
}

fn names(body: &str) -> Option<Vec<String>> {
    let events = match EventsMessage::read(body).ok()? {
        EventsMessage::Sent(body) => stepladder_core::NewEvent::decode_all(body.as_bytes()),
        EventsMessage::Rest { events, .. } => stepladder_core::NewEvent::decode_all(events.as_bytes()),
        EventsMessage::Stored(events) => return Some(events.iter().map(|id| format!("event {id}")).collect()),
    };
    let events = events.ok()?;
    Some(events.iter().map(|event| event.name.to_string()).collect())
}

fn unknown(what: &str) -> StoreError {
    StoreError::Unreadable(format!(
        "the table does not say where the queue of {what} is; has the sweep run since the deployment?"
    ))
}
