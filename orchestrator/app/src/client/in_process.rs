//! A server in this process: it handles the same requests as a remote server, without a connection.

use axum::Router;
use axum::body::{Body, to_bytes};
use reqwest::RequestBuilder;
use tower::ServiceExt;

use super::token::ServerToken;
use super::{ANSWER_BYTES, Client, ServerResponse, retry_after};
use crate::terminal::StopReason;

/// A placeholder for the address in requests, which is a name of this machine for the router.
const NOWHERE: &str = "http://127.0.0.1";

impl Client {
    /// Creates a client of a router in this process, with the dashboard token that it requires.
    pub(crate) fn in_process(router: Router, token: Option<&str>) -> Result<Self, StopReason> {
        let token = ServerToken::for_server(token.map(|token| token.trim().to_owned()), None, None);
        Ok(Self { here: Some(router), ..Self::new(NOWHERE, token)? })
    }
}

/// Handles a request in this process.
pub(super) async fn answer(router: Router, request: RequestBuilder) -> Result<ServerResponse, String> {
    let request = request.build().map_err(|e| e.to_string())?;
    let request = axum::http::Request::try_from(request).map_err(|e| e.to_string())?;
    let Ok(response) = router.oneshot(request.map(Body::new)).await;
    let (status, after) = (response.status(), retry_after(response.headers()));
    let body = to_bytes(response.into_body(), ANSWER_BYTES).await.map_err(|e| e.to_string())?;
    Ok(ServerResponse { status, after, text: String::from_utf8_lossy(&body).into_owned() })
}
