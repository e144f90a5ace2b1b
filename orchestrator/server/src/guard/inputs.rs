//! What each route accepts besides its path: the parameters of its query, and whether it reads a
//! body. Everything else is refused, with its name. Otherwise a misspelt filter would select every
//! run.
//!
//! A route that is not listed here accepts no query and no body.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use stepladder_core::Timestamp;

use super::origin;
use crate::error::HttpProblem;
use crate::router::SharedServerState;
use crate::{dashboard, rest};

/// The maximum size of a body that is read although the request is refused. If the body were not
/// read, a client that is still sending would not see the response.
const REFUSED_BYTES: usize = 64 * 1024;

/// Returns the query parameters that a route accepts.
fn parameters(method: &str, route: &str) -> &'static [&'static str] {
    match (method, route) {
        ("GET", "/v1/runs") => &["status", "function", "label", "text", "since", "until", "limit", "cursor"],
        ("POST", "/v1/runs/cancel" | "/v1/runs/rerun") => {
            &["status", "function", "label", "since", "until", "all", "limit", "cursor"]
        }
        ("GET", "/v1/runs/{id}/journal") => &["from", "limit"],
        ("GET", "/" | "/runs") => &["status", "doing", "error", "function", "q", "within", "from", "to", "cursor"],
        ("GET", "/live/runs") => {
            &["status", "doing", "error", "function", "q", "within", "from", "to", "cursor", "seen"]
        }
        ("GET", "/live/runs/{id}") => &["seen"],
        ("GET", "/runs/{id}") => &["at", "steps", "step", "find", "scale", "group", "zoom"],
        ("GET", "/runs/{id}/compare") => &["with"],
        ("GET", "/runs/{id}/value") => &["of", "n", "view"],
        ("GET", "/function") => &["id"],
        ("GET", "/events") => &["before"],
        ("GET", "/events/{id}/data") => &["view"],
        ("GET", "/trends") => &["span", "function"],
        ("GET", "/cost") => &["span", "function", "cursor"],
        ("GET", "/login") => &["next"],
        _ => &[],
    }
}

/// Returns whether a route reads a body. Such a route checks the fields of the body itself.
fn reads_body(method: &str, route: &str) -> bool {
    method == "POST"
        && matches!(
            route,
            "/e/{key}"
                | "/v1/signals/{token}"
                | "/v1/signals/{token}/fail"
                | "/v1/runs/{id}/rerun"
                | "/v1/runs/rerun"
                | "/login"
                | "/theme"
                | "/runs"
                | "/runs/{id}/rerun"
                | "/runs/{id}/answer"
                | "/runs/{id}/hasten"
                | "/events"
                | "/functions"
                | "/function/pause"
                | "/apps/sync"
                | "/apps/remove"
        )
}

/// Refuses a parameter or a body that the route does not accept, with the status 400 and the name.
pub(crate) async fn guard(State(shared): State<SharedServerState>, request: Request, next: Next) -> Response {
    let Some(route) = request.extensions().get::<MatchedPath>().cloned() else { return next.run(request).await };
    let (head, body) = request.into_parts();
    match check(&shared, &head, route.as_str(), body).await {
        Ok(body) => next.run(Request::from_parts(head, body)).await,
        Err(problem) if route.as_str().starts_with("/e/") => rest::events::refusal_response(&problem),
        Err(problem) if origin::is_page(route.as_str()) => dashboard::problem_page(&shared, &head.headers, &problem),
        Err(problem) => problem.into_response(),
    }
}

/// Checks a request, and returns the body for the route to read.
async fn check(shared: &SharedServerState, head: &Parts, route: &str, body: Body) -> Result<Body, HttpProblem> {
    let method = match head.method {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        // this is a preflight, or a method that no route accepts
        _ => return Ok(body),
    };
    let known = parameters(method, route);
    let what = format!("a parameter of {method} {route}");
    check_names(&decode_pairs(head.uri.query().unwrap_or_default(), "the query")?, known, "", &what)?;
    if reads_body(method, route) {
        return Ok(body);
    }
    let body = shared.bodies.read(body, REFUSED_BYTES).await?;
    match body.bytes.trim_ascii() {
        b"" | b"{}" => Ok(Body::empty()),
        _ if known.is_empty() => Err(HttpProblem::bad_request(format!("{method} {route} takes no body"))),
        _ => {
            let names = list_names(known);
            Err(HttpProblem::bad_request(format!("{method} {route} takes no body; it takes {names} in its query")))
        }
    }
}

