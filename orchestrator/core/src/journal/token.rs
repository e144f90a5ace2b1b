//! Serializes tokens as hexadecimal strings, because JSON numbers are limited to 64 bits.

use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(token: &u128, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("{token:032x}"))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(d)?;
    u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}
