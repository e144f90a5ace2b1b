//! A client of AWS's JSON protocol for SQS and DynamoDB, over plain HTTP. With it, tests call an
//! emulator or a proxy without the SDK and its retries. The signatures of requests are not valid,
//! because emulators check only their form.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The region in which all requests are made.
pub const REGION: &str = "us-east-1";

/// The account number that emulators use.
pub const ACCOUNT: &str = "000000000000";

/// An error response: its status is not 2xx.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsError {
    /// The HTTP status.
    pub status: u16,
    /// The error code, without its namespace.
    pub code: String,
    /// The complete body.
    pub body: Value,
}

/// A client of one endpoint.
#[derive(Clone, Debug)]
pub struct AwsJson {
    endpoint: String,
    client: reqwest::Client,
}

impl AwsJson {
    /// Creates a client of this endpoint.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), client: plain_client() }
    }

    /// Sends one request to DynamoDB, without retries. Returns `None` if the connection was closed
    /// without a response.
    pub async fn dynamodb(&self, operation: &str, body: &Value) -> Option<Result<Value, AwsError>> {
        self.call_service("dynamodb", &format!("DynamoDB_20120810.{operation}"), body).await
    }

    /// Sends one request to SQS, without retries. Returns `None` if the connection was closed
    /// without a response.
    pub async fn sqs(&self, operation: &str, body: &Value) -> Option<Result<Value, AwsError>> {
        self.call_service("sqs", &format!("AmazonSQS.{operation}"), body).await
    }

    /// Sends one request to Secrets Manager, without retries. Returns `None` if the connection was
    /// closed without a response.
    pub async fn secrets(&self, operation: &str, body: &Value) -> Option<Result<Value, AwsError>> {
        self.call_service("secretsmanager", &format!("secretsmanager.{operation}"), body).await
    }

    /// Sends one request to Systems Manager, without retries. Returns `None` if the connection was
    /// closed without a response.
    pub async fn parameters(&self, operation: &str, body: &Value) -> Option<Result<Value, AwsError>> {
        self.call_service("ssm", &format!("AmazonSSM.{operation}"), body).await
    }

    /// Sends one request to CloudWatch Logs, without retries. Returns `None` if the connection was
    /// closed without a response.
    pub async fn logs(&self, operation: &str, body: &Value) -> Option<Result<Value, AwsError>> {
        self.call_service("logs", &format!("Logs_20140328.{operation}"), body).await
    }

    /// Creates a standard queue and returns its address. The attributes are those of SQS, e.g.
    /// `{"VisibilityTimeout": "60"}`.
    pub async fn create_queue(&self, name: &str, attributes: &Value) -> String {
        let asked = json!({"QueueName": name, "Attributes": attributes});
        let answer = self.sqs("CreateQueue", &asked).await.expect("an answer").expect("a queue");
        answer["QueueUrl"].as_str().expect("a queue's address").to_owned()
    }

    /// Creates a table that is billed per request. Its keys `pk` and `sk` are strings.
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

    async fn call_service(&self, service: &str, target: &str, body: &Value) -> Option<Result<Value, AwsError>> {
        let request = self.client.post(&self.endpoint).header("x-amz-target", target);
        let request = request.header("content-type", "application/x-amz-json-1.0");
        // DynamoDB Local responds with 500 unless the header looks like a signature
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
        Some(Err(AwsError { status: status.as_u16(), code, body }))
    }
}

/// Returns a unique name for a table or a queue, because tests share an emulator.
pub fn fresh_name(kind: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
    format!("{kind}-{since}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns a builder of an HTTP client. That of `reqwest` panics, because it is built without TLS
/// of its own.
pub fn http_builder() -> reqwest::ClientBuilder {
    // fails from the second time on
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

/// Creates an HTTP client that ignores the environment variables of this process.
pub(crate) fn plain_client() -> reqwest::Client {
    // without the machine's certificates, because no request uses TLS and reading them is slow
    http_builder().no_proxy().tls_certs_only([]).build().expect("a client without options")
}
