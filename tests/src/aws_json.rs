//! AWS's JSON protocol over plain HTTP, as SQS and DynamoDB speak it: for tests that ask an emulator, or what lies
//! before it, without the SDK and its retries. Nothing is signed; emulators look at the shape only.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The region that everything here claims to be in.
pub const REGION: &str = "us-east-1";

/// The account that emulators know.
pub const ACCOUNT: &str = "000000000000";

/// A service's answer that is not 2xx.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The error's code, without its namespace.
    pub code: String,
    /// The whole answer.
    pub body: Value,
}

/// A client of one endpoint.
#[derive(Clone, Debug)]
pub struct AwsJson {
    endpoint: String,
    client: reqwest::Client,
}

impl AwsJson {
    /// Asks at this address.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), client: plain_client() }
    }

    /// One request to DynamoDB, never repeated. `None` when the connection ended without an answer.
    pub async fn dynamodb(&self, operation: &str, body: &Value) -> Option<Result<Value, Refused>> {
        self.ask("dynamodb", &format!("DynamoDB_20120810.{operation}"), body).await
    }

    /// One request to SQS, never repeated. `None` when the connection ended without an answer.
    pub async fn sqs(&self, operation: &str, body: &Value) -> Option<Result<Value, Refused>> {
        self.ask("sqs", &format!("AmazonSQS.{operation}"), body).await
    }

    /// One request to CloudWatch Logs, never repeated. `None` when the connection ended without an answer.
    pub async fn logs(&self, operation: &str, body: &Value) -> Option<Result<Value, Refused>> {
        self.ask("logs", &format!("Logs_20140328.{operation}"), body).await
    }

    /// A new standard queue: its address. Attributes as SQS names them, e.g. `{"VisibilityTimeout": "60"}`.
    pub async fn create_queue(&self, name: &str, attributes: &Value) -> String {
        let asked = json!({"QueueName": name, "Attributes": attributes});
        let answer = self.sqs("CreateQueue", &asked).await.expect("an answer").expect("a queue");
        answer["QueueUrl"].as_str().expect("a queue's address").to_owned()
    }

    /// A new table with the string keys `pk` and `sk`, paid by request.
    pub async fn create_table(&self, name: &str) {
        let asked = json!({
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
        });
        self.dynamodb("CreateTable", &asked).await.expect("an answer").expect("a table");
    }

    async fn ask(&self, service: &str, target: &str, body: &Value) -> Option<Result<Value, Refused>> {
        let request = self.client.post(&self.endpoint).header("x-amz-target", target);
        let request = request.header("content-type", "application/x-amz-json-1.0");
        // DynamoDB Local answers 500 to anything that is not shaped like a signature
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let answer = request.header("authorization", signature).body(body.to_string()).send().await.ok()?;
        let status = answer.status();
        let body = answer.bytes().await.ok()?;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if status.is_success() {
            return Some(Ok(body));
        }
        let code = body["__type"].as_str().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default().to_owned();
        Some(Err(Refused { status: status.as_u16(), code, body }))
    }
}

/// A name that nothing else has, for a table or a queue in an emulator that tests share.
pub fn fresh_name(kind: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
    format!("{kind}-{since}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A client that looks at no variable of this process.
pub(crate) fn plain_client() -> reqwest::Client {
    // nothing here is asked by TLS, and reading the machine's certificates takes longer than the rest
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client without options")
}
