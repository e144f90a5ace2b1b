//! The clients: region, credentials and endpoints come from the environment, as the AWS SDK reads it.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, Region};

/// How long one attempt of a request may take. A connection that hangs must not use up an invocation.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);

/// Clients for DynamoDB and SQS.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) dynamo: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
}

/// Connects as the environment says. Each request is tried 3 times (the SDK's standard mode: throttles, 5xx, lost
/// connections), each time for at most 5 s. A client belongs to the runtime that it is first used in.
pub async fn connect() -> Connection {
    Connection::with(&aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts()).load().await)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build()
}

impl Connection {
    /// With a configuration of the caller's.
    pub fn with(config: &SdkConfig) -> Self {
        Self { dynamo: aws_sdk_dynamodb::Client::new(config), sqs: aws_sdk_sqs::Client::new(config) }
    }

    /// At these endpoints, with made-up credentials: emulators.
    pub async fn emulators(dynamo: &str, sqs: &str) -> Self {
        let credentials = Credentials::new("emulator", "emulator", None, None, "emulator");
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .timeout_config(timeouts())
            .load()
            .await;
        Self::at(&shared, dynamo, sqs)
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
