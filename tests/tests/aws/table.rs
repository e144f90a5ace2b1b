//! A table and queues as `template.yaml` makes them, on an emulator.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType,
};
use stepladder_aws::{Addresses, Connection};
use stepladder_tests::aws_json::fresh_name;

/// A table and queues of a test's own: the table's name, the queues' addresses.
pub(crate) async fn make(connection: &Connection) -> (String, Addresses) {
    let name = fresh_name("runs");
    create(connection.dynamo(), &name).await;
    let queues = Addresses {
        steps: queue(connection, &format!("{name}-steps")).await,
        events: Some(queue(connection, &format!("{name}-events")).await),
        steps_dead_letters: Some(queue(connection, &format!("{name}-steps-dead")).await),
        events_dead_letters: Some(queue(connection, &format!("{name}-events-dead")).await),
        ..Addresses::default()
    };
    (name, queues)
}

async fn queue(connection: &Connection, name: &str) -> String {
    let made = connection.sqs().create_queue().queue_name(name).send().await.expect("a queue");
    made.queue_url.expect("a queue has a URL")
}

async fn create(client: &aws_sdk_dynamodb::Client, name: &str) {
    let key =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("a key");
    let index = |name: &str, hash: &str| {
        let projection = Projection::builder().projection_type(ProjectionType::All).build();
        GlobalSecondaryIndex::builder()
            .index_name(name)
            .key_schema(key(hash, KeyType::Hash))
            .key_schema(key("run", KeyType::Range))
            .projection(projection)
            .build()
            .expect("an index")
    };
    let text = |name: &str| {
        let text = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        text.build().expect("an attribute")
    };
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(["PK", "SK", "hour", "day", "run"].map(text).into()))
        .key_schema(key("PK", KeyType::Hash))
        .key_schema(key("SK", KeyType::Range))
        .global_secondary_indexes(index("runs-by-hour", "hour"))
        .global_secondary_indexes(index("runs-by-function", "day"))
        .send()
        .await
        .expect("a table");
}
