//! Tests of the AWS harness itself: clocks advance, faults occur as planned, a killed test leaves
//! no server behind, and the stubs of Lambda behave like Lambda.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stepladder_tests::aws_faults::{AwsFault, AwsFaultProxy};
use stepladder_tests::aws_json::{AwsJson, fresh_name};
use stepladder_tests::dynamodb_local::DynamoDbLocal;
use stepladder_tests::lambda_api::{InvocationOutcome, LambdaApi};
use stepladder_tests::lambda_pump::LambdaPump;
use stepladder_tests::ministack::Ministack;
use stepladder_tests::wait_for;

const QUARTER: Duration = Duration::from_secs(900);

#[tokio::test]
async fn a_delayed_message_is_visible_after_time_advances() {
    let stack = Ministack::start().await;
    let (client, queue) = create_queue(&stack).await;
    let message = json!({"QueueUrl": queue, "MessageBody": "later", "DelaySeconds": 900});
    client.sqs("SendMessage", &message).await.unwrap().unwrap();
    assert_eq!(receive(&client, &queue).await, [] as [Value; 0]);
    stack.advance(QUARTER - Duration::from_secs(10));
    assert_eq!(receive(&client, &queue).await, [] as [Value; 0], "ten seconds are left");
    stack.advance(Duration::from_secs(10));
    assert_eq!(receive(&client, &queue).await[0]["Body"], "later");
}

#[tokio::test]
async fn a_received_message_is_visible_again_after_its_visibility_timeout() {
    let stack = Ministack::start().await;
    let (client, queue) = create_queue(&stack).await;
    send(&client, &queue, "again").await;
    let first = receive(&client, &queue).await;
    assert_eq!(receive(&client, &queue).await, [] as [Value; 0]);
    stack.advance(QUARTER);
    let second = receive(&client, &queue).await;
    assert_eq!(second[0]["Attributes"]["ApproximateReceiveCount"], "2");
    assert_ne!(first[0]["ReceiptHandle"], second[0]["ReceiptHandle"]);
}

#[tokio::test]
async fn the_token_of_a_transaction_is_forgotten_after_ten_minutes() {
    let stack = Ministack::start().await;
    let (client, table) = (stack.client(), fresh_name("table"));
    client.create_table(&table).await;
    let once = json!({"ClientRequestToken": "one", "TransactItems": [{"Put": {
        "TableName": table, "Item": item_key("a"), "ConditionExpression": "attribute_not_exists(pk)",
    }}]});
    client.dynamodb("TransactWriteItems", &once).await.unwrap().unwrap();
    client.dynamodb("TransactWriteItems", &once).await.unwrap().expect("a repeat is answered like the first");
    stack.advance(Duration::from_secs(600));
    let refused = client.dynamodb("TransactWriteItems", &once).await.unwrap().unwrap_err();
    assert_eq!(refused.code, "TransactionCanceledException");
}

#[tokio::test]
async fn a_reused_ministack_is_empty() {
    let stack = Ministack::start().await;
    let (_, queue) = create_queue(&stack).await;
    drop(stack);
    let next = Ministack::start().await;
    let refused = next.client().sqs("GetQueueAttributes", &json!({"QueueUrl": queue})).await.unwrap().unwrap_err();
    assert_eq!(refused.code, "QueueDoesNotExist");
}

#[tokio::test]
async fn a_lost_request_has_no_effect_and_a_lost_reply_has() {
    let (faults, client, table) = table_behind_faults().await;
    faults.set_plan(|request| match (request.operation.as_str(), request.n) {
        ("PutItem", 0) => AwsFault::LoseRequest,
        ("PutItem", 1) => AwsFault::LoseReply,
        _ => AwsFault::Pass,
    });
    for (sort, there) in [("lost request", false), ("lost reply", true)] {
        let put = json!({"TableName": table, "Item": item_key(sort)});
        assert_eq!(client.dynamodb("PutItem", &put).await, None, "{sort}");
        let got =
            client.dynamodb("GetItem", &json!({"TableName": table, "Key": item_key(sort)})).await.unwrap().unwrap();
        assert_eq!(got.get("Item").is_some(), there, "{sort}");
    }
    let counts = faults.counts();
    assert_eq!((counts["PutItem"], counts["GetItem"]), (2, 2));
    faults.forget_counts();
    assert!(faults.counts().is_empty());
}

