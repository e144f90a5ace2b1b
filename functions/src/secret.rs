//! A key that may be sent but never shown: not in an error, not in the journal, not in a log.
//!
//! Services sometimes answer with what they were sent. Every text of a service passes through
//! [`Secret::mask`] before it becomes part of an error. This is no vault: the key stays in memory as it is.

use std::fmt;

use stepladder::prelude::*;

const MASK: &str = "***";

/// Services' texts are cut to this many bytes before they go into an error, so that an HTML page of a proxy
/// does not fill the journal.
pub const EXCERPT_BYTES: usize = 2048;

/// An API key. `Debug` shows `***`; [`Secret::expose`] is the only way to its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A key as it came from the variable `name`, without the white space around it (a line end that came along
    /// from a file is the usual mistake).
    ///
    /// # Errors
    /// Terminal, naming the variable, when nothing is left or when a character of it cannot be sent in an HTTP
    /// header.
    pub fn new(name: &str, text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::terminal(format!("the environment variable {name} is empty; set it")));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::terminal(format!(
                "the environment variable {name} holds a character that cannot be sent in a header; copy the key again"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// The key itself, to be put into a request and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of the key replaced by `***`.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        text.replace(&self.0, MASK)
    }

    /// `text` masked and then cut to [`EXCERPT_BYTES`], at a character's border.
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
    fn a_key_is_masked_wherever_it_stands() {
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
    fn a_key_that_no_header_can_carry_is_refused_by_name_without_showing_it() {
        for bad in ["", "  \n", "two words", "line\nbreak", "schlüssel"] {
            let error = Secret::new("SOME_KEY", bad).unwrap_err();
            assert!(error.is_terminal());
            assert!(error.to_string().contains("SOME_KEY"), "{error}");
            assert!(bad.trim().is_empty() || !error.to_string().contains(bad), "{error}");
        }
    }
}
