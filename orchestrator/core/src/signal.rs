//! Callback tokens (`wait_for_signal`): a function gives a token to a third party, which posts data
//! back to it once.
//!
//! A token contains the run, the step and a seal. The seal is a hash that includes the run's
//! secret, which is the random token of its first record. So a person who knows a run's id and its
//! code still cannot forge a token. A process with the run's journal can verify a token, so no
//! index of tokens is needed, and no token expires before its run ends.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::limits::NAME_CHARS;
use crate::waiting::{EventField, Subscription, SubscriptionKey};
use crate::{RunId, StepId, Timestamp};

/// The name under which the index of subscriptions has waits for callbacks with a name. No event
/// has this name.
pub const NAMED: &str = "stepladder/signal";

/// The size of a seal: 16 bytes, or 128 bits.
const SEAL_BYTES: usize = 16;

/// A token that a third party uses to post data to a waiting run. The token as text can be part of
/// a URL's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackToken {
    /// The run that waits.
    pub run: RunId,
    /// The step that waits.
    pub step: StepId,
    seal: [u8; SEAL_BYTES],
}

/// The error for a string that is not a callback token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the token of a signal; use it as the function gave it out")]
pub struct InvalidToken;

/// Returns the key of the waits for callbacks with this name in the index of subscriptions.
///
/// # Errors
/// A sentence: the name is empty or too long.
pub fn key_of_name(name: &str) -> Result<SubscriptionKey, String> {
    if name.is_empty() {
        return Err("the name of a signal is empty".into());
    }
    EventField::new("name", name).map(Some)
}

/// Returns the entry of the index for a wait for a callback with this name.
pub(crate) fn named_wait(run: RunId, step: &StepId, name: &str, until: Timestamp) -> Result<Subscription, String> {
    Ok(Subscription { event: NAMED.into(), key: key_of_name(name)?, run, step: step.clone(), until })
}

impl CallbackToken {
    /// Creates the token of a step. `secret` is the secret of the step's run.
    pub fn new(run: RunId, secret: u128, step: &StepId) -> Self {
        Self { run, step: step.clone(), seal: seal(run, secret, step) }
    }

    /// Returns whether the token was created with the secret of its run. Otherwise it is forged.
    pub fn is_sealed_with(&self, secret: u128) -> bool {
        // compares all bytes, so that the duration of the comparison does not reveal how many are
        // right
        let expected = seal(self.run, secret, &self.step);
        self.seal.iter().zip(expected).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
    }
}

impl fmt::Display for CallbackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        write!(f, "{}.{}.{}", self.run, encode(&self.seal), encode(self.step.as_bytes()))
    }
}

impl FromStr for CallbackToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let mut parts = text.split('.');
        let (Some(run), Some(seal), Some(step), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidToken);
        };
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken);
        let step = String::from_utf8(decode(step)?).map_err(|_| InvalidToken)?;
        // the id of a repeated step name ends in a number, which needs up to 16 characters more
        if step.is_empty() || step.chars().count() > NAME_CHARS + 16 {
            return Err(InvalidToken);
        }
        Ok(Self {
            run: run.parse().map_err(|_| InvalidToken)?,
            step: step.into(),
            seal: decode(seal)?.try_into().map_err(|_| InvalidToken)?,
        })
    }
}

/// Computes the seal of a token: the first 128 bits of a hash over the secret, the run and the
/// step.
fn seal(run: RunId, secret: u128, step: &str) -> [u8; SEAL_BYTES] {
    let mut sha = Sha256::new();
    for part in [b"signal".as_slice(), &secret.to_be_bytes(), &run.to_bytes(), step.as_bytes()] {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    let mut seal = [0; SEAL_BYTES];
    seal.iter_mut().zip(sha.finalize()).for_each(|(to, from)| *to = from);
    seal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn run(n: u128) -> RunId {
        RunId::new(Timestamp::from_millis(1_700_000_000_000), n)
    }

    #[test]
    fn a_token_is_read_from_its_text_and_verified_with_the_secret() {
        let step: StepId = "wait for ü/payment:1".into();
        let token = CallbackToken::new(run(1), 7, &step);
        let text = token.to_string();
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)), "{text}");
        let back: CallbackToken = text.parse().unwrap();
        assert_eq!(back, token);
        assert!(back.is_sealed_with(7));
        assert!(!back.is_sealed_with(8));
    }

    #[test]
    fn a_seal_fits_neither_another_step_nor_another_run() {
        let token = CallbackToken::new(run(1), 7, &"a".into());
        assert!(!CallbackToken { step: "b".into(), ..token.clone() }.is_sealed_with(7));
        assert!(!CallbackToken { run: run(2), ..token }.is_sealed_with(7));
    }

    #[test]
    fn a_text_that_is_not_a_token_is_refused() {
        let good = CallbackToken::new(run(1), 7, &"a".into()).to_string();
        for text in ["", "x", "..", &format!("{good}.YQ"), &good[1..], &good[..good.len() - 2], &format!("{good}=")] {
            assert_eq!(text.parse::<CallbackToken>(), Err(InvalidToken), "{text}");
        }
    }
}