#[tokio::test]
async fn refusals_have_the_form_of_the_service() {
    let (faults, client, table) = table_behind_faults().await;
    let put = json!({"TableName": table, "Item": item_key("a")});
    for (fault, status, code) in [
        (AwsFault::Throttle, 400, "ProvisionedThroughputExceededException"),
        (AwsFault::Refuse("ThrottlingException"), 400, "ThrottlingException"),
        (AwsFault::Conflict, 400, "TransactionConflictException"),
        (AwsFault::Status(500), 500, "InternalServerError"),
        (AwsFault::Status(503), 503, "ServiceUnavailable"),
    ] {
        faults.set_plan(move |_| fault.clone());
        let refused = client.dynamodb("PutItem", &put).await.unwrap().unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (status, code));
    }
    faults.set_plan(|_| AwsFault::Conflict);
    let two = json!([{"Put": {"TableName": table, "Item": item_key("a")}}, {"Put": {"TableName": table, "Item": item_key("b")}}]);
    let asked = json!({"TransactItems": two});
    let refused = client.dynamodb("TransactWriteItems", &asked).await.unwrap().unwrap_err();
    assert_eq!(refused.body["CancellationReasons"][1]["Code"], "TransactionConflict");
    faults.set_plan(|_| AwsFault::Throttle);
    let refused = client.sqs("SendMessage", &json!({})).await.unwrap().unwrap_err();
    assert_eq!(refused.code, "RequestThrottled");
    faults.clear_plan();
    client.dynamodb("PutItem", &put).await.unwrap().expect("no faults any more");
}

#[tokio::test]
async fn a_held_request_goes_on_when_it_is_released() {
    let (faults, client, table) = table_behind_faults().await;
    faults.set_plan(|request| if request.operation == "PutItem" { AwsFault::Hold } else { AwsFault::Pass });
    let put = tokio::spawn({
        let (client, table) = (client.clone(), table.clone());
        async move { client.dynamodb("PutItem", &json!({"TableName": table, "Item": item_key("held")})).await }
    });
    wait_for("the request", async || faults.counts().contains_key("PutItem").then_some(())).await;
    let get = json!({"TableName": table, "Key": item_key("held"), "ConsistentRead": true});
    let got = client.dynamodb("GetItem", &get).await.unwrap().unwrap();
    assert_eq!(got.get("Item"), None, "held");
    faults.release();
    put.await.unwrap().unwrap().unwrap();
    let got = client.dynamodb("GetItem", &get).await.unwrap().unwrap();
    assert_eq!(got["Item"], item_key("held"));
}

#[tokio::test]
async fn entries_left_out_of_a_batch_are_reported_as_unprocessed() {
    let (faults, client, table) = table_behind_faults().await;
    faults.set_plan(|request| if request.n == 0 { AwsFault::LeaveOut(vec![0, 2]) } else { AwsFault::Pass });
    let puts: Vec<_> = ["a", "b", "c"].map(|sort| json!({"PutRequest": {"Item": item_key(sort)}})).into();
    let asked = json!({"RequestItems": {&table: puts}});
    let answer = client.dynamodb("BatchWriteItem", &asked).await.unwrap().unwrap();
    assert_eq!(answer["UnprocessedItems"][&table], json!([puts[0], puts[2]]));

    let keys = json!({&table: {"Keys": [item_key("a"), item_key("b"), item_key("c")], "ConsistentRead": true}});
    let answer = client.dynamodb("BatchGetItem", &json!({"RequestItems": keys})).await.unwrap().unwrap();
    assert_eq!(
        answer["UnprocessedKeys"][&table],
        json!({"Keys": [item_key("a"), item_key("c")], "ConsistentRead": true})
    );
    assert_eq!(answer["Responses"][&table], json!([item_key("b")]), "one was written");
    let answer = client.dynamodb("BatchGetItem", &json!({"RequestItems": keys})).await.unwrap().unwrap();
    assert_eq!(answer["Responses"][&table], json!([item_key("b")]), "the others were not");
    assert_eq!(answer["UnprocessedKeys"], json!({}));

    faults.set_plan(|_| AwsFault::LeaveOut(vec![0, 1, 2]));
    let answer = client.dynamodb("BatchWriteItem", &asked).await.unwrap().unwrap();
    assert_eq!(answer["UnprocessedItems"], json!({&table: puts}), "nothing of it");
}

