//! Signed requests to services of AWS of which one operation is used: Secrets Manager, the
//! parameters of Systems Manager, and the invocation of Lambda functions.
//!
//! The crates of these services would make the binary of the Lambda functions larger by more than
//! half a megabyte each. Repetitions are deliberately not made here, because the callers differ.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::header::HeaderMap;
use reqwest::{Body, StatusCode, Url};

use crate::connect::{read_flag, read_variable};

/// The timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The services that are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    SecretsManager,
    SystemsManager,
    Lambda,
}

impl Service {
    /// Returns the name in signatures and in host names.
    fn name(self) -> &'static str {
        match self {
            Self::SecretsManager => "secretsmanager",
            Self::SystemsManager => "ssm",
            Self::Lambda => "lambda",
        }
    }

    /// Returns the variable with another endpoint of the service.
    fn endpoint_variable(self) -> &'static str {
        match self {
            Self::SecretsManager => "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            Self::SystemsManager => "AWS_ENDPOINT_URL_SSM",
            Self::Lambda => "AWS_ENDPOINT_URL_LAMBDA",
        }
    }
}

/// A client that signs its requests.
#[derive(Clone, Debug)]
pub(crate) struct SignedClient {
    http: reqwest::Client,
    region: Option<String>,
    credentials: Option<SharedCredentialsProvider>,
    /// Another endpoint of all services.
    endpoint: Option<String>,
}

/// A request with the method POST.
pub(crate) struct SignedRequest<'a> {
    pub(crate) service: Service,
    /// The region of the service; by default that of the client.
    pub(crate) region: Option<&'a str>,
    /// The encoded path.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
}

pub(crate) struct ServiceAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Why a service has not answered, as the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoServiceAnswer {
    /// The service has not received the request.
    NotSent(String),
    /// The service may have received the request.
    Lost(String),
}

impl NoServiceAnswer {
    pub(crate) fn into_sentence(self) -> String {
        match self {
            Self::NotSent(why) | Self::Lost(why) => why,
        }
    }
}

impl SignedClient {
    pub(crate) fn new(config: &SdkConfig) -> Result<Self, String> {
        // fails if the program has chosen another provider already, which then serves as well
        let _ = rustls::crypto::ring::default_provider().install_default();
        // the clients of DynamoDB and SQS use no proxy either
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy();
        let http = http.redirect(reqwest::redirect::Policy::none());
        Ok(Self {
            http: http.build().map_err(|error| format!("cannot create an HTTP client: {}", causes(&error)))?,
            region: config.region().map(ToString::to_string),
            credentials: config.credentials_provider(),
            endpoint: config.endpoint_url().map(str::to_owned).or_else(|| read_variable("AWS_ENDPOINT_URL")),
        })
    }

    /// Sends a request, and reads the whole answer.
    pub(crate) async fn send(&self, request: SignedRequest<'_>) -> Result<ServiceAnswer, NoServiceAnswer> {
        let built = self.sign(&request).await.map_err(NoServiceAnswer::NotSent)?;
        let built = reqwest::Request::try_from(built.map(Body::from))
            .map_err(|error| NoServiceAnswer::NotSent(causes(&error)))?;
        let exchange = async {
            let response = self.http.execute(built).await.map_err(|error| {
                let why = causes(&error);
                if error.is_connect() { NoServiceAnswer::NotSent(why) } else { NoServiceAnswer::Lost(why) }
            })?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.bytes().await.map_err(|error| NoServiceAnswer::Lost(causes(&error)))?;
            Ok(ServiceAnswer { status, headers, body: body.into() })
        };
        let late = |_| NoServiceAnswer::Lost(format!("no answer within {:?}", request.timeout));
        tokio::time::timeout(request.timeout, exchange).await.map_err(late)?
    }

    async fn sign(&self, request: &SignedRequest<'_>) -> Result<http::Request<Vec<u8>>, String> {
        let region = request.region.or(self.region.as_deref()).ok_or("AWS_REGION is not set")?;
        let url = endpoint(request.service, self.endpoint.clone(), region)?
            .join(request.path)
            .map_err(|error| error.to_string())?;
        let credentials = self.credentials.as_ref().ok_or("there are no credentials of AWS")?;
        let identity = credentials.provide_credentials().await;
        let identity = identity.map_err(|error| format!("the credentials of AWS cannot be read: {error}"))?.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(request.service.name())
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let headers = request.headers.iter().copied();
        let signable = SignableRequest::new("POST", url.as_str(), headers, SignableBody::Bytes(&request.body));
        let signed = signable.and_then(|signable| sign(signable, &parameters)).map_err(|error| error.to_string())?;
        let mut built = http::Request::post(url.as_str());
        for (name, value) in request.headers {
            built = built.header(*name, *value);
        }
        let mut built = built.body(request.body.clone()).map_err(|error| error.to_string())?;
        signed.into_parts().0.apply_to_request_http1x(&mut built);
        Ok(built)
    }
}

/// Returns the endpoint of a service: that of the environment, or `other`, or that of the region.
fn endpoint(service: Service, other: Option<String>, region: &str) -> Result<Url, String> {
    let text = read_variable(service.endpoint_variable()).or(other).unwrap_or_else(|| {
        let fips = if read_flag("AWS_USE_FIPS_ENDPOINT") == Some(true) { "-fips" } else { "" };
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("https://{}{fips}.{region}.{domain}", service.name())
    });
    text.parse().map_err(|error| format!("`{text}` is no endpoint: {error}"))
}

/// Returns the causes of an error, without the address of the request.
fn causes(error: &dyn std::error::Error) -> String {
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(next) = cause {
        texts.push(next.to_string());
        cause = next.source();
    }
    texts.dedup();
    if texts.is_empty() { "the request failed".into() } else { texts.join(": ") }
}
