//! Sentences of bounded length. What a sender wrote is quoted back by parsers and by CEL, and may be megabytes: a
//! refusal, a log line or the reason of a skipped run must not grow with it.

use std::fmt::{self, Display, Write};

/// Bytes of a sentence that quotes what came from outside; what is longer ends in `…`.
pub const SENTENCE_BYTES: usize = 1_000;

/// The text of something, cut at [`SENTENCE_BYTES`]. Writing stops there: the rest is not even made.
pub fn shortened(what: impl Display) -> String {
    truncated(what, SENTENCE_BYTES)
}

/// The text of something, cut at this many bytes; what is longer ends in `…` besides. Writing stops there.
pub fn truncated(what: impl Display, bytes: usize) -> String {
    let mut short = Short { text: String::new(), bytes };
    if write!(short, "{what}").is_err() {
        short.text.push('…');
    }
    short.text
}

struct Short {
    text: String,
    bytes: usize,
}

impl Write for Short {
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
    fn what_is_short_stays_and_what_is_long_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened("x".repeat(SENTENCE_BYTES)).len(), SENTENCE_BYTES);
        let cut = shortened(format_args!("x{}", "é".repeat(SENTENCE_BYTES)));
        assert!(cut.ends_with("é…") && cut.len() <= SENTENCE_BYTES + '…'.len_utf8(), "{cut}");
    }

    #[test]
    fn nothing_is_written_after_the_cut() {
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("again and ")?;
                }
            }
        }
        assert!(shortened(Endless).ends_with('…'));
    }
}
