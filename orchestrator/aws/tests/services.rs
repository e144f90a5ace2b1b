//! Reading secrets and invoking functions: what is repeated, and what errors say.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use serde_json::json;
use stepladder_aws::{Connection, FunctionInvoker, InvokeError, SecretName, SecretReader, http_client};
use wiremock::matchers::{body_json, header, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn connection(server: &MockServer) -> Connection {
    let credentials = Credentials::new("key", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client())
        .endpoint_url(server.uri());
    Connection::from_config(&config.build())
}

fn error(status: u16, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"__type": format!("com.amazon#{code}"), "message": "why"}))
}

#[tokio::test]
async fn a_secret_is_read_again_only_if_that_may_help() {
    let server = MockServer::start().await;
    let reader = SecretReader::new(&connection(&server)).unwrap();
    let secret = SecretName::Secret("keys".into());
    let asked = || {
        let target = header("x-amz-target", "secretsmanager.GetSecretValue");
        Mock::given(target).and(body_json(json!({"SecretId": "keys"})))
    };
    for passing in [error(500, "InternalServiceError"), error(400, "ThrottlingException")] {
        asked().respond_with(passing).up_to_n_times(1).expect(1).mount(&server).await;
    }
    asked().respond_with(ResponseTemplate::new(200).set_body_json(json!({"SecretString": "a"}))).mount(&server).await;
    assert_eq!(reader.read(&secret).await.unwrap(), "a");

    server.reset().await;
    asked().respond_with(error(400, "AccessDeniedException")).expect(1).mount(&server).await;
    let problem = reader.read(&secret).await.unwrap_err();
    assert!(!problem.is_missing);
    assert_eq!(problem.to_string(), "the secret `keys` of Secrets Manager: AccessDeniedException: why");
    server.reset().await;
    asked().respond_with(error(503, "")).expect(3).mount(&server).await;
    assert!(reader.read(&secret).await.unwrap_err().to_string().ends_with("HTTP 503"));

    server.reset().await;
    asked().respond_with(error(400, "ResourceNotFoundException")).expect(1).mount(&server).await;
    assert!(reader.read(&secret).await.unwrap_err().is_missing);

    server.reset().await;
    let parameter = json!({"Parameter": {"Value": "b"}});
    Mock::given(header("x-amz-target", "AmazonSSM.GetParameter"))
        .and(body_json(json!({"Name": "/keys", "WithDecryption": true})))
        .respond_with(ResponseTemplate::new(200).set_body_json(parameter))
        .mount(&server)
        .await;
    assert_eq!(reader.read(&SecretName::Parameter("/keys".into())).await.unwrap(), "b");
}

#[tokio::test]
async fn an_invocation_is_lost_only_if_the_function_may_have_executed() {
    let server = MockServer::start().await;
    let invoker = FunctionInvoker::new(&connection(&server)).unwrap();
    let arn = "arn:aws:lambda:us-east-2:1:function:shop";
    let url = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-2%3A1%3Afunction%3Ashop/invocations";
    let invoke = async |answer: ResponseTemplate| {
        server.reset().await;
        Mock::given(path(url)).and(body_json(json!({"a": 1}))).respond_with(answer).expect(1).mount(&server).await;
        invoker.invoke(arn, br#"{"a":1}"#.to_vec()).await
    };
    let answer = |status: u16| ResponseTemplate::new(status).set_body_json(json!({"Message": "why"}));
    assert_eq!(invoke(answer(200)).await.unwrap(), br#"{"Message":"why"}"#);
    let requests = server.received_requests().await.unwrap();
    let signature = requests[0].headers["authorization"].to_str().unwrap();
    assert!(signature.contains("/us-east-2/lambda/aws4_request"), "the region is that of the function: {signature}");

    let failed = ResponseTemplate::new(200).insert_header("x-amz-function-error", "Unhandled");
    let failed = failed.set_body_json(json!({"errorMessage": "Task timed out"}));
    let lost = |text: &str| Err(InvokeError::Lost(text.into()));
    assert_eq!(invoke(failed).await, lost("it ended with an error: Task timed out"));
    assert_eq!(invoke(answer(502)).await, lost("HTTP 502: why"));
    let not_invoked = |text: &str| Err(InvokeError::NotInvoked(text.into()));
    assert_eq!(invoke(answer(429)).await, not_invoked("HTTP 429: why"));
    assert_eq!(invoke(answer(404)).await, not_invoked("HTTP 404: why"));
    assert_eq!(invoke(answer(403)).await, not_invoked("why; the template's parameter AppFunctionArns permits it"));
    drop(server);
    assert!(matches!(invoker.invoke(arn, Vec::new()).await, Err(InvokeError::NotInvoked(_))));
}
