//! Runs the server on a listener, with limits on connections: their number, the time to send the
//! head of a request, and the time to read a response.

mod slow;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::slow::WriteLimitedStream;

/// The limits on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The maximum number of connections at the same time; others wait in the queue of the
    /// operating system. 0 means no limit.
    pub max: usize,
    /// The maximum time to send the head of a request. Then the connection is closed.
    pub head_timeout: Duration,
    /// The maximum time without reading a response. Then the connection is closed. Over this time,
    /// a client must read 1 KiB a second on average.
    pub read_timeout: Duration,
}

impl Default for ConnectionLimits {
    /// Allows 512 connections, half of the 1,024 files that a process may commonly open, and 30
    /// seconds for each time limit.
    fn default() -> Self {
        let half_a_minute = Duration::from_secs(30);
        Self { max: 512, head_timeout: half_a_minute, read_timeout: half_a_minute }
    }
}

/// Serves requests until `shutdown` completes, and then finishes the requests that are in progress.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    connections: ConnectionLimits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let max = match connections.max {
        0 => Semaphore::MAX_PERMITS,
        max => max.min(Semaphore::MAX_PERMITS),
    };
    let permits = Arc::new(Semaphore::new(max));
    let ending = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(connections.head_timeout);
    tokio::pin!(shutdown);
    loop {
        let next = tokio::select! {
            next = accept(&mut listener, &permits) => next,
            () = &mut shutdown => break,
        };
        let Some((connection, permit)) = next else { break };
        // responses are small and complete, so waiting for more data to fill a packet would only
        // delay them
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps delaying small packets");
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = TokioIo::new(WriteLimitedStream::new(connection, connections.read_timeout));
        let served = ending.watch(http.serve_connection(connection, service));
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    ending.shutdown().await;
}

/// Accepts the next connection once a permit is free. Returns `None` if the semaphore is closed,
/// which never happens.
async fn accept(listener: &mut TcpListener, permits: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    // axum's `accept` survives errors of single connections, and waits a second if the process
    // cannot open more files
    let (connection, _) = Listener::accept(listener).await;
    Some((connection, permit))
}
