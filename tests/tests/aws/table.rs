//! Creates a table on an emulator, like that of `template.yaml`.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType,
};

/// Creates a table with this name.
pub(crate) async fn create(client: &aws_sdk_dynamodb::Client, name: &str) {
    let key =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("a key");
    let row = ["function", "event", "created", "ended", "status"].map(str::to_owned);
    let projection =
        Projection::builder().projection_type(ProjectionType::Include).set_non_key_attributes(Some(row.into()));
    let runs = GlobalSecondaryIndex::builder()
        .index_name("runs")
        .key_schema(key("day", KeyType::Hash))
        .key_schema(key("PK", KeyType::Range))
        .projection(projection.build());
    let text = |name: &str| {
        let text = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        text.build().expect("an attribute")
    };
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(["PK", "SK", "day"].map(text).into()))
        .key_schema(key("PK", KeyType::Hash))
        .key_schema(key("SK", KeyType::Range))
        .global_secondary_indexes(runs.build().expect("an index"))
        .send()
        .await
        .expect("a table");
}
