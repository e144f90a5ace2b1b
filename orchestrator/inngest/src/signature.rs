//! Signing keys: signatures of requests to apps, and the bearer tokens with which apps prove that
//! they know the key.
//!
//! A key such as `signkey-prod-…` has a prefix that names its environment. The rest is the secret.
//! A second key, the fallback, is accepted while keys are rotated.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::canonical::canonical;

/// The maximum age of a signature, in seconds.
const MAX_AGE: i64 = 300;

/// A signing key.
#[derive(Clone)]
pub struct SigningKey {
    /// For example `signkey-prod-`; it may be empty.
    prefix: String,
    secret: String,
}

impl fmt::Debug for SigningKey {
    /// Formats the key without its secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}…)", self.prefix)
    }
}

/// The key of an app, and a second key that is accepted while keys are rotated.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    /// The key that signs requests.
    pub current: SigningKey,
    /// The key that is accepted as well.
    pub fallback: Option<SigningKey>,
}

impl SigningKey {
    /// Creates a key from its text, such as `signkey-prod-12ab…`.
    ///
    /// # Errors
    /// A sentence: there is no secret, or it is no hexadecimal number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let prefix_end = text.strip_prefix("signkey-").and_then(|rest| rest.find('-')).map_or(0, |at| at + 9);
        let (prefix, secret) = text.split_at(prefix_end);
        if secret.is_empty() || hex::decode(secret).is_err() {
            return Err("a signing key is `signkey-`, an environment, `-`, and a hexadecimal number".into());
        }
        Ok(Self { prefix: prefix.to_owned(), secret: secret.to_owned() })
    }

    /// Returns the value of `X-Inngest-Signature` for a body, at a time in seconds since the epoch.
    pub fn sign(&self, body: &[u8], seconds: i64) -> String {
        let mac = self.mac(&canonical_body(body), &seconds.to_string());
        format!("t={seconds}&s={}", hex::encode(mac.finalize().into_bytes()))
    }

    /// Returns the bearer token of an app that knows the key: the prefix, and the hash of the
    /// secret.
    pub fn bearer(&self) -> String {
        let hash = Sha256::digest(hex::decode(&self.secret).unwrap_or_default());
        format!("{}{}", self.prefix, hex::encode(hash))
    }

    fn mac(&self, text: &[u8], seconds: &str) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.secret.as_bytes())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(text);
        mac.update(seconds.as_bytes());
        mac
    }

    fn verifies(&self, signature: &str, body: &[u8], now: i64) -> bool {
        let parts = signature.split_once('&').and_then(|(t, s)| t.strip_prefix("t=").zip(s.strip_prefix("s=")));
        let Some((seconds, sent)) = parts else { return false };
        let is_fresh = seconds.parse::<i64>().is_ok_and(|at| now.abs_diff(at) <= MAX_AGE.unsigned_abs());
        let Ok(sent) = hex::decode(sent) else { return false };
        let is_of = |text: &[u8]| self.mac(text, seconds).verify_slice(&sent).is_ok();
        // the TypeScript package signs its answers as they are, and expects canonical requests
        is_fresh && (is_of(body) || is_of(&canonical_body(body)))
    }
}

/// Returns the canonical text of a body. A body that is no JSON is returned unchanged.
fn canonical_body(body: &[u8]) -> Vec<u8> {
    serde_json::from_slice::<Value>(body).map_or_else(|_| body.to_vec(), |value| canonical(&value).into_bytes())
}

