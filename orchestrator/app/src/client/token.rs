//! The dashboard token. The client sends it to a server that requires it. If the environment names
//! a server, only that server gets the token.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::{URL, address};

/// The environment variable that contains the token.
const TOKEN: &str = "STEPLADDER_DASHBOARD_TOKEN";

/// The dashboard token for one server, if there is one.
#[derive(Clone, Default)]
pub(super) struct ServerToken {
    text: Option<String>,
    /// Whether the environment contains a token that is meant for another server.
    withheld: bool,
    /// Whether the server has asked for the token.
    required: Arc<AtomicBool>,
}

impl fmt::Debug for ServerToken {
    /// Formats the token without its secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("text", &self.text.is_some()).field("withheld", &self.withheld).finish()
    }
}

impl ServerToken {
    /// Reads the token from the environment, for the server that is given by `--url` or by the
    /// environment.
    pub(super) fn from_environment(url: Option<&str>, named: Option<&str>) -> Self {
        let text = std::env::var(TOKEN).ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Self::for_server(text, url, named)
    }

    pub(super) fn for_server(text: Option<String>, url: Option<&str>, named: Option<&str>) -> Self {
        let origin = |text: &str| address::parse_address(text).ok().map(|url| url.origin());
        let is_other = match (url, named) {
            (Some(url), Some(named)) => origin(url) != origin(named),
            _ => false,
        };
        Self { withheld: is_other && text.is_some(), text: text.filter(|_| !is_other), required: Arc::default() }
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    pub(super) fn is_required(&self) -> bool {
        self.required.load(Relaxed)
    }

    pub(super) fn mark_required(&self) {
        self.required.store(true, Relaxed);
    }

    /// Returns advice if the server requires a token and none was sent.
    pub(super) fn hint(&self) -> Option<String> {
        match (&self.text, self.withheld) {
            (Some(_), _) => None,
            (None, false) => Some(format!("set {TOKEN}")),
            (None, true) => Some(format!("{TOKEN} is sent only to the server of {URL}; set both for this server")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_the_server_that_the_environment_names() {
        let sent = |url, named| ServerToken::for_server(Some("t".into()), url, named).text().is_some();
        let named = Some("https://steps.example");
        assert!(sent(None, None) && sent(None, named) && sent(Some("http://localhost:1"), None));
        assert!(sent(Some("https://ada:b@steps.example:443/x"), named));
        for other in ["http://steps.example", "https://steps.example:8443", "https://steps.example.evil", "nonsense"] {
            assert!(!sent(Some(other), named), "{other}");
        }
        let hint = ServerToken::for_server(Some("t".into()), Some("http://other"), named).hint().unwrap();
        assert!(hint.contains("STEPLADDER_URL") && !hint.contains("`t`"), "{hint}");
        assert!(!format!("{:?}", ServerToken::for_server(Some("t-o-k".into()), None, None)).contains("t-o-k"));
    }
}
