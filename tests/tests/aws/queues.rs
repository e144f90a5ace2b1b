//! Creates queues on an emulator, like those of `template.yaml`.

use stepladder_aws::{Connection, QueueAddresses};

/// Creates the queues for a table with this name.
pub(crate) async fn create(connection: &Connection, name: &str) -> QueueAddresses {
    let queue = async |kind: &str| {
        let made = connection.sqs().create_queue().queue_name(format!("{name}-{kind}")).send().await.expect("a queue");
        made.queue_url.expect("a queue has a URL")
    };
    QueueAddresses {
        steps: queue("steps").await,
        events: Some(queue("events").await),
        steps_dead_letters: Some(queue("steps-dead").await),
        events_dead_letters: Some(queue("events-dead").await),
        ..QueueAddresses::default()
    }
}
