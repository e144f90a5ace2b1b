//! Stores large values. A value is compressed if that saves write units, and split over several
//! items if one item is too small (rule 5).
//!
//! DynamoDB bills each KB that is written, and an item contains at most 400 KB. A value has one of
//! three forms:
//!
//! - A small value is stored as text (`v`).
//! - A value that compression shortens is stored compressed (`z`).
//! - A value of more than 350,000 bytes is split into parts. The item contains the number of parts
//!   (`n`), their hash (`h`) and their partition (`b`).
//!
//! The name of the partition consists of the owner and a token, so that parts of two attempts never
//! mix. Parts are written once, before the item that refers to them. So they are first read with
//! eventual consistency and checked against the hash. Only if that check fails are they read again
//! with strong consistency.

use stepladder_engine::ports::{StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, ReadItem, bytes, new_item, number, text};
use crate::layout;

/// The maximum size of a value within one item, in bytes. The rest of the 400 KB is for other
/// attributes.
const MAX_INLINE_BYTES: usize = 350_000;

/// The maximum size of a value that is never compressed, in bytes. It costs one write unit anyway.
const SMALL_BYTES: usize = 700;

/// The compression level: the default of zstd. It makes JSON about 3 times smaller and takes 0.3 ms
/// for 100 KB.
const LEVEL: i32 = 3;

/// A value in its stored form.
#[derive(Debug)]
pub(crate) struct PackedValue {
    attributes: Item,
    parts: Vec<Vec<u8>>,
    partition: String,
}

impl PackedValue {
    /// Returns whether the value is split into parts.
    pub(crate) fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Adds the attributes of the value to its item.
    pub(crate) fn add_to(self, item: &mut Item) {
        item.extend(self.attributes);
    }
}

/// Converts a JSON document to its stored form. A large document is split into parts. The name of
/// their partition consists of `owner` and `token`.
pub(crate) fn pack(json: String, owner: &str, token: &str) -> StoreResult<PackedValue> {
    let partition = layout::parts_partition(owner, token);
    let small = |attributes: Item| PackedValue { attributes, parts: Vec::new(), partition: String::new() };
    if json.len() <= SMALL_BYTES {
        return Ok(small(Item::from([("v".to_owned(), text(json))])));
    }
    let compressed = zstd::bulk::compress(json.as_bytes(), LEVEL)
        .map_err(|e| StoreError::Unreadable(format!("a value cannot be compressed: {e}").into()).because(e))?;
    if compressed.len() * 10 > json.len() * 9 && json.len() <= MAX_INLINE_BYTES {
        return Ok(small(Item::from([("v".to_owned(), text(json))])));
    }
    if compressed.len() <= MAX_INLINE_BYTES {
        return Ok(small(Item::from([("z".to_owned(), bytes(compressed))])));
    }
    let parts: Vec<Vec<u8>> = compressed.chunks(MAX_INLINE_BYTES).map(<[u8]>::to_vec).collect();
    let attributes = Item::from([
        ("n".to_owned(), number(parts.len())),
        ("h".to_owned(), text(layout::digest(&[&compressed]))),
        ("b".to_owned(), text(&partition)),
    ]);
    Ok(PackedValue { attributes, parts, partition })
}

/// Returns the partition with the parts of a value, if the value is split.
pub(crate) fn parts_partition(item: &Item) -> Option<&str> {
    item.get("b").and_then(|value| value.as_s().ok()).map(String::as_str)
}

impl Aws {
    /// Writes the parts of a value. This must be called before the item that refers to the parts is
    /// written.
    pub(crate) async fn put_parts(&self, packed: &PackedValue, ttl: i64) -> StoreResult<()> {
        let puts = packed.parts.iter().enumerate().map(|(i, part)| {
            let mut item = new_item(&layout::part_key(&packed.partition, i), ttl);
            item.insert("d".into(), bytes(part.clone()));
            self.put(item)
        });
        futures::future::try_join_all(puts).await.map(drop)
    }

    /// Reads a value from its item, and from its parts if it is split.
    pub(crate) async fn unpack(&self, item: &Item) -> StoreResult<String> {
        if let Some(text) = item.get("v").and_then(|value| value.as_s().ok()) {
            return Ok(text.clone());
        }
        if item.contains_key("z") {
            return decompress(item.bytes("z")?);
        }
        let (hash, partition) = (item.text("h")?, item.text("b")?);
        for strong in [false, true] {
            let parts = self.query_partition(partition, strong).await?;
            let mut whole = Vec::new();
            for part in &parts {
                whole.extend_from_slice(part.bytes("d")?);
            }
            if layout::digest(&[&whole]) == hash {
                return decompress(&whole);
            }
        }
        Err(StoreError::Unreadable(
            format!("parts of a large value are missing or damaged in partition {partition}").into(),
        ))
    }
}

fn decompress(bytes: &[u8]) -> StoreResult<String> {
    let unreadable = |e: &dyn std::fmt::Display| StoreError::Unreadable(format!("a compressed value: {e}").into());
    let text = zstd::stream::decode_all(bytes).map_err(|e| unreadable(&e))?;
    String::from_utf8(text).map_err(|e| unreadable(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a string that compression hardly makes shorter.
    fn random_letters(n: usize) -> String {
        let mut seed = 7_u64;
        let mut letter = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b' ' + (seed >> 58) as u8)
        };
        (0..n).map(|_| letter()).collect()
    }

    #[test]
    fn small_values_stay_text_and_large_ones_are_compressed() {
        let small = pack("x".repeat(SMALL_BYTES), "o", "t").unwrap();
        assert!(small.attributes.contains_key("v") && !small.has_parts());
        let large = pack("x".repeat(100_000), "o", "t").unwrap();
        let z = large.attributes.bytes("z").unwrap();
        assert!(z.len() < 1_000 && !large.has_parts());
        assert_eq!(decompress(z).unwrap(), "x".repeat(100_000));
    }

    #[test]
    fn a_value_that_does_not_fit_into_an_item_is_split() {
        let packed = pack(random_letters(2_000_000), "run", "token").unwrap();
        let sizes: Vec<usize> = packed.parts.iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| (1..=MAX_INLINE_BYTES).contains(size)), "{sizes:?}");
        assert_eq!(packed.attributes.number("n").unwrap(), sizes.len() as i64);
        assert_eq!(packed.partition, "B#run#token");
        assert_eq!(parts_partition(&packed.attributes), Some("B#run#token"));
    }
}
