//! `stepladder mcp --table`: the tools work on a table, without a server.

use std::sync::Arc;
use std::time::Duration;

use stepladder_aws::{Aws, AwsOptions, Connection};
use stepladder_engine::clock::SystemClock;
use stepladder_engine::retries::StorageRetries;
use stepladder_tests::aws_json::{REGION, fresh_name};
use stepladder_tests::dynamodb_local::DynamoDbLocal;
use stepladder_tests::ministack::Ministack;
use tokio::process::Command;

use super::{found, over_stdio, queues, session, table};

#[tokio::test]
async fn the_runs_of_a_table_are_created_explained_cancelled_and_rerun() {
    let dynamo = DynamoDbLocal::shared().await;
    let ministack = Ministack::start().await;
    let connection = Connection::emulators(&dynamo.url(), &ministack.url());
    let name = fresh_name("runs");
    table::create(connection.dynamo(), &name).await;
    let queues = queues::create(&connection, &name).await;
    let run = |arguments: &[&str]| {
        let mut python = session("runs_of_a_table");
        over_stdio(&mut python, &[&["mcp", "--table", &name], arguments].concat());
        python.env("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url()).env("AWS_ENDPOINT_URL_SQS", ministack.url());
        python.env("AWS_REGION", REGION).env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        python
    };
    // without the addresses of the queues, only reading is possible
    let said = refusal(&mut run(&[])).await;
    assert!(said.contains("does not name its queues"), "{said}");
    let reading = found(&mut run(&["--read-only"])).await;
    let tools = ["explain_run", "get_journal", "list_functions", "search_docs", "search_runs", "wait_for_run"];
    assert_eq!((&reading["tools"], &reading["runs"]), (&tools.as_slice().into(), &0.into()));

    let options = AwsOptions {
        table: name.clone(),
        queues: queues.clone(),
        clock: Arc::new(SystemClock),
        retention: Duration::from_secs(86_400),
        trace: || None,
        retries: StorageRetries::at_once(),
    };
    Aws::new(&connection, options).publish_addresses(&queues).await.expect("the addresses are written");
    found(&mut run(&[])).await;
    assert_eq!(found(&mut run(&["--read-only"])).await["runs"], 2);
}

/// Runs a session that must fail, and returns what was printed.
async fn refusal(python: &mut Command) -> String {
    let done = python.output().await.expect("Python starts");
    assert!(!done.status.success());
    String::from_utf8_lossy(&done.stderr).into_owned()
}
