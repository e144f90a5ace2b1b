//! An app that is a Lambda function: a stub of the API of Lambda invokes it, and checks that the
//! request is signed.

use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::Response;
use serde_json::{Value, json};
use stepladder_tests::stub_server::{HttpRequest, StubResponse, serve};

use super::world::{KeysIn, OnAws};
use super::{app, assert_order, output};

const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:shop";

/// What the stub knows.
#[derive(Default)]
struct LambdaStub {
    /// The address of the process that is the function.
    function: Mutex<Option<String>>,
    /// The next invocations that fail: the status, and whether the function has failed.
    failures: Mutex<Vec<(u16, bool)>>,
    invocations: Mutex<usize>,
}

async fn invoke(stub: &LambdaStub, asked: HttpRequest) -> StubResponse {
    let signature = asked.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_signed = signature.starts_with("AWS4-HMAC-SHA256 ") && signature.contains("/us-east-1/lambda/aws4_request");
    let path = format!("/2015-03-31/functions/{}/invocations", ARN.replace(':', "%3A"));
    if !is_signed || asked.uri.path() != path || asked.headers["x-amz-invocation-type"] != "RequestResponse" {
        return StubResponse::json(403, &json!({"message": format!("{} {signature}", asked.uri)}));
    }
    *stub.invocations.lock().expect("no panic") += 1;
    if let Some((status, has_failed)) = stub.failures.lock().expect("no panic").pop() {
        let reply = Response::builder().status(status).header("content-type", "application/json");
        let reply = if has_failed { reply.header("x-amz-function-error", "Unhandled") } else { reply };
        let body = json!({"errorMessage": "on purpose"}).to_string();
        return StubResponse::Reply(reply.body(Full::new(body.into())).expect("a response"));
    }
    let function = stub.function.lock().expect("no panic").clone().expect("the function is there");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = client.post(format!("{function}/invoke")).body(asked.body).send().await.expect("an answer");
    StubResponse::json(200, &answer.json::<Value>().await.expect("JSON"))
}

#[tokio::test]
async fn an_app_that_is_a_lambda_function_is_invoked_directly() {
    let stub: Arc<LambdaStub> = Arc::default();
    let inner = stub.clone();
    let lambda = serve(move |asked| {
        let stub = inner.clone();
        async move { invoke(&stub, asked).await }
    })
    .await;
    let endpoint = [("AWS_ENDPOINT_URL_LAMBDA", format!("http://{lambda}"))];
    let aws = OnAws::start(KeysIn::SystemsManager, &endpoint).await;
    let app = app(&aws, super::KEY).await;
    *stub.function.lock().expect("no panic") = Some(app.root());
    let address = format!("lambda:{ARN}");
    let (synced, text) = aws.cli(&["apps", "sync", &address]).await;
    assert!(synced && text.contains("shop is registered with 4 functions"), "{text}");
    let (_, text) = aws.cli(&["apps"]).await;
    assert!(text.contains(&format!("{address}/api/inngest")), "{text}");
    assert_order(&aws, &app).await;

    // a throttled invocation uses no retry
    stub.failures.lock().expect("no panic").push((429, false));
    let run = aws.send(&json!({"name": "shop/calls", "data": {}})).await;
    let [ended] = aws.ended([run]).await;
    assert_eq!(output(&ended), &json!([1, 1, 1]));
    let journal = json!(aws.journal(run).await.0).to_string();
    assert!(journal.contains("ExecutorUnreachable") && journal.contains("HTTP 429: on purpose"), "{journal}");
    assert!(*stub.invocations.lock().expect("no panic") > 8);
}
