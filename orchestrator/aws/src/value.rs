//! Large values: compressed where that saves writes, and split over several items where one is too small (rule 5).
//!
//! An item holds at most 400 KB, and each KB that is written costs. A value is stored as its text (`v`) while it is
//! small, compressed (`z`) where that is shorter, and as parts past 350,000 bytes: then the item holds their number
//! (`n`), their length and hash (`h`), and the parts lie in a partition of their own that is named by the owner and a
//! token, so that parts of two attempts never mix. Parts are written before the item that names them. They are written
//! once, so they are read with eventual consistency, checked against the hash, and read strongly only if that fails.

use stepladder_engine::ports::{StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, Read, bytes, item, number, text};
use crate::layout;

/// Bytes of a value in one item. The rest of 400 KB is for the other attributes and their names.
const INLINE: usize = 350_000;
/// Below this many bytes a value is not compressed: it is one write unit anyhow.
const SMALL: usize = 700;
/// zstd's own default: about 3 times smaller for JSON, 0.3 ms for 100 KB.
const LEVEL: i32 = 3;

/// A value that is ready to be written.
#[derive(Debug)]
pub(crate) struct Packed {
    attributes: Item,
    parts: Vec<Vec<u8>>,
    partition: String,
}

impl Packed {
    /// Whether this needs items of its own.
    pub(crate) fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Adds the attributes to the item that owns the value.
    pub(crate) fn add_to(self, item: &mut Item) {
        item.extend(self.attributes);
    }
}

/// Prepares a text. `owner` and `token` name the partition of its parts.
pub(crate) fn pack(json: String, owner: &str, token: &str) -> StoreResult<Packed> {
    let partition = layout::parts(owner, token);
    let small = |attributes: Item| Packed { attributes, parts: Vec::new(), partition: String::new() };
    if json.len() <= SMALL {
        return Ok(small(Item::from([("v".to_owned(), text(json))])));
    }
    let compressed = zstd::bulk::compress(json.as_bytes(), LEVEL)
        .map_err(|e| StoreError::Unreadable(format!("a value cannot be compressed: {e}")))?;
    if compressed.len() * 10 > json.len() * 9 && json.len() <= INLINE {
        return Ok(small(Item::from([("v".to_owned(), text(json))])));
    }
    if compressed.len() <= INLINE {
        return Ok(small(Item::from([("z".to_owned(), bytes(compressed))])));
    }
    let parts: Vec<Vec<u8>> = compressed.chunks(INLINE).map(<[u8]>::to_vec).collect();
    let attributes = Item::from([
        ("n".to_owned(), number(parts.len())),
        ("h".to_owned(), text(layout::digest(&[&compressed]))),
        ("b".to_owned(), text(&partition)),
    ]);
    Ok(Packed { attributes, parts, partition })
}

/// The partition of an item's parts, where it has any.
pub(crate) fn partition(item: &Item) -> Option<&str> {
    item.get("b").and_then(|value| value.as_s().ok()).map(String::as_str)
}

impl Aws {
    /// Writes the parts of a value; to be called before the item that names them is written.
    pub(crate) async fn put_parts(&self, packed: &Packed, ttl: i64) -> StoreResult<()> {
        let puts = packed.parts.iter().enumerate().map(|(i, part)| {
            let mut item = item(&layout::part(&packed.partition, i), ttl);
            item.insert("d".into(), bytes(part.clone()));
            self.put(item)
        });
        futures::future::try_join_all(puts).await.map(drop)
    }

    /// The text of a value.
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
        Err(StoreError::Unreadable(format!("parts of a large value are missing or damaged in partition {partition}")))
    }
}

fn decompress(bytes: &[u8]) -> StoreResult<String> {
    let unreadable = |e: &dyn std::fmt::Display| StoreError::Unreadable(format!("a compressed value: {e}"));
    let text = zstd::stream::decode_all(bytes).map_err(|e| unreadable(&e))?;
    String::from_utf8(text).map_err(|e| unreadable(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text that no compression shortens by much.
    fn noise(n: usize) -> String {
        let mut seed = 7_u64;
        let mut letter = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b' ' + (seed >> 58) as u8)
        };
        (0..n).map(|_| letter()).collect()
    }

    #[test]
    fn small_values_stay_text_and_large_ones_are_compressed() {
        let small = pack("x".repeat(SMALL), "o", "t").unwrap();
        assert!(small.attributes.contains_key("v") && !small.has_parts());
        let large = pack("x".repeat(100_000), "o", "t").unwrap();
        let z = large.attributes.bytes("z").unwrap();
        assert!(z.len() < 1_000 && !large.has_parts());
        assert_eq!(decompress(z).unwrap(), "x".repeat(100_000));
    }

    #[test]
    fn what_does_not_fit_into_an_item_is_split() {
        let packed = pack(noise(2_000_000), "run", "token").unwrap();
        let sizes: Vec<usize> = packed.parts.iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| (1..=INLINE).contains(size)), "{sizes:?}");
        assert_eq!(packed.attributes.number("n").unwrap(), sizes.len() as i64);
        assert_eq!(packed.partition, "B#run#token");
        assert_eq!(partition(&packed.attributes), Some("B#run#token"));
    }
}
