//! Creates a separate table and queues on emulators, and the adapter for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use stepladder_aws::{Aws, AwsOptions, Connection};
use stepladder_engine::clock::Clock;
use stepladder_engine::retries::StorageRetries;
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::conformance::{TestedAdapter, start};
use stepladder_tests::aws_json::fresh_name;
use stepladder_tests::dynamodb_local::DynamoDbLocal;
use stepladder_tests::ministack::Ministack;

use crate::{queues, table};

/// The emulator of the table. The queues are always emulated by ministack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableEmulator {
    /// Amazon's DynamoDB Local.
    DynamoDbLocal,
    /// The emulator ministack.
    Ministack,
}

/// The retention of all items.
pub(crate) const RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// Creates an empty adapter for the conformance suite.
pub(crate) async fn subject(tables: TableEmulator) -> TestedAdapter {
    let ministack = Arc::new(Ministack::start().await);
    let dynamo = match tables {
        TableEmulator::DynamoDbLocal => DynamoDbLocal::shared().await.url().to_owned(),
        TableEmulator::Ministack => ministack.url(),
    };
    let connection = Connection::emulators(&dynamo, &ministack.url());
    let clock = Arc::new(VirtualClock::new(start()));
    let aws = Arc::new(adapter(&connection, clock.clone()).await);
    let look = aws.clone();
    let (moving, clock_there) = (ministack.clone(), clock.clone());
    let moved_to = Arc::new(AtomicI64::new(clock.now().as_millis()));
    TestedAdapter::of(aws, clock)
        .keeping(ministack)
        .receive_now(move |max, visibility| {
            let aws = look.clone();
            async move { aws.receive_now(max, visibility).await }
        })
        .on_advance(move || {
            let now = clock_there.now().as_millis();
            let by = now - moved_to.swap(now, Ordering::SeqCst);
            moving.advance(Duration::from_millis(by.unsigned_abs()));
            async {}
        })
}

/// Creates the adapter with a new table and new queues.
async fn adapter(connection: &Connection, clock: Arc<dyn Clock>) -> Aws {
    let table = fresh_name("runs");
    table::create(connection.dynamo(), &table).await;
    let queues = queues::create(connection, &table).await;
    Aws::new(
        connection,
        AwsOptions { table, queues, clock, retention: RETENTION, trace: || None, retries: StorageRetries::at_once() },
    )
}
