//! Durations as strings, for serde. They are written as `1h 30m`, and read in this form or as ISO
//! 8601 (`PT90M`).

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::de::{Error, Visitor};
use serde::{Deserializer, Serialize, Serializer};

use crate::sentence::shortened;

/// Writes a duration. A duration longer than about 292 billion years is written as 292 billion
/// years.
pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    format!("{:#}", SignedDuration::try_from(*duration).unwrap_or(SignedDuration::MAX)).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(DurationText)
}

/// Durations that may be missing or `null`.
pub(super) mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Text(#[serde(with = "super")] Duration);
        Ok(Option::<Text>::deserialize(deserializer)?.map(|Text(duration)| duration))
    }
}

struct DurationText;

impl Visitor<'_> for DurationText {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"500ms\", \"10s\" or \"1h 30m\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        let days = SpanRelativeTo::days_are_24_hours();
        let parsed = text.parse::<SignedDuration>().ok();
        let parsed = parsed.or_else(|| text.parse::<Span>().ok()?.to_duration(days).ok());
        parsed.and_then(|signed| Duration::try_from(signed).ok()).ok_or_else(|| {
            E::custom(format_args!(
                "`{}` is no duration; use numbers with units up to weeks, such as 500ms, 10s or 1h 30m",
                shortened(text)
            ))
        })
    }
}
