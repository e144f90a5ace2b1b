//! A payload codec that encrypts with AES-256-GCM. The keys are secrets, which have names.
//!
//! Each value gets a key of its own: HKDF-SHA256 derives it from the named key and 12 random bytes.
//! So a named key can encrypt any number of values, and no nonce is used twice with one key.
//!
//! An encrypted value consists of:
//!
//! - 1 byte: the version of this format, 1;
//! - 4 bytes: a fingerprint of the named key, the beginning of its HMAC-SHA256 of [`FINGERPRINT`];
//! - 12 bytes: the salt of HKDF, whose info is [`INFO`];
//! - 12 bytes: the nonce;
//! - the encrypted text, and 16 bytes: the tag. The context of the value is authenticated with it.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};
use stepladder_core::encrypted::Envelope;
use stepladder_core::{Json, NewEvent};

use crate::codec::{open, seal_event};
use crate::error::ErrorCode;
use crate::event::encode_event;
use crate::secrets::secret;
use crate::{EncodedPayload, Error, PayloadCodec, PayloadContext, Result, ToEvent};

const VERSION: u8 = 1;
const INFO: &[u8] = b"stepladder payload v1";
const FINGERPRINT: &[u8] = b"stepladder key fingerprint v1";
const KEY_BYTES: usize = 32;
const FINGERPRINT_BYTES: usize = 4;
const SALT_BYTES: usize = 12;
/// The bytes before the encrypted text.
const HEADER_BYTES: usize = 1 + FINGERPRINT_BYTES + SALT_BYTES + NONCE_LEN;

/// Encrypts values with AES-256-GCM before they reach the journal, and decrypts them when a run is
/// replayed. Install it with `App::payload_codec`. [`PayloadCodec`] lists what is encrypted, and
/// what is not.
///
/// A key is a [secret](crate::secret) of 32 random bytes in base64, as `openssl rand -base64 32`
/// prints them. Its name is the key's id, which is stored with each value. The first key encrypts;
/// all keys decrypt. To rotate, put a new name first, and remove the old name when all runs that it
/// encrypted have expired. Never give a name another value.
///
/// ```no_run
/// use stepladder::{App, Encryption};
///
/// let keys = ["PAYLOAD_KEY_2027", "PAYLOAD_KEY_2026"];
/// let app = App::new().payload_codec(Encryption::with_keys(keys).readable("tenantId"));
/// ```
pub struct Encryption {
    /// The names of the keys. The first one encrypts.
    names: Vec<String>,
    readable: Vec<String>,
    keys: RwLock<BTreeMap<String, Result<NamedKey, String>>>,
}

/// A key, ready to be used.
struct NamedKey {
    /// The secret from which the key was read.
    text: String,
    bytes: [u8; KEY_BYTES],
    fingerprint: [u8; FINGERPRINT_BYTES],
}

impl Encryption {
    /// Creates an encryption with these keys: names of secrets, the newest first.
    pub fn with_keys(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self { names, readable: Vec::new(), keys: RwLock::default() }
    }

    /// Copies a field of the data of events, and of inputs, into the envelope in clear text.
    /// Filters, conditions of waits and keys of limits can read it, and so can everyone with access
    /// to the run.
    #[must_use]
    pub fn readable(mut self, field: impl Into<String>) -> Self {
        self.readable.push(field.into());
        self
    }

    /// Encrypts the data of an event, for a sender outside of a function.
    ///
    /// # Errors
    /// The key cannot be read, or the data is not a JSON object.
    pub async fn encrypt_event(&self, event: &impl ToEvent) -> Result<NewEvent> {
        self.prepare().await?;
        seal_event(self, encode_event(event)?, None)
    }

    /// Decrypts a value that was copied from a journal or an event, for a program that examines
    /// runs. A value in clear text is returned unchanged. This does not check whether the value was
    /// moved.
    ///
    /// # Errors
    /// The message names the key that is missing or does not fit.
    pub async fn decrypt(&self, value: &Json) -> Result<Json> {
        self.prepare().await?;
        match Envelope::read(value.get()) {
            Some(envelope) => open(self, value, &envelope).map_err(|problem| undecodable(&problem)),
            None => Ok(value.clone()),
        }
    }

