//! Checks event keys and the dashboard token, in constant time. Some routes also admit apps.
//!
//! Only hashes are kept and compared. The duration of a comparison therefore reveals neither the
//! content nor the length of a secret, and debug output shows no secret.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::dashboard;
use crate::error::HttpProblem;
use crate::router::SharedServerState;

/// The minimum length of a key or a token in characters, if other machines can reach the server.
const MIN_CHARS: usize = 8;

/// Checks event keys and a dashboard token. Returns a sentence that says what is wrong; `None` if a
/// server may start with them.
///
/// A key must be a valid segment of a path. On a `public` address, a short key or token is refused
/// because it can be guessed.
pub fn secrets_fault(event_keys: &[String], dashboard_token: Option<&str>, public: bool) -> Option<String> {
    const KEY: &str = "an event key (--event-key, STEPLADDER_EVENT_KEYS)";
    const TOKEN: &str = "the dashboard token (STEPLADDER_DASHBOARD_TOKEN)";
    let keys = event_keys.iter().map(|key| (KEY, &key[..]));
    for (what, secret) in keys.clone().chain(dashboard_token.map(|token| (TOKEN, token))) {
        let chars = secret.trim().chars().count();
        if chars == 0 {
            return Some(format!("{what} is blank; give it at least {MIN_CHARS} characters, or leave it out"));
        }
        if public && chars < MIN_CHARS {
            return Some(format!(
                "{what} has {chars} characters; this server has a public address: use at least {MIN_CHARS} random ones, \
                 for example from `openssl rand -hex 32`"
            ));
        }
    }
    let dots = keys.map(|(_, key)| key.trim()).find(|key| matches!(*key, "." | ".."))?;
    Some(format!("the event key `{dots}` cannot be sent in a path; choose another"))
}

/// The cookie that the login page sets.
pub(crate) const COOKIE: &str = "stepladder_login";

/// The hash of a secret.
#[derive(Clone, Debug)]
struct SecretHash([u8; 32]);

impl SecretHash {
    fn hash_of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    fn matches(&self, text: &str) -> bool {
        self.0.ct_eq(&Self::hash_of(text).0).into()
    }
}

/// The event keys that the server accepts.
#[derive(Clone, Debug)]
pub(crate) struct EventKeys {
    keys: Vec<SecretHash>,
    /// Whether every key is accepted. This is the case on loopback if no key is configured.
    accepts_any: bool,
}

