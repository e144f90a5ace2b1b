//! The login page: the user enters the dashboard token once, and the response sets a cookie.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::PageRequest;
use super::form::{FormFields, OPEN_FORM_BYTES};
use super::shell::is_local;
use super::text::query_string;
use crate::error::HttpProblem;
use crate::guard::auth::COOKIE;
use crate::router::SharedServerState;

/// How long a login lasts, in seconds: 30 days.
const LIFETIME: u32 = 30 * 24 * 60 * 60;

/// Returns the address of the login that leads to a page of this server.
pub(crate) fn login_link(page: &str) -> String {
    if page == "/" || !is_local(page) {
        return "/login".into();
    }
    format!("/login{}", query_string([("next", page)]))
}

/// Returns the page to show after the login.
fn page_after(next: &str) -> &str {
    if is_local(next) { next } else { "/" }
}

/// `GET /login`: the login form.
pub(super) async fn login_form(State(shared): State<SharedServerState>, request: PageRequest) -> Response {
    let next = page_after(request.query.get("next").unwrap_or("/"));
    match shared.token {
        Some(_) => super::login_page(&shared, &request.headers, StatusCode::OK, None, next),
        None => Redirect::to(next).into_response(),
    }
}

/// `POST /login`: checks the token and sets the cookie.
pub(super) async fn log_in(State(shared): State<SharedServerState>, headers: HeaderMap, body: Body) -> Response {
    let Some(token) = &shared.token else { return Redirect::to("/").into_response() };
    let (given, next) = match FormFields::read(&shared, body, OPEN_FORM_BYTES, &["token", "next"]).await {
        Ok(fields) => (fields.get("token").trim().to_owned(), page_after(fields.get("next")).to_owned()),
        Err(problem) => return super::problem_page(&shared, &headers, &problem),
    };
    if given.is_empty() {
        let missing = HttpProblem::bad_request("log in with a form field `token`");
        return super::problem_page(&shared, &headers, &missing);
    }
    if !token.matches(&given) {
        let sentence = "This is not the dashboard token of this server.";
        return super::login_page(&shared, &headers, StatusCode::UNAUTHORIZED, Some(sentence), &next);
    }
    ([(header::SET_COOKIE, login_cookie(&headers, &token.cookie, LIFETIME))], Redirect::to(&next)).into_response()
}

/// `POST /logout`: removes the cookie from this browser.
pub(super) async fn log_out(headers: HeaderMap) -> Response {
    ([(header::SET_COOKIE, login_cookie(&headers, "", 0))], Redirect::to("/login")).into_response()
}

fn login_cookie(headers: &HeaderMap, value: &str, lifetime: u32) -> String {
    // if a proxy terminates TLS, the browser must send the cookie over TLS only
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Strict{secure}")
}