/// Refuses an unknown name. Also refuses a name that occurs twice, unless it is `repeated`.
///
/// # Errors
/// 400 with the first such name.
pub(crate) fn check_names(
    pairs: &[(String, String)],
    known: &[&str],
    repeated: &str,
    what: impl Display,
) -> Result<(), HttpProblem> {
    for (i, (name, _)) in pairs.iter().enumerate() {
        if !known.contains(&&name[..]) {
            let rest = if known.is_empty() { "it takes none".to_owned() } else { format!("use {}", list_names(known)) };
            return Err(HttpProblem::bad_request(format!("`{}` is not {what}; {rest}", shorten_name(name))));
        }
        if name != repeated && pairs[..i].iter().any(|(other, _)| other == name) {
            return Err(HttpProblem::bad_request(format!("`{name}` is given twice; give it once")));
        }
    }
    Ok(())
}

/// Truncates a name that a client sent, so that the rest of the error sentence is not truncated.
fn shorten_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(200)]
}

/// Formats a list of names, such as `status`, `function` or `limit`.
fn list_names(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Parses the names and values of a query or of a form.
///
/// # Errors
/// 400 if a name or a value is not UTF-8.
pub(crate) fn decode_pairs(text: &str, what: &str) -> Result<Vec<(String, String)>, HttpProblem> {
    let fault = || HttpProblem::bad_request(format!("{what} is not UTF-8"));
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            decode_percent(name).zip(decode_percent(value)).ok_or_else(fault)
        })
        .collect()
}

fn decode_percent(text: &str) -> Option<String> {
    Some(percent_decode_str(&text.replace('+', " ")).decode_utf8().ok()?.into_owned())
}

/// The query parameters of a request. [`guard`] has already refused unknown parameters.
#[derive(Clone, Debug)]
pub(crate) struct QueryParameters(Vec<(String, String)>);

impl QueryParameters {
    /// Creates the parameters from names and values.
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// Returns the value of a parameter. An empty value counts as missing.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// Returns the value of a parameter, even if it is empty.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| &value[..])
    }

    /// Parses a parameter as a number. `range` completes the sentence "use …".
    ///
    /// # Errors
    /// 400 with the name of the parameter and the valid range.
    pub(crate) fn number<T: FromStr>(&self, name: &str, range: &str) -> Result<Option<T>, HttpProblem> {
        let fault = |text: &str| HttpProblem::bad_request(format!("`{name}` is `{text}`; use {range}"));
        self.get(name).map(|text| text.parse().map_err(|_| fault(text))).transpose()
    }

    /// Parses a parameter as a time in RFC 3339.
    ///
    /// # Errors
    /// 400 with the name of the parameter and an example.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, HttpProblem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let millis = text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond()).filter(|millis| *millis >= 0);
        let fault =
            || HttpProblem::bad_request(format!("`{name}` is `{text}`; use a time such as 2026-11-24T21:00:00Z"));
        millis.map(|millis| Some(Timestamp::from_millis(millis))).ok_or_else(fault)
    }

    /// Returns all parameters, in the order of the query.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&name[..], &value[..]))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for QueryParameters {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpProblem> {
        Ok(Self(decode_pairs(parts.uri.query().unwrap_or_default(), "the query")?))
    }
}

#[cfg(test)]
impl QueryParameters {
    pub(crate) fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_once() {
        let read = decode_pairs("a=1&b=%C3%A4+%2526&&c&=d", "the query").unwrap();
        let read: Vec<_> = read.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(read, [("a", "1"), ("b", "ä %26"), ("c", ""), ("", "d")]);
        for bad in ["%FF=1", "a=%C3"] {
            assert_eq!(decode_pairs(bad, "the query").unwrap_err().sentence, "the query is not UTF-8", "{bad}");
        }
    }

    #[test]
    fn a_refusal_has_the_name_that_is_unknown_or_given_twice() {
        let refused = |text: &str, known: &[&str]| {
            check_names(&decode_pairs(text, "the query").unwrap(), known, "run", "a parameter").unwrap_err().sentence
        };
        assert_eq!(refused("b=1", &["a", "c", "d"]), "`b` is not a parameter; use `a`, `c` or `d`");
        assert_eq!(refused("=1", &["a"]), "`` is not a parameter; use `a`");
        assert_eq!(refused("A=1", &[]), "`A` is not a parameter; it takes none");
        assert_eq!(refused("a=1&a=1", &["a"]), "`a` is given twice; give it once");
        assert!(refused(&"x".repeat(5_000), &["a"]).ends_with("use `a`"));
        assert!(check_names(&decode_pairs("run=1&run=2", "the form").unwrap(), &["run"], "run", "a field").is_ok());
    }
}