impl EventKeys {
    pub(crate) fn new(keys: &[String], loopback: bool) -> Self {
        Self {
            keys: keys.iter().map(|key| SecretHash::hash_of(key.trim())).collect(),
            accepts_any: loopback && keys.is_empty(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Checks the key of a request. The key is compared with all keys of the server, so that the
    /// duration does not reveal which one is equal.
    ///
    /// # Errors
    /// 401 if the key is not one of the server's.
    pub(crate) fn admit(&self, key: Option<&str>) -> Result<(), HttpProblem> {
        let known = key.is_some_and(|key| self.keys.iter().fold(false, |known, own| own.matches(key) | known));
        if known || self.accepts_any {
            return Ok(());
        }
        let sentence = "this event key is not known; send to /e/{key} with an event key of this server";
        Err(HttpProblem::new(StatusCode::UNAUTHORIZED, sentence))
    }
}

/// The dashboard token.
#[derive(Clone, Debug)]
pub(crate) struct DashboardToken {
    token: SecretHash,
    /// The value of the login cookie. This is a hash, because a token may contain characters that a
    /// cookie may not contain.
    pub(crate) cookie: String,
}

impl DashboardToken {
    pub(crate) fn new(token: &str) -> Self {
        // white space around the token is removed, because a header or a form field loses it
        let token = token.trim();
        let digest = Sha256::digest(format!("stepladder login\0{token}"));
        let cookie = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { token: SecretHash::hash_of(token), cookie }
    }

    pub(crate) fn matches(&self, token: &str) -> bool {
        self.token.matches(token)
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
        if let Some((scheme, token)) = bearer
            && scheme.eq_ignore_ascii_case("bearer")
            && self.matches(token.trim())
        {
            return true;
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|line| line.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(name, value)| name == COOKIE && bool::from(value.as_bytes().ct_eq(self.cookie.as_bytes())))
    }
}

/// The routes with which an app follows and cancels a run whose id it knows.
const OF_APPS: [(Method, &str); 4] = [
    (Method::GET, "/v1/events/{id}"),
    (Method::GET, "/v1/events/{id}/runs"),
    (Method::GET, "/v1/runs/{id}"),
    (Method::DELETE, "/v1/runs/{id}"),
];

/// Returns the `Authorization` header of a request that an app may send.
fn header_of_app(request: &Request) -> Option<String> {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_open = OF_APPS.iter().any(|(method, path)| method == request.method() && Some(*path) == route);
    let sent = request.headers().get(header::AUTHORIZATION).filter(|_| is_open);
    sent.and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Requires the dashboard token if one is configured, or on some routes the key of an app. A
/// browser that opens a page without the token is redirected to the login page.
pub(crate) async fn guard(State(shared): State<SharedServerState>, request: Request, next: Next) -> Response {
    let Some(token) = &shared.token else { return next.run(request).await };
    if token.admits(request.headers()) {
        return next.run(request).await;
    }
    if let (Some(apps), Some(sent)) = (&shared.apps, header_of_app(&request))
        && apps.is_app(&sent).await
    {
        return next.run(request).await;
    }
    if request.method() == Method::GET && dashboard::opens_page(request.headers()) {
        let page = request.uri().path_and_query().map_or("/", |page| page.as_str());
        return Redirect::to(&dashboard::login_link(page)).into_response();
    }
    let sentence = "the dashboard token is required: send it as `Authorization: Bearer …`, or log in at /login";
    HttpProblem::new(StatusCode::UNAUTHORIZED, sentence).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers_with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_key_must_be_one_of_those_configured() {
        let keys = EventKeys::new(&["one".into(), "two".into()], true);
        assert!(keys.admit(Some("one")).is_ok() && keys.admit(Some("two")).is_ok());
        for wrong in [Some("three"), Some("on"), Some(""), None] {
            assert_eq!(keys.admit(wrong).unwrap_err().status, StatusCode::UNAUTHORIZED, "{wrong:?}");
        }
    }

    #[test]
    fn a_blank_or_short_secret_is_refused_by_name() {
        let fault = |keys: &[&str], token, public| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            secrets_fault(&keys, token, public).unwrap_or_default()
        };
        let good = ("12345678", Some("éééééééé"));
        assert_eq!(fault(&[good.0], good.1, true), "");
        assert_eq!(fault(&["k"], Some("t"), false), "", "on this machine only");
        for public in [true, false] {
            for blank in ["", " ", "\t\n"] {
                assert!(fault(&[good.0, blank], good.1, public).starts_with("an event key"), "{blank:?}");
                assert!(fault(&[good.0], Some(blank), public).starts_with("the dashboard token"), "{blank:?}");
            }
            for dots in [".", "..", " .. "] {
                assert!(!fault(&[dots], None, public).is_empty(), "{dots:?}");
            }
        }
        assert!(
            fault(&[good.0, " 1234567 "], good.1, true)
                .contains("an event key (--event-key, STEPLADDER_EVENT_KEYS) has 7")
        );
        assert!(fault(&[good.0], Some("t"), true).contains("the dashboard token (STEPLADDER_DASHBOARD_TOKEN) has 1"));
    }

    #[test]
    fn without_keys_every_key_is_accepted_on_loopback_only() {
        assert!(EventKeys::new(&[], true).admit(Some("any")).is_ok());
        assert!(EventKeys::new(&[], false).admit(Some("any")).is_err());
    }

    #[test]
    fn a_token_is_accepted_as_a_bearer_or_as_the_login_cookie() {
        let token = DashboardToken::new("sesame");
        assert!(token.admits(&headers_with(header::AUTHORIZATION, "Bearer sesame")));
        assert!(token.admits(&headers_with(header::COOKIE, &format!("a=b; {COOKIE}={}", token.cookie))));
        for wrong in ["Bearer sesam", "Bearer ", "Basic sesame", "sesame"] {
            assert!(!token.admits(&headers_with(header::AUTHORIZATION, wrong)), "{wrong}");
        }
        for wrong in [format!("{COOKIE}=sesame"), format!("{COOKIE}="), format!("x={}", token.cookie)] {
            assert!(!token.admits(&headers_with(header::COOKIE, &wrong)), "{wrong}");
        }
    }
}
