//! Opens a DynamoDB table and SQS queues as the store.

use std::sync::Arc;
use std::time::Duration;

use stepladder_aws::{Aws, AwsOptions, Connection, QueueAddresses};
#[cfg(feature = "cli")]
use stepladder_engine::Config;
use stepladder_engine::clock::SystemClock;
use stepladder_engine::retries::StorageRetries;
#[cfg(feature = "cli")]
use stepladder_inngest::InvokeFunction;

#[cfg(feature = "cli")]
use super::Store;

/// How long items written by the command line are kept. This is the default of a stack, because the
/// command line does not know the stack's setting.
#[cfg(feature = "cli")]
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// Opens a table, and the queues at the addresses in the table.
#[cfg(feature = "cli")]
pub(super) async fn open(table: &str) -> Result<Store, String> {
    let connection = stepladder_aws::connect().await;
    let over = |queues| Aws::new(&connection, options(table, queues, RETENTION));
    let addresses = over(QueueAddresses::default()).read_addresses().await.map_err(|e| {
        format!("the table `{table}` cannot be read: {e}; are AWS_REGION (or AWS_PROFILE) and credentials set?")
    })?;
    Ok(match addresses {
        Some(addresses) => {
            let workers = worker_config(&addresses);
            let aws = Arc::new(over(addresses));
            Store { backend: aws.clone(), queues: Some(aws), workers }
        }
        None => Store { backend: Arc::new(over(QueueAddresses::default())), queues: None, workers: Config::default() },
    })
}

/// Returns the settings of the stack's workers. A stack of an earlier version has not written their
/// timeout into the table; then it is the default one.
#[cfg(feature = "cli")]
fn worker_config(addresses: &QueueAddresses) -> Config {
    let defaults = Config::default();
    let dedicated = addresses.dedicated.iter();
    Config {
        worker_timeout: addresses.worker_timeout.map_or(defaults.worker_timeout, Duration::from_secs),
        worker_timeouts: dedicated.map(|(id, own)| (id.as_str().into(), own.worker_timeout())).collect(),
        ..defaults
    }
}

/// Creates what invokes apps that are Lambda functions, with the credentials of the user.
///
/// # Errors
/// A sentence: no HTTP client can be created.
#[cfg(feature = "cli")]
pub(crate) async fn function_invoker() -> Result<Arc<dyn InvokeFunction>, String> {
    crate::lambda::apps::invoker(&stepladder_aws::connect().await)
}

/// Opens the table and the queues of a stack, from a Lambda function.
pub(crate) fn open_stack(table: &str, queues: &QueueAddresses, retention: Duration) -> Aws {
    let options = AwsOptions { trace: stepladder_observe::trace::current, ..options(table, queues.clone(), retention) };
    Aws::new(&Connection::from_environment(), options)
}

fn options(table: &str, queues: QueueAddresses, retention: Duration) -> AwsOptions {
    AwsOptions {
        table: table.to_owned(),
        queues,
        clock: Arc::new(SystemClock),
        retention,
        trace: || None,
        retries: StorageRetries::default(),
    }
}
