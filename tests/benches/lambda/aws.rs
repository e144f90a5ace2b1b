//! A stub of DynamoDB and SQS for a single hop: it returns a new run and accepts all writes.

use serde_json::{Value, json};
use stepladder_tests::stub_server::{StubResponse, serve};

/// The id of the run.
pub(crate) const RUN: &str = "01HF7YAT000000000000000001";

/// Starts the stub on a free port. Returns its address.
pub(crate) async fn start() -> String {
    let address = serve(|asked| async move {
        let target = asked.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        StubResponse::json(200, &response_body(operation))
    })
    .await;
    format!("http://{address}")
}

fn response_body(operation: &str) -> Value {
    match operation {
        "Query" => json!({"Items": [first_record()], "Count": 1, "ScannedCount": 1}),
        "SendMessage" => json!({"MessageId": "1", "MD5OfMessageBody": ""}),
        _ => json!({}),
    }
}

/// Returns the first record of the run in the format in which the AWS adapter stores it.
fn first_record() -> Value {
    let event = json!({
        "id": RUN, "name": "test/hello.world", "data": {"name": "Ada"},
        "ts": 1_700_000_000_000_i64, "received_at": 1_700_000_000_000_i64,
    });
    let created = json!({"RunCreated": {"function": "hello-world", "event": event, "origin": "Event"}});
    let entries = json!([{"at": 1_700_000_000_000_i64, "fact": created}]).to_string();
    json!({
        "PK": {"S": format!("R#{RUN}")}, "SK": {"S": "J#0000000000"}, "c": {"S": "0"},
        "t": {"B": "AAAAAAAAAAAAAAAAAAAAAQ=="}, "v": {"S": entries}, "ttl": {"N": "9999999999"},
    })
}
