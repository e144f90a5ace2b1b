//! The clients of DynamoDB and SQS, and their region, credentials, endpoints and timeouts.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::interceptors::BeforeSerializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{BehaviorVersion, ConfigBag, Credentials, Intercept, Region};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use stepladder_engine::retries::{StorageRetries, time_left};

/// The timeout of each attempt of a request. A connection that hangs must not use up a Lambda
/// invocation.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The clients of DynamoDB and SQS.
///
/// Each request has at most 5 attempts (the SDK's standard mode: throttles, 5xx, lost connections),
/// each of at most 5 s. All attempts end at the caller's deadline, or after 5 s if that is later. A
/// client may be used only on the runtime on which it is first used.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) dynamo: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    /// The region and the credentials, for requests to other services.
    pub(crate) config: SdkConfig,
}

/// Connects with the credentials of the user: environment, profiles, `aws sso login`, or a
/// credential process.
#[cfg(feature = "profiles")]
pub async fn connect() -> Connection {
    Connection::from_config(
        &aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            .timeout_config(timeout_config())
            .retry_config(retry_config())
            .load()
            .await,
    )
}

/// Returns the retry settings: the SDK's standard mode with the engine's limits. In this mode the
/// SDK retries less often while most requests fail.
fn retry_config() -> RetryConfig {
    let StorageRetries { attempts, first, longest } = StorageRetries::default();
    RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(first).with_max_backoff(longest)
}

/// Ends a request and its retries at the deadline of the task that sends the request.
#[derive(Debug)]
struct DeadlineInterceptor;

impl Intercept for DeadlineInterceptor {
    fn name(&self) -> &'static str {
        "UntilDeadline"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(left) = time_left() {
            let timeouts = cfg.load::<TimeoutConfig>().map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
            // even after the deadline one attempt is allowed, because the invocation may have a
            // moment left
            cfg.interceptor_state().store_put(timeouts.operation_timeout(left.max(ATTEMPT_TIMEOUT)).build());
        }
        Ok(())
    }
}

/// Returns a client for a configuration that is passed to [`Connection::from_config`]. Its TLS uses
/// ring, because aws-lc, the SDK's default, takes half a minute to compile and makes the binary
/// larger.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

fn timeout_config() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build()
}

/// Reads the endpoint variables that the SDK's default provider chain would read. The chain itself
/// would make the binary half a megabyte larger and read files at each cold start. Lambda passes
/// all settings in variables.
#[derive(Debug)]
struct EndpointVariables;

impl LoadServiceConfig for EndpointVariables {
    /// Returns the value of a variable such as `AWS_ENDPOINT_URL_SQS`, or else of
    /// `AWS_ENDPOINT_URL`.
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        read_variable(&format!("{}_{service}", key.env())).or_else(|| read_variable(key.env()))
    }
}

pub(crate) fn read_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

pub(crate) fn read_flag(name: &str) -> Option<bool> {
    Some(read_variable(name)?.eq_ignore_ascii_case("true"))
}

/// Reads the settings of a Lambda function: `AWS_REGION`, the keys of its role, and optional
/// endpoint settings (FIPS, dual-stack, or other endpoints).
fn environment_config() -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .region(read_variable("AWS_REGION").map(Region::new))
        .service_config(EndpointVariables)
        .http_client(http_client())
        .timeout_config(timeout_config())
        .retry_config(retry_config());
    config.set_use_fips(read_flag("AWS_USE_FIPS_ENDPOINT"));
    config.set_use_dual_stack(read_flag("AWS_USE_DUALSTACK_ENDPOINT"));
    config.build()
}

impl Connection {
    /// Connects with the caller's configuration.
    pub fn from_config(config: &SdkConfig) -> Self {
        Self::from_configs(config, config, config)
    }

    /// Connects with the environment variables that Lambda sets, and reads nothing else.
    pub fn from_environment() -> Self {
        Self::from_config(&environment_config())
    }

    /// Connects to emulators at these endpoints, with fake credentials.
    pub fn emulators(dynamo: &str, sqs: &str) -> Self {
        let credentials = Credentials::new("emulator", "emulator", None, None, "emulator");
        let shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .http_client(http_client())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .timeout_config(timeout_config())
            .retry_config(retry_config());
        Self::with_endpoints(&shared.build(), dynamo, sqs)
    }

    /// Connects to these endpoints with the caller's configuration.
    pub fn with_endpoints(config: &SdkConfig, dynamo: &str, sqs: &str) -> Self {
        let at = |url: &str| config.clone().into_builder().endpoint_url(url).build();
        Self::from_configs(config, &at(dynamo), &at(sqs))
    }

    fn from_configs(config: &SdkConfig, dynamo: &SdkConfig, sqs: &SdkConfig) -> Self {
        let config = config.clone();
        let dynamo = aws_sdk_dynamodb::config::Builder::from(dynamo).interceptor(DeadlineInterceptor).build();
        let sqs = aws_sdk_sqs::config::Builder::from(sqs).interceptor(DeadlineInterceptor).build();
        Self { dynamo: aws_sdk_dynamodb::Client::from_conf(dynamo), sqs: aws_sdk_sqs::Client::from_conf(sqs), config }
    }

    /// Returns the DynamoDB client.
    pub fn dynamo(&self) -> &aws_sdk_dynamodb::Client {
        &self.dynamo
    }

    /// Returns the SQS client.
    pub fn sqs(&self) -> &aws_sdk_sqs::Client {
        &self.sqs
    }
}
