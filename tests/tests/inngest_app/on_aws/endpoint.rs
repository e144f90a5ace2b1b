//! Durable endpoints on AWS: the HTTP role records what the app executes within the request of its
//! own client, and the worker continues the run by calls.

use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use stepladder_core::RunId;
use stepladder_tests::ApiClient;

use super::world::{EVENT_KEY, KEY, KeysIn, OnAws};
use crate::app::{App, node};
use crate::endpoints::run_of;
use crate::{attempts, output};

#[tokio::test]
async fn a_durable_endpoint_is_recorded_by_one_role_and_continued_by_another() {
    let aws = OnAws::start(KeysIn::SecretsManager, &[]).await;
    let keys = [("INNGEST_EVENT_KEY", EVENT_KEY), ("INNGEST_SIGNING_KEY", KEY)];
    let app = App::start_command(node(include_str!("../endpoints.mjs")), aws.url(), &keys).await;
    let client = Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client");
    let request = async |method: Method, path: &str| {
        client.request(method, format!("{}{path}", app.root())).send().await.expect("the app answers")
    };

    let response = request(Method::GET, "/api/hello?name=Ada").await;
    let status = response.status();
    let text = response.text().await.expect("text");
    assert_eq!((status, &*text), (StatusCode::CREATED, r#"{"message":"Hello Ada, 1!"}"#));
    let (_, runs) = aws.api().get("/v1/runs").await;
    let run: RunId = runs["data"][0]["run_id"].as_str().expect("a run").parse().expect("an id");
    let [ended] = aws.ended([run]).await;
    assert_eq!((output(&ended)["status"].clone(), attempts(&ended)), (json!(200), vec![("greet", 1), ("mark", 1)]));

    let response = request(Method::POST, "/api/pause?name=Ada").await;
    let location = response.headers().get("location").map(|text| text.to_str().expect("text").to_owned());
    let status = response.status();
    let location = location.unwrap_or_else(|| panic!("{status}: no redirect"));
    assert!(location.starts_with(aws.url()), "{location}");
    let [ended] = aws.ended([run_of(&location).parse().expect("an id")]).await;
    assert_eq!(ended["status"], "Completed", "{ended:#}");
    let response = client.get(&location).send().await.expect("the stack answers");
    assert_eq!(response.status(), StatusCode::OK);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body, json!({"before": 1, "a": 1, "b": 1, "name": "Ada"}));
    let token = location.split("token=").nth(1).expect("a token");
    let refused = client.get(location.replace(token, "0011")).send().await.expect("the stack answers");
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    // a report needs the signing key
    let (status, _) = ApiClient::new(aws.url()).post("/v1/checkpoint", "{}").await;
    assert_eq!(status, 401);
    for run in [run, run_of(&location).parse().expect("an id")] {
        aws.journal(run).await.assert_legal();
    }
}
