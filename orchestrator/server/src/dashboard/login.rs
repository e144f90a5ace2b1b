//! The login page: the user enters the dashboard token once, and the response sets a cookie.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::form::{FormFields, OPEN_FORM_BYTES};
use crate::error::HttpProblem;
use crate::guard::auth::COOKIE;
use crate::router::SharedServerState;

/// How long a login lasts, in seconds: 30 days.
const LIFETIME: u32 = 30 * 24 * 60 * 60;

/// `GET /login`: the login form.
pub(super) async fn login_form(State(shared): State<SharedServerState>, headers: HeaderMap) -> Response {
    match shared.token {
        Some(_) => super::login_page(&shared, &headers, StatusCode::OK, None),
        None => Redirect::to("/").into_response(),
    }
}

/// `POST /login`: checks the token and sets the cookie.
pub(super) async fn log_in(State(shared): State<SharedServerState>, headers: HeaderMap, body: Body) -> Response {
    let Some(token) = &shared.token else { return Redirect::to("/").into_response() };
    let given = match FormFields::read(&shared, body, OPEN_FORM_BYTES, &["token"]).await {
        Ok(fields) => fields.get("token").trim().to_owned(),
        Err(problem) => return super::problem_page(&shared, &headers, &problem),
    };
    if given.is_empty() {
        let missing = HttpProblem::bad_request("log in with a form field `token`");
        return super::problem_page(&shared, &headers, &missing);
    }
    if !token.matches(&given) {
        let sentence = "this is not the dashboard token of this server";
        return super::login_page(&shared, &headers, StatusCode::UNAUTHORIZED, Some(sentence));
    }
    // if a proxy terminates TLS, the browser must send the cookie over TLS only
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let cookie = format!(
        "{COOKIE}={}; Path=/; Max-Age={LIFETIME}; HttpOnly; SameSite=Strict{}",
        token.cookie,
        if secure { "; Secure" } else { "" }
    );
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}
