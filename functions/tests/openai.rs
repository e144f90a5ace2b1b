//! Tests the OpenAI client with a stub server that checks requests and responds like real services.

use std::time::Duration;

use serde_json::{Value, json};
use stepladder::Error;
use stepladder_functions::{
    enhance_client::{BusinessIntelligence, EnhanceRequested, intelligence_schema, question},
    openai::OpenAi,
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path},
};

#[path = "support/endless.rs"]
mod endless;

const KEY: &str = "sk-test-0123456789";

fn client() -> EnhanceRequested {
    EnhanceRequested {
        client_id: "c-1".to_owned(),
        client_name: "Acme \"Tools\"\nLtd".to_owned(),
        client_domain: "acme.example".to_owned(),
    }
}

fn intelligence_json() -> Value {
    json!({
        "industry": "Tools", "description": "Makes tools.", "business_model": "Sales", "tone": "Plain",
        "products": ["Hammer"], "services": [], "audiences": ["Builders"], "keywords": ["hammer"],
        "unique_selling_points": [], "locations": ["Leeds"],
        "competitors": [{ "name": "Rival", "domain": "rival.example", "reason": "hammers too" }],
    })
}

fn completion_json(content: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "some-model",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": content } }],
    })
}

async fn ask_openai(server: &MockServer) -> Result<BusinessIntelligence, Error> {
    let openai = OpenAi::new(KEY, &format!("{}/v1/", server.uri()), "some-model").unwrap();
    openai.answer(question(&client())).await
}

async fn server_answering(template: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(template).mount(&server).await;
    server
}

/// Asks a server with this response one question, and returns the error. The client must send
/// exactly one request.
async fn refusal_error(template: ResponseTemplate) -> Error {
    let server = server_answering(template).await;
    let error = ask_openai(&server).await.unwrap_err();
    assert_eq!(server.received_requests().await.unwrap().len(), 1, "the client retried by itself");
    error
}

fn retry_delay(error: &Error) -> Option<Duration> {
    error.retry_delay()
}

#[tokio::test]
async fn the_question_carries_key_model_and_a_strict_schema() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .and(header("authorization", format!("Bearer {KEY}")))
        .respond_with(ResponseTemplate::new(200).set_body_json(completion_json(&intelligence_json().to_string())))
        .expect(1)
        .mount(&server)
        .await;
    let answer = ask_openai(&server).await.unwrap();
    assert_eq!(serde_json::to_value(&answer).unwrap(), intelligence_json());

    let requests = server.received_requests().await.unwrap();
    let body: Value = requests[0].body_json().unwrap();
    assert_eq!(body["model"], "some-model");
    assert_eq!(body["response_format"]["type"], "json_schema");
    assert_eq!(body["response_format"]["json_schema"]["strict"], true);
    assert_eq!(body["response_format"]["json_schema"]["name"], "business_intelligence");
    assert_eq!(body["response_format"]["json_schema"]["schema"], intelligence_schema());
    assert_eq!(body["messages"][0]["role"], "system");
    assert_eq!(body["messages"][1]["role"], "user");
    let asked: Value = serde_json::from_str(body["messages"][1]["content"].as_str().unwrap()).unwrap();
    assert_eq!(asked, json!({ "company": "Acme \"Tools\"\nLtd", "domain": "acme.example" }));
}

#[tokio::test]
async fn a_429_waits_as_long_as_the_service_asks() {
    let body =
        json!({ "error": { "message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded" } });
    let error = refusal_error(ResponseTemplate::new(429).insert_header("retry-after", "7").set_body_json(body)).await;
    assert_eq!(retry_delay(&error), Some(Duration::from_secs(7)));
    assert_eq!(error.code(), Some("http-429"));
    assert!(error.to_string().contains("Rate limit reached [rate_limit_exceeded]"), "{error}");
}

