//! The dashboard token: to whom it is sent, and when.
//!
//! It is sent to a server that asks for it. Where the environment names a server, it is that server's, and no other
//! gets it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::{URL, address};

/// The variable that holds it.
const TOKEN: &str = "STEPLADDER_DASHBOARD_TOKEN";

/// The token, if there is one for this server.
#[derive(Clone, Default)]
pub(super) struct Token {
    text: Option<String>,
    /// Whether there is one, for another server.
    withheld: bool,
    /// Whether the server has asked for it.
    asked_for: Arc<AtomicBool>,
}

impl fmt::Debug for Token {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("text", &self.text.is_some()).field("withheld", &self.withheld).finish()
    }
}

impl Token {
    /// The environment's token, for the server that `--url` names, or the environment.
    pub(super) fn of_environment(url: Option<&str>, named: Option<&str>) -> Self {
        let text = std::env::var(TOKEN).ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Self::of(text, url, named)
    }

    pub(super) fn of(text: Option<String>, url: Option<&str>, named: Option<&str>) -> Self {
        let origin = |text: &str| address::read(text).ok().map(|url| url.origin());
        let is_other = match (url, named) {
            (Some(url), Some(named)) => origin(url) != origin(named),
            _ => false,
        };
        Self { withheld: is_other && text.is_some(), text: text.filter(|_| !is_other), asked_for: Arc::default() }
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.asked_for.load(Relaxed)
    }

    pub(super) fn asked_for(&self) {
        self.asked_for.store(true, Relaxed);
    }

    /// What to do where a server asks for a token and none was sent.
    pub(super) fn hint(&self) -> Option<String> {
        match (&self.text, self.withheld) {
            (Some(_), _) => None,
            (None, false) => Some(format!("the commands take a dashboard token from {TOKEN}")),
            (None, true) => Some(format!("{TOKEN} is sent to the server of {URL} only; set both for this one")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_the_server_that_the_environment_names() {
        let sent = |url, named| Token::of(Some("t".into()), url, named).text().is_some();
        let named = Some("https://steps.example");
        assert!(sent(None, None) && sent(None, named) && sent(Some("http://localhost:1"), None));
        assert!(sent(Some("https://ada:b@steps.example:443/x"), named));
        for other in ["http://steps.example", "https://steps.example:8443", "https://steps.example.evil", "nonsense"] {
            assert!(!sent(Some(other), named), "{other}");
        }
        let hint = Token::of(Some("t".into()), Some("http://other"), named).hint().unwrap();
        assert!(hint.contains("STEPLADDER_URL") && !hint.contains("`t`"), "{hint}");
        assert!(!format!("{:?}", Token::of(Some("t-o-k".into()), None, None)).contains("t-o-k"));
    }
}
