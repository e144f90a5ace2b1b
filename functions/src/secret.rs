//! A key that is sent to a service, but never shown in an error, the journal or a log.
//!
//! Some services repeat the request in their response, including the key. So every text from a
//! service is masked by [`Secret::mask`] or [`Secret::mask_json`] before it becomes part of an
//! error or an outcome. JSON is decoded first, because the key may be escaped (`\u0073k-…`). The
//! key is not protected in memory.

use std::fmt;

use reqwest::header::HeaderValue;
use serde_json::Value;
use stepladder::prelude::*;

const MASK: &str = "***";

/// The maximum size of a service's text within an error, in bytes, so that the HTML page of a proxy
/// does not fill the journal.
pub const EXCERPT_BYTES: usize = 2048;
/// The minimum length of a key that is masked in JSON. A shorter key may be an ordinary word, which
/// answers may contain anyway.
const MIN_MASKED_CHARS: usize = 8;

/// An API key. `Debug` shows `***`; [`Secret::expose`] is the only way to read the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Creates a key from the value of the secret `name`. White space around the value is
    /// removed, because values from files often end with a line break.
    ///
    /// # Errors
    /// Returns a terminal error with the secret's name if the key is empty or contains a
    /// character that is not allowed in an HTTP header.
    pub fn new(name: &str, text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::terminal(format!("the secret {name} is empty; set it")));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::terminal(format!(
                "the secret {name} holds a character that cannot be sent in a header; copy the key again"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the key itself. Use it only in requests.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the key as the value of a header, after `prefix`. HTTP clients do not log this
    /// value.
    ///
    /// # Errors
    /// None in practice, because [`Secret::new`] refuses a key that is not allowed in a header.
    pub(crate) fn header(&self, prefix: &str) -> Result<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Returns `text` with every occurrence of the key replaced with `***`.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        text.replace(&self.0, MASK)
    }

    /// Masks the key in every string of `value`, including the names of fields. Returns whether
    /// `value` contained the key.
    ///
    /// A key of fewer than 8 characters is not masked. Local servers accept any word as a key, and
    /// masking a word would change answers that contain this word anyway.
    pub fn mask_json(&self, value: &mut Value) -> bool {
        if self.0.len() < MIN_MASKED_CHARS {
            return false;
        }
        match value {
            Value::String(text) => {
                let found = text.contains(&self.0);
                if found {
                    *text = self.mask(text);
                }
                found
            }
            Value::Array(values) => values.iter_mut().fold(false, |found, value| self.mask_json(value) | found),
            Value::Object(fields) => {
                let in_names = fields.keys().any(|name| name.contains(&self.0));
                if in_names {
                    *fields = std::mem::take(fields).into_iter().map(|(name, v)| (self.mask(&name), v)).collect();
                }
                fields.values_mut().fold(in_names, |found, value| self.mask_json(value) | found)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// Returns an excerpt of a service's response, for an error message. JSON is decoded, masked
    /// and serialized again; other text is only masked. The result is truncated to
    /// [`EXCERPT_BYTES`].
    #[must_use]
    pub fn excerpt_of_body(&self, body: &str) -> String {
        match serde_json::from_str::<Value>(body) {
            Ok(json) => self.excerpt(&json.to_string()),
            Err(_) => self.excerpt(body),
        }
    }

    /// Returns `text`, first masked and then truncated to at most [`EXCERPT_BYTES`], between two
    /// characters.
    #[must_use]
    pub fn excerpt(&self, text: &str) -> String {
        let masked = self.mask(text.trim());
        if masked.len() <= EXCERPT_BYTES {
            return masked;
        }
        format!("{}…", &masked[..masked.floor_char_boundary(EXCERPT_BYTES)])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_masked_at_every_position() {
        let key = Secret::new("KEY", " sk-12345\n").unwrap();
        assert_eq!(key.expose(), "sk-12345");
        assert_eq!(key.mask("sk-12345 is not sk-12345!"), "*** is not ***!");
        assert_eq!(format!("{key:?}"), "***");
    }

    #[test]
    fn a_key_at_the_cut_leaves_no_half_behind() {
        let key = Secret::new("KEY", "sk-12345").unwrap();
        let text = format!("{}sk-12345 and more", "ä".repeat(EXCERPT_BYTES / 2 - 2));
        let excerpt = key.excerpt(&text);
        assert!(!excerpt.contains("sk-"), "{excerpt}");
        assert!(excerpt.len() <= EXCERPT_BYTES + '…'.len_utf8());
    }

    #[test]
    fn a_key_is_masked_in_every_string_of_decoded_json() {
        let key = Secret::new("KEY", "sk-12345678").unwrap();
        let text = r#"{"model":"\u0073k-12345678","list":[{"sk-12345678":1}],"n":2}"#;
        let mut json: Value = serde_json::from_str(text).unwrap();
        assert!(key.mask_json(&mut json));
        assert_eq!(json.to_string(), r#"{"list":[{"***":1}],"model":"***","n":2}"#);
        assert!(!key.mask_json(&mut json));
        assert_eq!(key.excerpt_of_body(text), json.to_string());
    }

    #[test]
    fn a_key_in_a_header_is_marked_as_one_that_must_not_be_logged() {
        let key = Secret::new("KEY", "sk-12345678").unwrap();
        assert!(!format!("{:?}", key.header("Bearer ").unwrap()).contains("sk-"));
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_by_name_without_showing_it() {
        for bad in ["", "  \n", "two words", "line\nbreak", "schlüssel"] {
            let error = Secret::new("SOME_KEY", bad).unwrap_err();
            assert!(error.is_terminal());
            assert!(error.to_string().contains("SOME_KEY"), "{error}");
            assert!(bad.trim().is_empty() || !error.to_string().contains(bad), "{error}");
        }
    }
}
