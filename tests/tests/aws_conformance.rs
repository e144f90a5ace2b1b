//! The adapter for AWS under the suite that every adapter passes, against emulators.

#[path = "aws/table.rs"]
mod table;

use std::sync::Arc;
use std::time::Duration;

use stepladder_aws::{Addresses, Aws, Connection, Options};
use stepladder_engine::clock::{Clock, VirtualClock};
use stepladder_engine::conformance::{Subject, start};

async fn subject() -> Subject {
    let dynamo = std::env::var("DYNAMO").unwrap_or("http://127.0.0.1:8000".into());
    let sqs = "http://127.0.0.1:4566".to_string();
    let connection = Connection::emulators(&dynamo, &sqs).await;
    let n = format!("t{:032x}", rand());
    table::create(connection.dynamo(), &n).await;
    let queue = connection.sqs().create_queue().queue_name(&n).send().await.unwrap().queue_url.unwrap();
    let clock = Arc::new(VirtualClock::new(start()));
    let options = Options {
        table: n,
        queues: Addresses { steps: queue, ..Addresses::default() },
        clock: clock.clone(),
        retention: Duration::from_secs(30 * 86_400),
        trace: || None,
    };
    let aws = Arc::new(Aws::new(&connection, options));
    let look = aws.clone();
    Subject::of(aws, clock).looking(move |max, visibility| {
        let aws = look.clone();
        async move { aws.look(max, visibility).await }
    })
}

fn rand() -> u128 {
    use stepladder_engine::clock::{Entropy, SystemEntropy};
    SystemEntropy.bits()
}

stepladder_engine::conformance!(subject);
