//! The envelope of an encrypted value: the form in which journals and events contain what a payload
//! codec has encrypted.
//!
//! An envelope is a JSON object with the field [`FIELD`]. Its other fields, if any, are copies in
//! clear text. Encryption is deliberately not part of this file: without the key, an envelope shows
//! only which key encrypted it, for which place, and how long it is.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Json, RunId};

/// The field of a JSON object that contains an encrypted value.
pub const FIELD: &str = "stepladder/encrypted";
/// The field with its quotes.
const QUOTED: &str = "\"stepladder/encrypted\"";

/// What the field [`FIELD`] contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope<'a> {
    /// The id of the key.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Where the value was encrypted. The encryption authenticates it.
    #[serde(rename = "for")]
    pub context: PayloadContext,
    /// The encrypted value, in base64.
    #[serde(borrow)]
    pub data: Cow<'a, str>,
}

/// Where a value belongs. A payload codec authenticates it together with the value, so a value that
/// is moved to another place is detected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadContext {
    /// What the value is.
    pub place: PayloadPlace,
    /// The id of the step, or the name of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The function that returned the value, or that is called with it. An event has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Arc<str>>,
    /// The run that encrypted the value. An event that was encrypted outside of a run has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

/// What an encrypted value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadPlace {
    /// The data of an event.
    Event,
    /// The input of a called function.
    Input,
    /// The result of a step.
    Step,
    /// The result of a function.
    Output,
    /// The data of an error, or the state that a check passes to the next one.
    Error,
}

impl PayloadContext {
    /// Returns the context as bytes: compact JSON with the fields in the order of this struct,
    /// without those that are absent.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Envelope<'_> {
    /// Reads the envelope at the beginning of a JSON object. Returns `None` for any other value.
    pub fn read(json: &str) -> Option<Envelope<'_>> {
        let inner = json.trim_start().strip_prefix('{')?.trim_start().strip_prefix(QUOTED)?;
        Some(value_after_field(inner)?.0)
    }

    /// Describes the envelope for people, such as `encrypted with key k1, 312 bytes`.
    pub fn describe(&self) -> String {
        let padding = self.data.bytes().rev().take_while(|byte| *byte == b'=').count();
        let bytes = (self.data.len() / 4 * 3).saturating_sub(padding);
        format!("encrypted with key {}, {bytes} bytes", self.key)
    }
}

/// Returns whether a JSON document may contain an envelope.
pub fn may_contain(json: &str) -> bool {
    json.contains(QUOTED)
}

/// Returns a JSON document for people: each envelope is replaced by its description.
pub fn described(json: &str) -> Cow<'_, str> {
    let mut text = String::new();
    let mut rest = json;
    while let Some(at) = rest.find(QUOTED) {
        let (before, found) = rest.split_at(at);
        let after = &found[QUOTED.len()..];
        let read = (!before.ends_with('\\')).then(|| value_after_field(after)).flatten();
        let Some((envelope, tail)) = read else {
            text.push_str(before);
            text.push_str(QUOTED);
            rest = after;
            continue;
        };
        let sentence = serde_json::to_string(&envelope.describe()).unwrap_or_default();
        match (before.trim_end().strip_suffix('{'), tail.trim_start().strip_prefix('}')) {
            (Some(before), Some(tail)) => {
                text.push_str(before);
                text.push_str(&sentence);
                rest = tail;
            }
            _ => {
                text.push_str(before);
                text.push_str(QUOTED);
                text.push(':');
                text.push_str(&sentence);
                rest = tail;
            }
        }
    }
    if text.is_empty() && rest.len() == json.len() {
        return json.into();
    }
    text.push_str(rest);
    text.into()
}

/// Returns a JSON value for people. See [`described`].
pub fn described_json(json: &Json) -> Json {
    match may_contain(json.get()) {
        true => serde_json::from_str(&described(json.get())).unwrap_or_else(|_| json.clone()),
        false => json.clone(),
    }
}

/// Reads a colon and an envelope. Returns the envelope and the text after it.
fn value_after_field(text: &str) -> Option<(Envelope<'_>, &str)> {
    let value = text.trim_start().strip_prefix(':')?;
    let mut values = serde_json::Deserializer::from_str(value).into_iter::<Envelope<'_>>();
    let envelope = values.next()?.ok()?;
    Some((envelope, &value[values.byte_offset()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> String {
        let context =
            PayloadContext { place: PayloadPlace::Event, name: Some("order/paid".into()), function: None, run: None };
        assert_eq!(context.to_bytes(), br#"{"place":"event","name":"order/paid"}"#);
        let envelope = Envelope { key: "k1".into(), context, data: "AAAAAAAAAAA=".into() };
        format!("{QUOTED}:{}", serde_json::to_string(&envelope).unwrap())
    }

    #[test]
    fn an_envelope_is_described_wherever_it_is() {
        let (field, says) = (envelope(), "\"encrypted with key k1, 8 bytes\"");
        for (json, shown) in [
            (format!("{{{field}}}"), says.to_owned()),
            (format!(r#"[1,{{ {field} }},{{"b":{{{field}}}}}]"#), format!(r#"[1,{says},{{"b":{says}}}]"#)),
            (format!(r#"{{{field},"id":7}}"#), format!(r#"{{{QUOTED}:{says},"id":7}}"#)),
        ] {
            assert_eq!(described(&json), shown);
            serde_json::from_str::<serde_json::Value>(&described(&json)).unwrap();
        }
    }

    #[test]
    fn what_only_looks_like_an_envelope_is_left_alone() {
        let quoted = serde_json::to_string(&format!("{{{}}}", envelope())).unwrap();
        for json in [&*quoted, "{\"stepladder/encrypted\":5}", "[\"stepladder/encrypted\"]", "{}", "é"] {
            assert_eq!(described(json), json);
            assert!(Envelope::read(json).is_none(), "{json}");
        }
        assert!(Envelope::read(&format!(" {{ {} , \"id\": 7}}", envelope())).is_some());
        let other = envelope().replace("\"key\"", "\"more\":1,\"key\"");
        assert!(Envelope::read(&format!("{{{other}}}")).is_none());
    }
}
