//! Items and their attributes: the few conversions that DynamoDB's own types need.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use stepladder_core::{EventId, RunId, Timestamp};
use stepladder_engine::ports::StoreError;

use crate::layout::Key;

/// An item, as the SDK has it.
pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn bytes(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// An item with its keys and its time to live.
pub(crate) fn item(key: &Key, ttl: i64) -> Item {
    let mut item = keys(key);
    item.insert("ttl".into(), number(ttl));
    item
}

/// The keys alone, as a Get or a Delete names an item.
pub(crate) fn keys(key: &Key) -> Item {
    Item::from([("PK".to_owned(), text(&key.pk)), ("SK".to_owned(), text(&key.sk))])
}

/// Reading an item.
pub(crate) trait Read {
    fn text(&self, name: &str) -> Result<&str, StoreError>;
    fn number(&self, name: &str) -> Result<i64, StoreError>;
    fn bytes(&self, name: &str) -> Result<&[u8], StoreError>;

    fn run(&self, name: &str) -> Result<RunId, StoreError> {
        self.text(name)?.parse().map_err(|_| foreign(name, "a run's id"))
    }

    fn event(&self, name: &str) -> Result<EventId, StoreError> {
        self.text(name)?.parse().map_err(|_| foreign(name, "an event's id"))
    }

    fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.number(name).map(Timestamp::from_millis)
    }
}

impl Read for Item {
    fn text(&self, name: &str) -> Result<&str, StoreError> {
        self.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or_else(|| foreign(name, "a text"))
    }

    fn number(&self, name: &str) -> Result<i64, StoreError> {
        let number = self.get(name).and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| foreign(name, "a whole number"))
    }

    fn bytes(&self, name: &str) -> Result<&[u8], StoreError> {
        self.get(name).and_then(|value| value.as_b().ok()).map(Blob::as_ref).ok_or_else(|| foreign(name, "bytes"))
    }
}

fn foreign(name: &str, what: &str) -> StoreError {
    StoreError::Unreadable(format!("an item of the table has no attribute `{name}` that is {what}"))
}
