//! Tests the Supabase client with a stub server that checks requests and responds like Supabase.

use std::time::Duration;

use serde_json::{Value, json};
use stepladder::Error;
use stepladder_functions::{http::RESPONSE_BYTES, supabase::Supabase};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path, query_param},
};

#[path = "support/endless.rs"]
mod endless;

const KEY: &str = "service-role-0123456789";

fn supabase_client(server: &MockServer) -> Supabase {
    Supabase::new(&format!("{}/", server.uri()), KEY).unwrap()
}

async fn server_answering(template: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any()).respond_with(template).mount(&server).await;
    server
}

async fn update_client(server: &MockServer) -> Result<(), Error> {
    supabase_client(server).update_by_id("clients", "c-1", &json!({ "industry": "Tools" })).await
}

fn retry_delay(error: &Error) -> Option<Duration> {
    error.retry_delay()
}

#[tokio::test]
async fn an_update_patches_the_one_row_with_both_headers_of_the_key() {
    let server = MockServer::start().await;
    Mock::given(method("PATCH"))
        .and(path("/rest/v1/clients"))
        .and(query_param("id", "eq.c-1"))
        .and(header("apikey", KEY))
        .and(header("authorization", format!("Bearer {KEY}")))
        .and(header("content-type", "application/json"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([{ "id": "c-1" }])))
        .expect(1)
        .mount(&server)
        .await;
    update_client(&server).await.unwrap();
    let body: Value = server.received_requests().await.unwrap()[0].body_json().unwrap();
    assert_eq!(body, json!({ "industry": "Tools" }));
}

#[tokio::test]
async fn an_id_cannot_widen_the_update() {
    let server = server_answering(ResponseTemplate::new(200).set_body_json(json!([{ "id": "x" }]))).await;
    let id = "1&id=neq.0#,or=(a)";
    supabase_client(&server).update_by_id("clients", id, &json!({})).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let ids: Vec<_> =
        requests[0].url.query_pairs().filter(|(name, _)| name == "id").map(|(_, v)| v.into_owned()).collect();
    assert_eq!(ids, [format!("eq.{id}")]);
}

#[tokio::test]
async fn an_update_without_a_row_is_terminal() {
    let server = server_answering(ResponseTemplate::new(200).set_body_json(json!([]))).await;
    let error = update_client(&server).await.unwrap_err();
    assert!(error.is_terminal());
    assert!(error.to_string().contains("no row of `clients` has the id c-1"), "{error}");
}

#[tokio::test]
async fn an_upsert_merges_duplicates_on_the_columns_given() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/rest/v1/competitors"))
        .and(query_param("on_conflict", "client_id,domain"))
        .and(header("apikey", KEY))
        .respond_with(ResponseTemplate::new(201).set_body_json(json!([{ "id": "1" }])))
        .expect(1)
        .mount(&server)
        .await;
    let rows = [json!({ "client_id": "c-1", "domain": "rival.example" })];
    supabase_client(&server).upsert("competitors", "client_id,domain", &rows).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let prefer = requests[0].headers["prefer"].to_str().unwrap();
    assert!(prefer.split(',').any(|wish| wish.trim() == "resolution=merge-duplicates"), "{prefer}");
    assert_eq!(requests[0].body_json::<Value>().unwrap(), json!(rows));
}