#[tokio::test]
async fn messages_left_out_of_a_batch_are_reported_as_failed() {
    let stack = Ministack::start().await;
    let (client, queue) = create_queue(&stack).await;
    let faults = AwsFaultProxy::start(stack.url()).await;
    let between = AwsJson::new(faults.url());
    faults.set_plan(|request| if request.n == 0 { AwsFault::LeaveOut(vec![0]) } else { AwsFault::Pass });
    let entries = json!([{"Id": "a", "MessageBody": "a"}, {"Id": "b", "MessageBody": "b"}]);
    let asked = json!({"QueueUrl": queue, "Entries": entries});
    let answer = between.sqs("SendMessageBatch", &asked).await.unwrap().unwrap();
    assert_eq!((&answer["Failed"][0]["Id"], &answer["Failed"][0]["SenderFault"]), (&json!("a"), &json!(false)));
    assert_eq!((&answer["Successful"][0]["Id"], answer["Successful"].as_array().unwrap().len()), (&json!("b"), 1));

    let received = receive(&client, &queue).await;
    assert_eq!((received.len(), &received[0]["Body"]), (1, &json!("b")));
    let asked = json!({"QueueUrl": queue, "Entries": [{"Id": "x", "ReceiptHandle": received[0]["ReceiptHandle"]}]});
    let answer = between.sqs("DeleteMessageBatch", &asked).await.unwrap().unwrap();
    assert_eq!((&answer["Failed"][0]["Id"], &answer["Successful"]), (&json!("x"), &json!([])));
    stack.advance(QUARTER);
    assert_eq!(receive(&client, &queue).await.len(), 1, "it was not deleted");
}

#[tokio::test]
async fn a_response_an_error_and_a_timeout_end_their_invocations() {
    let api = LambdaApi::start().await;
    let started = Instant::now();
    let process = tokio::spawn(serve_function(api.clone(), |event| match event["is"].as_str() {
        Some("good") => Ok(json!({"was": event})),
        _ => Err(json!({"errorType": "Bad", "errorMessage": "no good"})),
    }));
    let minute = Duration::from_secs(60);
    let good = api.invoke(&json!({"is": "good"}), minute).await;
    assert_eq!(good, InvocationOutcome::Response(json!({"was": {"is": "good"}})));
    let bad = api.invoke(&json!({"is": "bad"}), minute).await;
    assert_eq!(bad, InvocationOutcome::Error(json!({"errorType": "Bad", "errorMessage": "no good"})));
    let (asked, answered) = (api.first_asked().unwrap(), api.first_answered().unwrap());
    assert!(started <= asked && asked <= answered && answered.elapsed() < minute);
    process.abort();
    assert!(process.await.unwrap_err().is_cancelled());
    assert_eq!(api.invoke(&json!({"is": "good"}), Duration::from_millis(50)).await, InvocationOutcome::TimedOut);
}

