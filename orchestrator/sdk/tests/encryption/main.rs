//! Values that are encrypted before they reach the journal: what the journal shows, replays,
//! rotation of keys, and values that cannot be decrypted.
#![cfg(feature = "encryption")]

mod format;
mod keys;
mod secrecy;
mod sizes;
mod vault;
