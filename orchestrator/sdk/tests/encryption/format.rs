//! The format of encrypted values: its stability, its contexts, and its damage.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stepladder_sdk::{EncodedPayload, Encryption, PayloadCodec, PayloadContext, PayloadPlace};

use crate::vault::set_key;

fn context(name: &str) -> PayloadContext {
    PayloadContext { place: PayloadPlace::Step, name: Some(name.into()), function: Some("pay".into()), run: None }
}

async fn ready(names: &[&str]) -> Encryption {
    let encryption = Encryption::with_keys(names.iter().copied());
    encryption.prepare().await.unwrap();
    encryption
}

fn problem(encryption: &Encryption, context: &PayloadContext, encoded: &EncodedPayload) -> String {
    encryption.decode(context, encoded).unwrap_err().to_string()
}

#[tokio::test]
async fn each_encryption_of_a_value_differs_and_fits_one_context() {
    set_key("CONTEXT_KEY", 3);
    let encryption = ready(&["CONTEXT_KEY"]).await;
    let (one, other) = (context("a"), context("b"));
    let [first, second] = [(); 2].map(|()| encryption.encode(&one, b"[1]").unwrap());
    assert_ne!(first.data, second.data);
    assert_eq!(first.data.len(), 3 + 45, "the overhead before base64");
    assert_eq!(encryption.decode(&one, &first).unwrap(), b"[1]");
    assert!(problem(&encryption, &other, &first).contains("was changed after it was encrypted"));
}

#[tokio::test]
async fn every_changed_bit_and_every_shorter_value_is_refused() {
    set_key("BIT_KEY", 4);
    let encryption = ready(&["BIT_KEY"]).await;
    let encoded = encryption.encode(&context("a"), b"[1]").unwrap();
    for bit in 0..8 * encoded.data.len() {
        let mut changed = encoded.clone();
        changed.data[bit / 8] ^= 1 << (bit % 8);
        assert!(problem(&encryption, &context("a"), &changed).contains(match bit / 8 {
            0 => "it has the format",
            1..5 => "had another value",
            _ => "key BIT_KEY fits, but the value was changed",
        }));
    }
    for length in 0..encoded.data.len() {
        let cut = EncodedPayload { data: encoded.data[..length].to_vec(), ..encoded.clone() };
        assert!(encryption.decode(&context("a"), &cut).is_err(), "{length}");
    }
}

/// A value of the first format. It was written with the crypto module of Node.js, from the
/// description in docs/security.md.
const STORED: &str = "Af/rkaQAAQIDBAUGBwgJCgsQERITFBUWFxgZGhvxcMtw5OKYVXdHyzpLOiJAtpvC+kA0oFSv4jUQlw==";

#[tokio::test]
async fn a_value_of_the_first_format_can_be_read() {
    set_key("STORED_KEY", 5);
    let encryption = ready(&["STORED_KEY"]).await;
    let data = STANDARD.decode(STORED).unwrap();
    let encoded = EncodedPayload { key: "STORED_KEY".into(), data };
    assert_eq!(encryption.decode(&context("a"), &encoded).unwrap(), br#"{"card":7899}"#);
}