#[tokio::test]
async fn a_retry_delay_in_milliseconds_takes_precedence() {
    let template = ResponseTemplate::new(429).insert_header("retry-after", "1").insert_header("retry-after-ms", "250");
    let error = refusal_error(template).await;
    assert_eq!(retry_delay(&error), Some(Duration::from_millis(250)));
    assert_eq!(error.code(), Some("http-429"));
}

#[tokio::test]
async fn a_429_with_a_foreign_body_is_still_a_429() {
    for body in ["<html>Too many requests</html>", r#"{"detail":"slow down"}"#, r#"{"error":"slow down"}"#, ""] {
        let error =
            refusal_error(ResponseTemplate::new(429).insert_header("retry-after", "3").set_body_string(body)).await;
        assert_eq!(retry_delay(&error), Some(Duration::from_secs(3)), "{body}: {error:?}");
        assert_eq!(error.code(), Some("http-429"));
    }
}

#[tokio::test]
async fn server_errors_are_retried() {
    for status in [500, 502, 503, 504] {
        let error = refusal_error(ResponseTemplate::new(status).set_body_string("upstream is away")).await;
        assert!(!error.is_terminal(), "{error:?}");
        assert!(error.to_string().contains("upstream is away"), "{error}");
    }
}

#[tokio::test]
async fn a_400_is_terminal_and_quotes_the_service() {
    let body = json!({ "error": { "message": "Invalid schema for response_format", "type": "invalid_request_error" } });
    // a `retry-after-ms` header, which does not belong to a 400, must not make the error retryable
    let error =
        refusal_error(ResponseTemplate::new(400).insert_header("retry-after-ms", "5").set_body_json(body)).await;
    assert!(error.is_terminal());
    assert!(error.to_string().contains("Invalid schema for response_format [invalid_request_error]"), "{error}");
}

