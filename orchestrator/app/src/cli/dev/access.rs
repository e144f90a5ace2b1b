//! The access to a local server. The server refuses to start with options that would open it to
//! strangers.

use std::net::IpAddr;

use crate::terminal::StopReason;

/// The secrets of a server, and whether the server listens on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccessSettings {
    pub(super) loopback: bool,
    pub(super) event_keys: Vec<String>,
    pub(super) dashboard_token: Option<String>,
}

impl AccessSettings {
    /// Checks the options.
    ///
    /// # Errors
    /// On a public address: the event key or the dashboard token is missing or short, or
    /// `--retry-delay` is set. On any address: a key or a token is blank.
    pub(super) fn check_access(
        host: &str,
        event_keys: Vec<String>,
        dashboard_token: Option<String>,
        retry_delay: bool,
    ) -> Result<Self, StopReason> {
        let loopback = is_loopback(host);
        if let Some(fault) = stepladder_server::secrets_fault(&event_keys, dashboard_token.as_deref(), !loopback) {
            return Err(StopReason::problem(fault));
        }
        let mut missing = Vec::new();
        if event_keys.is_empty() {
            missing.push("an event key (--event-key or STEPLADDER_EVENT_KEYS)");
        }
        if dashboard_token.is_none() {
            missing.push("a dashboard token (STEPLADDER_DASHBOARD_TOKEN)");
        }
        if !loopback && !missing.is_empty() {
            return Err(StopReason::problem(format!(
                "{host} is a public address; set {}, or keep --host 127.0.0.1",
                missing.join(" and ")
            )));
        }
        if !loopback && retry_delay {
            return Err(StopReason::problem(format!(
                "--retry-delay is for tests and demonstrations on this machine, not on {host}; leave it out"
            )));
        }
        Ok(Self { loopback, event_keys, dashboard_token })
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal_sentence(host: &str, keys: &[&str], token: Option<&str>, retry_delay: bool) -> String {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        match AccessSettings::check_access(host, keys, token.map(str::to_owned), retry_delay) {
            Err(StopReason::Problem(sentence)) => sentence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn on_loopback_no_secret_is_needed() {
        for host in ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"] {
            assert!(AccessSettings::check_access(host, Vec::new(), None, true).unwrap().loopback, "{host}");
        }
    }

    #[test]
    fn a_public_address_needs_a_key_and_a_token() {
        assert!(refusal_sentence("0.0.0.0", &[], None, false).contains("an event key"));
        let missing = refusal_sentence("0.0.0.0", &["long-enough"], None, false);
        assert!(missing.contains("set a dashboard token (STEPLADDER_DASHBOARD_TOKEN)"), "{missing}");
        assert!(refusal_sentence("::", &[], Some("long-enough"), false).contains("an event key (--event-key"));
        let (keys, token) = (vec!["long-enough".into()], Some("long-enough".into()));
        assert!(!AccessSettings::check_access("0.0.0.0", keys, token, false).unwrap().loopback);
    }

    #[test]
    fn a_blank_key_is_refused_anywhere_and_a_short_one_on_a_public_address() {
        assert!(refusal_sentence("127.0.0.1", &["good", ""], None, false).contains("an event key"));
        assert!(refusal_sentence("localhost", &[" "], None, false).contains("is blank"));
        assert!(refusal_sentence("0.0.0.0", &["k"], Some("long-enough"), false).contains("has 1 characters"));
        assert!(refusal_sentence("0.0.0.0", &["long-enough"], Some("t"), false).contains("the dashboard token"));
        assert!(AccessSettings::check_access("127.0.0.1", vec!["k".into()], Some("t".into()), false).is_ok());
    }

    #[test]
    fn retries_are_shortened_on_loopback_only() {
        assert!(refusal_sentence("10.0.0.1", &["long-enough"], Some("long-enough"), true).contains("--retry-delay"));
    }
}
