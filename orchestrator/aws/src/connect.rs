//! The clients of DynamoDB and SQS, and their region, credentials, endpoints and timeouts.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

/// The timeout of one attempt at a request. A connection that hangs must not use up an invocation.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The clients of DynamoDB and SQS.
///
/// Each request is tried 3 times (the SDK's standard mode: throttles, 5xx, lost connections), each
/// time for at most 5 s. A client belongs to the runtime in which it is first used.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) dynamo: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
}

/// Connects with the credentials of the user: environment, profiles, `aws sso login`, or a
/// credential process.
#[cfg(feature = "profiles")]
pub async fn connect() -> Connection {
    Connection::with(&aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts()).load().await)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build()
}

/// Reads the endpoint variables of the SDK's own chain without that chain. The chain makes a binary
/// half a megabyte larger and reads files at each cold start. Lambda passes all settings in
/// variables.
#[derive(Debug)]
struct EndpointVariables;

impl LoadServiceConfig for EndpointVariables {
    /// Returns for example `AWS_ENDPOINT_URL_SQS`, or else `AWS_ENDPOINT_URL`.
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        variable(&format!("{}_{service}", key.env())).or_else(|| variable(key.env()))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn flag(name: &str) -> Option<bool> {
    Some(variable(name)?.eq_ignore_ascii_case("true"))
}

/// Reads the settings of a Lambda function: `AWS_REGION`, the keys of its role, and the options of
/// a stack (FIPS, dual-stack, or other endpoints).
fn environment() -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .region(variable("AWS_REGION").map(Region::new))
        .service_config(EndpointVariables)
        .timeout_config(timeouts());
    config.set_use_fips(flag("AWS_USE_FIPS_ENDPOINT"));
    config.set_use_dual_stack(flag("AWS_USE_DUALSTACK_ENDPOINT"));
    config.build()
}

impl Connection {
    /// Connects with the caller's configuration.
    pub fn with(config: &SdkConfig) -> Self {
        Self { dynamo: aws_sdk_dynamodb::Client::new(config), sqs: aws_sdk_sqs::Client::new(config) }
    }

    /// Connects with the environment variables that Lambda sets, and nothing else.
    pub fn from_environment() -> Self {
        Self::with(&environment())
    }

    /// Connects to emulators at these endpoints, with invented credentials.
    pub fn emulators(dynamo: &str, sqs: &str) -> Self {
        let credentials = Credentials::new("emulator", "emulator", None, None, "emulator");
        let shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .timeout_config(timeouts());
        Self::at(&shared.build(), dynamo, sqs)
    }

    /// Connects to these endpoints with the caller's configuration.
    pub fn at(config: &SdkConfig, dynamo: &str, sqs: &str) -> Self {
        let at = |url: &str| config.clone().into_builder().endpoint_url(url).build();
        Self { dynamo: aws_sdk_dynamodb::Client::new(&at(dynamo)), sqs: aws_sdk_sqs::Client::new(&at(sqs)) }
    }

    /// Returns the client of DynamoDB.
    pub fn dynamo(&self) -> &aws_sdk_dynamodb::Client {
        &self.dynamo
    }

    /// Returns the client of SQS.
    pub fn sqs(&self) -> &aws_sdk_sqs::Client {
        &self.sqs
    }
}
