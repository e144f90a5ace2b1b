//! Journals in DynamoDB, wakes in SQS: what the engine needs of storage and queue, on AWS.
