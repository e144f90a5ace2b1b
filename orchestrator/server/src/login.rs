//! The login page: the dashboard token once, a cookie from then on.

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::auth::COOKIE;
use crate::error::Problem;
use crate::page;
use crate::router::Shared;

/// Seconds that a login lasts: 30 days.
const LASTS: u32 = 30 * 24 * 60 * 60;

/// `GET /login`.
pub(crate) async fn form(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    match shared.token {
        Some(_) => page::login(&shared, &headers, StatusCode::OK, None),
        None => Redirect::to("/").into_response(),
    }
}

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct Login {
    token: String,
}

/// `POST /login`.
pub(crate) async fn log_in(
    State(shared): State<Shared>,
    headers: HeaderMap,
    login: Result<Form<Login>, FormRejection>,
) -> Response {
    let Some(token) = &shared.token else { return Redirect::to("/").into_response() };
    let login = match login {
        Ok(Form(login)) => login,
        Err(refused) if refused.status().is_client_error() => {
            return Problem::new(refused.status(), "log in with a form field `token`").into_response();
        }
        Err(refused) => return refused.into_response(),
    };
    if !token.is(login.token.trim()) {
        let sentence = "that is not the token that the server was started with";
        return page::login(&shared, &headers, StatusCode::UNAUTHORIZED, Some(sentence));
    }
    // behind a proxy that speaks TLS the cookie must never travel without it
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let cookie = format!(
        "{COOKIE}={}; Path=/; Max-Age={LASTS}; HttpOnly; SameSite=Strict{}",
        token.cookie,
        if secure { "; Secure" } else { "" }
    );
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}
