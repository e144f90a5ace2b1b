//! Opens a DynamoDB table and SQS queues as the store.

use std::sync::Arc;
use std::time::Duration;

use stepladder_aws::{Aws, AwsOptions, Connection, QueueAddresses};
use stepladder_engine::clock::SystemClock;
use stepladder_engine::retries::StorageRetries;

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
            let aws = Arc::new(over(addresses));
            Store { backend: aws.clone(), queues: Some(aws) }
        }
        None => Store { backend: Arc::new(over(QueueAddresses::default())), queues: None },
    })
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
