//! Access checks: event keys, the dashboard token, origins and hosts.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use stepladder_server::{IntakeBounds, ServerOptions};

use crate::world::ServerFixture;

fn guarded_fixture() -> ServerFixture {
    ServerFixture::with_options(ServerOptions {
        event_keys: vec!["first-key".into(), "second-key".into()],
        dashboard_token: Some("the-token".into()),
        loopback: false,
        version: "1".into(),
        bounds: IntakeBounds::default(),
        // a stream would never end, and the test reads each response to its end
        streams: false,
        ..ServerOptions::default()
    })
}

/// All routes that require the dashboard token.
const GUARDED: [(Method, &str); 34] = [
    (Method::POST, "/logout"),
    (Method::POST, "/functions"),
    (Method::POST, "/function/pause"),
    (Method::GET, "/apps"),
    (Method::POST, "/apps/sync"),
    (Method::POST, "/apps/remove"),
    (Method::POST, "/runs/x/hasten"),
    (Method::GET, "/functions"),
    (Method::GET, "/function"),
    (Method::GET, "/events"),
    (Method::GET, "/events/x"),
    (Method::GET, "/events/x/data"),
    (Method::POST, "/events"),
    (Method::POST, "/events/x/replay"),
    (Method::GET, "/trends"),
    (Method::GET, "/cost"),
    (Method::GET, "/health/page"),
    (Method::GET, "/live/runs/x"),
    (Method::GET, "/"),
    (Method::GET, "/runs/x"),
    (Method::GET, "/runs/x/value"),
    (Method::GET, "/runs/x/compare"),
    (Method::POST, "/runs/x/answer"),
    (Method::POST, "/runs"),
    (Method::POST, "/runs/x/cancel"),
    (Method::POST, "/runs/x/rerun"),
    (Method::GET, "/live/runs"),
    (Method::GET, "/v1/runs"),
    (Method::GET, "/v1/runs/x"),
    (Method::DELETE, "/v1/runs/x"),
    (Method::GET, "/v1/events/x"),
    (Method::GET, "/v1/functions"),
    (Method::GET, "/api/inngest"),
    (Method::GET, "/nowhere"),
];

