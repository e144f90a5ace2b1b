//! Splits batches in AWS's JSON protocol: one part is carried out, and the response reports the
//! other part as not processed.

use serde_json::{Map, Value, json};

/// A batch in two parts: one to carry out, and one to report as not processed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SplitBatch {
    /// The batch to carry out; `None` if it would be empty.
    pub(crate) forwarded: Option<Value>,
    left_out: LeftOutEntries,
}

#[derive(Clone, Debug, PartialEq)]
enum LeftOutEntries {
    /// The entries that were left out, by table, and the name of the response's field that lists
    /// them.
    Unprocessed(&'static str, Value),
    /// The ids of the entries that were left out.
    Failed(Vec<Value>),
}

/// Removes the entries at the positions `places` from a batch. Returns `None` if the operation is
/// not a batch.
pub(crate) fn split(operation: &str, body: &Value, places: &[usize]) -> Option<SplitBatch> {
    match operation {
        "BatchWriteItem" => Some(split_tables(body, places, "UnprocessedItems", None)),
        "BatchGetItem" => Some(split_tables(body, places, "UnprocessedKeys", Some("Keys"))),
        "SendMessageBatch" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" => {
            let (kept, left) = divide_entries(&body["Entries"], &mut 0, places);
            let forwarded = (!kept.is_empty()).then(|| with_field(body, "Entries", kept.into()));
            let ids = left.iter().map(|entry| entry["Id"].clone()).collect();
            Some(SplitBatch { forwarded, left_out: LeftOutEntries::Failed(ids) })
        }
        _ => None,
    }
}

impl SplitBatch {
    /// Adds the entries that were left out to the response, which then covers the whole batch.
    pub(crate) fn add_left_out(&self, mut answer: Value) -> Value {
        match &self.left_out {
            LeftOutEntries::Unprocessed(field, tables) => {
                for (table, rest) in tables.as_object().expect("made here") {
                    answer[*field][table] = rest.clone();
                }
                if *field == "UnprocessedKeys" && answer.get("Responses").is_none() {
                    answer["Responses"] = json!({});
                }
            }
            LeftOutEntries::Failed(ids) => {
                for list in ["Successful", "Failed"] {
                    if !answer[list].is_array() {
                        answer[list] = json!([]);
                    }
                }
                let failed = ids.iter().map(|id| {
                    let message = "a fault on purpose";
                    json!({"Id": id, "SenderFault": false, "Code": "InternalError", "Message": message})
                });
                answer["Failed"].as_array_mut().expect("made above").extend(failed);
            }
        }
        answer
    }
}

/// Splits a batch for DynamoDB. The entries of a table are a list, either directly or in `field`.
fn split_tables(body: &Value, places: &[usize], unprocessed: &'static str, field: Option<&str>) -> SplitBatch {
    let (mut kept, mut left, mut place) = (Map::new(), Map::new(), 0);
    for (table, asked) in body["RequestItems"].as_object().into_iter().flatten() {
        let list = field.map_or(asked, |field| &asked[field]);
        let (here, out) = divide_entries(list, &mut place, places);
        for (part, entries) in [(&mut kept, here), (&mut left, out)] {
            if !entries.is_empty() {
                let entries = field.map_or_else(|| json!(entries), |field| with_field(asked, field, json!(entries)));
                part.insert(table.clone(), entries);
            }
        }
    }
    let forwarded = (!kept.is_empty()).then(|| with_field(body, "RequestItems", kept.into()));
    SplitBatch { forwarded, left_out: LeftOutEntries::Unprocessed(unprocessed, left.into()) }
}

fn divide_entries(list: &Value, place: &mut usize, places: &[usize]) -> (Vec<Value>, Vec<Value>) {
    let (mut kept, mut left) = (Vec::new(), Vec::new());
    for entry in list.as_array().into_iter().flatten() {
        let part = if places.contains(place) { &mut left } else { &mut kept };
        part.push(entry.clone());
        *place += 1;
    }
    (kept, left)
}

fn with_field(body: &Value, field: &str, value: Value) -> Value {
    let mut changed = body.clone();
    changed[field] = value;
    changed
}
