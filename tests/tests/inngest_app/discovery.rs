//! Apps that a local server finds by itself.

use std::net::TcpListener;

use serde_json::json;
use stepladder_tests::{ServerProcess, wait_for};

use super::app::{App, Package};
use super::{ended, output};

#[tokio::test]
async fn an_app_on_a_usual_port_is_found_and_shown() {
    let mut server = ServerProcess::new().argument("--retry-delay").argument("20ms").discovering();
    server.start().await;
    // other programs may have some of these ports
    let port = (8910..=8915).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port");
    let _app = App::start(Package::TypeScript4, &server, &[("PORT", &port.to_string()), ("ONLY", "hello")]).await;
    let api = server.api();
    wait_for("the app to be found", async || {
        let (_, apps) = api.get("/v1/apps").await;
        apps["data"].to_string().contains("shop-hello-world").then_some(())
    })
    .await;
    let run = ended(&server, "test/hello", json!({"name": "Ada"})).await;
    assert_eq!(output(&run), &json!({"message": "Hello Ada!"}));

    let page = |path: &'static str| {
        let request = api.request(reqwest::Method::GET, path);
        async move { request.send().await.expect("a page").text().await.expect("text") }
    };
    let apps = page("/apps").await;
    let address = format!("http://localhost:{port}/api/inngest");
    for shown in ["<bdi>shop</bdi>", &address, "inngest-js 4.24.0", "shop-hello-world"] {
        assert!(apps.contains(shown), "{shown}: {apps}");
    }
    let function = page("/function?id=shop-hello-world").await;
    assert!(function.contains("<dt>App</dt>") && function.contains(&address), "{function}");
}