#[tokio::test]
async fn only_configured_keys_may_send() {
    let world = guarded_fixture();
    for key in ["first-key", "second-key", "first%2Dkey"] {
        assert_eq!(world.post(&format!("/e/{key}"), r#"{"name":"a"}"#).await.status, 200, "{key}");
    }
    for key in ["first", "first-key-", "%00", "%FF", "the-token", "First-Key"] {
        let answer = world.post(&format!("/e/{key}"), r#"{"name":"a","id":"stored"}"#).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (401, &json!(401)), "{key}");
        assert!(answer.sentence().contains("event key") && answer.json()["ids"] == json!([]));
    }
    let look = world.get_with("/v1/events/stored", "authorization", "Bearer the-token").await;
    assert_eq!(look.status, 404, "an event of a wrong key was stored");
}

#[tokio::test]
async fn without_keys_only_loopback_takes_events() {
    let far = ServerFixture::with_options(ServerOptions { loopback: false, ..ServerOptions::default() });
    assert_eq!(far.post("/e/any", r#"{"name":"a"}"#).await.status, 401);
    assert_eq!(ServerFixture::new().post("/e/%FF", r#"{"name":"a"}"#).await.status, 200);
}

#[tokio::test]
async fn secrets_are_not_logged() {
    let world = guarded_fixture();
    world.post("/e/first-key", r#"{"name":"test/echo"}"#).await;
    world.post("/e/wrong-key", r#"{"name":"test/echo"}"#).await;
    world.get_with("/v1/runs", "authorization", "Bearer the-token").await;
    world.post("/login", "token=the-token").await;
    world.settle().await;
    let log = world.log();
    assert!(log.contains("/e/{key}"), "requests are logged by their route: {log}");
    for secret in ["first-key", "wrong-key", "the-token"] {
        assert!(!log.contains(secret), "{log}");
    }
    let options = ServerOptions {
        event_keys: vec!["k-e-y".into()],
        dashboard_token: Some("t-o-k".into()),
        ..ServerOptions::default()
    };
    assert!(!format!("{options:?}").contains("k-e-y") && !format!("{options:?}").contains("t-o-k"));
}

#[tokio::test]
async fn the_token_is_asked_for_before_anything_is_shown() {
    let world = guarded_fixture();
    for (method, path) in GUARDED {
        let answer = world.request(method.clone(), path, "").await;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"), "{method} {path}");
        assert!(answer.sentence().contains("/login"));
        let wrong = world.get_with(path, "authorization", "Bearer the-toke").await;
        assert_eq!(wrong.status, 401, "{path}");
        let right = world.get_with(path, "authorization", "Bearer the-token").await;
        assert!(![401, 403].contains(&right.status.as_u16()), "{path}: {}", right.text);
    }
    assert_eq!(world.get("/health").await.status, 200);
    assert_eq!(world.post("/v1/signals/x", "").await.status, 404);
}

#[tokio::test]
async fn a_browser_is_led_to_the_login_and_stays_logged_in() {
    let world = guarded_fixture();
    let led = world.get_with("/", "accept", "text/html,*/*").await;
    assert_eq!((led.status.as_u16(), led.header("location")), (303, "/login"));
    let form = world.get("/login").await;
    assert!(form.status == 200 && form.text.contains("name=\"token\""));

    let log_in = |body: &'static str| {
        let request = Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
        world.send_request(request.header("x-forwarded-proto", "https").body(Body::from(body)).unwrap())
    };
    let wrong = log_in("token=another").await;
    assert_eq!((wrong.status.as_u16(), wrong.header("set-cookie")), (401, ""));
    let right = log_in("token=the-token").await;
    assert_eq!((right.status.as_u16(), right.header("location")), (303, "/"));
    let cookie = right.header("set-cookie");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Secure"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("the-token"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(world.get_with("/", "cookie", pair).await.status, 200);
    assert_eq!(world.get_with("/", "cookie", &pair[..pair.len() - 1]).await.status, 401);
    for bad in ["", "token", "other=1", "token=a&token=b", "token=%FF"] {
        let answer = log_in(bad).await;
        assert!(answer.status.is_client_error(), "{bad}: {}", answer.status);
    }
    world.assert_no_error_logged();
}

#[tokio::test]
async fn the_login_leads_to_the_page_that_was_asked_for_and_ends_with_a_log_out() {
    let world = guarded_fixture();
    let led = world.get_with("/function?id=a%26b", "accept", "text/html").await;
    let login = led.header("location").to_owned();
    assert_eq!(login, "/login?next=%2Ffunction%3Fid%3Da%2526b");
    let form = world.get(&login).await.text;
    assert!(form.contains("name=\"next\" value=\"/function?id=a%26b\""), "{form}");
    assert!(!form.contains("<nav aria-label=\"Main\">") && !form.contains("/logout"), "no tabs before the login");
    let log_in = async |next: &str| {
        let answer = world.post_form("/login", format!("token=the-token&next={next}")).await;
        (answer.header("location").to_owned(), answer.header("set-cookie").to_owned())
    };
    let (to, cookie) = log_in("%2Ffunction%3Fid%3Da%2526b").await;
    assert_eq!(to, "/function?id=a%26b");
    for foreign in ["%2F%2Fevil.example", "https%3A%2F%2Fevil.example", ""] {
        assert_eq!(log_in(foreign).await.0, "/", "{foreign}");
    }
    assert!(world.get("/login?next=%2F%2Fevil.example").await.text.contains("name=\"next\" value=\"/\""));
    let pair = cookie.split(';').next().unwrap();
    assert!(world.get_with("/", "cookie", pair).await.text.contains("action=\"/logout\""));
    let request = Request::post("/logout").header("host", "localhost:8288").header("sec-fetch-site", "same-origin");
    let out = world.send_request(request.header("cookie", pair).body(Body::empty()).unwrap()).await;
    assert_eq!((out.status.as_u16(), out.header("location")), (303, "/login"));
    assert!(out.header("set-cookie").starts_with("stepladder_login=; Path=/; Max-Age=0"), "the browser forgets it");
    assert!(!ServerFixture::new().get("/").await.text.contains("/logout"), "there is nothing to log out of");
}

#[tokio::test]
async fn a_browser_gets_a_page_for_an_address_that_does_not_exist() {
    let world = ServerFixture::new();
    for path in ["/nonsense", "/runs/", "/functions/x"] {
        let page = world.get_with(path, "accept", "text/html").await;
        assert_eq!(page.status, 404, "{path}");
        assert!(page.text.contains("<title>Not found · Stepladder</title>"), "{path}: {}", page.text);
        assert!(page.text.contains("This page does not exist."), "{path}: {}", page.text);
        assert!(world.get(path).await.sentence().contains("no such route"), "{path}: a program");
    }
    let program = world.get_with("/v1/nonsense", "accept", "text/html").await;
    assert!(program.sentence().contains("no such route"), "JSON under /v1");
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_everywhere_but_at_the_event_api() {
    let world = ServerFixture::new();
    for (method, path) in GUARDED.into_iter().chain([(Method::GET, "/health"), (Method::POST, "/v1/signals/x")]) {
        for origin in ["https://evil.example", "http://localhost:3000", "null"] {
            let request = Request::builder().method(method.clone()).uri(path).header("host", "localhost:8288");
            let answer = world.send_request(request.header("origin", origin).body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, 403, "{method} {path} from {origin}");
            assert!(
                answer.sentence().contains("other origins") && answer.header("access-control-allow-origin").is_empty()
            );
        }
    }
    let own = Request::get("/v1/runs").header("host", "localhost:8288").header("origin", "http://localhost:8288");
    assert_eq!(world.send_request(own.body(Body::empty()).unwrap()).await.status, 200);
}

#[tokio::test]
async fn what_another_site_makes_a_browser_ask_for_is_refused() {
    let world = ServerFixture::new();
    let ask = async |path: &str, site: &str, mode: &str| {
        let request = Request::get(path).header("host", "localhost:8288").header("sec-fetch-site", site);
        world.send_request(request.header("sec-fetch-mode", mode).body(Body::empty()).unwrap()).await
    };
    for path in ["/v1/runs", "/v1/functions", "/dev", "/api/inngest", "/live/none", "/health", "/v1/runs/x"] {
        for site in ["cross-site", "same-site"] {
            for mode in ["no-cors", "navigate"] {
                let answer = ask(path, site, mode).await;
                assert!(answer.status == 403 && answer.sentence().contains("other sites"), "{path}: {}", answer.text);
            }
        }
        assert_ne!(ask(path, "same-origin", "cors").await.status, 403, "{path}");
    }
    assert_eq!(ask("/", "cross-site", "navigate").await.status, 200, "a link to a page");
    assert_eq!(ask("/", "cross-site", "no-cors").await.status, 403, "an image, a script");
    let sent = Request::post("/e/local").header("sec-fetch-site", "cross-site").body(Body::from(r#"{"name":"a"}"#));
    assert_eq!(world.send_request(sent.unwrap()).await.status, 200, "front ends send events");
}

#[tokio::test]
async fn no_cache_keeps_what_is_shown() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo"})).await;
    for path in
        ["/v1/runs", &format!("/v1/runs/{run}"), "/v1/runs/x", "/v1/functions", "/dev", "/", "/nowhere", "/runs"]
    {
        assert_eq!(world.get(path).await.header("cache-control"), "no-store", "{path}");
    }
    assert_eq!(world.post("/e/key", r#"{"name":"a"}"#).await.header("cache-control"), "no-store");
    assert_eq!(world.get("/app.js").await.header("cache-control"), "no-cache", "asked for again, and kept");
}

#[tokio::test]
async fn white_space_around_keys_and_the_token_does_not_count() {
    let world = ServerFixture::with_options(ServerOptions {
        event_keys: vec![" first-key\n".into()],
        dashboard_token: Some("\tthe-token ".into()),
        loopback: true,
        ..ServerOptions::default()
    });
    assert_eq!(world.post("/e/first-key", r#"{"name":"a"}"#).await.status, 200);
    assert_eq!(world.get_with("/v1/runs", "authorization", "Bearer the-token").await.status, 200);
    assert_eq!(world.post_form("/login", "token=+the-token+").await.status, 303);
}

#[tokio::test]
async fn a_header_is_never_made_of_what_a_sender_wrote() {
    let world = ServerFixture::new();
    for query in ["%0a=1", "%00", "%0d%0aX:1", "%7f=1", "a%26status=failed", "status=%0a", "function=%0d%0aX:1"] {
        let answer = world.get(&format!("/runs?{query}")).await;
        assert!(answer.status.as_u16() < 500 && answer.header("x").is_empty(), "{query}: {}", answer.status);
    }
    let moved = world.get("/runs?status=failed&function=a%26b%0a").await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (308, "/?status=failed&function=a%26b%0A"));
    let odd = Request::options("/e/key").header("access-control-request-headers", &b"x-\xff"[..]);
    let answer = world.send_request(odd.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-headers")), (204, "content-type"));
}

#[tokio::test]
async fn on_loopback_foreign_hosts_are_refused() {
    let world = ServerFixture::new();
    let answer = world.get_with("/v1/runs", "host", "rebound.example:8288").await;
    assert_eq!(answer.status, 403);
    assert!(answer.sentence().contains("`rebound.example`"), "{}", answer.text);
    assert_eq!(world.get_with("/v1/runs", "host", "127.0.0.1:8288").await.status, 200);
    assert_eq!(world.get("http://rebound.example/v1/runs").await.status, 403, "in the request line");
    let far = ServerFixture::with_options(ServerOptions { loopback: false, ..ServerOptions::default() });
    assert_eq!(far.get_with("/v1/runs", "host", "steps.example").await.status, 200);
}
