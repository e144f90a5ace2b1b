//! The health check of a server, which requires no token.

use reqwest::Method;
use serde::Deserialize;

use super::{Client, ClientError, RouteAccess, address};

impl Client {
    /// Returns the server's JSON.
    ///
    /// # Errors
    /// No server answers, or what answers is no healthy Stepladder server.
    pub(crate) async fn health(&self) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Health {
            status: String,
        }
        let text = self.call(RouteAccess::Open, self.request(Method::GET, &["health"])?).await?;
        match self.decode_response::<Health>(&text)?.status.as_str() {
            "ok" => Ok(text),
            other => Err(self.not_our_server_error(format!("its health is `{other}`"))),
        }
    }

    /// Returns the address of the server, without a password.
    pub(crate) fn address(&self) -> String {
        address::address_without_password(&self.base)
    }
}