#[tokio::test]
async fn a_401_is_terminal_and_never_shows_the_key() {
    let body =
        json!({ "error": { "message": format!("Incorrect API key provided: {KEY}."), "code": "invalid_api_key" } });
    let error = refusal_error(ResponseTemplate::new(401).set_body_json(body)).await;
    assert!(error.is_terminal());
    let shown = format!("{error} {error:#} {error:?}");
    assert!(shown.contains("Incorrect API key provided: ***."), "{shown}");
    assert!(shown.contains("OPENAI_API_KEY"), "{shown}");
    assert!(!shown.contains(KEY), "{shown}");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_the_schema_is_retried() {
    for content in ["", "Certainly! Here is", r#"{"industry":"Tools"}"#, r#"{"industry":1}"#] {
        let error = refusal_error(ResponseTemplate::new(200).set_body_json(completion_json(content))).await;
        assert!(!error.is_terminal(), "{content}: {error:?}");
        assert!(error.to_string().contains("does not fit the schema"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_cut_off_at_its_length_says_so() {
    let mut body = completion_json(r#"{"industry":"To"#);
    body["choices"][0]["finish_reason"] = json!("length");
    let error = refusal_error(ResponseTemplate::new(200).set_body_json(body)).await;
    assert!(!error.is_terminal());
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[tokio::test]
async fn a_refusal_is_terminal_since_each_further_one_costs_the_same() {
    let mut body = completion_json("");
    body["choices"][0]["message"] = json!({ "role": "assistant", "content": null, "refusal": "I cannot help." });
    let error = refusal_error(ResponseTemplate::new(200).set_body_json(body)).await;
    assert!(error.is_terminal());
    assert!(error.to_string().contains("I cannot help."), "{error}");

    let mut body = completion_json("");
    body["choices"][0]["finish_reason"] = json!("content_filter");
    assert!(refusal_error(ResponseTemplate::new(200).set_body_json(body)).await.is_terminal());
}

#[tokio::test]
async fn a_success_that_is_no_completion_is_retried_without_showing_the_key() {
    for body in [format!("<html>{KEY}</html>"), "{}".to_owned(), r#"{"choices":[]}"#.to_owned()] {
        let error = refusal_error(ResponseTemplate::new(200).set_body_string(body)).await;
        assert!(!error.is_terminal(), "{error:?}");
        assert!(!format!("{error:?}").contains(KEY), "{error:?}");
    }
}

#[tokio::test]
async fn an_api_key_that_is_a_common_word_is_not_masked_in_the_answer() {
    let body = completion_json(&intelligence_json().to_string());
    let server = server_answering(ResponseTemplate::new(200).set_body_json(body)).await;
    // local servers accept any key, so the key may be an ordinary word such as `tools`, which the
    // answer contains too
    let openai = OpenAi::new("tools", &format!("{}/v1", server.uri()), "m").unwrap();
    let answer: BusinessIntelligence = openai.answer(question(&client())).await.unwrap();
    assert_eq!(serde_json::to_value(&answer).unwrap(), intelligence_json());
}

#[tokio::test]
async fn a_similar_server_that_leaves_fields_out_is_understood() {
    let content = intelligence_json().to_string();
    let body = json!({ "choices": [{ "message": { "content": content }, "finish_reason": "eos" }] });
    let server = server_answering(ResponseTemplate::new(200).set_body_json(body)).await;
    assert_eq!(ask_openai(&server).await.unwrap().profile.industry, "Tools");
}

#[tokio::test]
async fn a_key_that_the_service_sends_back_reaches_no_outcome() {
    // the key is escaped in the response, and escaped again in the model's JSON inside the response
    let twice = KEY.replace('-', "\\u002d");
    let mut body = completion_json(&intelligence_json().to_string().replace("Makes tools.", &twice));
    body["model"] = json!(KEY);
    let body = body.to_string().replace(KEY, &KEY.replace('-', "\\u002d"));
    let server = server_answering(ResponseTemplate::new(200).set_body_raw(body, "application/json")).await;
    let answer = serde_json::to_string(&ask_openai(&server).await.unwrap()).unwrap();
    assert!(answer.contains("***") && !answer.contains("0123456789"), "{answer}");
}

#[tokio::test]
async fn a_response_without_end_is_cut_off_at_16_mib() {
    let openai = OpenAi::new(KEY, &format!("{}/v1", endless::start_endless_server().await), "m").unwrap();
    let error = openai.answer::<Value>(question(&client())).await.unwrap_err();
    assert_eq!((error.is_terminal(), error.code()), (true, Some("response-too-large")), "{error}");
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_question_elsewhere() {
    let elsewhere = server_answering(ResponseTemplate::new(200)).await;
    let to = format!("{}/v1/chat/completions", elsewhere.uri());
    refusal_error(ResponseTemplate::new(307).insert_header("location", to.as_str())).await;
    assert!(elsewhere.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn no_connection_is_retried_and_shows_no_password_of_the_address() {
    // no server listens on this port any more: the listener is dropped at once
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let openai = OpenAi::new(KEY, &format!("http://user:hunter2@127.0.0.1:{port}/v1"), "m").unwrap();
    let error = openai.answer::<Value>(question(&client())).await.unwrap_err();
    assert!(!error.is_terminal());
    assert!(format!("{error:#}").starts_with("openai cannot be reached: "), "{error:#}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn invalid_settings_are_terminal_and_named() {
    let error = OpenAi::new("two words", "http://127.0.0.1", "m").unwrap_err();
    assert!(error.is_terminal() && error.to_string().contains("OPENAI_API_KEY"), "{error}");
    for base in ["api.openai.com/v1", "ftp://example.com", ""] {
        let error = OpenAi::new(KEY, base, "m").unwrap_err();
        assert!(error.is_terminal() && error.to_string().contains("OPENAI_BASE_URL"), "{error}");
    }
}

#[test]
fn debug_output_shows_no_key() {
    let openai = OpenAi::new(KEY, "http://127.0.0.1", "m").unwrap();
    assert!(!format!("{openai:?}").contains(KEY));
}
