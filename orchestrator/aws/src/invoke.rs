//! Invokes Lambda functions, and waits for their responses.

use std::time::Duration;

use serde::Deserialize;
use stepladder_core::sentence::shortened;

use crate::Connection;
use crate::services::{NoServiceAnswer, Service, SignedClient, SignedRequest};

/// The maximum time of an invocation is 900 s; the rest is for the way. The caller has a limit of
/// its own.
const TIMEOUT: Duration = Duration::from_secs(910);

/// Invokes functions with the credentials of a [`Connection`], without repetitions.
#[derive(Clone, Debug)]
pub struct FunctionInvoker(SignedClient);

/// Why a function has not responded, as the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvokeError {
    /// The function was not invoked: it is unknown, throttled, or may not be invoked.
    NotInvoked(String),
    /// The function has failed, or its response was lost.
    Lost(String),
}

impl FunctionInvoker {
    /// Creates an invoker.
    ///
    /// # Errors
    /// A sentence: no HTTP client can be created.
    pub fn new(connection: &Connection) -> Result<Self, String> {
        Ok(Self(SignedClient::new(&connection.config)?))
    }

    /// Invokes a function in the region of its ARN.
    ///
    /// # Errors
    /// [`InvokeError`].
    pub async fn invoke(&self, arn: &str, event: Vec<u8>) -> Result<Vec<u8>, InvokeError> {
        let path = format!("/2015-03-31/functions/{}/invocations", arn.replace(':', "%3A").replace('$', "%24"));
        let headers = [("content-type", "application/json"), ("x-amz-invocation-type", "RequestResponse")];
        let request = SignedRequest {
            service: Service::Lambda,
            region: arn.split(':').nth(3),
            path: &path,
            headers: &headers,
            body: event,
            timeout: TIMEOUT,
        };
        let answer = self.0.send(request).await.map_err(|none| match none {
            NoServiceAnswer::NotSent(why) => InvokeError::NotInvoked(why),
            NoServiceAnswer::Lost(why) => InvokeError::Lost(why),
        })?;
        if answer.headers.contains_key("x-amz-function-error") {
            return Err(InvokeError::Lost(format!("it ended with an error: {}", message(&answer.body))));
        }
        match answer.status.as_u16() {
            200..=299 => Ok(answer.body),
            403 => Err(InvokeError::NotInvoked(format!(
                "{}; the template's parameter AppFunctionArns permits it",
                message(&answer.body)
            ))),
            status @ 400..=499 => Err(InvokeError::NotInvoked(format!("HTTP {status}: {}", message(&answer.body)))),
            status => Err(InvokeError::Lost(format!("HTTP {status}: {}", message(&answer.body)))),
        }
    }
}

/// Returns the message of an error.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Message {
        #[serde(alias = "message", alias = "Message")]
        #[serde(rename = "errorMessage")]
        text: String,
    }
    let text = String::from_utf8_lossy(body);
    shortened(serde_json::from_str::<Message>(&text).map_or_else(|_| text.into_owned(), |message| message.text))
}
