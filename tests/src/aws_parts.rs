//! Splits batches in AWS's JSON: one part is carried out, and the response says that the other part
//! was not.

use serde_json::{Map, Value, json};

/// A batch in two parts: one to carry out, and one to leave out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SplitBatch {
    /// The batch with the part to carry out; `None` if that part is empty.
    pub(crate) forwarded: Option<Value>,
    left_out: UnprocessedEntries,
}

#[derive(Clone, Debug, PartialEq)]
enum UnprocessedEntries {
    /// The requests by table, unchanged.
    Unprocessed(&'static str, Value),
    /// The ids of entries.
    Failed(Vec<Value>),
}

/// Leaves the entries at `places` out of a batch. Returns `None` if the operation is not a batch.
pub(crate) fn split(operation: &str, body: &Value, places: &[usize]) -> Option<SplitBatch> {
    match operation {
        "BatchWriteItem" => Some(split_tables(body, places, "UnprocessedItems", None)),
        "BatchGetItem" => Some(split_tables(body, places, "UnprocessedKeys", Some("Keys"))),
        "SendMessageBatch" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" => {
            let (kept, left) = divide(&body["Entries"], &mut 0, places);
            let forwarded = (!kept.is_empty()).then(|| with(body, "Entries", kept.into()));
            let ids = left.iter().map(|entry| entry["Id"].clone()).collect();
            Some(SplitBatch { forwarded, left_out: UnprocessedEntries::Failed(ids) })
        }
        _ => None,
    }
}

impl SplitBatch {
    /// Turns the response for the part that was carried out into the response for the whole batch.
    pub(crate) fn complete(&self, mut answer: Value) -> Value {
        match &self.left_out {
            UnprocessedEntries::Unprocessed(field, tables) => {
                for (table, rest) in tables.as_object().expect("made here") {
                    answer[*field][table] = rest.clone();
                }
                if *field == "UnprocessedKeys" && answer.get("Responses").is_none() {
                    answer["Responses"] = json!({});
                }
            }
            UnprocessedEntries::Failed(ids) => {
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

/// Each table has a list, or an object with the list in a field.
fn split_tables(body: &Value, places: &[usize], unprocessed: &'static str, field: Option<&str>) -> SplitBatch {
    let (mut kept, mut left, mut place) = (Map::new(), Map::new(), 0);
    for (table, asked) in body["RequestItems"].as_object().into_iter().flatten() {
        let list = field.map_or(asked, |field| &asked[field]);
        let (here, out) = divide(list, &mut place, places);
        for (part, entries) in [(&mut kept, here), (&mut left, out)] {
            if !entries.is_empty() {
                let entries = field.map_or_else(|| json!(entries), |field| with(asked, field, json!(entries)));
                part.insert(table.clone(), entries);
            }
        }
    }
    let forwarded = (!kept.is_empty()).then(|| with(body, "RequestItems", kept.into()));
    SplitBatch { forwarded, left_out: UnprocessedEntries::Unprocessed(unprocessed, left.into()) }
}

fn divide(list: &Value, place: &mut usize, places: &[usize]) -> (Vec<Value>, Vec<Value>) {
    let (mut kept, mut left) = (Vec::new(), Vec::new());
    for entry in list.as_array().into_iter().flatten() {
        let part = if places.contains(place) { &mut left } else { &mut kept };
        part.push(entry.clone());
        *place += 1;
    }
    (kept, left)
}

fn with(body: &Value, field: &str, value: Value) -> Value {
    let mut changed = body.clone();
    changed[field] = value;
    changed
}
