//! A server without functions of its own, like the one in the packages of a release: its pages
//! before and after an app comes, and the runs of the app.

use serde_json::json;
use stepladder_tests::ServerProcess;

use crate::app::{App, Package};
use crate::{ended, output};

/// Returns a page, which must be there.
async fn page(server: &ServerProcess, path: &str) -> String {
    let response = server.api().request(reqwest::Method::GET, path).send().await.expect("a page");
    let status = response.status();
    let text = response.text().await.expect("text");
    assert_eq!(status, 200, "{path}: {text}");
    text
}

#[tokio::test]
async fn a_server_without_functions_has_pages_and_executes_those_of_an_app() {
    let mut server = ServerProcess::for_program(env!("CARGO_BIN_EXE_without-functions"));
    server = server.argument("--retry-delay").argument("20ms");
    server.start().await;
    for (path, shown) in [
        ("/", "No runs"),
        ("/functions", "No function is registered."),
        ("/apps", "No app is registered."),
        ("/events", "No events yet."),
        ("/trends", "<h1>Trends"),
        ("/cost", "No runs were created in this time."),
        ("/health/page", "<h1>Health"),
    ] {
        let text = page(&server, path).await;
        assert!(text.contains(shown), "{path}: {text}");
    }
    let api = server.api();
    for path in ["/v1/runs", "/v1/functions", "/v1/apps"] {
        let (status, answer) = api.get(path).await;
        assert_eq!((status, &answer["data"]), (200, &json!([])), "{path}");
    }
    // an event that starts nothing is accepted, and has a page
    let sent = api.send(&json!({"name": "test/hello", "data": {"name": "Ada"}})).await;
    page(&server, &format!("/events/{}", sent[0])).await;

    let app = App::start(Package::TypeScript4, &server, &[("ONLY", "hello")]).await;
    let (status, answer) = api.post("/v1/apps", json!({"url": app.url()}).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let run = ended(&server, "test/hello", json!({"name": "Ada"})).await;
    assert_eq!(output(&run), &json!({"message": "Hello Ada!"}));
    let run = format!("/runs/{}", run["run_id"].as_str().expect("an id"));
    for (path, shown) in [
        ("/", "shop-hello-world"),
        ("/functions", "shop-hello-world"),
        ("/function?id=shop-hello-world", "<dt>App</dt>"),
        ("/apps", "inngest-js 4.24.0"),
        ("/events", "test/hello"),
        ("/trends", "shop-hello-world"),
        ("/cost", "shop-hello-world"),
        (&run, "Hello Ada!"),
    ] {
        let text = page(&server, path).await;
        assert!(text.contains(shown), "{path}: {text}");
    }
    server.assert_no_error_logged();
}
