//! The address of a server. Passwords in it are never shown.

use reqwest::Url;

use crate::terminal::StopReason;

/// Parses the address of a server.
///
/// # Errors
/// The text is not an HTTP address, or it has a query.
pub(super) fn parse_address(text: &str) -> Result<Url, StopReason> {
    let is_base = |base: &Url| {
        matches!(base.scheme(), "http" | "https")
            && base.has_host()
            && base.query().is_none()
            && base.fragment().is_none()
    };
    text.trim().parse().ok().filter(is_base).ok_or_else(|| {
        let shown = mask_password(text);
        StopReason::problem(format!("`{shown}` is not the address of a server; write it like http://127.0.0.1:8288"))
    })
}

/// Formats an address without user name, password and final slash.
pub(super) fn address_without_password(url: &Url) -> String {
    let mut url = url.clone();
    // this cannot fail, because the URL has a host
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.as_str().trim_end_matches('/').to_owned()
}

/// Formats an invalid address without the part that may be a password.
fn mask_password(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else { return text.to_owned() };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…@{after}"),
        None => format!("…@{after}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal_sentence(text: &str) -> String {
        match parse_address(text) {
            Err(StopReason::Problem(sentence)) => sentence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        for text in [
            "http://ada:secret@example.com:9/base/",
            "http://secret@example.com:9/base",
            "http://:secret@example.com:9/base",
        ] {
            assert_eq!(address_without_password(&parse_address(text).unwrap()), "http://example.com:9/base");
        }
        for text in ["htp://ada:secret@host", "http://ada:sec@secret@", "ada:secret@host", "http://ada:secret@host?x=1"]
        {
            let sentence = refusal_sentence(text);
            assert!(!sentence.contains("sec") && sentence.contains("is not the address"), "{sentence}");
        }
    }

    #[test]
    fn a_text_that_is_no_address_is_refused() {
        for text in ["", "localhost:8288", "ftp://x", "http://", "http://x?token=1", "http://x#y"] {
            assert!(refusal_sentence(text).contains("write it like"), "{text}");
        }
        assert!(parse_address(" https://example.com/base ").is_ok());
    }
}
