//! The routes of the server, each with its guards.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Extensions, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use stepladder_core::Timestamp;
use stepladder_engine::Engine;
use stepladder_engine::ports::queues::Queues;
use tokio::sync::Semaphore;

use crate::alerts::AlertBoard;
use crate::apps::AppDirectory;
use crate::error::HttpProblem;
use crate::guard::auth::{self, DashboardToken, EventKeys};
use crate::guard::body::BodyBudget;
use crate::guard::intake::{IntakeBounds, IntakeGuard};
use crate::guard::{inputs, origin};
#[cfg(feature = "prometheus")]
use crate::metrics::RunMetrics;
use crate::rest::unanswered::UnansweredRequests;
use crate::{dashboard, rest};

/// The reason that is shown for a run that a client or a user of the dashboard cancelled.
pub(crate) const CANCEL_REASON: &str = "on request";

/// The settings of a server.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// The event keys. If there are none, every key is accepted on loopback, and no key elsewhere.
    pub event_keys: Vec<String>,
    /// The token that all routes require except `/e`, `/health` and signals.
    pub dashboard_token: Option<String>,
    /// Whether the server listens on a loopback address. Then it only accepts requests with a host
    /// name of this machine.
    pub loopback: bool,
    /// The version that pages show.
    pub version: String,
    /// The limits of back-pressure.
    pub bounds: IntakeBounds,
    /// Whether pages may keep a stream of changes open; without streams, pages poll. Streams do not
    /// work behind a service that waits for the end of a response, such as Lambda.
    pub streams: bool,
    /// The maximum size of a response in bytes, if a service in front of the server has a limit. A
    /// larger response of `/v1` omits values or is shortened. By default there is no limit.
    pub answer_bytes: Option<usize>,
    /// The queues, if they are separate services. The health page counts their messages and
    /// redrives their dead letters.
    pub queues: Option<Arc<dyn Queues>>,
    /// Returns the deadline of a request, if it has one. Work for which an event request has no
    /// time left is sent to the queue.
    pub deadline: Option<fn(&Extensions) -> Option<Timestamp>>,
    /// The apps of a front end, if it has any. They are a page of the dashboard.
    pub apps: Option<Arc<dyn AppDirectory>>,
    /// The alerts that pages show.
    pub alerts: Arc<AlertBoard>,
    /// What counts the runs of this process, for `/metrics`.
    #[cfg(feature = "prometheus")]
    pub metrics: Option<Arc<RunMetrics>>,
    /// Routes of front ends that programs request. They check the rights of a request themselves.
    pub open_routes: Router,
    /// Routes of front ends that require the dashboard token.
    pub guarded_routes: Router,
}

impl fmt::Debug for ServerOptions {
    /// Formats the options without the secrets.
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

/// The state that all handlers share.
pub(crate) type SharedServerState = Arc<ServerState>;

/// The content of [`SharedServerState`].
pub(crate) struct ServerState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) keys: EventKeys,
    pub(crate) token: Option<DashboardToken>,
    pub(crate) loopback: bool,
    pub(crate) version: String,
    pub(crate) bodies: BodyBudget,
    pub(crate) intake: Arc<IntakeGuard>,
    /// The permits for streams; `None` if there are no streams.
    pub(crate) streams: Option<Arc<Semaphore>>,
    pub(crate) answer_bytes: Option<usize>,
    pub(crate) queues: Option<Arc<dyn Queues>>,
    pub(crate) apps: Option<Arc<dyn AppDirectory>>,
    pub(crate) alerts: Arc<AlertBoard>,
    #[cfg(feature = "prometheus")]
    pub(crate) metrics: Option<Arc<RunMetrics>>,
    pub(crate) deadline: Option<fn(&Extensions) -> Option<Timestamp>>,
    pub(crate) unanswered: UnansweredRequests,
}

/// Creates the routes for an engine.
pub fn router(engine: Arc<Engine>, options: ServerOptions) -> Router {
    let shared: SharedServerState = Arc::new(ServerState {
        engine,
        keys: EventKeys::new(&options.event_keys, options.loopback),
        token: options.dashboard_token.as_deref().map(DashboardToken::new),
        loopback: options.loopback,
        version: options.version,
        bodies: BodyBudget::default(),
        intake: Arc::new(IntakeGuard::new(options.bounds)),
        streams: options.streams.then(|| Arc::new(Semaphore::new(dashboard::MAX_STREAMS))),
        answer_bytes: options.answer_bytes,
        queues: options.queues,
        apps: options.apps,
        alerts: options.alerts,
        #[cfg(feature = "prometheus")]
        metrics: options.metrics,
        deadline: options.deadline,
        unanswered: UnansweredRequests::default(),
    });
    // this guard is inside the fallbacks, so that a method that a route does not accept gets a 405,
    // whatever its query and body are
    let only_known = from_fn_with_state(shared.clone(), inputs::guard);
    let events = rest::event_routes()
        .layer(only_known.clone())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(rest::events::allow_every_origin));
    let open = rest::open_routes()
        .merge(dashboard::login_routes())
        .layer(only_known.clone())
        .merge(dashboard::open_routes(&shared))
        .merge(options.open_routes.with_state(()))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(shared.clone(), origin::guard));
    let guarded = rest::routes()
        .layer(only_known)
        .merge(dashboard::routes(&shared))
        .merge(options.guarded_routes.with_state(()))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_route)
        .layer(from_fn_with_state(shared.clone(), auth::guard))
        .layer(from_fn_with_state(shared.clone(), origin::guard));
    guarded.merge(open).merge(events).layer(from_fn(log)).with_state(shared)
}

async fn no_such_route(State(shared): State<SharedServerState>, request: Request) -> Response {
    if origin::is_page(request.uri().path()) && dashboard::opens_page(request.headers()) {
        let problem = HttpProblem::not_found("this page does not exist");
        return dashboard::problem_page(&shared, request.headers(), &problem);
    }
    HttpProblem::not_found(
        "there is no such route; events go to POST /e/{key}, the REST interface is under /v1, pages are under /",
    )
    .into_response()
}

async fn method_not_allowed(method: Method) -> HttpProblem {
    let sentence = format!("this route does not take {method}; the `allow` header lists what it takes");
    HttpProblem::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
}

/// Logs one line for each request. The line contains the template of the route instead of the path,
/// because a path may contain an event key.
async fn log(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let started = Instant::now();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // no cache may store the data of runs
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    tracing::debug!(
        %method,
        route = route.as_ref().map_or("none", MatchedPath::as_str),
        status = response.status().as_u16(),
        ms = started.elapsed().as_secs_f64() * 1_000.0,
        "answered"
    );
    response
}
