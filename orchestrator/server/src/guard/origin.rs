//! Checks the origin of a request. Requests from pages of other sites are refused, because such
//! pages could read and cancel runs through the browser of their visitor. On loopback, host names
//! of other machines are refused too, because a site can point its own name at this machine (DNS
//! rebinding).
//!
//! A request that a browser marks as cross-site is refused as well, except for a link to a page.
//!
//! The event API is not guarded here, because front ends send events to it from the browser.

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::HttpProblem;
use crate::router::SharedServerState;

/// Refuses requests from other sites and, on loopback, requests for other hosts.
pub(crate) async fn guard(State(shared): State<SharedServerState>, request: Request, next: Next) -> Response {
    let allowed = check(request.headers(), request.uri().authority(), shared.loopback).and_then(|()| {
        let path = request.uri().path();
        // a durable endpoint redirects its clients to the response
        let is_page = request.method().is_safe() && (is_page(path) || path.starts_with("/v1/http/"));
        check_site(request.headers(), is_page)
    });
    match allowed {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Returns whether a path is that of a page, which other sites may link to. All other paths are for
/// programs.
pub(crate) fn is_page(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    !matches!(first, "v0" | "v1" | "e" | "fn" | "dev" | "api" | "live" | "mcp") && path != "/health"
}

/// Refuses a request that a page of another site makes the browser send, except for a link to a
/// page. Such a request may have no `Origin`, for example if it loads an image or a script.
fn check_site(headers: &HeaderMap, is_page: bool) -> Result<(), HttpProblem> {
    let own = |site: &HeaderValue| site == "same-origin" || site == "none";
    if headers.get_all("sec-fetch-site").iter().all(own) {
        return Ok(());
    }
    let navigates = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    if is_page && navigates {
        return Ok(());
    }
    Err(HttpProblem::forbidden("pages of other sites may only send events here, to POST /e/{key}"))
}

/// Guards the forms of pages: the browser must prove that a page of this server sent the request.
/// The login cookie is no proof, because browsers also add it to requests from other sites. Clients
/// that are not browsers use the REST interface.
pub(crate) async fn same_site(request: Request, next: Next) -> Response {
    if request.method().is_safe() || is_proven(request.headers()) {
        return next.run(request).await;
    }
    HttpProblem::forbidden(
        "only a page of this server may send this form; other clients use the REST interface under /v1",
    )
    .into_response()
}

/// Returns whether a request proves that a page of this server sent it. The headers are reliable:
/// `guard` has compared each `Origin` with the host, and no page can forge `Sec-Fetch-Site`.
fn is_proven(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter().peekable();
    match sites.peek() {
        Some(_) => sites.all(|site| site == "same-origin"),
        None => headers.contains_key(header::ORIGIN),
    }
}

/// Checks all hosts that a request names, and its origins.
fn check(headers: &HeaderMap, authority: Option<&Authority>, loopback: bool) -> Result<(), HttpProblem> {
    let unreadable = || HttpProblem::forbidden("the `Host` header is not a host name and a port");
    let mut hosts = Vec::new();
    for value in headers.get_all(header::HOST) {
        let text = value.to_str().map_err(|_| unreadable())?;
        hosts.push(text.parse::<Authority>().ok().filter(|_| !text.contains('@')).ok_or_else(unreadable)?);
    }
    hosts.extend(authority.cloned());
    // browsers always name the host; a client that names none is not a browser and needs no guard
    if loopback && let Some(foreign) = hosts.iter().find(|host| !is_this_machine(host.host())) {
        return Err(HttpProblem::forbidden(format!(
            "this server answers to names of this machine only, not to `{}`; use http://localhost",
            foreign.host()
        )));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        if hosts.is_empty() || !hosts.iter().all(|host| is_same(origin, host)) {
            return Err(HttpProblem::forbidden("pages of other origins may only send events here, to POST /e/{key}"));
        }
    }
    Ok(())
}

fn is_this_machine(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns whether an origin is the host of the request. The scheme is not compared, because a
/// proxy may have terminated TLS.
fn is_same(origin: &str, host: &Authority) -> bool {
    let (rest, port) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
        (Some(rest), _) => (rest, 80),
        (None, Some(rest)) => (rest, 443),
        (None, None) => return false,
    };
    rest.parse::<Authority>().is_ok_and(|origin| {
        origin.host().eq_ignore_ascii_case(host.host())
            && origin.port_u16().unwrap_or(port) == host.port_u16().unwrap_or(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_accepted(host: Option<&str>, origin: Option<&str>, loopback: bool) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        check(&headers, None, loopback).is_ok()
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_pass() {
        for own in
            ["localhost:8288", "LOCALHOST", "127.0.0.1:8288", "127.1.2.3", "[::1]:8288", "app.localhost", "localhost."]
        {
            assert!(is_accepted(Some(own), None, true), "{own}");
        }
        for foreign in
            ["evil.example", "localhost.evil.example", "notlocalhost", "10.0.0.1:8288", "a@localhost", "", "::"]
        {
            assert!(!is_accepted(Some(foreign), None, true), "{foreign}");
        }
        assert!(is_accepted(None, None, true));
        assert!(is_accepted(Some("steps.example"), None, false));
    }

    #[test]
    fn only_pages_of_the_server_itself_pass() {
        assert!(is_accepted(Some("localhost:8288"), Some("http://localhost:8288"), true));
        assert!(is_accepted(Some("steps.example"), Some("https://Steps.example"), false));
        assert!(is_accepted(Some("steps.example:443"), Some("https://steps.example"), false));
        for foreign in ["http://localhost:3000", "http://127.0.0.1:8288", "null", "", "https://evil.example", "file://"]
        {
            assert!(!is_accepted(Some("localhost:8288"), Some(foreign), true), "{foreign}");
        }
        assert!(!is_accepted(None, Some("https://evil.example"), false));
        assert!(!is_accepted(Some("steps.example"), Some("https://steps.example.evil"), false));
    }

    #[test]
    fn a_form_needs_proof_of_its_page() {
        let proven = |pairs: &[(&'static str, &str)]| {
            is_proven(&pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
        };
        assert!(proven(&[("origin", "http://localhost:8288")]));
        assert!(proven(&[("sec-fetch-site", "same-origin")]));
        assert!(proven(&[("origin", "http://localhost:8288"), ("sec-fetch-site", "same-origin")]));
        for site in ["same-site", "cross-site", "none", ""] {
            assert!(!proven(&[("origin", "http://localhost:8288"), ("sec-fetch-site", site)]), "{site}");
        }
        assert!(!proven(&[]), "nothing proves its page");
        assert!(!proven(&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn another_site_may_only_link_to_a_page() {
        let passes = |site: &str, mode: &str, path: &str| {
            let headers = [
                ("sec-fetch-site".parse().unwrap(), site.parse().unwrap()),
                ("sec-fetch-mode".parse().unwrap(), mode.parse().unwrap()),
            ];
            check_site(&HeaderMap::from_iter(headers), is_page(path)).is_ok()
        };
        for site in ["same-origin", "none"] {
            assert!(passes(site, "cors", "/v1/runs") && passes(site, "navigate", "/"), "{site}");
        }
        for site in ["cross-site", "same-site", ""] {
            for path in ["/v1/runs", "/v1", "/dev", "/api/inngest", "/live/runs", "/health", "/mcp"] {
                assert!(!passes(site, "navigate", path) && !passes(site, "no-cors", path), "{site} {path}");
            }
            for path in ["/", "/runs/x", "/health/page", "/login", "/style.css"] {
                assert!(passes(site, "navigate", path), "{site} {path}");
                assert!(!passes(site, "no-cors", path) && !passes(site, "", path), "{site} {path}");
            }
        }
        assert!(check_site(&HeaderMap::new(), false).is_ok(), "no browser sent it");
    }

    #[test]
    fn every_host_of_a_request_is_checked() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "evil.example".parse().unwrap());
        assert!(check(&headers, None, true).is_err());
        headers.clear();
        assert!(check(&headers, Some(&"evil.example".parse().unwrap()), true).is_err());
    }
}
