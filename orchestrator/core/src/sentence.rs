//! Sentences of bounded length.
//!
//! The error messages of parsers and of CEL quote the sender's input, which may be megabytes long.
//! Refusals, log lines and the reasons of skipped runs must not grow with the input.

use std::error::Error;
use std::fmt::{self, Display, Write};

/// The maximum size of a sentence that quotes input. A longer sentence is truncated and ends in
/// `…`.
pub const SENTENCE_BYTES: usize = 1_000;

/// Formats `what`, truncated after [`SENTENCE_BYTES`]. Formatting stops there, so the rest costs no
/// time.
pub fn shortened(what: impl Display) -> String {
    truncated(what, SENTENCE_BYTES)
}

/// Formats `what`, truncated after `bytes` bytes. A truncated string ends in `…`. Formatting stops
/// there, so the rest costs no time.
pub fn truncated(what: impl Display, bytes: usize) -> String {
    let mut text = BoundedText { text: String::new(), bytes };
    if write!(text, "{what}").is_err() {
        text.text.push('…');
    }
    text.text
}

/// Formats an error with its causes. A cause is omitted if its text was already written.
#[derive(Debug)]
pub struct WithCauses<'a>(pub &'a (dyn Error + 'a));

impl Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.contains(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        f.write_str(&text)
    }
}

struct BoundedText {
    text: String,
    bytes: usize,
}

impl Write for BoundedText {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.bytes - self.text.len();
        let fits = &more[..more.floor_char_boundary(room)];
        self.text.push_str(fits);
        if fits.len() == more.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_stays_and_a_long_one_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened("x".repeat(SENTENCE_BYTES)).len(), SENTENCE_BYTES);
        let cut = shortened(format_args!("x{}", "é".repeat(SENTENCE_BYTES)));
        assert!(cut.ends_with("é…") && cut.len() <= SENTENCE_BYTES + '…'.len_utf8(), "{cut}");
    }

    #[test]
    fn nothing_is_written_after_the_cut() {
        struct EndlessDisplay;
        impl Display for EndlessDisplay {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("again and ")?;
                }
            }
        }
        assert!(shortened(EndlessDisplay).ends_with('…'));
    }
}