#[tokio::test]
async fn an_upsert_of_no_rows_sends_no_request() {
    let server = server_answering(ResponseTemplate::new(500)).await;
    supabase_client(&server).upsert("competitors", "client_id,domain", &Vec::<Value>::new()).await.unwrap();
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn pushed_back_requests_wait_as_long_as_the_service_asks() {
    for status in [429, 503] {
        let template = ResponseTemplate::new(status).insert_header("retry-after", "11").set_body_string("busy");
        let error = update_client(&server_answering(template).await).await.unwrap_err();
        assert_eq!(retry_delay(&error), Some(Duration::from_secs(11)), "{status}");
    }
}

#[tokio::test]
async fn server_errors_are_retried_and_asked_once_each() {
    for status in [500, 502, 503, 504] {
        let server = server_answering(ResponseTemplate::new(status).set_body_string("<html>away</html>")).await;
        let error = update_client(&server).await.unwrap_err();
        assert!(!error.is_terminal(), "{error:?}");
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn other_refusals_are_terminal_and_quote_the_database() {
    let body = json!({ "code": "22P02", "message": "invalid input syntax for type uuid: \"c-1\"",
                       "details": "some details", "hint": "a hint" });
    for status in [400, 403, 404, 409] {
        let server = server_answering(ResponseTemplate::new(status).set_body_json(&body)).await;
        let error = update_client(&server).await.unwrap_err();
        assert!(error.is_terminal(), "{status}");
        assert_eq!(error.code(), Some(format!("http-{status}").as_str()));
        for said in ["clients", "invalid input syntax", "22P02", "some details", "a hint"] {
            assert!(error.to_string().contains(said), "{said} is missing: {error}");
        }
    }
}

#[tokio::test]
async fn a_401_is_terminal_and_never_shows_the_key() {
    let body = json!({ "message": format!("Invalid API key {KEY}"), "hint": format!("Bearer {KEY} is no JWT") });
    let error =
        update_client(&server_answering(ResponseTemplate::new(401).set_body_json(body)).await).await.unwrap_err();
    assert!(error.is_terminal());
    let shown = format!("{error} {error:#} {error:?}");
    assert!(shown.contains("Invalid API key ***") && shown.contains("SUPABASE_SERVICE_ROLE_KEY"), "{shown}");
    assert!(!shown.contains(KEY), "{shown}");
}

#[tokio::test]
async fn a_success_that_is_no_list_is_retried() {
    let error =
        update_client(&server_answering(ResponseTemplate::new(200).set_body_string("<html>")).await).await.unwrap_err();
    assert!(!error.is_terminal());
}

#[tokio::test]
async fn no_connection_is_retried_and_shows_no_password_of_the_address() {
    // no server listens on this port any more: the listener is dropped at once
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let supabase = Supabase::new(&format!("http://user:hunter2@127.0.0.1:{port}"), KEY).unwrap();
    let error = supabase.update_by_id("clients", "c-1", &json!({})).await.unwrap_err();
    assert!(!error.is_terminal());
    assert!(error.to_string().starts_with("supabase cannot be reached: "), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn invalid_settings_are_terminal_and_named() {
    let error = Supabase::new("http://127.0.0.1", "line\nbreak").unwrap_err();
    assert!(error.is_terminal() && error.to_string().contains("SUPABASE_SERVICE_ROLE_KEY"), "{error}");
    let error = Supabase::new("your-project.supabase.co", KEY).unwrap_err();
    assert!(error.is_terminal() && error.to_string().contains("SUPABASE_URL"), "{error}");
}

#[test]
fn debug_output_shows_no_key() {
    assert!(!format!("{:?}", Supabase::new("http://127.0.0.1", KEY).unwrap()).contains(KEY));
}

#[tokio::test]
async fn a_redirect_takes_neither_the_key_nor_the_data_elsewhere() {
    let elsewhere = server_answering(ResponseTemplate::new(200).set_body_json(json!([{ "id": "c-1" }]))).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("{}/steal", elsewhere.uri());
        let server = server_answering(ResponseTemplate::new(status).insert_header("location", to.as_str())).await;
        let error = update_client(&server).await.unwrap_err();
        assert_eq!(error.code(), Some(format!("http-{status}").as_str()), "{error}");
    }
    assert!(elsewhere.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_response_without_end_is_cut_off_at_16_mib() {
    let body = vec![b' '; RESPONSE_BYTES + 1];
    for status in [200, 503] {
        let server = server_answering(ResponseTemplate::new(status).set_body_bytes(body.clone())).await;
        let error = update_client(&server).await.unwrap_err();
        assert_eq!((error.is_terminal(), error.code()), (true, Some("response-too-large")), "{error}");
    }
    let endless = endless::start_endless_server().await;
    let error = Supabase::new(&endless, KEY).unwrap().update_by_id("clients", "c-1", &json!({})).await.unwrap_err();
    assert_eq!(error.code(), Some("response-too-large"), "{error}");
}

#[tokio::test]
async fn a_key_that_the_database_sends_back_escaped_is_masked() {
    let escaped = KEY.replace('-', "\\u002d");
    for body in [format!(r#"{{"odd":"{escaped}"}}"#), format!(r#"{{"message":"{escaped}"}}"#)] {
        let server = server_answering(ResponseTemplate::new(400).set_body_string(body)).await;
        let error = update_client(&server).await.unwrap_err().to_string();
        assert!(error.contains("***") && !error.contains("0123456789"), "{error}");
    }
}
