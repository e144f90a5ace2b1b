//! The routes, and what guards which of them.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{Extensions, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use stepladder_core::Timestamp;
use stepladder_engine::Engine;
use stepladder_engine::ports::queues::Queues;
use tokio::sync::Semaphore;

use crate::error::Problem;
use crate::guard::auth::{self, EventKeys, Token};
use crate::guard::body::Budget;
use crate::guard::intake::{Bounds, Intake};
use crate::guard::{inputs, origin};
use crate::rest::unanswered::Unanswered;
use crate::{dashboard, rest};

/// The reason that a cancelled run shows when a client or a page asked for it.
pub(crate) const CANCEL_REASON: &str = "on request";

/// What a server is told besides its engine.
#[derive(Clone, Default)]
pub struct Options {
    /// The keys that events may come with. While there are none, any key is accepted on loopback, and none elsewhere.
    pub event_keys: Vec<String>,
    /// Asked for by everything but `/e`, `/health` and signals.
    pub dashboard_token: Option<String>,
    /// Whether the server listens on a loopback address: then it answers to names of this machine only.
    pub loopback: bool,
    /// The version that is shown.
    pub version: String,
    /// How much is taken in at a time.
    pub bounds: Bounds,
    /// Whether pages may hold a stream open for news; without, they ask now and then. Not behind HTTP that waits for the
    /// end of an answer.
    pub streams: bool,
    /// Bytes of an answer that pass the front before this server, at most: larger answers of `/v1` leave values out or end
    /// early. By default nothing is in the way.
    pub answer_bytes: Option<usize>,
    /// The queues, where they are a service of their own: the page of health counts what is in them and moves dead
    /// letters back.
    pub queues: Option<Arc<dyn Queues>>,
    /// Reads by when a request must be answered, where that is known: what an event request has no time for is then
    /// left to the queue.
    pub deadline: Option<fn(&Extensions) -> Option<Timestamp>>,
}

impl fmt::Debug for Options {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("event_keys", &self.event_keys.len())
            .field("dashboard_token", &self.dashboard_token.is_some())
            .field("loopback", &self.loopback)
            .field("version", &self.version)
            .field("bounds", &self.bounds)
            .field("streams", &self.streams)
            .field("answer_bytes", &self.answer_bytes)
            .field("queues", &self.queues.is_some())
            .finish()
    }
}

/// What all handlers share.
pub(crate) type Shared = Arc<Serving>;

/// See [`Shared`].
pub(crate) struct Serving {
    pub(crate) engine: Arc<Engine>,
    pub(crate) keys: EventKeys,
    pub(crate) token: Option<Token>,
    pub(crate) loopback: bool,
    pub(crate) version: String,
    pub(crate) bodies: Budget,
    pub(crate) intake: Arc<Intake>,
    /// Places for streams; none where there are none.
    pub(crate) streams: Option<Arc<Semaphore>>,
    pub(crate) answer_bytes: Option<usize>,
    pub(crate) queues: Option<Arc<dyn Queues>>,
    pub(crate) deadline: Option<fn(&Extensions) -> Option<Timestamp>>,
    pub(crate) unanswered: Unanswered,
}

/// The whole HTTP interface over an engine.
pub fn router(engine: Arc<Engine>, options: Options) -> Router {
    let shared: Shared = Arc::new(Serving {
        engine,
        keys: EventKeys::new(&options.event_keys, options.loopback),
        token: options.dashboard_token.as_deref().map(Token::new),
        loopback: options.loopback,
        version: options.version,
        bodies: Budget::default(),
        intake: Arc::new(Intake::new(options.bounds)),
        streams: options.streams.then(|| Arc::new(Semaphore::new(dashboard::MOST_STREAMS))),
        answer_bytes: options.answer_bytes,
        queues: options.queues,
        deadline: options.deadline,
        unanswered: Unanswered::default(),
    });
    // before the fallbacks: a method that a route does not take is 405, whatever comes with it
    let only_known = from_fn_with_state(shared.clone(), inputs::guard);
    let events = rest::event_routes()
        .layer(only_known.clone())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(rest::events::allow_every_origin));
    let open = rest::open_routes()
        .merge(dashboard::login_routes())
        .layer(only_known.clone())
        .merge(dashboard::open_routes(&shared))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(shared.clone(), origin::guard));
    let guarded = rest::routes()
        .layer(only_known)
        .merge(dashboard::routes(&shared))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_route)
        .layer(from_fn_with_state(shared.clone(), auth::guard))
        .layer(from_fn_with_state(shared.clone(), origin::guard));
    guarded.merge(open).merge(events).layer(from_fn(log)).with_state(shared)
}

async fn no_such_route() -> Problem {
    Problem::not_found(
        "there is no such route; events go to POST /e/{key}, everything else is under /v1, pages under /",
    )
}

async fn method_not_allowed(method: Method) -> Problem {
    let sentence = format!("this route does not take {method}; the `allow` header lists what it takes");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
}

/// One line a request, by the route's template: a path has the event key in it.
async fn log(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let begun = Instant::now();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // what runs hold is not for a cache between
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    tracing::debug!(
        %method,
        route = route.as_ref().map_or("none", MatchedPath::as_str),
        status = response.status().as_u16(),
        ms = begun.elapsed().as_secs_f64() * 1_000.0,
        "answered"
    );
    response
}
