//! Reads a secret of Secrets Manager, or a parameter of Systems Manager, while the process runs.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use stepladder_core::sentence::shortened;

use crate::Connection;
use crate::services::{NoServiceAnswer, Service, ServiceAnswer, SignedClient, SignedRequest};

/// The maximum number of attempts to read a secret.
const ATTEMPTS: u32 = 3;
/// The timeout of each attempt.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The wait before the second attempt. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The codes of the errors which say that there is no such secret or parameter.
const MISSING: [&str; 2] = ["ResourceNotFoundException", "ParameterNotFound"];

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretName {
    /// A secret of Secrets Manager, by its name or ARN.
    Secret(String),
    /// A parameter of Systems Manager, by its name. It may be encrypted (`SecureString`).
    Parameter(String),
}

/// Why a secret was not read. Displayed as a sentence with the name of the secret and the reason,
/// without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSecretError {
    /// Whether the service says that there is no such secret.
    pub is_missing: bool,
    text: String,
}

impl ReadSecretError {
    /// Creates an error with this sentence.
    pub fn new(is_missing: bool, text: String) -> Self {
        Self { is_missing, text }
    }
}

impl fmt::Display for ReadSecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ReadSecretError {}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "the secret `{name}` of Secrets Manager"),
            Self::Parameter(name) => write!(f, "the parameter `{name}` of Systems Manager"),
        }
    }
}

/// Reads secrets with the credentials of a [`Connection`].
#[derive(Clone, Debug)]
pub struct SecretReader(SignedClient);

/// The one field of an answer that counts.
#[derive(Deserialize)]
struct SecretValue {
    #[serde(rename = "SecretString")]
    text: String,
}

#[derive(Deserialize)]
struct ParameterAnswer {
    #[serde(rename = "Parameter")]
    parameter: ParameterValue,
}

#[derive(Deserialize)]
struct ParameterValue {
    #[serde(rename = "Value")]
    text: String,
}

impl SecretReader {
    /// Creates a reader.
    ///
    /// # Errors
    /// A sentence: no HTTP client can be created.
    pub fn new(connection: &Connection) -> Result<Self, String> {
        Ok(Self(SignedClient::new(&connection.config)?))
    }

    /// Reads a secret. Repeats an attempt that may succeed later, at most three in all.
    ///
    /// # Errors
    /// There is no such secret, it may not be read, or the service does not answer.
    pub async fn read(&self, name: &SecretName) -> Result<String, ReadSecretError> {
        let failed = |text: String| ReadSecretError::new(false, text);
        let mut wait = FIRST_WAIT;
        for attempt in 1.. {
            let problem = match self.request(name).await {
                Ok(answer) if answer.status.is_success() => {
                    return value(name, &answer.body).ok_or_else(|| failed(format!("{name} has no text")));
                }
                Ok(answer) => {
                    let code = error_code(&answer);
                    let is_passing = answer.status.is_server_error() || code.contains("Throttl");
                    let problem = format!("{name}: {}", shortened(&code));
                    if !is_passing {
                        let is_missing = MISSING.iter().any(|missing| code.starts_with(missing));
                        return Err(ReadSecretError::new(is_missing, problem));
                    }
                    problem
                }
                Err(none) => format!("{name}: {}", none.into_sentence()),
            };
            if attempt == ATTEMPTS {
                return Err(failed(problem));
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        unreachable!("the loop ends with the last attempt")
    }

    async fn request(&self, name: &SecretName) -> Result<ServiceAnswer, NoServiceAnswer> {
        let (service, target, body) = match name {
            SecretName::Secret(name) => {
                (Service::SecretsManager, "secretsmanager.GetSecretValue", json!({ "SecretId": name }))
            }
            SecretName::Parameter(name) => {
                let body = json!({ "Name": name, "WithDecryption": true });
                (Service::SystemsManager, "AmazonSSM.GetParameter", body)
            }
        };
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let body = body.to_string().into_bytes();
        self.0.send(SignedRequest { service, region: None, path: "/", headers: &headers, body, timeout: TIMEOUT }).await
    }
}

fn value(name: &SecretName, body: &[u8]) -> Option<String> {
    match name {
        SecretName::Secret(_) => serde_json::from_slice::<SecretValue>(body).ok().map(|secret| secret.text),
        SecretName::Parameter(_) => {
            serde_json::from_slice::<ParameterAnswer>(body).ok().map(|answer| answer.parameter.text)
        }
    }
}

/// Returns the code of an error and its message. Messages of these services contain no secret.
fn error_code(answer: &ServiceAnswer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["__type"].as_str().and_then(|code| code.rsplit('#').next()).unwrap_or_default();
    let message = body["message"].as_str().or_else(|| body["Message"].as_str()).unwrap_or_default();
    match code {
        "" => format!("HTTP {}", answer.status.as_u16()),
        code => format!("{code}: {message}"),
    }
}
