//! Runs the conformance suite for adapters on the AWS adapter, with the table on Amazon's DynamoDB
//! Local and on a second emulator.

#[path = "aws/queues.rs"]
mod queues;
#[path = "aws/table.rs"]
mod table;
#[path = "aws/world.rs"]
mod world;

mod on_dynamodb_local {
    use crate::world::{TableEmulator, subject};

    stepladder_testkit::conformance!(async || subject(TableEmulator::DynamoDbLocal).await);
}

mod on_ministack {
    use crate::world::{TableEmulator, subject};

    stepladder_testkit::conformance!(async || subject(TableEmulator::Ministack).await);
}
