//! Signing keys: calls, checkpoints and requests for large runs are signed in both directions, and
//! keys are rotated.

use serde_json::json;
use stepladder_tests::ServerProcess;

use crate::app::{App, Package};
use crate::{ended, output};

const OLD: &str = "signkey-test-0011223344556677";
const NEW: &str = "signkey-test-8899aabbccddeeff";

/// Starts a server with these keys, and an app with those. Returns what `stepladder apps sync`
/// says.
async fn start(of_server: &[(&str, &str)], of_app: &[(&str, &str)]) -> (ServerProcess, App, String) {
    let mut server = ServerProcess::new().argument("--retry-delay").argument("20ms");
    for (name, key) in of_server {
        server = server.variable(name, *key);
    }
    server.start().await;
    let app = App::start(Package::TypeScript4, &server, of_app).await;
    let synced = server.client(&["apps", "sync", &app.url()]).output().await.expect("the binary starts");
    let text = String::from_utf8_lossy(&[synced.stdout, synced.stderr].concat()).into_owned();
    (server, app, text)
}

#[tokio::test]
async fn checkpoints_and_large_runs_are_signed_and_keys_are_rotated() {
    let (key, fallback) = ("INNGEST_SIGNING_KEY", "INNGEST_SIGNING_KEY_FALLBACK");
    let keys: [(&[_], &[_]); 3] = [
        (&[(key, NEW)], &[(key, NEW)]),
        // the app has the next key already, or still has the last one
        (&[(key, OLD)], &[(key, NEW), (fallback, OLD)]),
        (&[(key, NEW), (fallback, OLD)], &[(key, OLD), (fallback, NEW)]),
    ];
    for (of_server, of_app) in keys {
        let (server, app, text) = start(of_server, of_app).await;
        assert!(text.contains("shop is registered with"), "{text}");
        let run = ended(&server, "test/buffered", json!({})).await;
        assert_eq!(output(&run), &json!([1, 1, 1]));
        assert_eq!(app.counts(&run, &["a", "b", "c"]).await, [1, 1, 1]);
        let run = ended(&server, "test/large", json!({"name": "Ada"})).await;
        assert_eq!(output(&run)["name"], "Ada");
        // a request without the key is refused
        let api = server.api();
        let run = run["run_id"].as_str().expect("a run");
        for route in ["actions", "batch"] {
            let (status, answer) = api.get(&format!("/v0/runs/{run}/{route}")).await;
            assert!(status == 401 && answer["error"].as_str().is_some_and(|e| e.contains("signing key")), "{answer}");
        }
        for route in [&format!("/v1/checkpoint/{run}/async"), "/v1/signals", "/v1/cancellations"] {
            let (status, _) = api.post(route, "{}").await;
            assert_eq!(status, 401, "{route}");
        }
    }
}

#[tokio::test]
async fn an_app_with_another_key_is_not_synced() {
    let key = "INNGEST_SIGNING_KEY";
    let (_server, _app, text) = start(&[(key, OLD)], &[(key, NEW)]).await;
    assert!(!text.contains("is registered") && text.contains("have the same signing key"), "{text}");
}
