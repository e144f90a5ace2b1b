//! Unknown parameters and unknown fields in bodies: every route responds with 400 and the unknown
//! name, and does nothing.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use crate::world::{ServerFixture, TestResponse};

/// The kind of body that a route reads.
#[derive(Clone, Copy)]
pub(crate) enum RouteBody {
    Nothing,
    /// Any JSON, in which no field can be unknown.
    Anything,
    /// A JSON object with only these fields; the string is an example.
    Json(&'static str),
    /// A form; the string is an example.
    Form(&'static str),
}

use RouteBody::{Anything, Form, Json, Nothing};

const LISTING: &[&str] = &["status", "function", "label", "since", "until", "limit", "cursor"];
const BULK: &[&str] = &["status", "function", "label", "since", "until", "all", "limit", "cursor"];
const SEARCH: &[&str] = &["status", "doing", "error", "function", "q", "within", "from", "to", "cursor"];
const NEWS: &[&str] = &["status", "doing", "error", "function", "q", "within", "from", "to", "cursor", "seen"];

/// Every route: its method, its path, the names of its query parameters, and the body that it
/// reads.
pub(crate) const ROUTES: &[(&str, &str, &[&str], RouteBody)] = &[
    ("POST", "/e/{key}", &[], Json(r#"{"name":"test/echo"}"#)),
    ("GET", "/health", &[], Nothing),
    ("POST", "/v1/signals/{token}", &[], Anything),
    ("POST", "/v1/signals/{token}/fail", &[], Json(r#"{"message":"no"}"#)),
    ("POST", "/v1/signals/{token}/heartbeat", &[], Nothing),
    ("GET", "/metrics", &[], Nothing),
    ("GET", "/login", &["next"], Nothing),
    ("POST", "/login", &[], Form("token=a-token")),
    ("GET", "/v1/events/{id}", &[], Nothing),
    ("GET", "/v1/events/{id}/runs", &[], Nothing),
    ("GET", "/v1/runs", LISTING, Nothing),
    ("POST", "/v1/runs/cancel", BULK, Nothing),
    ("POST", "/v1/runs/rerun", BULK, Json("{}")),
    ("POST", "/v1/functions/{id}/pause", &[], Nothing),
    ("POST", "/v1/functions/{id}/resume", &[], Nothing),
    ("DELETE", "/v1/runs/{id}", &[], Nothing),
    ("GET", "/v1/runs/{id}", &[], Nothing),
    ("GET", "/v1/runs/{id}/journal", &["from", "limit"], Nothing),
    ("POST", "/v1/runs/{id}/rerun", &[], Json("{}")),
    ("GET", "/v1/functions", &[], Nothing),
    ("GET", "/api/inngest", &[], Nothing),
    ("GET", "/dev", &[], Nothing),
    ("GET", "/", SEARCH, Nothing),
    ("GET", "/runs/{id}", &["at", "steps", "step", "find", "scale", "group", "zoom"], Nothing),
    ("GET", "/runs/{id}/compare", &["with"], Nothing),
    ("GET", "/runs/{id}/value", &["of", "n", "view"], Nothing),
    ("GET", "/functions", &[], Nothing),
    ("GET", "/function", &["id"], Nothing),
    ("GET", "/events/{id}", &[], Nothing),
    ("GET", "/events/{id}/data", &["view"], Nothing),
    ("GET", "/trends", &["span", "function"], Nothing),
    ("GET", "/cost", &["span", "function", "cursor"], Nothing),
    ("GET", "/health/page", &[], Nothing),
    ("GET", "/live/none", &[], Nothing),
    ("GET", "/live/runs", NEWS, Nothing),
    ("GET", "/live/runs/{id}", &["seen"], Nothing),
    ("POST", "/runs", &[], Form("do=cancel&run={id}")),
    ("GET", "/runs", SEARCH, Nothing),
    ("GET", "/events", &["before"], Nothing),
    ("POST", "/events", &[], Form("name=test%2Fecho&data=%7B%7D")),
    ("POST", "/events/{id}/replay", &[], Nothing),
    ("GET", "/apps", &[], Nothing),
    ("POST", "/apps/sync", &[], Form("url=http://127.0.0.1:1/")),
    ("POST", "/apps/remove", &[], Form("name=shop")),
    ("POST", "/functions", &[], Form("function=echo&function=nap&do=pause")),
    ("POST", "/function/pause", &[], Form("id=echo&do=pause")),
    ("POST", "/runs/{id}/cancel", &[], Nothing),
    ("POST", "/runs/{id}/hasten", &[], Form("step=rest")),
    ("POST", "/runs/{id}/answer", &[], Form("do=send&name=test%2Fecho&data=%7B%7D")),
    ("POST", "/runs/{id}/rerun", &[], Form("from_step=&input=")),
    ("POST", "/health/redrive", &[], Nothing),
    ("POST", "/logout", &[], Nothing),
    ("GET", "/style.css", &[], Nothing),
    ("GET", "/app.js", &[], Nothing),
    ("POST", "/theme", &[], Form("theme=dark")),
];

/// Returns the routes that a source file defines, such as `.route("/path", get(a).post(b))`.
fn routes_in_source(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for route in source.split(".route(\"").skip(1) {
        let (path, rest) = route.split_once('"').unwrap();
        let handlers = rest.split_once('\n').map_or(rest, |(line, _)| line);
        for method in ["get", "post", "delete", "put", "patch"] {
            let is_there = [" ", "."].iter().any(|before| handlers.contains(&format!("{before}{method}(")));
            found.extend(is_there.then(|| (method.to_uppercase(), path.to_owned())));
        }
    }
    found
}

#[test]
fn every_route_is_in_the_table() {
    let sources = [include_str!("../../src/rest.rs"), include_str!("../../src/dashboard.rs")];
    let mut made: Vec<_> = sources.into_iter().flat_map(routes_in_source).collect();
    let mut known: Vec<_> =
        ROUTES.iter().map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned())).collect();
    made.sort_unstable();
    known.sort_unstable();
    assert!(made.len() > 40, "{made:?}");
    assert_eq!(made, known);
}

/// A server that has an event, a live run and an ended run.
struct FilledServer {
    world: ServerFixture,
    event: String,
    live: String,
}

impl FilledServer {
    async fn new() -> Self {
        let world = ServerFixture::new();
        let event = world.send(json!({"name": "test/nap", "data": {"long": true}})).await.remove(0);
        let runs = world.get(&format!("/v1/events/{event}/runs")).await.data();
        let live = runs[0]["run_id"].as_str().unwrap().to_owned();
        world.run(json!({"name": "test/echo"})).await;
        Self { world, event, live }
    }

    fn path(&self, route: &str) -> String {
        let id = match route {
            _ if route.contains("/events/") => &self.event,
            _ if route.contains("/functions/") => "echo",
            _ => &self.live,
        };
        route.replace("{id}", id).replace("{key}", "local").replace("{token}", "no-token")
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> TestResponse {
        let request = Request::builder().method(method.parse::<Method>().unwrap()).uri(path);
        let request = request.header("host", "localhost:8288").header("sec-fetch-site", "same-origin");
        self.world.send_request(request.body(Body::from(body.replace("{id}", &self.live))).unwrap()).await
    }

    /// Panics unless the response is a 400 that contains `name`: JSON for programs, or a page for
    /// people.
    #[track_caller]
    fn assert_refused(&self, answer: &TestResponse, name: &str, what: &str) {
        assert_eq!(answer.status, 400, "{what}: {}", answer.text);
        assert!(answer.text.contains(name), "{what} is not told of {name}: {}", answer.text);
        let is_page = answer.header("content-type").starts_with("text/html");
        assert!(is_page || answer.sentence().contains(name), "{what}: {}", answer.text);
    }

    /// Panics if anything has changed.
    async fn assert_nothing_done(&self) {
        let runs = self.world.get("/v1/runs").await.data();
        let statuses: Vec<_> = runs.as_array().unwrap().iter().map(|run| run["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["Completed", "Running"], "{runs}");
        let functions = self.world.get("/v1/functions").await.data();
        assert!(functions.as_array().unwrap().iter().all(|function| function["paused_since"].is_null()), "{functions}");
        self.world.assert_no_error_logged();
    }
}

fn good_body(reads: RouteBody) -> &'static str {
    match reads {
        Nothing => "",
        Anything => "1",
        Json(good) | Form(good) => good,
    }
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_by_name_on_every_route() {
    let given = FilledServer::new().await;
    for (method, route, known, reads) in ROUTES {
        for (query, name) in [
            ("functoin=echo", "functoin"),
            ("State=failed", "State"),
            ("functoin", "functoin"),
            ("%66unctoin=", "functoin"),
            ("functoin%26status=failed", "functoin"),
            ("=1", "``"),
            ("%0a=1", "is not a parameter"),
            ("%00", "is not a parameter"),
            ("%FF=1", "not UTF-8"),
        ] {
            let path = format!("{}?{query}", given.path(route));
            let answer = given.ask(method, &path, good_body(*reads)).await;
            let name =
                if answer.header("content-type").starts_with("text/html") { name.trim_matches('`') } else { name };
            given.assert_refused(&answer, name, &format!("{method} {route}?{query}"));
        }
        // sends a known parameter twice; the error also lists all known parameters
        if let Some(first) = known.first() {
            let path = format!("{}?{first}=&nothing=1", given.path(route));
            let answer = given.ask(method, &path, good_body(*reads)).await;
            given.assert_refused(&answer, "nothing", &path);
            let all: Vec<&str> = known.iter().copied().filter(|name| !answer.text.contains(name)).collect();
            assert!(all.is_empty(), "{method} {route} does not tell of {all:?}: {}", answer.text);
        }
    }
    given.assert_nothing_done().await;
}

#[tokio::test]
async fn a_parameter_that_is_given_twice_is_refused_by_name() {
    let given = FilledServer::new().await;
    for (method, route, known, reads) in ROUTES {
        for name in *known {
            let path = format!("{}?{name}=1&{name}=2", given.path(route));
            given.assert_refused(&given.ask(method, &path, good_body(*reads)).await, name, &path);
        }
    }
    given.assert_nothing_done().await;
}

#[tokio::test]
async fn a_known_parameter_is_taken() {
    let given = FilledServer::new().await;
    for (method, route, known, reads) in ROUTES {
        for name in *known {
            // the route may refuse this value; the test only checks that the name is accepted
            let path = format!("{}?{name}=1", given.path(route));
            let answer = given.ask(method, &path, good_body(*reads)).await;
            assert!(!answer.text.contains("is not a parameter"), "{method} {path}: {}", answer.text);
        }
    }
    given.assert_nothing_done().await;
}

#[tokio::test]
async fn a_body_that_nothing_reads_is_refused() {
    let given = FilledServer::new().await;
    for (method, route, ..) in ROUTES.iter().filter(|(.., reads)| matches!(reads, Nothing)) {
        for body in [r#"{"function":"nothing"}"#, "function=nothing", "x", "[]", "\0"] {
            let answer = given.ask(method, &given.path(route), body).await;
            given.assert_refused(&answer, "takes no body", &format!("{method} {route} with {body}"));
        }
        let large = given.ask(method, &given.path(route), &"x".repeat(1_000_000)).await;
        assert_eq!(large.status, 413, "{method} {route}");
    }
    given.assert_nothing_done().await;
    let empty = given.ask("POST", "/v1/functions/echo/pause", " {} ").await;
    assert_eq!(empty.status, 200, "an empty object says nothing: {}", empty.text);
}

#[tokio::test]
async fn an_unknown_field_of_a_body_is_refused_by_name() {
    let given = FilledServer::new().await;
    for (method, route, _, reads) in ROUTES {
        let (good, more) = match reads {
            Nothing | Anything => continue,
            Json(good) => (good, r#""functoin":"echo"}"#),
            Form(good) => (good, "&functoin=echo"),
        };
        let body = match reads {
            Json("{}") => format!("{{{more}"),
            Json(good) => format!("{},{more}", good.trim_end_matches('}')),
            _ => format!("{good}{more}"),
        };
        let filter = if *route == "/v1/runs/rerun" { "?status=completed" } else { "" };
        let path = format!("{}{filter}", given.path(route));
        // the login form is read only if a token is configured
        let world = (*route == "/login").then(|| ServerFixture::with_options(guarded()));
        let answer = match &world {
            Some(world) => world.post_form(&path, body.clone()).await,
            None => given.ask(method, &path, &body).await,
        };
        given.assert_refused(&answer, "functoin", &format!("{method} {route} with {body}"));
    }
    given.assert_nothing_done().await;
}

/// Returns options with a dashboard token.
fn guarded() -> stepladder_server::ServerOptions {
    stepladder_server::ServerOptions { dashboard_token: Some("a-token".into()), loopback: true, ..Default::default() }
}

#[tokio::test]
async fn a_field_of_a_form_that_is_given_twice_is_refused() {
    let given = FilledServer::new().await;
    for (route, body) in [
        ("/runs", "do=cancel&do=rerun&run={id}"),
        ("/runs/{id}/hasten", "step=rest&step=other"),
        ("/function/pause", "id=echo&do=pause&id=nap"),
        ("/events", "name=test%2Fecho&name=test%2Fnap"),
        ("/theme", "theme=dark&theme=light"),
    ] {
        let answer = given.ask("POST", &given.path(route), body).await;
        given.assert_refused(&answer, "given twice", &format!("{route} with {body}"));
    }
    for theme in ["theme=purple", "theme=", ""] {
        given.assert_refused(&given.ask("POST", "/theme", theme).await, "light, dark or system", theme);
    }
    given.assert_nothing_done().await;
}

#[tokio::test]
async fn a_number_on_a_page_that_is_none_is_refused() {
    let given = FilledServer::new().await;
    for path in [
        "/runs/{id}?at=x",
        "/runs/{id}?steps=-1",
        "/cost?cursor=here",
        "/trends?span=year",
        "/cost?span=hour",
        "/live/runs?seen=x",
        "/live/runs/{id}?seen=x",
        "/events?before=x",
        "/?cursor=x",
    ] {
        let name = path.split(['?', '=']).nth(1).unwrap();
        given.assert_refused(&given.ask("GET", &given.path(path), "").await, name, path);
    }
}

#[tokio::test]
async fn a_method_that_a_route_does_not_take_is_told_whatever_comes_with_it() {
    let given = FilledServer::new().await;
    for (method, path) in [("GET", "/v1/runs/cancel?status=failed"), ("POST", "/v1/runs"), ("PUT", "/health?x=1")] {
        let answer = given.ask(method, path, "{\"x\":1}").await;
        assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text);
    }
}
