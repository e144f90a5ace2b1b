//! The clients, and from where they know region, credentials and endpoints.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

/// How long one attempt of a request may take. A connection that hangs must not use up an invocation.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);

/// Clients for DynamoDB and SQS. Each request is tried 3 times (the SDK's standard mode: throttles, 5xx, lost
/// connections), each time for at most 5 s. A client belongs to the runtime that it is first used in.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) dynamo: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
}

/// Connects as whoever sits here has signed in: environment, profiles, `aws sso login`, a credential process.
#[cfg(feature = "people")]
pub async fn connect() -> Connection {
    Connection::with(&aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts()).load().await)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build()
}

/// The variables that the SDK's own chain reads, without that chain: it makes a binary larger by half a megabyte and
/// reads files at every cold start, and Lambda says all that there is to know in variables.
#[derive(Debug)]
struct Variables;

impl LoadServiceConfig for Variables {
    /// `AWS_ENDPOINT_URL_SQS`, or else `AWS_ENDPOINT_URL`.
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        variable(&format!("{}_{service}", key.env())).or_else(|| variable(key.env()))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_on(name: &str) -> Option<bool> {
    Some(variable(name)?.eq_ignore_ascii_case("true"))
}

/// As Lambda starts a process: `AWS_REGION`, the keys of its role, and what a stack may add (FIPS, dual-stack or other
/// endpoints).
fn environment() -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .region(variable("AWS_REGION").map(Region::new))
        .service_config(Variables)
        .timeout_config(timeouts());
    config.set_use_fips(is_on("AWS_USE_FIPS_ENDPOINT"));
    config.set_use_dual_stack(is_on("AWS_USE_DUALSTACK_ENDPOINT"));
    config.build()
}

impl Connection {
    /// With a configuration of the caller's.
    pub fn with(config: &SdkConfig) -> Self {
        Self { dynamo: aws_sdk_dynamodb::Client::new(config), sqs: aws_sdk_sqs::Client::new(config) }
    }

    /// As Lambda's environment variables say, and nothing else.
    pub fn from_environment() -> Self {
        Self::with(&environment())
    }

    /// At these endpoints, with made-up credentials: emulators.
    pub fn emulators(dynamo: &str, sqs: &str) -> Self {
        let credentials = Credentials::new("emulator", "emulator", None, None, "emulator");
        let shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .timeout_config(timeouts());
        Self::at(&shared.build(), dynamo, sqs)
    }

    /// With a configuration of the caller's, at these endpoints.
    pub fn at(config: &SdkConfig, dynamo: &str, sqs: &str) -> Self {
        let at = |url: &str| config.clone().into_builder().endpoint_url(url).build();
        Self { dynamo: aws_sdk_dynamodb::Client::new(&at(dynamo)), sqs: aws_sdk_sqs::Client::new(&at(sqs)) }
    }

    /// The client of the table.
    pub fn dynamo(&self) -> &aws_sdk_dynamodb::Client {
        &self.dynamo
    }

    /// The client of the queues.
    pub fn sqs(&self) -> &aws_sdk_sqs::Client {
        &self.sqs
    }
}