    /// Uses a key, if it can be read.
    fn with_key<T>(&self, name: &str, action: impl FnOnce(&NamedKey) -> Result<T>) -> Result<T> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        match keys.get(name) {
            Some(Ok(key)) => action(key),
            Some(Err(problem)) => Err(undecodable(&format!("key {name} cannot be used: {problem}"))),
            None => {
                let known = self.names.join(", ");
                Err(undecodable(&format!(
                    "it is encrypted with key {name}, and the app has only {known}; add {name} again"
                )))
            }
        }
    }

    /// Reads a key again if its secret has changed.
    async fn refresh(&self, name: &str) {
        let read = secret(name).await.map_err(|error| error.to_string());
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let key = match (read, keys.get(name)) {
            (Ok(text), Some(Ok(known))) if known.text == text => return,
            // a place that does not answer for a moment must not stop runs
            (Err(_), Some(Ok(_))) => return,
            (Ok(text), _) => NamedKey::parse(text),
            (Err(problem), _) => Err(problem),
        };
        keys.insert(name.to_owned(), key);
    }
}

#[async_trait]
impl PayloadCodec for Encryption {
    async fn prepare(&self) -> Result<()> {
        let Some(newest) = self.names.first() else {
            return Err(Error::terminal("Encryption::with_keys needs the name of a key"));
        };
        for name in &self.names {
            self.refresh(name).await;
        }
        self.with_key(newest, |_| Ok(()))
    }

    fn encode(&self, context: &PayloadContext, clear: &[u8]) -> Result<EncodedPayload> {
        let newest = self.names.first().map(String::as_str).unwrap_or_default();
        self.with_key(newest, |key| {
            let mut random = [0; SALT_BYTES + NONCE_LEN];
            SystemRandom::new().fill(&mut random).map_err(|_| Error::new("the system has no random numbers"))?;
            let (salt, nonce) = split(&random);
            let mut text = clear.to_vec();
            let aad = Aad::from(context.to_bytes());
            let sealed = key.derive(salt)?.seal_in_place_append_tag(nonce, aad, &mut text);
            sealed.map_err(|_| Error::terminal(format!("{} bytes cannot be encrypted", clear.len())))?;
            let mut data = Vec::with_capacity(HEADER_BYTES + text.len());
            data.push(VERSION);
            data.extend(key.fingerprint);
            data.extend(random);
            data.extend(text);
            Ok(EncodedPayload { key: newest.to_owned(), data })
        })
    }

    fn decode(&self, context: &PayloadContext, encoded: &EncodedPayload) -> Result<Vec<u8>> {
        let name = &encoded.key;
        self.with_key(name, |key| {
            let Some((header, text)) = encoded.data.split_at_checked(HEADER_BYTES) else {
                return Err(undecodable("it is too short to be an encrypted value"));
            };
            let (start, random) = header.split_at(1 + FINGERPRINT_BYTES);
            if start[0] != VERSION {
                let problem = format!("it has the format {}, and this version reads only {VERSION}", start[0]);
                return Err(undecodable(&problem));
            }
            if start[1..] != key.fingerprint {
                return Err(undecodable(&format!(
                    "it was encrypted when key {name} had another value; give {name} its old value again, and the new \
                     value another name"
                )));
            }
            let (salt, nonce) = split(random);
            let (mut text, aad) = (text.to_vec(), Aad::from(context.to_bytes()));
            let opened = key.derive(salt)?.open_in_place(nonce, aad, &mut text);
            let length = opened.map_err(|_| {
                undecodable(&format!("key {name} fits, but the value was changed after it was encrypted"))
            })?;
            let length = length.len();
            text.truncate(length);
            Ok(text)
        })
    }

    fn keeps_readable(&self, field: &str) -> bool {
        self.readable.iter().any(|name| name == field)
    }
}

impl NamedKey {
    fn parse(text: String) -> Result<Self, String> {
        // the text is never part of a message
        let help = "a key is 32 bytes in base64, as `openssl rand -base64 32` prints them";
        let bytes = STANDARD.decode(text.trim()).map_err(|_| format!("the secret is no base64; {help}"))?;
        let bytes: [u8; KEY_BYTES] =
            bytes.try_into().map_err(|bytes: Vec<u8>| format!("the secret has {} bytes; {help}", bytes.len()))?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), FINGERPRINT);
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        fingerprint.copy_from_slice(&tag.as_ref()[..FINGERPRINT_BYTES]);
        Ok(Self { text, bytes, fingerprint })
    }

    /// Derives the key of one value.
    fn derive(&self, salt: &[u8]) -> Result<LessSafeKey> {
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.bytes);
        let derived = derived.expand(&[INFO], &AES_256_GCM).map_err(|_| Error::new("a key cannot be derived"))?;
        Ok(LessSafeKey::new(UnboundKey::from(derived)))
    }
}

/// Divides random bytes into the salt and the nonce.
fn split(random: &[u8]) -> (&[u8], Nonce) {
    let (salt, rest) = random.split_at(SALT_BYTES);
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(rest);
    (salt, Nonce::assume_unique_for_key(nonce))
}

fn undecodable(problem: &str) -> Error {
    Error::terminal(problem.to_owned()).with_code(ErrorCode::Undecodable)
}
