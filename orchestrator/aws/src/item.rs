//! The items of the table, and the conversion of their attributes.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use stepladder_core::{EventId, RunId, RunOrStep, StepId, Timestamp};
use stepladder_engine::ports::StoreError;

use crate::layout::ItemKey;

/// An item of the table, in the type that the AWS SDK uses.
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

/// Creates an item with only its keys and its time to live.
pub(crate) fn new_item(key: &ItemKey, ttl: i64) -> Item {
    let mut item = key_attributes(key);
    item.insert("ttl".into(), number(ttl));
    item
}

/// Returns the keys of an item, for a Get or a Delete.
pub(crate) fn key_attributes(key: &ItemKey) -> Item {
    Item::from([("PK".to_owned(), text(&key.pk)), ("SK".to_owned(), text(&key.sk))])
}

/// Returns the size of an item as DynamoDB counts it, in bytes. Attributes of other types than
/// text, number and bytes are not counted.
pub(crate) fn item_bytes(item: &Item) -> usize {
    let value_bytes = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        // one byte per two digits, and one more byte
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        _ => 0,
    };
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

/// Methods to read the attributes of an item.
pub(crate) trait ReadItem {
    fn text(&self, name: &str) -> Result<&str, StoreError>;
    fn number(&self, name: &str) -> Result<i64, StoreError>;
    fn bytes(&self, name: &str) -> Result<&[u8], StoreError>;

    fn run(&self, name: &str) -> Result<RunId, StoreError> {
        self.text(name)?.parse().map_err(|_| missing_attribute(name, "a run's id"))
    }

    fn event(&self, name: &str) -> Result<EventId, StoreError> {
        self.text(name)?.parse().map_err(|_| missing_attribute(name, "an event's id"))
    }

    /// Reads the attribute `step`. It is empty for the whole run.
    fn run_or_step(&self) -> Result<RunOrStep, StoreError> {
        self.text("step").map(|step| StepId::from(step).into())
    }

    fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.number(name).map(Timestamp::from_millis)
    }
}

impl ReadItem for Item {
    fn text(&self, name: &str) -> Result<&str, StoreError> {
        self.get(name)
            .and_then(|value| value.as_s().ok())
            .map(String::as_str)
            .ok_or_else(|| missing_attribute(name, "a text"))
    }

    fn number(&self, name: &str) -> Result<i64, StoreError> {
        let number = self.get(name).and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| missing_attribute(name, "a whole number"))
    }

    fn bytes(&self, name: &str) -> Result<&[u8], StoreError> {
        self.get(name)
            .and_then(|value| value.as_b().ok())
            .map(Blob::as_ref)
            .ok_or_else(|| missing_attribute(name, "bytes"))
    }
}

fn missing_attribute(name: &str, kind: &str) -> StoreError {
    StoreError::Unreadable(format!("an item of the table has no attribute `{name}` that is {kind}").into())
}
