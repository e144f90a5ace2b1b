//! The page of apps, and the app on the page of a function.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Method, Request};
use stepladder_core::Timestamp;
use stepladder_engine::EngineError;
use stepladder_server::{AppDirectory, AppListing, ServerOptions};

use crate::world::ServerFixture;

/// Apps in memory, of which one can be synced.
#[derive(Default)]
struct FakeApps(Mutex<Vec<AppListing>>);

const GOOD: &str = "http://localhost:3000/api/inngest";

#[async_trait]
impl AppDirectory for FakeApps {
    async fn apps(&self) -> Result<Vec<AppListing>, EngineError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn sync(&self, url: &str) -> Result<(), String> {
        if url != GOOD {
            return Err(format!("{url} answers 404, and not as an app"));
        }
        self.0.lock().unwrap().push(AppListing {
            name: Some("<b>shop</b>".into()),
            url: url.into(),
            sdk: Some("inngest-js 4.24.0".into()),
            framework: Some("nextjs".into()),
            functions: vec!["echo".into()],
            synced_at: Some(Timestamp::from_millis(1_700_000_000_000)),
            problem: None,
        });
        Ok(())
    }

    async fn is_app(&self, authorization: &str) -> bool {
        authorization == "Bearer the-signing-key"
    }

    async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let mut apps = self.0.lock().unwrap();
        let before = apps.len();
        apps.retain(|app| app.name.as_deref() != Some(name));
        match apps.len() == before {
            true => Err(EngineError::NotFound(format!("there is no app `{name}`"))),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn apps_are_synced_shown_and_removed() {
    let apps = Arc::new(FakeApps::default());
    let options = ServerOptions { loopback: true, apps: Some(apps.clone()), ..ServerOptions::default() };
    let world = ServerFixture::with_options(options);
    let page = world.get("/apps").await;
    assert!(page.text.contains("No app is registered."), "{}", page.text);
    assert!(!world.get("/function?id=echo").await.text.contains("<dt>App</dt>"));

    let done = world.post_form("/apps/sync", "url=http%3A%2F%2Flocalhost%3A3000%2Fapi%2Finngest").await;
    let page = world.follow(&done).await.text;
    for shown in
        ["The app is registered.", "&#60;b&#62;shop", GOOD, "inngest-js 4.24.0", "nextjs", "2023-11-14 22:13:20"]
    {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(page.contains(r#"<a href="/apps" aria-current="page">Apps</a>"#), "{page}");
    assert!(world.get("/function?id=echo").await.text.contains("<dt>App</dt>"));

    apps.0.lock().unwrap().push(AppListing {
        url: "http://localhost:3001/".into(),
        problem: Some("the app does not answer".into()),
        ..AppListing::default()
    });
    apps.0.lock().unwrap().push(AppListing { name: Some("empty".into()), url: "x".into(), ..AppListing::default() });
    let page = world.get("/apps").await.text;
    for shown in ["not registered", "The app does not answer.", "The app has no functions.", "unknown"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }

    let done = world.post_form("/apps/remove", "name=empty").await;
    let page = world.follow(&done).await.text;
    assert!(page.contains("The app was removed.") && !page.contains(r#"value="empty""#), "{page}");
}

#[tokio::test]
async fn an_app_that_cannot_be_synced_is_refused_with_its_sentence() {
    let options =
        ServerOptions { loopback: true, apps: Some(Arc::new(FakeApps::default())), ..ServerOptions::default() };
    let world = ServerFixture::with_options(options);
    let bad = world.post_form("/apps/sync", "url=http%3A%2F%2Fx").await;
    assert!(bad.status == 502 && bad.text.contains("http://x answers 404, and not as an app"), "{}", bad.text);
    for (path, form, status) in
        [("/apps/sync", "url=+", 400), ("/apps/sync", "address=x", 400), ("/apps/remove", "name=nothing", 404)]
    {
        assert_eq!(world.post_form(path, form).await.status, status, "{path} {form}");
    }
    assert_eq!(world.post("/apps/remove", "name=shop").await.status, 403, "other sites cannot press it");
    assert_eq!(world.get("/apps?x=1").await.status, 400);
    world.assert_no_error_logged();
}

#[tokio::test]
async fn a_server_without_apps_has_no_such_page() {
    let world = ServerFixture::new();
    assert_eq!(world.get("/apps").await.status, 404);
    assert!(!world.get("/").await.text.contains(r#"href="/apps""#));
}

#[tokio::test]
async fn an_app_follows_and_cancels_runs_with_its_key_and_does_nothing_else() {
    let options = ServerOptions {
        event_keys: vec!["an-event-key".into()],
        dashboard_token: Some("the-token".into()),
        apps: Some(Arc::new(FakeApps::default())),
        ..ServerOptions::default()
    };
    let world = ServerFixture::with_options(options);
    let (key, run) = ("Bearer the-signing-key", "/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV");
    let event = "/v1/events/01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let status = async |method: Method, path: &str, sent: &str| {
        let request = Request::builder().method(method).uri(path).header("authorization", sent);
        world.send_request(request.body(Body::empty()).unwrap()).await.status.as_u16()
    };
    let runs = &format!("{event}/runs");
    for (method, path) in [(Method::GET, event), (Method::GET, runs), (Method::GET, run), (Method::DELETE, run)] {
        assert_ne!(status(method.clone(), path, key).await, 401, "{method} {path}");
        for wrong in ["Bearer another", "the-signing-key", ""] {
            assert_eq!(status(method.clone(), path, wrong).await, 401, "{method} {path} {wrong}");
        }
    }
    let rerun = &format!("{run}/rerun");
    for (method, path) in
        [(Method::GET, "/v1/runs"), (Method::POST, rerun), (Method::GET, "/v1/functions"), (Method::GET, "/")]
    {
        assert_eq!(status(method.clone(), path, key).await, 401, "{method} {path}");
    }
}
