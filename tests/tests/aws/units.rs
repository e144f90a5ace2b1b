//! The units that DynamoDB and SQS count for a request: items by the size of their names and
//! values, writes per KB, reads per 4 KB, messages per 64 KB. See "Item sizes and formats", "Read
//! and write request units" and "SQS pricing" in the documentation of AWS.

use serde_json::Value;

/// The maximum size of an item: 400 KB.
pub(crate) const ITEM_BYTES: usize = 400 * 1_024;

/// Returns the size of an item in bytes, including the names of its attributes.
pub(crate) fn item_bytes(item: &Value) -> usize {
    object_members(item).map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    let (kind, inner) = object_members(value).next().expect("an attribute has a type");
    match kind.as_str() {
        "S" => inner.as_str().expect("text").len(),
        // a number takes one byte per two digits, and one more byte
        "N" => inner.as_str().expect("digits").len().div_ceil(2) + 1,
        "B" => {
            let base64 = inner.as_str().expect("base64");
            base64.len() / 4 * 3 - base64.bytes().rev().take_while(|byte| *byte == b'=').count()
        }
        "BOOL" | "NULL" => 1,
        "M" => 3 + object_members(inner).map(|(name, value)| 1 + name.len() + value_bytes(value)).sum::<usize>(),
        "L" => 3 + inner.as_array().expect("a list").iter().map(|value| 1 + value_bytes(value)).sum::<usize>(),
        other => panic!("nothing of ours has the type {other}"),
    }
}

fn object_members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

/// Returns the write units of an item.
pub(crate) fn to_write(item: &Value) -> f64 {
    item_bytes(item).div_ceil(1_024).max(1) as f64
}

/// Returns the units of reading these items with one request, strongly consistent or not. A read
/// that finds nothing costs as much as one of a small item.
pub(crate) fn to_read(items: &[Value], strong: bool) -> f64 {
    let bytes: usize = items.iter().map(item_bytes).sum();
    bytes.div_ceil(4_096).max(1) as f64 * if strong { 1.0 } else { 0.5 }
}

/// Returns the items that a request writes, each with the factor by which its units are multiplied.
pub(crate) fn written_items<'a>(operation: &str, body: &'a Value) -> Vec<(&'a Value, f64)> {
    match operation {
        "PutItem" => vec![(&body["Item"], 1.0)],
        "BatchWriteItem" => {
            let tables =
                object_members(&body["RequestItems"]).flat_map(|(_, writes)| writes.as_array().into_iter().flatten());
            tables.map(|write| (&write["PutRequest"]["Item"], 1.0)).collect()
        }
        // a transaction writes each item twice: it prepares the write, then carries it out
        "TransactWriteItems" => {
            let all = body["TransactItems"].as_array().into_iter().flatten();
            all.map(|write| (&write["Put"]["Item"], 2.0)).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the number of index entries of an item. Each costs one more write unit.
pub(crate) fn index_entries(item: &Value) -> f64 {
    if item.get("day").is_some() { 1.0 } else { 0.0 }
}

/// Returns how many requests SQS bills for this request: one per 64 KB.
pub(crate) fn sqs_requests(body: &Value) -> f64 {
    body.to_string().len().div_ceil(64 * 1_024).max(1) as f64
}

/// Returns the messages of a request that sends messages.
pub(crate) fn messages<'a>(operation: &str, body: &'a Value) -> Vec<&'a Value> {
    match operation {
        "SendMessage" => vec![body],
        "SendMessageBatch" => body["Entries"].as_array().into_iter().flatten().collect(),
        _ => Vec::new(),
    }
}

/// Returns the two keys of an item as one string.
pub(crate) fn item_key(item: &Value) -> String {
    let part = |name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", part("PK"), part("SK"))
}
