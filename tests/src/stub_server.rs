//! A small HTTP server for stubs and proxies. An async function returns the response to each
//! request, or closes the connection. The server itself has no state.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

/// A request with its complete body.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The path and query.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The complete body.
    pub body: Bytes,
}

impl HttpRequest {
    /// Parses the body as JSON. Returns null if the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// What the server does after a request.
#[derive(Debug)]
pub enum StubResponse {
    /// Sends a response.
    Reply(Response<Full<Bytes>>),
    /// Closes the connection without sending a response.
    Cut,
}

impl StubResponse {
    /// Creates a JSON response.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/json", body.to_string())
    }

    /// Creates a response with this content type.
    pub fn bytes(status: u16, kind: &str, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        let reply = Response::builder().status(status).header("content-type", kind);
        Self::Reply(reply.body(Full::new(body.into())).expect("a content type is a header value"))
    }
}

/// Serves on a free loopback port until the test's runtime ends. If a client disconnects, the call
/// of `answer` for its request is dropped.
pub async fn serve<F, Fut>(answer: F) -> SocketAddr
where
    F: Fn(HttpRequest) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = StubResponse> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = answer.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let Ok(body) = body.collect().await else { return Err("the client went away".to_owned()) };
                    let asked = HttpRequest {
                        method: head.method,
                        uri: head.uri,
                        headers: head.headers,
                        body: body.to_bytes(),
                    };
                    match answer(asked).await {
                        StubResponse::Reply(reply) => Ok(reply),
                        StubResponse::Cut => Err("cut".to_owned()),
                    }
                }
            });
            tokio::spawn(async move {
                // an error means that `answer` closed the connection, or that the client was killed
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                Ok::<_, Infallible>(())
            });
        }
    });
    address
}