impl SigningKeys {
    /// Reads a key, or a key and its fallback with a comma between them.
    ///
    /// # Errors
    /// There are more than two keys, or one of them is not a signing key. The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys = text.split(',').map(SigningKey::parse);
        let current = keys.next().unwrap_or_else(|| SigningKey::parse(""))?;
        let fallback = keys.next().transpose()?;
        match keys.next() {
            None => Ok(Self { current, fallback }),
            Some(_) => Err("there are more than two signing keys; keep one and its fallback, as `key,fallback`".into()),
        }
    }

    /// Returns whether one of the keys has created the signature of a body within the last five
    /// minutes. `now` is in seconds since the epoch.
    pub fn verify(&self, signature: &str, body: &[u8], now: i64) -> bool {
        self.each().any(|key| key.verifies(signature, body, now))
    }

    /// Returns whether an `Authorization` header has the token of one of the keys.
    pub fn accepts_bearer(&self, header: &str) -> bool {
        let Some(sent) = header.strip_prefix("Bearer ") else { return false };
        self.each().any(|key| bool::from(key.bearer().as_bytes().ct_eq(sent.as_bytes())))
    }

    /// Returns whether an `Authorization` header has one of the keys, or the token of one. Programs
    /// send the key itself to Inngest's REST interface.
    pub fn accepts_key(&self, header: &str) -> bool {
        let sent = header.strip_prefix("Bearer ").and_then(|sent| SigningKey::parse(sent).ok());
        self.accepts_bearer(header) || sent.is_some_and(|key| self.accepts_bearer(&format!("Bearer {}", key.bearer())))
    }

    fn each(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.current).chain(&self.fallback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "7468697320697320612074657374206b6579";

    fn key(text: &str) -> SigningKey {
        SigningKey::parse(text).unwrap()
    }

    #[test]
    fn a_signature_is_verified_with_either_key_while_it_is_fresh() {
        let body = br#"{ "b": 1.0, "a": "x" }"#;
        let old = key(&format!("signkey-prod-{SECRET}"));
        let new = key("signkey-prod-00ff");
        let signature = old.sign(body, 1_700_000_000);
        let keys = SigningKeys { current: new.clone(), fallback: Some(old) };
        assert!(keys.verify(&signature, body, 1_700_000_100));
        assert!(keys.verify(&signature, br#"{"a":"x","b":1}"#, 1_700_000_000), "the body is canonical");
        assert!(!keys.verify(&signature, br#"{"a":"x","b":2}"#, 1_700_000_000));
        assert!(!keys.verify(&signature, body, 1_700_000_301), "it is too old");
        let only_new = SigningKeys { current: new, fallback: None };
        assert!(!only_new.verify(&signature, body, 1_700_000_000));
        for bad in ["", "t=1", "t=1700000000&s=zz", "s=00&t=1700000000"] {
            assert!(!keys.verify(bad, body, 1_700_000_000), "{bad}");
        }
    }

    #[test]
    fn the_signature_is_the_one_that_the_package_accepts() {
        // the TypeScript package 4.24 has accepted a request with this body that was signed so
        let body = concat!(
            r#"{"version":1,"use_api":false,"steps":{},"events":[],"event":{"name":"ops","data":{"k":"fnerr","z":1.50,"#,
            r#""big":1e21,"é":"\u00e9\n","a":-0.0},"ts":1700000000000,"id":"01"},"ctx":{"run_id":"01RUN","attempt":0,"#,
            r#""stack":{"stack":[],"current":0},"qi_id":""}}"#,
        );
        let signature = key(&format!("signkey-prod-{SECRET}")).sign(body.as_bytes(), 1_700_000_000);
        assert_eq!(signature, "t=1700000000&s=4e59285b27b7496944a3be5a544db9e512d375d9d26a3939d35a20e98636a884");
    }

    #[test]
    fn a_bearer_token_has_the_prefix_and_the_hash_of_the_secret() {
        let keys = SigningKeys { current: key("signkey-test-00ff"), fallback: None };
        let token = keys.current.bearer();
        assert_eq!(token, format!("signkey-test-{}", hex::encode(Sha256::digest([0, 255]))));
        assert!(keys.accepts_bearer(&format!("Bearer {token}")));
        assert!(!keys.accepts_bearer(&token) && !keys.accepts_bearer("Bearer undefined"));
        assert!(keys.accepts_key("Bearer signkey-test-00ff") && keys.accepts_key(&format!("Bearer {token}")));
        for wrong in
            ["Bearer signkey-test-00fe", "Bearer signkey-prod-00ff", "Bearer 00ff", "Bearer ", "signkey-test-00ff"]
        {
            assert!(!keys.accepts_key(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_key_without_a_secret_is_refused_and_no_secret_is_shown() {
        for bad in ["", "signkey-prod-", "signkey-prod-xyz", "secret"] {
            assert!(SigningKey::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "00,", ",00", "00,01,02"] {
            assert!(SigningKeys::parse(bad).is_err(), "{bad}");
        }
        assert!(SigningKeys::parse("00").unwrap().fallback.is_none());
        assert!(SigningKeys::parse(" signkey-prod-00 , 01\n").unwrap().fallback.is_some());
        assert_eq!(format!("{:?}", key("signkey-prod-00ff")), "SigningKey(signkey-prod-…)");
        assert_eq!(key("00ff").bearer(), hex::encode(Sha256::digest([0, 255])), "a key may have no prefix");
    }
}