#[tokio::test]
async fn only_a_failed_message_comes_back() {
    let stack = Ministack::start().await;
    let (client, queue) = create_queue(&stack).await;
    let message = json!({
        "QueueUrl": queue, "MessageBody": "bad", "MessageGroupId": "group",
        "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5-6"}},
        "MessageAttributes": {"kind": {"DataType": "String", "StringValue": "step"}},
    });
    client.sqs("SendMessage", &message).await.unwrap().unwrap();
    send(&client, &queue, "good").await;

    let api = LambdaApi::start().await;
    let process = tokio::spawn(serve_function(api.clone(), |event| {
        let record = &event["Records"][0];
        if record["body"] != "bad" {
            return Ok(Value::Null);
        }
        assert_eq!(record["attributes"]["AWSTraceHeader"], "Root=1-5-6");
        assert_eq!(record["attributes"]["MessageGroupId"], "group");
        assert_eq!(record["messageAttributes"]["kind"]["stringValue"], "step");
        if record["attributes"]["ApproximateReceiveCount"] == "1" {
            return Ok(json!({"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}));
        }
        Ok(json!({"batchItemFailures": []}))
    }));
    let pump = LambdaPump::new(stack.url(), &queue, api);
    let first = pump.pump().await.expect("two messages");
    assert_eq!((first.deleted.len(), first.failed.len()), (1, 1));
    assert_eq!(pump.pump().await, None, "not visible yet");
    stack.advance(QUARTER);
    let second = pump.drain().await;
    assert_eq!(second[0].deleted, first.failed);
    stack.advance(QUARTER);
    assert_eq!(pump.pump().await, None, "deleted");
    process.abort();
}

/// Starts this test again in another process, which is then killed. That process starts the
/// servers, prints their addresses and waits.
#[tokio::test]
async fn a_killed_test_leaves_no_server_behind() {
    if std::env::var_os("STEPLADDER_KILLED_TEST").is_some() {
        let (stack, _) = tokio::join!(Ministack::start(), DynamoDbLocal::shared());
        println!("serving at {} and {}", stack.url(), DynamoDbLocal::shared().await.url());
        return std::future::pending().await;
    }
    let mut killed = Command::new(std::env::current_exe().unwrap());
    killed.args(["--exact", "a_killed_test_leaves_no_server_behind", "--nocapture"]);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    killed.env("STEPLADDER_KILLED_TEST", "1").env("TMPDIR", folder.path()).stdout(file).stderr(Stdio::inherit());
    let mut killed = killed.spawn().unwrap();
    let urls: Vec<String> = wait_for("the servers", async || {
        let log = std::fs::read_to_string(&log).unwrap();
        let (_, line) = log.split_once("serving at ")?;
        let (line, _) = line.split_once('\n')?;
        Some(line.split(" and ").map(str::to_owned).collect())
    })
    .await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    for url in urls {
        let address = url.strip_prefix("http://").unwrap().to_owned();
        wait_for("its end", async || std::net::TcpStream::connect(&address).is_err().then_some(())).await;
    }
    let left = async || (std::fs::read_dir(folder.path()).unwrap().count() == 1).then_some(());
    wait_for("their folders to be gone", left).await;
}

async fn create_queue(stack: &Ministack) -> (AwsJson, String) {
    let client = stack.client();
    let queue = client.create_queue(&fresh_name("queue"), &json!({"VisibilityTimeout": "900"})).await;
    (client, queue)
}

async fn send(client: &AwsJson, queue: &str, body: &str) {
    client.sqs("SendMessage", &json!({"QueueUrl": queue, "MessageBody": body})).await.unwrap().unwrap();
}

async fn receive(client: &AwsJson, queue: &str) -> Vec<Value> {
    let asked = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"]});
    let answer = client.sqs("ReceiveMessage", &asked).await.unwrap().unwrap();
    answer["Messages"].as_array().cloned().unwrap_or_default()
}

async fn table_behind_faults() -> (AwsFaultProxy, AwsJson, String) {
    let faults = AwsFaultProxy::start(DynamoDbLocal::shared().await.url()).await;
    let (client, table) = (AwsJson::new(faults.url()), fresh_name("table"));
    client.create_table(&table).await;
    (faults, client, table)
}

/// Returns an item that has only its two keys.
fn item_key(sort: &str) -> Value {
    json!({"pk": {"S": "all"}, "sk": {"S": sort}})
}

/// Acts as the process of a Lambda function: in a loop, gets the next event and posts a response or
/// an error.
async fn serve_function(api: LambdaApi, handle: impl Fn(&Value) -> Result<Value, Value>) {
    let variables = api.environment();
    let (_, address) = variables.iter().find(|(name, _)| *name == "AWS_LAMBDA_RUNTIME_API").unwrap();
    let root = format!("http://{address}/2018-06-01/runtime/invocation");
    let client = stepladder_tests::http_builder().no_proxy().build().unwrap();
    loop {
        let next = client.get(format!("{root}/next")).send().await.unwrap();
        let header = |name: &str| next.headers()[name].to_str().unwrap().to_owned();
        let (id, deadline) = (header("lambda-runtime-aws-request-id"), header("lambda-runtime-deadline-ms"));
        assert!(deadline.parse::<u64>().is_ok() && header("lambda-runtime-trace-id").starts_with("Root=1-"));
        let (end, body) = match handle(&next.json().await.unwrap()) {
            Ok(response) => ("response", response),
            Err(error) => ("error", error),
        };
        let posted = client.post(format!("{root}/{id}/{end}")).body(body.to_string()).send().await.unwrap();
        assert_eq!(posted.status(), 202);
    }
}
